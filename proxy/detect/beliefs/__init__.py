"""What is believed about sites and networks, and how observations change it."""
