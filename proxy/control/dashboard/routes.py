"""Finds the handler for a request in a session: pages, forms, style sheet and script."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial

from aiohttp import web

from proxy.control.dashboard import names, tab_updates
from proxy.control.dashboard.answer import PAGE_HEADERS
from proxy.control.dashboard.rendering import SHEETS, asset
from proxy.control.dashboard.visit import Handler, Route, Visit
from proxy.control.frame import Frame


async def _asset(visit: Visit, *, name: str, content_type: str) -> web.Response:
    visit.query()
    body = await asyncio.to_thread(asset, name)
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=PAGE_HEADERS)


_ASSETS = {"dashboard.css": "text/css", "dashboard.js": "text/javascript", **dict.fromkeys(SHEETS, "text/css")}
_OWN = (
    *names.ROUTES,
    *tab_updates.ROUTES,
    *(Route("GET", name, partial(_asset, name=name, content_type=kind)) for name, kind in _ASSETS.items()),
)


class Routes:
    """The routes of all features, and those of the dashboard itself."""

    def __init__(self, frame: Frame) -> None:
        """Imports the pages of all features."""
        named = ((it, name) for it in frame.features for page in it.pages for name in page.routes)
        routes = (route for routes in frame.loaded(named) for route in routes)
        self.all: Sequence[Route] = (*routes, *_OWN)
        self._patterns = [
            (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))), route) for route in self.all
        ]

    def find(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
        """Returns the handler of a path, without that of the session, and the parts of the path that its Route names.
        Raises HTTPNotFound for an unknown path, and HTTPMethodNotAllowed."""
        pairs = [(route, match) for pattern, route in self._patterns if (match := pattern.fullmatch(path)) is not None]
        if not pairs:
            raise web.HTTPNotFound
        for route, match in pairs:
            if route.method == method:
                return route.handler, match.groupdict()
        raise web.HTTPMethodNotAllowed(method, [route.method for route, _ in pairs])
