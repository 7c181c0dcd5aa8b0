"""The kernel's state of a TCP connection."""
