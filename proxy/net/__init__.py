"""Sockets: dialing, racing, pumping, resolving, and the state of the kernel's connections."""
