"""The names of the dashboard's pages, for `byway open`."""

from __future__ import annotations

from collections.abc import Mapping

PAGE_NAMES: Mapping[str, str] = {"home": "", "sites": "sites", "relays": "relays", "log": "log"}
"""The path of each page, behind that of the session."""
