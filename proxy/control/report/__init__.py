"""Reports: what is known about sites, for others, in the formats that they read."""
