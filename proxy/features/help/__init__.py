"""The feature help."""
