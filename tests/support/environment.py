"""A ProbeEnvironment of functions. A test gives those that it needs."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.config.schema import Settings
from proxy.detect.tls_interception import KnownRoots
from proxy.model import Destination, DnsFinding, IPAddress, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.race.hello_ledger import HelloTurn, no_turn
from proxy.probe.target import ProbeTarget

Resolve = Callable[[str], Coroutine[Any, Any, Sequence[IPAddress]]]


async def _no_resolver(host: str) -> Sequence[IPAddress]:
    raise DialError("no such resolver", stage=Stage.RESOLVE, symptom=Symptom.SKIPPED)


async def _nothing_wrong(host: str) -> DnsFinding | None:
    return None


async def _nowhere(host: str) -> IPAddress | None:
    return None


async def _always(destination: Destination) -> bool:
    return True


@dataclass(frozen=True)
class FakeEnvironment:
    settings: Settings
    dialer: Callable[[Route], Dialer]
    carries: Callable[[Route, Destination], bool]
    refuses: Callable[[Destination, IPAddress], str | None]
    is_private: Callable[[str], bool]
    tcp_info: TcpInfo
    resolve: Resolve
    secure: Resolve = _no_resolver
    compare: Callable[[str], Coroutine[Any, Any, DnsFinding | None]] = _nothing_wrong
    elsewhere: Callable[[str], Coroutine[Any, Any, IPAddress | None]] = _nowhere
    finding: Callable[[str], DnsFinding | None] = lambda _: None
    is_local_zone: Callable[[str], bool] = lambda _: False
    may_be_local_zone: Callable[[str], bool] = lambda _: False
    may_go_direct: Callable[[Destination], Coroutine[Any, Any, bool]] = _always
    is_troubled: Callable[[str], bool] = lambda _: False
    knowledge: Knowledge = NOTHING_KNOWN
    trust: ssl.SSLContext | None = None
    roots: KnownRoots = field(default_factory=KnownRoots)
    hello_turn: HelloTurn = no_turn
    hello_of: Callable[[str], bytes | None] = lambda _: None

    async def may_be_control(self, page: ProbeTarget, /) -> bool:
        return not self.is_troubled(page.host) and await self.may_go_direct(page.destination)
