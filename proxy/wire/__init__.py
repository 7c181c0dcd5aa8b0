"""Bytes ↔ values. No I/O, no clock: parsers are generators over a Reader, writers return bytes."""
