"""`byway relay`."""
