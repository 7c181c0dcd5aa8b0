"""One client's connection, from its first byte to its record. Read `session.py` first."""
