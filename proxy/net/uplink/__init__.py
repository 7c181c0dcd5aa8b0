"""Which network this computer is on, and when it changes or the computer wakes."""
