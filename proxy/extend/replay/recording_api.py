"""What an addon gets in the place of its Api where nothing may happen: in a test, in a replay.

It answers what can be answered (the options, the time and the network that it is told) and writes down the rest: nobody
is dialed, no task runs, no notification is shown.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from proxy.extend.api import Api, Log
from proxy.model import UNKNOWN_NETWORK, Destination, NetworkId

SPAWNED_MAX = 1000
"""Coroutines that are kept; what a week of a replay would start is more than anybody looks at."""


class Dialed(NamedTuple):
    """A path that was asked for."""

    url: str
    destination: Destination


class RecordingApi(Api):
    """Of an addon that is only tried."""

    def __init__(
        self, name: str, options: Any, *, network: NetworkId = UNKNOWN_NETWORK, relays: tuple[str, ...] = ()
    ) -> None:
        self.options = options
        self.name = name
        self.log = Log(name)
        self.notified: list[tuple[str, str]] = []
        """Title and text of each notification that would have been shown."""
        self.spawned: list[Coroutine[Any, Any, Any]] = []
        """What would run beside Byway. Await one to run it; those that are left never run."""
        self.dialed: list[Dialed] = []
        self.stream: Any = None
        """What `dial` brings: set it to what your test wants."""
        self._relays = relays
        self._now = 0.0
        self._network = network
        self._passing = None

    def at(self, moment: str | float) -> None:
        """Sets the clock: seconds since the epoch, or a local time such as `2026-11-25 19:30`."""
        self._now = datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment

    def on(self, network: str) -> None:
        """Moves to another network."""
        self._network = NetworkId(network)

    @property
    def relays(self) -> tuple[str, ...]:
        return self._relays

    def now(self) -> float:
        return self._now

    def network(self) -> NetworkId:
        return self._network

    def spawn(self, work: Coroutine[Any, Any, Any]) -> Any:
        if len(self.spawned) < SPAWNED_MAX:
            self.spawned.append(work)
        else:
            work.close()

    async def dial(self, url: str, destination: Destination) -> Any:
        self.dialed.append(Dialed(url, destination))
        return self.stream

    @property
    def folder(self) -> Path:
        if self._passing is None:
            self._passing = tempfile.TemporaryDirectory(prefix="byway-", ignore_cleanup_errors=True)
        return Path(self._passing.name)

    def notify(self, title: str, text: str = "") -> None:
        self.notified.append((title, text))

    def close(self) -> None:
        for work in self.spawned:
            if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # Python would warn that it was never awaited
        self.spawned.clear()
        super().close()
