"""Whether a connection that is idle serves the next request."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.model import DIRECT, Destination
from proxy.net.dialers.registry import Registry
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.session.origin_connection import OriginConnection
from proxy.wire.reader import Reader
from tests.support.outcomes import AWAY, HOME, TOR

NOBODY: Any = None
SITE = Destination("site.test", 80)
REGISTRY = Registry([], direct=NOBODY, to_relays=NOBODY)


Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
async def upstream(best_poller: Poller, pair: Pair) -> AsyncIterator[OriginConnection]:
    stream = SocketStream(pair[0], best_poller, "192.0.2.1:80")
    yield OriginConnection(SITE, DIRECT, REGISTRY, HOME, stream, Reader(), reusable=True)
    stream.abort()


async def test_it_serves_what_goes_the_same_way_first(upstream: OriginConnection) -> None:
    assert upstream.serves(SITE, [DIRECT, TOR], REGISTRY, HOME)
    assert not upstream.serves(SITE, [TOR, DIRECT], REGISTRY, HOME)
    assert not upstream.serves(SITE, [], REGISTRY, HOME)
    assert not upstream.serves(Destination("other.test", 80), [DIRECT], REGISTRY, HOME)
    assert not upstream.serves(SITE, [DIRECT], REGISTRY, AWAY)
    reloaded = Registry([], direct=NOBODY, to_relays=NOBODY)
    assert not upstream.serves(SITE, [DIRECT], reloaded, HOME)
    upstream.registry = reloaded
    assert not upstream.serves(SITE, [DIRECT], REGISTRY, HOME)


@pytest.mark.parametrize("happens", ["it speaks", "it ends", "it breaks off"])
async def test_one_on_which_anything_came_serves_nobody(upstream: OriginConnection, pair: Pair, happens: str) -> None:
    far = pair[1]
    if happens == "it speaks":
        far.send(b"HTTP/1.1 408 \r\n\r\n")
    elif happens == "it ends":
        far.shutdown(socket.SHUT_WR)
    else:
        upstream.stream.abort()
    assert not upstream.serves(SITE, [DIRECT], REGISTRY, HOME)
