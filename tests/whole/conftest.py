"""The fixtures of `tests/support` for the tests of this folder."""

from __future__ import annotations

from tests.support.command_line import byway, home, make_world, person, running
from tests.support.control_server import api, documented, server, world
from tests.support.dashboard_pages import browser, pages

__all__ = [
    "api",
    "browser",
    "byway",
    "documented",
    "home",
    "make_world",
    "pages",
    "person",
    "running",
    "server",
    "world",
]
