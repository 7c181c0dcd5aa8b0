"""Relays that are keys: an engine, a program of others, speaks their protocols."""
