"""Other programs that read the same lists, and say what a list means."""
