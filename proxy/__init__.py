"""Byway: a local proxy that finds out by itself which sites the network blocks, and goes around."""

__version__ = "0.1.0"
