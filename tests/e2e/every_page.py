"""Every page of Byway that a browser can show, by a name: those of the dashboard, which `test_every_page` compares with
the routes of the features, and those that need no sign-in."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.features.desktop.own_pages import setup_page
from proxy.features.lan.phone_page import PhonePage
from proxy.languages.language import Language
from proxy.model import Destination
from tests.support.seeded import BLOCKED

DASHBOARD: Mapping[str, str] = {
    "today": "", "sites": "sites", "site": f"sites/{BLOCKED}", "new": "sites/new.example.org",
    "unknown": "sites/never-seen.example", "proof": f"sites/{BLOCKED}/proof",
    "traffic": "traffic", "traffic-filter": "traffic?filter=resul:x&when=soon&route=tor",
    "traffic-rule": "traffic/rule?host=a.example.org&program=firefox",
    "relays": "relays", "relay": "relays/one?name=tor",
    "rules": "rules?url=cdn.ads.example", "rules-text": "rules?tab=text", "list": "rules/lists/gfwlist",
    "networks": "networks", "phones": "phones", "addons": "addons", "settings": "settings",
    "forget": "forget?what=all", "setup": "setup", "help": "help",
}  # fmt: skip
"""The pages of a session, by their paths and queries below that of the session."""

OF_A_NEW_BYWAY: Mapping[str, str] = {
    "first-run": "", "no-sites": "sites", "no-traffic": "traffic", "no-relays": "relays", "no-rules": "rules",
    "no-networks": "networks", "no-addons": "addons",
}  # fmt: skip
"""Pages of a session before the first visit, without any relay, rule or addon."""

NO_PAGES = frozenset({"sites/", "why", "live", "log", "sites/{host}/report", "traffic.csv", "log.csv"})
"""The paths of features that lead to another page, or are a file to save."""

AT_PORT: Mapping[str, str] = {
    "front": "/",
    "sign-in": "/sign-in",
    "signed-out": f"/s/{'0' * 32}/",
    "not-found": "/nothing",
}
"""The pages of Byway's port that need no sign-in."""


def written(language: Language) -> Mapping[str, str]:
    """Returns the text of the pages that only other devices get."""
    address = "192.168.7.2:41234"
    return {
        "other-computer": setup_page(Destination("192.168.7.2", 8119), "", language),
        "phone": PhonePage(lambda: language).page(address, ""),
    }
