"""The user's configuration: its schema, and how files, environment and flags become one value."""
