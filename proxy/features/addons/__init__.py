"""The feature addons."""
