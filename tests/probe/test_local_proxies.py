"""What listens on a port of this computer, by what it answers. Real programs: tests/features/relays/test_scan.py."""

from __future__ import annotations

import asyncio
import http.server
import socket
import threading
from collections.abc import Collection

import pytest

from proxy.net.poller import make_poller
from proxy.probe.local_proxies import KnownPort, Listener, find_listeners, known_ports
from tests.support.one_answer import answering

pytestmark = pytest.mark.waits


async def find(port: int, own: Collection[int] = ()) -> list[Listener]:
    poller = make_poller(asyncio.get_running_loop())
    try:
        return await find_listeners([KnownPort(port)], poller, own=own)
    finally:
        poller.close()


async def what_listens(port: int) -> str:
    (listener,) = await find(port)
    return listener.words


async def test_a_web_server_may_be_no_proxy() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        assert await what_listens(server.server_address[1]) == "HTTP: a proxy, or a web server"
        server.shutdown()
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "listens, but does not answer as a SOCKS or HTTP proxy"),
        (None, "listens, but does not answer as a SOCKS or HTTP proxy"),
        (b"", "listens, but does not answer as a SOCKS or HTTP proxy"),
        (b"\x05\xff", "SOCKS5 proxy, wants a user and password"),
        (b"\x05\x09", "listens, but does not answer as a SOCKS or HTTP proxy"),
        (b"\x00\x5b\x00\x00\x00\x00\x00\x00", "SOCKS4a proxy"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "HTTP proxy, wants a user and password"),
        (b"HTTP/1.1 400 Bad Request\r\nProxy-Agent: here\r\n\r\n", "HTTP proxy"),
        (b"HTTP/1.1 200 OK\r\nServer: nginx\r\n\r\n", "HTTP: a proxy, or a web server"),
        (b"HTTP/1.1 404 Not Found\r\nVia: 1.1 Caddy\r\n\r\n", "HTTP: a proxy, or a web server"),
    ],
)  # fmt: skip
async def test_what_an_answer_means(answer: bytes | None, expected: str) -> None:
    with answering(answer) as port:
        assert await what_listens(port) == expected


async def test_where_nothing_listens_nothing_is_found_and_our_own_port_is_not_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = closed.getsockname()[1]
    assert await find(nobody) == []
    with answering(b"\x05\x00") as port:
        assert await find(port, own=(port,)) == []


def test_the_known_ports_have_names_that_relays_may_have() -> None:
    known = known_ports()
    assert len(known) == len({each.port for each in known}) > 15
    assert {9050, 9150, 7890, 7891, 7897, 10808, 10809, 2080, 1080, 1086, 8118, 12334} <= {each.port for each in known}
    assert all(each.name.replace("-", "").isalnum() and each.programs for each in known)
