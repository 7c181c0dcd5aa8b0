"""`byway addons`."""
