"""The feature settings."""
