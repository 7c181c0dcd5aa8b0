"""Byway's own icons: outlines in a square of 24 units, drawn with the colour of the text beside them."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

_PATHS: Mapping[str, str] = {
    "ok": "M4 12.5l5 5L20 6.5",
    "warn": "M12 4l9 16H3zM12 10v4M12 17v.1",
    "bad": "M6 6l12 12M18 6L6 18",
    "info": "M12 3a9 9 0 1 0 .1 0M12 11v5M12 7.5v.1",
    "pause": "M8 5v14M16 5v14",
    "play": "M7 5l11 7-11 7z",
    "plus": "M12 5v14M5 12h14",
    "trash": "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
    "edit": "M4 20l1-5L16 4l4 4L9 19z",
    "drag": "M9 6v.1M15 6v.1M9 12v.1M15 12v.1M9 18v.1M15 18v.1",
    "up": "M12 19V5M6 11l6-6 6 6",
    "down": "M12 5v14M6 13l6 6 6-6",
    "shield": "M12 3l7 3v6c0 4-3 7-7 9-4-2-7-5-7-9V6z",
    "phone": "M8 3h8v18H8zM12 18v.1",
    "search": "M11 4a7 7 0 1 0 .1 0M16 16l5 5",
    "today": "M4 20V10M10 20V4M16 20v-8M22 20H2",
    "sites": "M12 3a9 9 0 1 0 .1 0M3 12h18M12 3c-4 5-4 13 0 18M12 3c4 5 4 13 0 18",
    "traffic": "M3 12h4l3-8 4 16 3-8h4",
    "relays": "M3 12h5c5 0 3-7 8-7h5M8 12c5 0 3 7 8 7h5",
    "rules": "M4 6h10M4 12h16M4 18h7",
}


def icon(name: str) -> Markup:
    """Returns an icon, hidden from screen readers: a word stands beside it. Empty for an unknown name."""
    if name not in _PATHS:
        return Markup("")
    return Markup(  # noqa: S704  # our own paths
        f'<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d="{_PATHS[name]}"/></svg>'
    )
