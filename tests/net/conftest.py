"""What tests of sockets share: pollers, a connection, a way to relays on loopback, and a look at the descriptors."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from proxy.model import IPAddress
from proxy.net.dialers.tcp import AddressLookup, TcpDialer
from proxy.net.poller import EpollPoller, LoopPoller, Poller, make_poller
from tests.lab.authorities import Authority
from tests.support.sockets import descriptors, tcp_pair


class _Literals(AddressLookup):
    """Knows no name but localhost."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        assert host == "localhost"
        return [ipaddress.ip_address("127.0.0.1")]


@pytest.fixture(params=[EpollPoller, LoopPoller])
async def poller(request: pytest.FixtureRequest) -> AsyncIterator[Poller]:
    """Each kind."""
    made: Poller = request.param(asyncio.get_running_loop())
    yield made
    made.close()


@pytest.fixture
async def best_poller() -> AsyncIterator[Poller]:
    poller = make_poller(asyncio.get_running_loop())
    yield poller
    poller.close()


@pytest.fixture
def to_relays(best_poller: Poller) -> TcpDialer:
    """Plain TCP without a guard."""
    return TcpDialer(best_poller, _Literals(), lambda *_: None)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one TCP connection."""
    near, far = tcp_pair()
    yield near, far
    near.close()
    far.close()


@pytest.fixture(scope="module")
def public() -> Iterator[Authority]:
    """One that the world trusts, and public logs know."""
    with Authority("Public", logged=True) as authority:
        yield authority


@pytest.fixture
async def home() -> AsyncIterator[None]:
    """Whatever happens, no descriptor is left open."""
    gc.collect()  # what earlier tests left would be closed meanwhile
    before = descriptors()
    yield
    for _ in range(5):  # servers of asyncio close a turn later
        await asyncio.sleep(0)
    assert descriptors() == before
