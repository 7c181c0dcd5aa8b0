"""Completes the field "Is a site blocked?" of the header from the names that Byway knows, for the script."""

from __future__ import annotations

import time
from collections.abc import Iterable

from aiohttp import web

from proxy.control.dashboard.answer import PAGE_HEADERS, html
from proxy.control.dashboard.visit import Route, Visit
from proxy.detect.scopes import registrable
from proxy.wire.html_page import element

NAMES_MAX = 12
"""The most names in an answer."""


def completed(typed: str, known: Iterable[str]) -> list[str]:
    """Returns up to NAMES_MAX known names, and their registrable domains, that contain what was typed: first those that
    begin with it, with or without `www.`, the shortest first."""
    wanted = typed.strip().lower().removeprefix("www.")
    found = {name for name in known if wanted in name}
    found |= {domain for domain in map(registrable, found) if wanted in domain}

    def order(name: str) -> tuple[bool, int, str]:
        return not name.removeprefix("www.").startswith(wanted), len(name), name

    return sorted(found, key=order)[:NAMES_MAX]


async def _names(visit: Visit) -> web.Response:
    """Answers with an `option` for each name."""
    typed = visit.query("typed").get("typed", "")
    frame, parts, now = visit.frame, visit.parts, time.time()
    known = {site.name.removeprefix("*.") for site in await frame.sites.known(now) if "/" not in site.name}
    known |= {host for host, _ in parts.beliefs.recent_results(network=parts.network(), now=now)}
    return html(
        "".join(element("option", "", value=name) for name in completed(typed, known | {*parts.overrides})),
        PAGE_HEADERS,
    )


ROUTES = (Route("GET", "names", _names),)
