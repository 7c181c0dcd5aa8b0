"""A censored country to test in: spaces with a network each, a router of our own between them, and a censor's rules."""
