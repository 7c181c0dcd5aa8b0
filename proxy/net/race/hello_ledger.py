"""When ClientHellos were sent, by the name in them and the address they went to: what a network may count. And the wait
for one's turn.

There are networks that freeze a client and an address once the client has sent there more than three ClientHellos of
one name, each less than 0.4 s after the one before it. What a client sends is its own affair. But Byway sends more: the
same hello cut in pieces, a check of the certificate, a re-test, a measurement. All who do so ask this ledger first. It
is pure: times are arguments, of one clock. Who waits reads the loop's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.detect_tuning import DetectTuning

HELLOS_MAX = 4096
"""Hellos that are remembered: those of two seconds, where a thousand sites are opened in each."""


SentHello = tuple[float, str, str, bool]
"""When it was sent on a direct route, the name in it, the address that it went to with its port (empty where the sender
does not know: it counts for every address), and whether it was extra: sent beside those of clients. A plain tuple, as a
named one is made by a call of a Python function, and every connection makes one."""


class HelloLedger(deque[SentHello]):
    """The last hellos, in the order of their times. A sender appends its own: that is no call of a Python function,
    since every connection does it."""

    def __init__(self) -> None:
        super().__init__(maxlen=HELLOS_MAX)

    def extra_at(self, name: str, now: float, tuning: DetectTuning, *, address: str = "") -> float:
        """When one more hello of `name` than clients send may go to `address` (empty: to any of them): `now`, or later.
        It comes `hello_apart_s` after the last such one, and `hello_near_s` after a burst of `hello_burst`."""
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
        """When no hello of `name` was sent for `hello_apart_s`: `now`, or later if there are no more of them."""
        latest = self._latest(name, "", now - tuning.hello_apart_s)
        return max(now, latest[0][0] + tuning.hello_apart_s) if latest else now

    def _latest(self, name: str, address: str, since: float) -> list[tuple[float, bool]]:
        """The hellos of `name` that may have gone to `address`, after `since`, the last one first: when they were sent,
        and whether they were extra."""
        found = []
        for at, sent_name, sent_to, is_extra in reversed(self):
            if at <= since:
                break
            if sent_name == name and not (address and sent_to and sent_to != address):
                found.append((at, is_extra))
        return found


HelloTurn = Callable[[str], Awaitable[None]]
"""Waits until a ClientHello with this name may leave on a direct route, and notes it. Awaited before each."""

WAITS_S = 5.0
"""How long a hello of Byway's own waits for its turn."""


async def no_turn(_name: str) -> None:
    """Of a ClientHello that no network counts: one through a relay, or of a command that runs without a Byway."""


async def take_turn(hellos: HelloLedger, name: str, tuning: DetectTuning) -> None:
    """Waits until one more hello of `name` may be sent, and notes it: it has to be sent now. Where clients send one
    burst after the other it waits no longer than WAITS_S: they are counted without it."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    ends_at = now + WAITS_S
    while (at := min(ends_at, hellos.extra_at(name, now, tuning))) > now:
        await asyncio.sleep(at - now)
        now = max(at, loop.time())
    hellos.append((loop.time(), name, "", True))


async def until_quiet(hellos: HelloLedger, name: str, tuning: DetectTuning, *, within_s: float) -> bool:
    """Waits until no hello of `name` was sent for `hello_apart_s`. False: that did not come `within_s`."""
    loop = asyncio.get_running_loop()
    now = loop.time()
    ends_at = now + within_s
    while (at := hellos.quiet_at(name, now, tuning)) > now:
        if at > ends_at:
            return False
        await asyncio.sleep(at - now)
        now = max(at, loop.time())
    return True
