"""The log on disk: one SQLite file, written by one thread, read by queries."""
