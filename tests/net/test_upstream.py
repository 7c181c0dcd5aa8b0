"""Whether a connection that is idle serves the next request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from proxy.model import DIRECT, Destination
from proxy.net.poller import make_poller
from proxy.net.registry import Registry
from proxy.net.stream import SocketStream
from proxy.net.upstream import Upstream
from proxy.wire.reader import Reader
from tests.support.outcomes import AWAY, HOME, TOR

NOBODY: Any = None
SITE = Destination("site.test", 80)
REGISTRY = Registry([], direct=NOBODY, to_relays=NOBODY)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Upstream, socket.socket]]:
    """An upstream, and the origin's end of it."""
    poller = make_poller(asyncio.get_running_loop())
    near, far = socket.socketpair()
    near.setblocking(False)
    stream = SocketStream(near, poller, "192.0.2.1:80")
    yield Upstream(SITE, DIRECT, REGISTRY, HOME, stream, Reader(), reusable=True), far
    stream.abort()
    far.close()
    poller.close()


async def test_it_serves_what_goes_the_same_way_first(pair: tuple[Upstream, socket.socket]) -> None:
    upstream, _ = pair
    assert upstream.serves(SITE, [DIRECT, TOR], REGISTRY, HOME)
    assert not upstream.serves(SITE, [TOR, DIRECT], REGISTRY, HOME)
    assert not upstream.serves(SITE, [], REGISTRY, HOME)
    assert not upstream.serves(Destination("other.test", 80), [DIRECT], REGISTRY, HOME)
    assert not upstream.serves(SITE, [DIRECT], REGISTRY, AWAY)
    reloaded = Registry([], direct=NOBODY, to_relays=NOBODY)
    assert not upstream.serves(SITE, [DIRECT], reloaded, HOME)
    assert not replace(upstream, registry=reloaded).serves(SITE, [DIRECT], REGISTRY, HOME)


@pytest.mark.parametrize("happens", ["it speaks", "it ends", "it breaks off"])
async def test_one_on_which_anything_came_serves_nobody(pair: tuple[Upstream, socket.socket], happens: str) -> None:
    upstream, far = pair
    if happens == "it speaks":
        far.send(b"HTTP/1.1 408 \r\n\r\n")
    elif happens == "it ends":
        far.shutdown(socket.SHUT_WR)
    else:
        upstream.stream.abort()
    assert not upstream.serves(SITE, [DIRECT], REGISTRY, HOME)
