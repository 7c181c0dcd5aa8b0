"""The dashboard: pages for this user's browser, on the proxy's own port."""
