"""The feature sites."""
