"""The feature desktop."""
