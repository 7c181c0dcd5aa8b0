"""Runs an edited addon over the log."""
