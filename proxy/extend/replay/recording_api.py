"""The Api of an addon in a test or a replay, without any effect.

The options are the real ones; the test or the replay sets the time and the network. All other calls are only recorded:
no path is opened, no task runs, no notification is shown.
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
"""The most coroutines that are recorded; a replay of a week would start far more than anyone reads."""


class Dialed(NamedTuple):
    url: str
    destination: Destination


class RecordingApi(Api):
    """Records the calls of one addon."""

    def __init__(
        self, name: str, options: Any, *, network: NetworkId = UNKNOWN_NETWORK, relays: tuple[str, ...] = ()
    ) -> None:
        self.options = options
        self.name = name
        self.log = Log(name)
        self.notified: list[tuple[str, str]] = []
        """Title and text of each notification that would have been shown."""
        self.spawned: list[Coroutine[Any, Any, Any]] = []
        """Coroutines given to `spawn`. Await one to run it; the others never run."""
        self.dialed: list[Dialed] = []
        self.stream: Any = None
        """The result of `dial`. Set it in your test."""
        self._relays = relays
        self._now = 0.0
        self._network = network
        self._temporary = None

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
        if self._temporary is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="byway-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    def notify(self, title: str, text: str = "") -> None:
        self.notified.append((title, text))

    def close(self) -> None:
        """Drops the recorded coroutines, and deletes the temporary folder."""
        for work in self.spawned:
            if inspect.iscoroutine(work) and inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()  # Python would warn that it was never awaited
        self.spawned.clear()
        super().close()
