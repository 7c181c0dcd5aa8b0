"""What a measurement means, in one word with its cause."""
