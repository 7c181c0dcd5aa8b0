"""The feature demo."""
