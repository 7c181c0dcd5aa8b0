"""The control server's sockets, and the page that clients of the proxy port reach."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.control import server as module
from proxy.control import web_apps
from proxy.control.access import SECURITY_HEADERS
from proxy.control.dependencies import Dependencies
from proxy.control.server import ControlServer
from proxy.model.errors import BywayError
from proxy.model.feature import Feature
from proxy.wire.html_page import CONTENT_SECURITY_POLICY
from tests.control.test_access import ask
from tests.support.control_world import World
from tests.support.rows import each_row
from tests.support.sockets import descriptors, tcp_pair
from tests.support.waiting import until

OURS = "Host: 127.0.0.1:8119\r\n"


@pytest.mark.uses("today")
async def test_features_are_imported_beside_the_loop(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their imports take a tenth of a second, in which no connection would go on."""
    first: dict[tuple[str, str], bool] = {}  # by feature and name, whether the loop's thread asked for it first
    load = Feature.load

    def watched(feature: Feature, name: str) -> Any:
        first.setdefault((feature.name, name), threading.current_thread() is threading.main_thread())
        return load(feature, name)

    monkeypatch.setattr(Feature, "load", watched)
    server = ControlServer(lambda: world.parts, tmp_path / "c.sock", "unused", port=8119)
    await server.start()
    assert (await ask(server.address, "GET /v1/status HTTP/1.1", "Host: byway\r\n"))[0] == 200
    await server.close()
    assert ("today", "endpoints:StatusEndpoints") in first
    assert [name for name, is_on_the_loop in first.items() if is_on_the_loop] == []


