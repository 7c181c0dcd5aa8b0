"""Limits how many connections are being opened at once through one remote relay.

A handshake (TCP, greeting, password) takes a slot until the relay has the request: more at once would look like an
attack, or give the proxy away. Then the relay waits for the destination, which may take long. Such paths have their
own, larger limit, so that a few silent hosts do not delay all others. Where the network has punished a burst of
ClientHellos to the relay, handshakes begin apart (`hello_spacing`). Where there are many relays, most of them may be
dead: until one answers, one handshake at a time is begun with it, however many visits try it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.model import Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline

if TYPE_CHECKING:
    from proxy.net.dialers.hello_spacing import HelloSpacing

HANDSHAKES_MAX = 8
PATHS_MAX = 128

SPACED_WAIT_S = 30.0
"""Seconds for which a dial waits for a slot where handshakes begin apart: as long as a client waits for an answer."""

_SILENT = frozenset({Symptom.TIMEOUT, Symptom.DROPPED, Symptom.SILENT})


class Slots:
    """The slots of one remote relay, shared by all dials through it."""

    __slots__ = ("_first", "_handshakes", "_paths", "_turn", "_wait_s", "spacing")

    def __init__(
        self,
        *,
        handshakes_max: int = HANDSHAKES_MAX,
        paths_max: int = PATHS_MAX,
        wait_s: float,
        spacing: HelloSpacing | None = None,
        one_at_first: bool = False,
    ) -> None:
        """`wait_s` is the longest wait of a dial for a slot. `spacing` is for a relay over TLS. `one_at_first`: one
        handshake at a time until the relay has answered, and again after a failure."""
        self._first = _First() if one_at_first else None
        self.spacing = spacing
        self._handshakes = asyncio.Semaphore(handshakes_max)
        self._paths = asyncio.Semaphore(paths_max)
        self._wait_s = wait_s
        self._turn = asyncio.Lock()

    async def take(self, relay: str) -> Slot:
        """Takes a slot of both kinds, and waits until a handshake may begin. The caller releases them. Raises
        DialError, with a symptom that does not blame `relay`, when no slot was free within `wait_s`, or within
        SPACED_WAIT_S where handshakes begin apart."""
        now, spacing = asyncio.get_running_loop().time, self.spacing
        called_at = now()
        try:
            with deadline(SPACED_WAIT_S if spacing is not None and spacing.is_active(called_at) else self._wait_s):
                await self._paths.acquire()
                try:
                    await self._handshakes.acquire()
                    try:
                        first = self._first
                        is_first = first is not None and not first.is_answering and await first.turn.acquire()
                    except BaseException:
                        self._handshakes.release()
                        raise
                except BaseException:
                    self._paths.release()
                    raise
        except TimeoutError:
            text = f"relay {relay}: too many connections to it are being opened"
            raise DialError(text, stage=Stage.RELAY, symptom=Symptom.LOCAL) from None
        slot = Slot(self._handshakes, self._paths, spacing, first, is_first=is_first)
        if first is not None and first.is_answering:  # it has answered the one before
            slot.end_turn()
        if spacing is not None:
            try:
                await slot.wait_for_turn(spacing, self._turn, called_at)
            except BaseException:
                slot.release()
                raise
        return slot


class _First:
    """Whether the relay has answered, and the turn of the one handshake that begins until then."""

    def __init__(self) -> None:
        self.is_answering = False
        self.turn = asyncio.Lock()


class Slot:
    __slots__ = ("_begun_at", "_first", "_handshakes", "_in_handshake", "_is_first", "_paths", "_spacing", "held_s")

    def __init__(
        self,
        handshakes: asyncio.Semaphore,
        paths: asyncio.Semaphore,
        spacing: HelloSpacing | None = None,
        first: _First | None = None,
        *,
        is_first: bool = False,
    ) -> None:
        self._first = first
        self._is_first = is_first
        self._handshakes = handshakes
        self._paths = paths
        self._spacing = spacing
        self._in_handshake = True
        self._begun_at = 0.0
        self.held_s = 0.0
        """Seconds for which Byway itself held the dial back; they are not the relay's fault."""

    async def wait_for_turn(self, spacing: HelloSpacing, turn: asyncio.Lock, asked_at: float) -> None:
        """Waits until the handshake may begin, where handshakes begin apart. One dial at a time waits for its moment,
        the others for `turn`: on a busy machine a dial wakes late, and the next one must still keep its distance."""
        clock = asyncio.get_running_loop().time
        now = clock()
        if spacing.is_active(now):
            async with turn:
                while (at := spacing.next_at(clock())) > clock():  # noqa: ASYNC110  # other dials may begin meanwhile
                    await asyncio.sleep(at - clock())
                now = spacing.take(clock())
            self.held_s = now - asked_at
        else:
            spacing.take(now)
        self._begun_at = now

    def connected(self) -> None:
        """The path to the relay is open: its TLS handshake, if there is one, was answered."""
        if self._first is not None:
            self._first.is_answering = True
            self.end_turn()
        if self._spacing is not None:
            self._spacing.answered()

    def failed(self, error: DialError) -> None:
        """The path to the relay could not be opened, because of `error`."""
        if self._first is not None:
            self._first.is_answering = False
        is_silent = error.stage is Stage.RELAY and error.evidence.get("relay") in _SILENT
        if self._spacing is not None and is_silent:
            self._spacing.unanswered(self._begun_at, asyncio.get_running_loop().time())

    def end_turn(self) -> None:
        """Lets the next handshake begin. Harmless when repeated."""
        if self._is_first and self._first is not None:
            self._is_first = False
            self._first.turn.release()

    def request_sent(self) -> None:
        """The relay has the request: returns the handshake's slot early. Harmless when repeated."""
        if self._in_handshake:
            self._in_handshake = False
            self._handshakes.release()

    def release(self) -> None:
        """Returns both slots."""
        if self._is_first:
            self.end_turn()
        self.request_sent()
        self._paths.release()
