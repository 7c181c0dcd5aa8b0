"""The pages of the dashboard, for `byway open` and for the menu."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.model.phrase import _, pgettext

PAGE_NAMES: Mapping[str, str] = {
    "home": pgettext("page", "Home"),
    "sites": _("Sites"),
    "live": _("Live"),
    "relays": _("Relays"),
    "rules": _("Rules"),
    "log": pgettext("page", "Log"),
    "why": _("Why?"),
    "networks": _("Networks"),
    "addons": _("Addons"),
    "settings": _("Settings"),
    "setup": _("Set-up"),
}
"""The title of each page, by its name, in the order of the menu."""


def path_of(name: str) -> str:
    """Returns the path of a page, behind that of the session."""
    return "" if name == "home" else name
