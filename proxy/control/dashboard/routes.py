"""Finds what answers a request of a browser that is signed in: its pages, their forms, and their style and module."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from proxy.control.dashboard import tab_updates
from proxy.control.dashboard.answer import PAGE_HEADERS
from proxy.control.dashboard.rendering import asset
from proxy.control.dashboard.visit import Handler, Route, Visit
from proxy.control.frame import Frame


async def _style(visit: Visit) -> web.Response:
    return await _asset(visit, "dashboard.css", "text/css")


async def _module(visit: Visit) -> web.Response:
    return await _asset(visit, "dashboard.js", "text/javascript")


async def _asset(visit: Visit, name: str, content_type: str) -> web.Response:
    visit.query()
    body = await asyncio.to_thread(asset, name)
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=PAGE_HEADERS)


_OWN = (*tab_updates.ROUTES, Route("GET", "dashboard.css", _style), Route("GET", "dashboard.js", _module))


class Routes:
    """All routes of the dashboard: those of the features, and its own."""

    def __init__(self, frame: Frame) -> None:
        """Imports the pages."""
        named = ((it, name) for it in frame.features for page in it.pages for name in page.routes)
        routes = (route for routes in frame.loaded(named) for route in routes)
        self.all: Sequence[Route] = (*routes, *_OWN)
        self._patterns = [
            (re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))), route) for route in self.all
        ]

    def find(self, method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
        """Returns what answers a path behind that of the session, and the parts that its Route names. Raises the errors
        of aiohttp for an unknown path, and for a method that it does not have."""
        found = [(route, match) for pattern, route in self._patterns if (match := pattern.fullmatch(path)) is not None]
        if not found:
            raise web.HTTPNotFound
        for route, match in found:
            if route.method == method:
                return route.handler, match.groupdict()
        raise web.HTTPMethodNotAllowed(method, [route.method for route, _ in found])
