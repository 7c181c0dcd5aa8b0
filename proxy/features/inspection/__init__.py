"""The feature inspection."""
