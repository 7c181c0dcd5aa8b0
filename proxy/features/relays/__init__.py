"""The feature relays."""
