"""Publishes outcomes, when they are recorded, to `byway log -f` and other followers.

It does not wait for followers: one that does not read loses the oldest outcomes of its queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from proxy.model import NetworkId, Outcome
from proxy.session.events import Ended, Events

LIMIT = 1000
"""The most outcomes in the queue of a follower that does not read."""

Recorded = tuple[Outcome, NetworkId]
"""The outcome of a connection, and the network where it began."""


class OutcomeFeed:
    """A queue of outcomes for each follower. Belongs to one event loop."""

    def __init__(self, events: Events) -> None:
        """Subscribes to `events` only while there are followers: a handler for each connection costs time."""
        self._events = events
        self._followers: set[asyncio.Queue[Recorded]] = set()

    def _publish(self, ended: Ended) -> None:
        """Puts an outcome into all queues. A full queue loses its oldest outcome."""
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((ended.outcome, ended.network))

    async def follow(self) -> AsyncGenerator[Recorded, None]:
        """Yields all outcomes from now on, until the caller closes it."""
        queue: asyncio.Queue[Recorded] = asyncio.Queue(LIMIT)
        if not self._followers:
            self._events.on(Ended, self._publish)
        self._followers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)
            if not self._followers:
                self._events.off(Ended, self._publish)
