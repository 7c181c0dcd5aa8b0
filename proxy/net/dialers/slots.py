"""How much may be under way at once with one remote relay.

A handshake (TCP, greeting, password) takes a slot until the relay has the request: more at once would look like an
attack, or like what we are. From then on the relay waits for the destination, which may be long: such paths are
counted apart and their bound is larger, so that a few silent hosts do not delay the healthy ones behind the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from proxy.model import Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline

HANDSHAKES_MAX = 8
PATHS_MAX = 128


class Slots:
    """Of one remote relay, for all who dial through it."""

    __slots__ = ("_handshakes", "_paths", "_wait_s")

    def __init__(self, *, handshakes_max: int = HANDSHAKES_MAX, paths_max: int = PATHS_MAX, wait_s: float) -> None:
        """`wait_s`: how long a slot is waited for."""
        self._handshakes = asyncio.Semaphore(handshakes_max)
        self._paths = asyncio.Semaphore(paths_max)
        self._wait_s = wait_s

    @contextlib.asynccontextmanager
    async def taken(self, relay: str) -> AsyncIterator[Callable[[], None]]:
        """Holds both slots inside; what it yields gives the handshake's back early, once the relay has the request.

        Raises DialError, with a symptom that does not blame `relay`, when there was none within the limit."""
        try:
            with deadline(self._wait_s):
                await self._paths.acquire()
                try:
                    await self._handshakes.acquire()
                except BaseException:
                    self._paths.release()
                    raise
        except TimeoutError:
            text = f"relay {relay}: too many connections to it are being opened"
            raise DialError(text, stage=Stage.RELAY, symptom=Symptom.LOCAL) from None
        held = True

        def request_sent() -> None:
            nonlocal held
            if held:
                held = False
                self._handshakes.release()

        try:
            yield request_sent
        finally:
            request_sent()
            self._paths.release()
