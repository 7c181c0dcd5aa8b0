"""Support for tests: origins, censors and relays on loopback, a real Byway, and ways to feed a parser."""
