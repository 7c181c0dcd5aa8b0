"""Tries the routes of a plan, the next beside the last, until one delivers."""
