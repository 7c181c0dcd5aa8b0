"""Addons: files of the user's own in Python that take part in what Byway decides."""
