"""What tests of dialers share: a poller, a way to relays on loopback, and a look at the descriptors."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence

import pytest

from proxy.model import IPAddress
from proxy.net.poller import Poller, make_poller
from proxy.net.tcp import TcpDialer
from tests.support.sockets import descriptors


class _Literals:
    """Knows no name but localhost."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        assert host == "localhost"
        return [ipaddress.ip_address("127.0.0.1")]


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
async def home() -> AsyncIterator[None]:
    """Whatever happens, no descriptor is left open."""
    before = descriptors()
    yield
    for _ in range(5):  # servers of asyncio close a turn later
        await asyncio.sleep(0)
    assert descriptors() == before
