"""I6 and I7: bodies of every wrong kind and shape."""

from __future__ import annotations

import asyncio
import gzip
import io
import math
from importlib.util import find_spec

import pytest
from aiohttp import ClientSession

from proxy.control import request_parsing, web_apps
from proxy.control.server import ControlServer
from tests.support.control_world import World
from tests.support.rows import each_row

SITE = "/v1/sites/example.org"
JSON = {"Content-Type": "application/json"}


@pytest.mark.uses("sites")
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", ""],
)
async def test_I6_a_body_of_another_type_is_refused(api: ClientSession, world: World, kind: str) -> None:
    async with api.put(SITE, data=b'{"action": "direct"}', headers={"Content-Type": kind}) as answer:
        assert answer.status == 415
    assert world.overrides == {}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity", "GZIP"])
async def test_I6_a_compressed_body_is_refused(api: ClientSession, world: World, coding: str) -> None:
    """Nobody of ours sends one, and it may unpack to any size."""
    body = gzip.compress(b'{"action": "direct"}')
    async with api.put(SITE, data=body, headers={**JSON, "Content-Encoding": coding}) as answer:
        # aiohttp itself refuses, with 400, what it has no library to unpack: that for br comes with mitmproxy.
        assert answer.status == (415 if coding != "br" or find_spec("brotli") else 400)
    assert world.overrides == {}


@pytest.mark.uses("sites")
async def test_A17_a_body_that_stops_is_refused(
    server: ControlServer, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_parsing, "BODY_TIMEOUT_S", 0.1)
    monkeypatch.setattr(web_apps, "_LINGER_S", 0.1)
    head = f"PUT {SITE} HTTP/1.1\r\nHost: byway\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n"
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_unix_connection(str(server.address["socket"]))
        writer.write(head.encode() + b'{"action"')
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 408 ")
        writer.close()
    assert world.overrides == {}


@pytest.mark.uses("sites")
@each_row(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"action"',
        b'{"action": "direct"} x',
        b'{"action": "direct", "action": "block"}',
        b'{"action": NaN}',
        b'{"action": Infinity}',
        b'{"action": "\xff"}',
        b'\xef\xbb\xbf{"action": "direct"}',
        b'{"action": null}',
        b'{"action": ["direct"]}',
        b'{"action": true}',
        b'{"acton": "direct"}',
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"action": ' + b"1" * 60_000 + b"}",
    ],
)
async def test_I7_a_body_that_is_not_the_object_asked_for_is_refused(
    api: ClientSession, world: World, body: bytes
) -> None:
    async with api.put(SITE, data=body, headers=JSON) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]
    assert world.overrides == {}


@pytest.mark.uses("sites")
async def test_I7_a_body_of_ten_megabytes_is_refused(api: ClientSession) -> None:
    body = io.BytesIO(b'{"action": "' + b"x" * 10_000_000 + b'"}')
    async with api.put(SITE, data=body, headers=JSON) as answer:
        assert answer.status == 413


@pytest.mark.uses("relays")
@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
async def test_I7_what_json_does_not_know_is_refused_wherever_it_stands(api: ClientSession, constant: str) -> None:
    async with api.post("/v1/relays/test", data=f'{{"names": [{constant}]}}', headers=JSON) as answer:
        assert answer.status == 400


@pytest.mark.uses("sites", "traffic")
async def test_the_nearest_field_is_named(api: ClientSession) -> None:
    async with api.put(SITE, json={"acton": "direct"}) as answer:
        assert "action" in (await answer.json())["error"]
    async with api.get("/v1/log?sinse=1") as answer:
        assert "since" in (await answer.json())["error"]


@pytest.mark.uses("today")
async def test_a_query_where_none_is_taken_is_refused(api: ClientSession) -> None:
    async with api.get("/v1/status?watch=1") as answer:
        assert answer.status == 400


@each_row(("text", "value"), [("0", 0.0), ("1.5", 1.5), ("1e3", 1000.0), (" 2 ", 2.0)])
def test_numbers_are_read(text: str, value: float) -> None:
    assert math.isclose(request_parsing.parse_number(text, least=0, most=1e6), value)


@each_row("text", ["", "x", "nan", "inf", "-inf", "-1", "1e7", "1_0", "١", "0x10", "1\x00"])
def test_what_is_no_number_within_bounds_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        request_parsing.parse_number(text, least=0, most=1e6)


@pytest.mark.uses("sites", "today")
@each_row(
    ("path", "body", "says"),
    [
        ("/v1/mode", {"pause_s": True}, "pause_s must be a float."),
        ("/v1/mode", {"pause_s": 10**400}, "pause_s must be a float."),
        (SITE, {"action": "direct", "for_s": 1.5}, "for_s must be a int."),
        (SITE, {"action": "direct", "for_s": 0}, "for_s must be from 1 to 31622400"),
        (SITE, {"action": "direct", "for_s": 31_622_401}, "for_s must be from 1 to 31622400"),
        (SITE, {"for_s": 5}, "action is missing"),
        (f"{SITE}?action=direct", {"action": "direct"}, 'unknown field "action"'),
    ],
)
async def test_a_field_of_another_type_or_out_of_bounds_is_named(
    api: ClientSession, world: World, path: str, body: dict[str, object], says: str
) -> None:
    async with api.put(path, json=body) as answer:
        assert answer.status == 400
        assert says in (await answer.json())["error"]
    assert world.overrides == {}


@pytest.mark.uses("relays")
@pytest.mark.parametrize("names", ["tor", ["tor", 1], [None], {"tor": 1}])
async def test_a_list_of_names_has_only_texts(api: ClientSession, names: object) -> None:
    async with api.post("/v1/relays/test", json={"names": names}) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"] == "names must be a list of str."


@pytest.mark.uses("today")
async def test_a_whole_number_may_stand_for_a_float(api: ClientSession) -> None:
    """JSON has one kind of number, and other languages print 600.0 as 600."""
    async with api.put("/v1/mode", json={"pause_s": 600}) as answer:
        assert answer.status == 200
        assert (await answer.json())["mode"]["paused_until"] is not None
