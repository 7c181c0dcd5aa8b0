"""Looks inside connections that a rule INSPECTs, with mitmproxy, which is imported only then."""
