"""The frame of the control API and the dashboard, by which commands and browsers reach a running Byway."""
