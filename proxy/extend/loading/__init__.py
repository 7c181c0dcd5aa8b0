"""Finds and loads addons and their options."""
