"""Keys: what a person has of a relay that speaks no SOCKS and no HTTP. Read from links, lists and configurations."""
