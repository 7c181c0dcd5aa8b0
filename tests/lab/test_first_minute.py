"""The first minute of a person who has set up nothing: `byway run` without a relay, then `byway browser` with a page
that the provider blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.country import Country
from tests.lab.rules import SniReset
from tests.lab.views import View
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.needs("chromium"), pytest.mark.alone, pytest.mark.slow]

# The test's own, behind `--`: who makes spaces is root there, and Chromium's list of CAs is not the lab's.
OPTIONS = ("--no-sandbox", "--headless", "--dump-dom", "--ignore-certificate-errors")


@pytest.mark.parametrize("is_rescued", [True, False])
async def test_a_browser_opens_a_blocked_page_without_any_setting(
    country: Country, tmp_path: Path, is_rescued: bool
) -> None:
    """A local strategy opens the page. The control is a provider that reassembles the records of TLS, which takes a
    relay."""
    blog = country.add_site("ivanov.livejournal.test")
    country.rules.set([SniReset("livejournal.test", view=View.TCP if is_rescued else View.RECORDS)])
    async with country.byway(tmp_path / "byway", config=country.config(no_relay=True)) as byway:
        with byway.at_terminal("-v", "browser", "chromium", blog.url(), "--", *OPTIONS, columns=200) as terminal:
            await terminal.until("says hello" if is_rescued else "ERR_")
            assert ("says hello" in terminal.printed) is is_rescued, terminal.printed

        async def reset_rows() -> list[dict[str, Any]]:
            """Returns the connections that were reset direct; each is logged once it has ended."""
            rows = await byway.rows(blog.name)
            return [row for row in rows if any(attempt["symptom"] == "reset" for attempt in row["attempts"])]

        async def winners() -> list[str | None]:
            return [row["winner"] for row in await reset_rows()]

        async def is_logged() -> bool:  # a browser opens several connections, and may leave one
            return any(winner is not None for winner in await winners()) or (not is_rescued and bool(await winners()))

        await until_read(is_logged)
        assert any(winner is not None and winner.startswith("direct|") for winner in await winners()) is is_rescued
