"""Carries bytes once a route has delivered, and watches for stalls."""
