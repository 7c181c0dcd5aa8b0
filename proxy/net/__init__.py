"""Sockets: dialing, racing, pumping, resolving, and what the kernel knows."""
