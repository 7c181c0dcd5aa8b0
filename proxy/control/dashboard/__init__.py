"""The frame of the dashboard: pages for this user's browser, on the proxy's port."""
