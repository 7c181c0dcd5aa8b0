"""How the command line (and later the dashboard) speaks to a running Byway."""
