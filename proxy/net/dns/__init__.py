"""Resolves names: by the system, by encrypted DNS, and by comparing the two."""
