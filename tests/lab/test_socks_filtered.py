"""A network lets TCP to a relay open and drops its SOCKS greeting: Byway names the protocol, and the remedy.

The twin is a relay that does not exist: its port is closed, and Byway mentions no filter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab import places, rules
from tests.lab.country import Country
from tests.lab.relays import Manner
from tests.lab.test_verdicts import DETECT
from tests.lab.views import View
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

FILTERED = "the SOCKS protocol may be filtered on this network"


@pytest.mark.parametrize("is_filtered", [True, False], ids=["filtered", "not there"])
async def test_filtered_socks_is_named_in_status_test_and_why(folder: Path, is_filtered: bool) -> None:
    async with Country(folder) as country:
        port = places.SOCKS_PORT if is_filtered else 1
        relays = [("abroad", f"socks5h://{places.SOCKS_RELAY}:{port}")]
        detect = f"{DETECT}hedge_relay_s = 1.0\n"
        limits = "[limits]\nhandshake_timeout_s = 3\n"
        settings = country.config(detect=detect, relays=relays, extra=limits)
        async with country.byway(folder / "byway", config=settings) as byway:
            site, healthy = country.add_site("reset.test"), country.add_site("healthy.test")
            country.rules.set([rules.SniReset(site.name, view=View.RECORDS)])
            country.relay.manner = Manner.DEAF  # the kernel opens, and nobody answers
            status: dict[str, Any] = {}

            async def is_named() -> bool:
                for each in (site, healthy):
                    await country.visitor(byway).visit(each.url())
                status.update(await byway.read("status"))
                texts = [problem["text"] for problem in status["problems"]]
                return FILTERED in texts[0] if texts and is_filtered else bool(texts)

            await until_read(is_named, within_s=90.0)
            tested = json.loads((await byway.command("relay", "test", "abroad", "--json", check=False)).stdout)
            why = json.loads((await byway.command("why", site.url(), "--json", check=False)).stdout)
    problem = status["problems"][0]
    said = (problem["text"], json.dumps(tested), *why["verdict"]["relay_faults"].values())
    assert len(said) == 3
    assert [FILTERED in each for each in said] == [is_filtered] * 3, said
    assert ("use an https relay" in problem["do"]) is is_filtered
    assert ("use an https relay" in why["verdict"]["do"]) is is_filtered, why["verdict"]
