"""Decides the routes that a request may take: rules, lists, the address guard, the router. Pure."""
