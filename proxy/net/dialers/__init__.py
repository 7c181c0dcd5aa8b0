"""Opens connections: direct, through relays, with strategies."""
