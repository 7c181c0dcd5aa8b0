"""Timings, which are never assertions: run by hand, printed as tables. See docs/performance.md."""
