"""What a report says, and does not say."""
