"""Answers that go on, over a real socket: what is followed, and that a follower holds up nobody."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector

from proxy.control import streaming, web_apps
from proxy.control.server import ControlServer
from proxy.control.streaming import ErrorAnswer
from proxy.model import Symptom
from proxy.model.document import Document, document
from proxy.model.errors import BywayError
from tests.support.control_world import World, follow, read
from tests.support.outcomes import AWAY, failed, outcome, rescued, works
from tests.support.waiting import until

BLOG = "blog.example.net"
NOW = time.time()
"""Rows have to be young: old ones are retired."""


@pytest.mark.uses("traffic")
async def test_follow_gives_what_ends_from_now_on_in_the_shape_of_the_log(api: ClientSession, world: World) -> None:
    world.see(works("before.example", at=time.time()))
    (line,) = await follow(api, 1, world, rescued(host=BLOG, at=NOW))
    (row,) = (await read(api, "/v1/log", site=BLOG))["rows"]
    assert line.keys() - {"version"} == row.keys()
    assert {k: v for k, v in line.items() if k not in ("version", "id")} == {k: v for k, v in row.items() if k != "id"}


@pytest.mark.uses("traffic")
async def test_follow_tells_the_network_where_a_connection_began(api: ClientSession, world: World) -> None:
    async with asyncio.timeout(10), api.get("/v1/log/follow") as answer:
        await until(lambda: world.followers == 1)
        world.see(rescued(host=BLOG, at=NOW), network=AWAY)  # and is on another by the time it ends
        assert json.loads(await answer.content.readline())["network"] == AWAY


@pytest.mark.uses("traffic")
@pytest.mark.parametrize(
    ("query", "host"),
    [
        ({"site": "example.net"}, BLOG),
        ({"route": "tor"}, BLOG),
        ({"outcome": "relay"}, BLOG),
        ({"outcome": "rescued"}, BLOG),
        ({"outcome": "direct"}, "fine.example"),
        ({"outcome": "failed"}, "dead.example"),
    ],
)
async def test_follow_can_be_narrowed(api: ClientSession, world: World, query: dict[str, str], host: str) -> None:
    happened = (
        works("fine.example"), outcome(failed(Symptom.REFUSED), host="dead.example"), rescued(host=BLOG),
    )  # fmt: skip
    (line,) = await follow(api, 1, world, *happened, **query)
    assert line["host"] == host


@pytest.mark.uses("traffic")
async def test_follow_refuses_an_outcome_that_there_is_not(api: ClientSession) -> None:
    async with api.get("/v1/log/follow?outcome=odd") as answer:
        assert answer.status == 400


@pytest.mark.uses("traffic")
async def test_a_fault_on_the_way_is_the_last_line(
    api: ClientSession, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the end of the answer, which would look like a Byway that has ended."""

    def faulty(line: object, *said: Any) -> Document:
        if isinstance(line, ErrorAnswer):
            return document(line, *said)
        raise BywayError("the log fell over")

    monkeypatch.setattr(streaming, "document", faulty)
    (line,) = await follow(api, 1, world, works("some.example"))
    assert line["error"] == "the log fell over"


@pytest.mark.uses("traffic")
async def test_I10_a_follower_that_leaves_is_forgotten(server: ControlServer, world: World) -> None:
    connector = UnixConnector(path=str(server.address["socket"]))
    async with ClientSession("http://byway", connector=connector) as api, api.get("/v1/log/follow"):
        await until(lambda: world.followers == 1)
    await until(lambda: world.followers == 0)


@pytest.mark.uses("traffic")
async def test_a_follower_does_not_hold_up_the_end(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_apps, "_CLOSE_S", 600.0)
    server = ControlServer(lambda: world.parts, tmp_path / "c.sock", "unused", port=8119)
    await server.start()
    connector = UnixConnector(path=str(tmp_path / "c.sock"))
    async with ClientSession("http://byway", connector=connector) as api, api.get("/v1/log/follow"):
        await until(lambda: world.followers == 1)
        await asyncio.wait_for(server.close(), 60)
    assert world.followers == 0
