"""A censored country for tests: spaces with a network each, a router of our own between them, and a censor's rules."""
