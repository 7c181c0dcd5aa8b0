"""Tests of what makes the parts that serve."""
