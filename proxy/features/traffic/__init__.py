"""The feature traffic."""