async def test_the_socket_is_the_users_alone_whatever_the_umask(world: World, tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    before = os.umask(0)
    try:
        server = ControlServer(lambda: world.parts, path, "unused", port=8119)
        await server.start()
        assert os.umask(0) == 0  # it was put back
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert server.address == {"socket": str(path), "control_port": None, "token": None}
    finally:
        os.umask(before)
        await server.close()
    assert not path.exists()


@pytest.mark.uses("rules")
async def test_a_socket_that_a_killed_byway_left_is_replaced(world: World, tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = ControlServer(lambda: world.parts, path, "unused", port=8119)
    await server.start()
    assert (await ask(server.address, "GET /v1/rules HTTP/1.1", "Host: byway\r\n"))[0] == 200
    await server.close()


async def test_anything_else_in_its_place_is_left_alone(world: World, tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    path.write_text("precious")
    server = ControlServer(lambda: world.parts, path, "unused", port=8119)
    with pytest.raises(BywayError, match="cannot be opened at"):
        await server.start()
    assert path.read_text() == "precious"


async def test_without_unix_sockets_it_listens_on_loopback_with_a_token(world: World) -> None:
    server = ControlServer(lambda: world.parts, None, "t" * 43, port=8119)
    await server.start()
    address = server.address
    assert address["socket"] is None
    assert address["token"] == "t" * 43
    assert isinstance(address["control_port"], int)
    await server.close()
    with pytest.raises(OSError):  # noqa: PT011  which one is the system's business
        socket.create_connection(("127.0.0.1", address["control_port"]), timeout=5).close()


async def test_closing_twice_and_unstarted_is_harmless(world: World, tmp_path: Path) -> None:
    before = descriptors()
    server = ControlServer(lambda: world.parts, tmp_path / "c.sock", "unused", port=8119)
    await server.close()
    await server.start()
    await server.close()
    await server.close()
    assert descriptors() == before


async def adopted(server: ControlServer, received: bytes, later: bytes = b"") -> str:
    """What a client gets whose first bytes were read by the proxy port."""
    client, accepted = tcp_pair()
    accepted.setblocking(False)
    server.adopt(accepted, received)
    with client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        if later:
            await loop.sock_sendall(client, later)
        answer = b""
        async with asyncio.timeout(10):
            while chunk := await loop.sock_recv(client, 65536):
                answer += chunk
    return answer.decode()


async def test_the_page_says_what_this_is(server: ControlServer) -> None:
    answer = await adopted(server, f"GET / HTTP/1.1\r\n{OURS}\r\n".encode())
    assert answer.startswith("HTTP/1.1 200 ")
    assert "byway status" in answer
    assert "\r\nConnection: close\r\n" in answer
    for name, value in {**SECURITY_HEADERS, "Content-Security-Policy": CONTENT_SECURITY_POLICY}.items():
        assert f"\r\n{name}: {value}\r\n" in answer
    assert answer.count("Content-Security-Policy") == 1
    assert "\r\nServer:" not in answer


async def test_a_request_may_come_in_pieces(server: ControlServer) -> None:
    request = f"GET / HTTP/1.1\r\n{OURS}\r\n".encode()
    for cut in (1, 20, len(request) - 1):
        answer = await adopted(server, request[:cut], request[cut:])
        assert answer.startswith("HTTP/1.1 200 ")


@pytest.mark.uses("rules")
@pytest.mark.parametrize(
    "host", ["127.0.0.1:8119", "LOCALHOST:8119", "[::1]:8119", "byway.internal", "byway.internal:80"]
)
async def test_the_page_is_there_under_each_of_our_names(server: ControlServer, host: str) -> None:
    assert (await adopted(server, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())).startswith("HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8119", "localhost:1", "127.0.0.1", "byway.internal.evil.example"]
)
async def test_I3_under_another_name_there_is_nothing(server: ControlServer, host: str) -> None:
    answer = await adopted(server, f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith("HTTP/1.1 421 ")
    assert "Byway" not in answer


@pytest.mark.uses("settings", "today", "traffic")
@each_row(
    "path",
    ["/v1/status", "/v1/config", "/v1/log", "/v1/log/follow", "/index.html", "/favicon.ico", "//", "/%2e%2e/v1/status"],
)
async def test_I14_the_proxy_port_leads_to_no_api(server: ControlServer, path: str) -> None:
    answer = await adopted(server, f"GET {path} HTTP/1.1\r\n{OURS}\r\n".encode())
    assert answer.startswith("HTTP/1.1 404 ")


@pytest.mark.uses("settings", "sites")
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/reload"), ("PUT", "/v1/sites/x"), ("DELETE", "/v1/sites/x"), ("POST", "/")]
)
async def test_I14_nothing_can_be_changed_there(server: ControlServer, world: World, method: str, path: str) -> None:
    body = b'{"action": "direct"}'
    head = f"{method} {path} HTTP/1.1\r\n{OURS}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = await adopted(server, head.encode() + body)
    assert answer.startswith(("HTTP/1.1 404 ", "HTTP/1.1 405 "))
    assert world.reloads == 0
    assert world.overrides == {}


async def test_a_page_of_another_site_may_look_but_learns_nothing(server: ControlServer) -> None:
    head = f"GET / HTTP/1.1\r\n{OURS}Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n\r\n"
    answer = await adopted(server, head.encode())
    assert "Access-Control" not in answer
    assert "Cross-Origin-Resource-Policy: same-origin" in answer


async def test_only_one_request_is_answered_on_a_connection(server: ControlServer) -> None:
    request = f"GET / HTTP/1.1\r\n{OURS}\r\n".encode()
    answer = await adopted(server, request + request)
    assert answer.count("HTTP/1.1 ") == 1


async def test_a_client_that_leaves_at_once_leaves_nothing_behind(server: ControlServer) -> None:
    before = descriptors()
    for _ in range(20):
        client, accepted = tcp_pair()
        client.close()
        server.adopt(accepted, f"GET / HTTP/1.1\r\n{OURS}\r\n".encode())
    await until(lambda: descriptors() == before)


async def test_a_client_that_comes_after_the_end_is_closed(world: World, tmp_path: Path) -> None:
    server = ControlServer(lambda: world.parts, tmp_path / "c.sock", "unused", port=8119)
    await server.start()
    await server.close()
    assert await adopted(server, f"GET / HTTP/1.1\r\n{OURS}\r\n".encode()) == ""


@pytest.mark.parametrize("noise", ["\x16\x03\x01", "GET / HTTP/1.1 x y", "get"])
async def test_noise_on_the_control_socket_is_one_line(
    server: ControlServer, noise: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="proxy"):
        await ask(server.address, noise)
    assert all(record.exc_info is None and "\n" not in record.getMessage() for record in caplog.records)
    assert len(caplog.records) <= 1


# -- clients that take their time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unfinished_body_is_closed_as_a_half_head_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, body: str
) -> None:
    monkeypatch.setattr(web_apps, "_LINGER_S", 600.0)
    world.settings = replace(world.settings, limits=replace(world.settings.limits, head_timeout_s=0.2))
    world.overrides_changed()
    before = descriptors()
    server = ControlServer(lambda: world.parts, tmp_path / "c.sock", "unused", port=8119)
    await server.start()
    client, accepted = tcp_pair()
    with client:
        server.adopt(accepted, f"{method} / HTTP/1.1\r\n{OURS}{body}".encode())
        assert server.adopted == 1
        await until(lambda: server.adopted == 0)
    await server.close()
    assert descriptors() == before


async def test_clients_of_the_page_are_counted_until_they_are_gone(server: ControlServer) -> None:
    assert server.adopted == 0
    pairs = [tcp_pair() for _ in range(3)]
    for _, accepted in pairs:
        server.adopt(accepted, f"POST / HTTP/1.1\r\n{OURS}Content-Length: 5\r\n\r\n".encode())
    assert server.adopted == 3
    for client, _ in pairs:
        client.close()
    await until(lambda: server.adopted == 0)


@pytest.mark.uses("rules")
async def test_a_start_that_fails_is_tried_again_for_the_client_who_waits(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without a free descriptor."""
    monkeypatch.setattr(module, "_RETRY_S", 0.01)
    heard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(str(context["exception"])))
    asked = 0

    def parts() -> Dependencies:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise OSError(24, "Too many open files")
        made: Dependencies = world.parts
        return made

    server = ControlServer(parts, tmp_path / "c.sock", "unused", port=8119)
    await server.start()
    assert (await ask(server.address, "GET /v1/rules HTTP/1.1", "Host: byway\r\n"))[0] == 200
    assert (asked, len(heard)) == (3, 2)
    await server.close()
