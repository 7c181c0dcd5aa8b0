"""Identifies the network of this computer, and notices when it changes or the computer wakes."""
