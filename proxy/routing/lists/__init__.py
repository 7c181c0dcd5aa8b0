"""Domain lists of others, one module a format."""
