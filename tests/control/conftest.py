"""The fixtures of `tests/support` for the tests of this folder."""

from __future__ import annotations

from tests.support.control_server import api, documented, server, world
from tests.support.dashboard_pages import browser, pages

__all__ = ["api", "browser", "documented", "pages", "server", "world"]
