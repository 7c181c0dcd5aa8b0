"""What the commands of all features share."""
