"""Records ClientHellos by name and address, as a network may count them, and spaces those that Byway adds.

Some networks freeze all traffic between a client and an address after more than three ClientHellos of one name, each
less than 0.4 s after the one before it. Byway delays a client's own hellos only where the network is known for that
(`apart_at`). But it adds more: the same hello in pieces, a check of the certificate, a re-test, a measurement. Each of
them waits for its turn in this ledger. The ledger is pure: times are arguments, of one clock. `take_turn` and
`until_quiet` read the loop's clock.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from proxy.model import host_and_port
from proxy.model.remembered import remembered

if TYPE_CHECKING:
    from proxy.config.detect_tuning import DetectTuning

HELLOS_MAX = 4096
"""The number of hellos that are remembered: two seconds with a thousand sites in each."""

SentHello = tuple[float, str, str, bool]
"""The time when a hello was sent on a direct route, the name in it, its address with the port (empty: not known, so it
counts for every address), and whether it was extra, which means added by Byway. A plain tuple, because a named one
costs a Python call, and every connection makes one."""


class HelloLedger(deque[SentHello]):
    """The last hellos, in the order of their times. Senders append to the deque itself, which costs no Python call,
    since every connection does it."""

    def __init__(self) -> None:
        super().__init__(maxlen=HELLOS_MAX)

    def extra_at(self, name: str, now: float, tuning: DetectTuning, *, address: str = "") -> float:
        """Returns the time at which an extra hello of `name` may go to `address` (empty: any address): `now`, or later.
        It is at least `hello_apart_s` after the last extra hello, and `hello_near_s` after a burst of `hello_burst`."""
        latest = self._latest(name, address, now - max(tuning.hello_apart_s, tuning.hello_burst * tuning.hello_near_s))
        extras = [at for at, is_extra in latest if is_extra]
        may_at = max(now, extras[0] + tuning.hello_apart_s) if extras else now
        burst, newer = 0, now
        for at, _ in latest:
            if newer - at >= tuning.hello_near_s:
                break
            burst, newer = burst + 1, at
        return max(may_at, latest[0][0] + tuning.hello_near_s) if burst >= tuning.hello_burst else may_at

    def quiet_at(self, name: str, now: float, tuning: DetectTuning) -> float:
        """Returns the time at which no hello of `name` was sent for `hello_apart_s`: `now`, or later, provided that no
        further hello is sent."""
        latest = self._latest(name, "", now - tuning.hello_apart_s)
        return max(now, latest[0][0] + tuning.hello_apart_s) if latest else now

    def apart_at(self, name: str, address: str, now: float, tuning: DetectTuning) -> float:
        """Returns the time at which a hello of `name` may go to `address` on a network that counts hellos: `now`, or
        later. It is `hello_near_s` after the last one of that name to an address in the same /24 or /48."""
        near = prefix_of(address)
        for at, sent_name, sent_to, _ in reversed(self):
            if at <= now - tuning.hello_near_s:
                break
            if sent_name == name and (not sent_to or prefix_of(sent_to) == near):
                return at + tuning.hello_near_s
        return now

    def burst(self, name: str, address: str, at: float, tuning: DetectTuning) -> int:
        """Returns the number of hellos in the burst to which the one at the time `at` belongs, the others to addresses
        in the same /24 or /48: each left less than `hello_near_s` after the one before it."""
        near = prefix_of(address)
        size, later, has_it = 0, math.inf, False
        for sent_at, sent_name, sent_to, _ in reversed(self):
            if later - sent_at >= tuning.hello_near_s if has_it else sent_at < at:
                break
            if sent_name == name and sent_to and prefix_of(sent_to) == near:
                if later - sent_at >= tuning.hello_near_s:
                    size = 0
                size, later, has_it = size + 1, sent_at, has_it or sent_at == at
        return size if has_it else 0

    def _latest(self, name: str, address: str, since: float) -> list[tuple[float, bool]]:
        """Returns the hellos of `name` after `since` that may have gone to `address`, the last one first: their time,
        and whether they were extra."""
        latest = []
        for at, sent_name, sent_to, is_extra in reversed(self):
            if at <= since:
                break
            if sent_name == name and not (address and sent_to and sent_to != address):
                latest.append((at, is_extra))
        return latest


@remembered(1024)
def prefix_of(address: str) -> bytes:
    """Returns the first bytes of an address with a port: those of its /24 or /48."""
    host = ipaddress.ip_address(host_and_port(address)[0])
    return host.packed[: 3 if host.version == 4 else 6]


HelloTurn = Callable[[str], Awaitable[None]]
"""Waits until a ClientHello with this name may leave on a direct route, and notes it. Awaited before each hello."""

WAITS_S = 5.0
"""The longest wait in seconds of Byway's own hello for its turn."""


async def no_turn(_name: str) -> None:
    """A HelloTurn without a wait: for a hello through a relay, and for a command without a running Byway."""


async def take_turn(hellos: HelloLedger, name: str, tuning: DetectTuning) -> None:
    """Waits until an extra hello of `name` may be sent, and notes it. The caller has to send it now. Waits WAITS_S at
    most: clients may send one burst after the other, which are counted anyway."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    ends_at = now + WAITS_S
    while (at := min(ends_at, hellos.extra_at(name, now, tuning))) > now:
        await asyncio.sleep(at - now)
        now = max(at, loop.time())
    hellos.append((loop.time(), name, "", True))


async def until_quiet(hellos: HelloLedger, name: str, tuning: DetectTuning, *, within_s: float) -> bool:
    """Waits until no hello of `name` was sent for `hello_apart_s`. Returns False when that takes longer than
    `within_s`."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    ends_at = now + within_s
    while (at := hellos.quiet_at(name, now, tuning)) > now:
        if at > ends_at:
            return False
        await asyncio.sleep(at - now)
        now = max(at, loop.time())
    return True
