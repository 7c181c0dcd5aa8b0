"""The feature rules."""
