"""Limits how many connections are being opened at once through one remote relay.

A handshake (TCP, greeting, password) takes a slot until the relay has the request: more at once would look like an
attack, or give the proxy away. From then on the relay waits for the destination, which may take long: such paths have
a larger limit of their own, so that a few silent hosts do not delay the others behind the relay.
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
    """The slots of one remote relay, shared by all dials through it."""

    __slots__ = ("_handshakes", "_paths", "_wait_s")

    def __init__(self, *, handshakes_max: int = HANDSHAKES_MAX, paths_max: int = PATHS_MAX, wait_s: float) -> None:
        """`wait_s`: how long a dial waits for a slot."""
        self._handshakes = asyncio.Semaphore(handshakes_max)
        self._paths = asyncio.Semaphore(paths_max)
        self._wait_s = wait_s

    @contextlib.asynccontextmanager
    async def taken(self, relay: str) -> AsyncIterator[Callable[[], None]]:
        """Takes both slots for the block. Yields a function that returns the handshake's slot early, to be called once
        the relay has the request.

        Raises DialError, with a symptom that does not blame `relay`, when no slot was free within `wait_s`."""
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
        in_handshake = True

        def request_sent() -> None:
            nonlocal in_handshake
            if in_handshake:
                in_handshake = False
                self._handshakes.release()

        try:
            yield request_sent
        finally:
            request_sent()
            self._paths.release()
