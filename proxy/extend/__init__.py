"""Addons: the user's own Python files, which take part in Byway's decisions."""
