"""`byway report`."""
