"""The application: built from a configuration, wired, reloaded, ended."""
