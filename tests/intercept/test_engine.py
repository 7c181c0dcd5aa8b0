"""mitmproxy in process: what programs get through a Byway that INSPECTs, with addons that look and change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.intercept.bridge import Guest
from tests.intercept.inspecting import inspecting
from tests.support.origin import Origin


class Rewriter:
    """Changes what a page says, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, str]] = []

    def response(self, flow: Any) -> None:
        self.seen.append((flow.request.pretty_url, flow.request.http_version, *self._way(flow)))
        flow.response.text = flow.response.text.replace("hello", "good-bye")

    @staticmethod
    def _way(flow: Any) -> tuple[str, str]:
        return flow.metadata["byway.route"], flow.metadata["byway.plan"]


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_a_page_is_rewritten_where_the_addon_says(tmp_path: Path, version: str) -> None:
    rewriter = Rewriter()
    async with Origin() as origin, inspecting(tmp_path, origin.authority) as byway:
        byway.guests.append(Guest("rewriter", rewriter))
        done = await byway.curl(version, f"https://www.inside.test:{origin.https_port}/")
        assert done.stdout == f"www.inside.test:{origin.https_port} says good-bye\n".encode(), done.stderr
