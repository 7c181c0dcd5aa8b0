"""The pages of the dashboard, for `byway open` and for the menu."""

from __future__ import annotations

from collections.abc import Mapping

PAGE_NAMES: Mapping[str, str] = {
    "home": "Home",
    "sites": "Sites",
    "relays": "Relays",
    "rules": "Rules",
    "log": "Log",
    "why": "Why?",
    "networks": "Networks",
    "addons": "Addons",
}
"""The title of each page, by its name, in the order of the menu."""


def path_of(name: str) -> str:
    """Returns the path of a page, behind that of the session."""
    return "" if name == "home" else name
