"""Beliefs about sites and networks, and the rules by which observations change them."""
