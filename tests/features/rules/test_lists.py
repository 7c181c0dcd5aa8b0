"""Which lists can be fetched, what the API says of them, and how they compare with visits."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.config.schema import ListConfig, Log
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.features.rules.lists import Compared, compare, wanted_lists
from proxy.model import Belief, NetworkId, State
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from tests.routing.lists.patching import patched
from tests.support.control_world import World, read
from tests.support.outcomes import HOME, works

NOW = 1_700_000_000.0
FILE = ListConfig(name="own", source="own.txt")
URL = "https://lists.test/gfw.txt"
FETCHED = ListConfig(name="gfw", source=URL, refresh="1d")
TEXT = "a.test\nb.test\n192.0.2.0/24\n??\n!!!x y\n?? ?\n*? *\ncom\n"


def parsed(text: str = TEXT) -> DomainList:
    return parse_list(iter([text]), size=len(text), source="list gfw")


def test_which_lists_are_fetched() -> None:
    assert wanted_lists([FILE, FETCHED], []) == [FETCHED]
    assert wanted_lists([FILE, FETCHED], ["gfw", "gfw"]) == [FETCHED]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["gwf"], 'unknown list "gwf"; did you mean gfw?'),
        (["own"], "list own is a file: it is read again whenever it changes, and never fetched"),
    ],
)
def test_what_cannot_be_fetched(names: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        wanted_lists([FILE, FETCHED], names)
    with pytest.raises(ValueError, match="nothing to fetch"):
        wanted_lists([FILE], [])


# -- over the API ------------------------------------------------------------------------------------------------------


@pytest.fixture
def world(world: World) -> World:
    world.settings = replace(world.settings, list=(FILE, FETCHED))
    world.lists = {"own": parsed()}
    world.overrides_changed()
    return world


async def test_lists_are_listed_in_use_or_not(api: ClientSession) -> None:
    shown = (await read(api, "/v1/lists"))["lists"]
    assert [(it["name"], it["in_use"], it["entries"]) for it in shown] == [("own", True, 3), ("gfw", False, 0)]


@pytest.mark.uses("today")
async def test_a_fetch_is_told_list_by_list(api: ClientSession, world: World) -> None:
    lines = await posted(api, {"names": ["gfw"]})
    assert [line.get("list") for line in lines] == ["gfw", None]
    assert (lines[0]["result"], lines[0]["entries"]) == ("failed", 0)
    assert lines[0]["why"].startswith("through tor: ")
    assert "through vps: " in lines[0]["why"]
    assert lines[1]["problem"] == ""
    assert world.reloads == 0
    status = await read(api, "/v1/status")
    assert status["problems"] == [], "it is not in use, so the configuration is what is wrong"
    (fetch,) = [it["fetch"] for it in (await read(api, "/v1/lists"))["lists"] if it["name"] == "gfw"]
    assert (fetch["failures"], fetch["error"]) == (1, lines[0]["why"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"names": ["own"]}, "list own is a file"),
        ({"names": ["x"]}, "unknown list"),
        ({"names": "gfw"}, "names must be a list"),
        ({"accept_smaller": 1}, "accept_smaller must be a bool"),
        ({"url": "https://evil.test/"}, "unknown field"),
    ],
)
async def test_what_is_asked_wrongly_is_refused(api: ClientSession, body: dict[str, Any], says: str) -> None:
    async with api.post("/v1/lists/refresh", json=body) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["error"]


async def posted(api: ClientSession, body: dict[str, Any]) -> list[dict[str, Any]]:
    async with api.post("/v1/lists/refresh", json=body) as answer:
        assert answer.status == 200
        return [json.loads(line) async for line in answer.content]


# -- beside visits -----------------------------------------------------------------------------------------------------

OWN_TEXT = "# mine\na.test\nb.test\nc.test\n"


@pytest.fixture
def visited(world: World) -> World:
    """Direct works for two listed hosts, and for one that is not; two sites are blocked, one of them listed."""
    world.lists = {"own": parsed(OWN_TEXT), "other": parsed("elsewhere.test\n")}
    world.list_texts = {"own": OWN_TEXT}
    world.settings = replace(world.settings, log=Log(hosts="all", never=("*.c.test",)))
    world.store.configure(world.settings.log)
    world.overrides_changed()
    now = time.time()
    world.see(works("www.a.test", at=now - 60), works("free.test", at=now), works("www.c.test", at=now))
    world.see(works("b.test", at=now))
    world.beliefs = Beliefs(
        world.settings.detect,
        [
            Belief("blocked.test", HOME, State.BLOCKED, "sni_reset", since=now, until=now + 1e6, last_good_at=now),
            Belief("sub.b.test", HOME, State.BLOCKED, "sni_reset", since=now, until=now + 1e6, last_good_at=now),
            Belief("elsewhere.test", HOME, State.BLOCKED, "sni_reset", since=now, until=now + 1e6, last_good_at=now),
            Belief("likely.test", HOME, State.SUSPECT, "sni_reset", since=now, until=now + 1e6, last_good_at=now),
            Belief("far.test", NetworkId("another"), State.BLOCKED, "sni_reset", until=now + 1e6),
        ],
    )
    return world


@pytest.mark.uses("sites")
async def test_a_list_is_compared_with_visits(visited: World, api: ClientSession) -> None:
    told = await read(api, "/v1/lists/own/report")
    free = [(it["host"], it["entry"]) for it in told["free"]]
    assert free == [("b.test", "b.test"), ("www.a.test", "a.test")], "the latest first, and no host of `[log] never`"
    assert {it["scope"] for it in told["blocked"]} == {"blocked.test", "likely.test"}
    assert told["diff"] is None
    assert told["rules"] == []


async def test_the_diff_is_sure_of_what_it_changes(visited: World, api: ClientSession) -> None:
    """b.test works, and something below it is blocked: its line stays. What is only likely blocked is not added."""
    diff = (await read(api, "/v1/lists/own/report", diff="1"))["diff"]
    assert diff["unwritten"] == []
    assert patched(OWN_TEXT, diff["text"]) == "# mine\nb.test\nc.test\nblocked.test\n"


async def test_nothing_is_sent_for_a_report(visited: World, api: ClientSession) -> None:
    visited.resolved.clear()
    await read(api, "/v1/lists/own/report", diff="1")
    assert visited.resolved == []


async def test_a_report_about_no_list_is_refused(visited: World, api: ClientSession) -> None:
    async with api.get("/v1/lists/gfw/report") as answer:
        assert answer.status == 404
        assert "unknown list" in (await answer.json())["error"]


def test_without_visits_there_is_nothing_to_tell() -> None:
    compared = compare("own", {"own": parsed(OWN_TEXT)}, {}, [])
    assert compared == Compared((), (), (), ())
