"""What Byway sets up outside itself, for each operating system: services, browsers, the system proxy."""
