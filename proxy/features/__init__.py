"""What Byway offers beside its core, one folder a feature."""
