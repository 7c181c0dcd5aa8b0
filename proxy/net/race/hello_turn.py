"""Waits until Byway may send a ClientHello of its own: a check, a re-test, a measurement. See `hello_ledger`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proxy.config.detect_tuning import DetectTuning
from proxy.net.race.hello_ledger import HelloLedger

HelloTurn = Callable[[str], Awaitable[None]]
"""Waits until a ClientHello with this name may leave on a direct route, and notes it. Awaited before each."""


WAITS_S = 5.0
"""How long a hello of Byway's own waits for its turn."""


async def no_turn(_name: str) -> None:
    """Of a ClientHello that nobody counts: one through a relay, or of a command that runs without a Byway."""


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
