"""Finds what answers a request of a browser that is signed in: its pages, their forms, and their style and module."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from aiohttp import web

from proxy.control.dashboard import tab_updates
from proxy.control.dashboard.answer import PAGE_HEADERS
from proxy.control.dashboard.rendering import asset
from proxy.control.dashboard.visit import Handler, Route, Visit
from proxy.features.addons import page as addons
from proxy.features.desktop import page as setup
from proxy.features.networks import page as networks
from proxy.features.relays import page as relays
from proxy.features.rules import page as rules
from proxy.features.settings import page as settings
from proxy.features.sites import list_page as sites
from proxy.features.sites import override_page as site_override
from proxy.features.sites import page as site
from proxy.features.sites import report_page as site_report
from proxy.features.sites import why_page as why
from proxy.features.today import page as home
from proxy.features.traffic import live_page as live
from proxy.features.traffic import log_page as log


async def _style(visit: Visit) -> web.Response:
    return await _asset(visit, "dashboard.css", "text/css")


async def _module(visit: Visit) -> web.Response:
    return await _asset(visit, "dashboard.js", "text/javascript")


async def _asset(visit: Visit, name: str, content_type: str) -> web.Response:
    visit.query()
    body = await asyncio.to_thread(asset, name)
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=PAGE_HEADERS)


_ROUTES = (
    *home.ROUTES,
    *sites.ROUTES,
    *site.ROUTES,
    *site_override.ROUTES,
    *site_report.ROUTES,
    *relays.ROUTES,
    *rules.ROUTES,
    *live.ROUTES,
    *log.ROUTES,
    *why.ROUTES,
    *networks.ROUTES,
    *addons.ROUTES,
    *settings.ROUTES,
    *setup.ROUTES,
    *tab_updates.ROUTES,
    Route("GET", "dashboard.css", _style),
    Route("GET", "dashboard.js", _module),
)
_PATTERNS = [
    (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))), route) for route in _ROUTES
]


def find(method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
    """Returns what answers a path behind that of the session, and the parts that its Route names. Raises the errors of
    aiohttp for an unknown path, and for a method that it does not have."""
    found = [(route, match) for pattern, route in _PATTERNS if (match := pattern.fullmatch(path)) is not None]
    if not found:
        raise web.HTTPNotFound
    for route, match in found:
        if route.method == method:
            return route.handler, match.groupdict()
    raise web.HTTPMethodNotAllowed(method, [route.method for route, _ in found])
