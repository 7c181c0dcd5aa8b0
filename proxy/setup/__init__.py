"""Makes what serves connections out of the configuration, and replaces it when the configuration changes."""
