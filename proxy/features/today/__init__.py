"""The feature today."""
