"""`byway ca`."""
