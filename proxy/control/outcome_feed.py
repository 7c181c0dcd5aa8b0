"""Publishes outcomes, as they are recorded, to `byway log -f` and other followers.

It waits for no follower: one that does not read loses the oldest outcomes of its own queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from proxy.model import NetworkId, Outcome
from proxy.session.events import Ended, Events

LIMIT = 1000
"""Outcomes kept for one `byway log -f` that does not read."""

Recorded = tuple[Outcome, NetworkId]
"""How a connection ended, and the network where it began."""


class OutcomeFeed:
    """A queue of outcomes for each follower. Belongs to one event loop."""

    def __init__(self, events: Events) -> None:
        """Subscribes to `events` while somebody follows: what is called for each connection costs."""
        self._events = events
        self._followers: set[asyncio.Queue[Recorded]] = set()

    def _publish(self, ended: Ended) -> None:
        """Gives an outcome to all followers. It never waits: a full queue loses its oldest."""
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((ended.outcome, ended.network))

    async def follow(self) -> AsyncGenerator[Recorded, None]:
        """Yields all outcomes from now on. It ends when the caller closes it."""
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
