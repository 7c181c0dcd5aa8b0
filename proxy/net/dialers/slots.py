"""Limits how many connections are being opened at once through one remote relay.

A handshake (TCP, greeting, password) takes a slot until the relay has the request: more at once would look like an
attack, or give the proxy away. From then on the relay waits for the destination, which may take long: such paths have
a larger limit of their own, so that a few silent hosts do not delay the others behind the relay.
"""

from __future__ import annotations

import asyncio

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

    async def take(self, relay: str) -> Slot:
        """Takes both slots. The caller releases them. Raises DialError, with a symptom that does not blame `relay`,
        when no slot was free within `wait_s`."""
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
        return Slot(self._handshakes, self._paths)


class Slot:
    """The two slots of one dial."""

    __slots__ = ("_handshakes", "_in_handshake", "_paths")

    def __init__(self, handshakes: asyncio.Semaphore, paths: asyncio.Semaphore) -> None:
        self._handshakes = handshakes
        self._paths = paths
        self._in_handshake = True

    def request_sent(self) -> None:
        """The relay has the request: returns the handshake's slot early. Harmless when repeated."""
        if self._in_handshake:
            self._in_handshake = False
            self._handshakes.release()

    def release(self) -> None:
        """Returns both slots."""
        self.request_sent()
        self._paths.release()
