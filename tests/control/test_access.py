"""Who is let in. Requests are raw bytes: an attacker's page or program is not held to what a client library sends."""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.control import access as guard
from proxy.control.access import Bearer, SameUser, hosts_of
from proxy.control.server import ControlServer
from tests.support.control_world import World
from tests.support.rows import each_row

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def loopback(world: World) -> AsyncIterator[ControlServer]:
    """A server where there are no Unix sockets."""
    server = ControlServer(lambda: world.parts, None, TOKEN, port=8119)
    await server.start()
    yield server
    await server.close()


async def ask(address: Mapping[str, Any], request: str, headers: str = "", body: bytes = b"") -> tuple[int, str]:
    """Status and head of the answer to `GET /v1/rules HTTP/1.1`-like bytes; 0 when the connection just ends."""
    if address["socket"] is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", address["control_port"])
    else:
        reader, writer = await asyncio.open_unix_connection(address["socket"])
    try:
        head = f"{request}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode("utf-8", "surrogateescape") + body)
        answer = await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        await writer.wait_closed()
    text = answer.decode()
    return int(text.split(" ", 2)[1]) if text else 0, text


def ours(server: ControlServer) -> str:
    return f"Host: 127.0.0.1:{server.address['control_port']}\r\n"


BEARER = f"Authorization: Bearer {TOKEN}\r\n"


@pytest.mark.uses("rules")
async def test_the_token_lets_in(loopback: ControlServer) -> None:
    status, answer = await ask(loopback.address, "GET /v1/rules HTTP/1.1", ours(loopback) + BEARER)
    assert status == 200
    assert "rules.txt" in answer


@each_row(
    "authorization",
    [
        "",
        "Authorization: \r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
        f"Authorization: Bearer {TOKEN[:-1]}\r\n",
        f"Authorization: Bearer {TOKEN}0\r\n",
        f"Authorization: Bearer {TOKEN} \x7f\r\n",
        f"Authorization: Basic {TOKEN}\r\n",
        "Authorization: Bearer ✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓✓\r\n",
        "Authorization: Bearer \udcff\udcfe\r\n",
        f"Authorization: Bearer wrong\r\n{BEARER}",
        f"Authorization: Bearer {'0' * 7000}\r\n",
    ],
)
async def test_I1_no_other_token_does(loopback: ControlServer, authorization: str) -> None:
    status, answer = await ask(loopback.address, "GET /v1/rules HTTP/1.1", ours(loopback) + authorization)
    assert status in (400, 401)
    assert "rules.txt" not in answer
    if status == 401:  # what is no HTTP at all is shown to its sender
        assert TOKEN not in answer


def test_I2_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, wanted: bytes) -> bool:
        seen.append((given, wanted))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    bearer = Bearer(TOKEN, hosts_of(1))
    request = make_mocked_request("GET", "/", headers={"Host": "localhost:1", "Authorization": "Bearer x"})
    with pytest.raises(guard.Refused):
        bearer.check(request)
    assert seen == [(b"x", TOKEN.encode())]


def test_a_short_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="too short"):
        Bearer("0" * 31, hosts_of(1))
    assert TOKEN not in repr(Bearer(TOKEN, hosts_of(1)))


@each_row(
    "host",
    [
        "",
        "Host: \r\n",
        "Host: evil.example\r\n",
        "Host: 127.0.0.1\r\n",
        "Host: 127.0.0.1.evil.example:{port}\r\n",
        "Host: localhost:1\r\n",
        "Host: 127.0.0.1:{port}, evil.example\r\n",
        "Host: evil@127.0.0.1:{port}\r\n",
        "Host: 127.1:{port}\r\n",
        "Host: localhost.:{port}\r\n",
        "Host: byway.internal\r\n",
        "Host: 127.0.0.1:{port}\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nHost: 127.0.0.1:{port}\r\n",
    ],
)
async def test_I3_a_host_that_is_not_ours_is_refused_before_the_token_is_looked_at(
    loopback: ControlServer, host: str
) -> None:
    headers = host.format(port=loopback.address["control_port"])
    for authorization in (BEARER, ""):
        status, answer = await ask(loopback.address, "GET /v1/rules HTTP/1.1", headers + authorization)
        assert status in (400, 421)
        assert "rules.txt" not in answer


def test_I3_two_hosts_are_refused_even_where_the_parser_lets_them_through() -> None:
    headers = CIMultiDict([("Host", "localhost:1"), ("Host", "localhost:1")])
    with pytest.raises(guard.Refused):
        guard.check_host(make_mocked_request("GET", "/", headers=headers), hosts_of(1))


@pytest.mark.uses("rules")
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
async def test_our_own_names_are_ours(loopback: ControlServer, name: str) -> None:
    host = f"Host: {name}:{loopback.address['control_port']}\r\n"
    assert (await ask(loopback.address, "GET /v1/rules HTTP/1.1", host + BEARER))[0] == 200


