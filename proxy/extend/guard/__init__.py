"""Runs the hooks of addons: each with a time limit, and its faults counted."""
