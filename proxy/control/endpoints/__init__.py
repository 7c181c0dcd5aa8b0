"""Endpoints of the control API that belong to no feature."""