def test_the_default_port_may_be_left_out() -> None:
    assert "localhost" in hosts_of(80)
    assert "localhost" not in hosts_of(8119)


@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/v1/rules", "http://evil.example/v1/rules", "*"])
async def test_I3_absolute_targets_are_refused(loopback: ControlServer, target: str) -> None:
    line = f"GET {target.format(port=loopback.address['control_port'])} HTTP/1.1"
    status, answer = await ask(loopback.address, line, ours(loopback) + BEARER)
    assert status in (400, 404, 421)
    assert "rules.txt" not in answer


@each_row(
    "header",
    [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: http://localhost:1",
        "Origin: http://127.0.0.1:{port}",
        "Referer: https://evil.example/",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: no-cors",
    ],
)
async def test_I4_nothing_of_a_browser_is_let_in(loopback: ControlServer, header: str) -> None:
    extra = header.format(port=loopback.address["control_port"]) + "\r\n"
    for method in ("GET /v1/rules", "POST /v1/reload", "DELETE /v1/sites/example.org"):
        status, answer = await ask(loopback.address, f"{method} HTTP/1.1", ours(loopback) + BEARER + extra)
        assert status == 403
        assert "Access-Control" not in answer


async def test_I5_a_preflight_gets_no_permission(loopback: ControlServer) -> None:
    extra = "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n"
    for authorization in (BEARER, ""):
        head = ours(loopback) + authorization + extra
        status, answer = await ask(loopback.address, "OPTIONS /v1/sites/example.org HTTP/1.1", head)
        assert status in (401, 405)
        assert "Access-Control" not in answer


@pytest.mark.uses("rules", "sites")
@each_row("path", ["/v1/../v1/rules", "/v1/%2e%2e/v1/rules", "/v1/rules%00", "/v1\\rules", "//v1/rules",
                                  "/v2/rules", "/", "/v1/rules/", "/v1/sites/%2e%2e", "/v1/sites/%00",
                                  "/v1/sites/..%5c"])  # fmt: skip
async def test_I8_no_path_leads_anywhere_else(loopback: ControlServer, path: str) -> None:
    status, answer = await ask(loopback.address, f"GET {path} HTTP/1.1", ours(loopback) + BEARER)
    if "/../" in path or "%2e%2e/" in path:  # resolved to what it means, which needs the token as well
        assert status in (200, 400, 404)
        assert (await ask(loopback.address, f"GET {path} HTTP/1.1", ours(loopback)))[0] in (400, 401)
        return
    assert status in (400, 404)
    assert "rules.txt" not in answer


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS", "PATCH", "PROPFIND"])
async def test_I15_odd_methods_are_refused(loopback: ControlServer, method: str) -> None:
    status, _ = await ask(loopback.address, f"{method} /v1/rules HTTP/1.1", ours(loopback) + BEARER)
    assert status == 405


async def test_I15_connect_is_refused(loopback: ControlServer) -> None:
    status, _ = await ask(loopback.address, "CONNECT example.org:443 HTTP/1.1", ours(loopback) + BEARER)
    assert status in (400, 405)


@pytest.mark.uses("rules")
async def test_every_answer_carries_the_security_headers(loopback: ControlServer) -> None:
    for path, authorization in (("/v1/rules", BEARER), ("/v1/rules", ""), ("/nothing", BEARER)):
        _, answer = await ask(loopback.address, f"GET {path} HTTP/1.1", ours(loopback) + authorization)
        for name, value in guard.SECURITY_HEADERS.items():
            assert f"\r\n{name}: {value}\r\n" in answer
        assert "\r\nServer:" not in answer


async def test_I5_no_answer_allows_another_origin(server: ControlServer) -> None:
    _, answer = await ask(server.address, "GET /v1/rules HTTP/1.1", "Host: byway\r\n")
    assert "Access-Control" not in answer


@pytest.mark.uses("rules")
async def test_another_user_is_refused(server: ControlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await ask(server.address, "GET /v1/rules HTTP/1.1", "Host: byway\r\n"))[0] == 200
    monkeypatch.setattr(guard, "peer_uid", lambda sock: os.getuid() + 1)
    status, answer = await ask(server.address, "GET /v1/rules HTTP/1.1", "Host: byway\r\n")
    assert status == 403
    assert "another user" in answer


@pytest.mark.uses("rules")
async def test_where_the_system_does_not_tell_the_file_mode_decides(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    assert (await ask(server.address, "GET /v1/rules HTTP/1.1", "Host: byway\r\n"))[0] == 200


def test_a_connection_that_is_gone_is_refused() -> None:
    with pytest.raises(guard.Refused):
        SameUser().check(Mock(transport=None))
