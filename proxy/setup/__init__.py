"""Makes the Setup, which serves connections, from the configuration, and replaces it when the configuration changes."""
