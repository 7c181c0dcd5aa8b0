"""The feature imports."""
