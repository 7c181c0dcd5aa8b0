"""One state of a site for all: the list, its page, Home, the report and each JSON document say the same word, cause and
since of it, in every situation; also after a restart, and after a relay was mended, the network changed and it was
measured again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_health import Health
from proxy.detect.verdict.labels import plain_cause, whole_cause
from proxy.languages.amounts import clock
from proxy.model.feature import Feature
from tests.support.control_world import World
from tests.support.dashboard import dashboard, time_on_page
from tests.support.situations import (
    SITUATIONS,
    behind_a_portal,
    happen_all,
    measured_again,
    network_changed,
    relay_mended,
)


def restarted(world: World) -> None:
    assert world.store.flush()
    world.beliefs = Beliefs(
        world.settings.detect, world.store.load_beliefs(), results=world.store.load_results(), store=world.store
    )
    kept = world.health.remembered()
    world.health = Health(world.settings.detect)
    world.health.restore(kept)


MOMENTS: dict[str, Callable[[World], None]] = {
    "as it is": lambda world: None,
    "relay mended": relay_mended,
    "network changed": network_changed,
    "measured": measured_again,
    "restarted": restarted,
    "behind a portal": behind_a_portal,
}


@pytest.mark.parametrize("then", MOMENTS)
async def test_every_surface_says_the_same_of_a_site(tmp_path: Path, features: Sequence[Feature], then: str) -> None:
    world = World(store_file=tmp_path / "byway.sqlite", features=features)
    happen_all(world)
    MOMENTS[then](world)
    async with dashboard(world, tmp_path) as pages, pages.signed_in() as browser:
        listed = {site["site"]: site for site in (await read(pages.api, "/v1/sites"))["sites"]}
        status = await read(pages.api, "/v1/status")
        in_status = {site["site"]: site for site in status["sites"]}
        home, sites = await browser.text(), await browser.text("sites")
        for situation in SITUATIONS:
            host = situation.host
            shown = (await read(pages.api, f"/v1/sites/{host}"))["belief"]
            known = (await read(pages.api, f"/v1/why?host={host}"))["belief"]
            assert known == shown, host
            if then == "as it is" or (then == "restarted" and situation.words != "works"):
                assert (shown["words"], shown["cause"]) == (situation.words, situation.cause), host
            is_listed = situation.is_listed and shown["words"] not in ("not tested", "works")
            if then == "behind a portal":  # what was learned in the last minutes may have been its doing
                assert (shown["words"], shown["cause"]) == ("portal", "portal"), host
                is_listed = host in listed
            assert (host in listed) is is_listed, host
            is_trouble = shown["is_trouble"] and is_listed
            assert (host in in_status) is is_trouble, host
            for document in (listed.get(host, shown), in_status.get(host, shown)):
                assert {**document, "score": 0} == {**shown, "score": 0}, host
            _, page = await browser.get(f"{browser.base}sites/{host}")
            text = await browser.text(f"sites/{host}")
            since = f" · since {time_on_page(shown['since'])} " if shown["since"] else ""
            assert re.search(f"{re.escape(shown['glyph'])} {shown['words']} on this network{since}", text), host
            assert plain_cause(shown["cause"]) in text, host
            assert not shown["since"] or clock(shown["since"]) in page, host
            if is_trouble:
                row = sites[sites.index(f" {host} {shown['glyph']} {shown['words']} ") :][:1500]  # with 14 days
                began = time_on_page(shown["since"]) if shown["since"] else "–"
                assert re.search(f" {re.escape(plain_cause(shown['cause']) or '–')} {began} ", row), host
            is_new = shown["words"] in ("blocked", "likely blocked", "intercepted", "slow")
            cause = f"{re.escape(shown['plain'])} " if shown["plain"] else "no cause is known"
            new = f" {re.escape(host)} became blocked: {cause}, {time_on_page(shown['since'] or 0)}"
            assert (re.search(new, home) is not None) is is_new, host
            if shown["words"] != "not tested" and (is_listed or then != "behind a portal"):
                _, report = await browser.get(f"{browser.base}sites/{host}/report?format=md&redact=none&exact=on")
                (head,) = [line for line in report.splitlines() if line.startswith(f"**{shown['glyph']} ")]
                assert shown["words"] in head, host
                assert whole_cause(shown["cause"]) in head.replace("\\", ""), host
    world.close()


async def read(api: ClientSession, path: str) -> Any:
    async with api.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def test_the_beginning_stays_over_all_of_them(tmp_path: Path) -> None:
    """To measure, to leave the network and to restart do not begin a block; time between them goes by."""
    world = World(store_file=tmp_path / "byway.sqlite")
    began = time.time() - 3600
    happen_all(world)
    blocked = SITUATIONS[1].host
    held = world.beliefs.lookup(blocked, network=world.parts.network(), now=time.time())
    assert held.began >= began
    for change in (relay_mended, network_changed, measured_again, restarted):
        change(world)
        again = world.beliefs.lookup(blocked, network=world.parts.network(), now=time.time())
        assert again.began == held.began, change.__name__
    world.close()
