"""One verdict for all connections to a host that nothing is known of yet.

A browser opens six connections at once to a site. When one of them finds that direct looks dead, the others would each
wait as long for the same discovery: so the first raises an alarm, which lasts as long as an attempt may be left
unjudged, and every race to that host starts its next route at once. An alarm is no belief: it decides only who waits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from proxy.net.notify import Notify

RAISED_MAX = 4096


class DirectDownCache:
    """The hosts whose direct route looks dead just now. Belongs to one loop."""

    __slots__ = ("_clock", "_lasts_s", "_listening", "_raised")

    def __init__(self, clock: Callable[[], float], *, lasts_s: float = 7.0) -> None:
        """`clock` is the loop's."""
        self._clock = clock
        self._lasts_s = lasts_s
        self._raised: dict[str, float] = {}  # host → until when
        self._listening: dict[str, list[Notify]] = {}

    def mark_down(self, host: str) -> None:
        """Says that direct looks dead for `host`, to all who race to it now or soon."""
        now = self._clock()
        if len(self._raised) >= RAISED_MAX:
            self._raised = {other: until for other, until in self._raised.items() if until > now}
            if len(self._raised) >= RAISED_MAX:
                self._raised.clear()
        self._raised[host] = now + self._lasts_s
        for notify in self._listening.get(host, ()):
            notify.set()

    def is_down(self, host: str) -> bool:
        """Whether an alarm is on."""
        return bool(self._raised) and self._raised.get(host, 0.0) > self._clock()

    def clear(self, host: str) -> None:
        """Direct has answered after all."""
        if self._raised:
            self._raised.pop(host, None)

    def clear_all(self) -> None:
        """We are on another network: what looks dead there is nobody's to say."""
        self._raised.clear()

    @contextlib.contextmanager
    def notifying(self, notify: Notify, host: str) -> Iterator[None]:
        """Rings `notify` when an alarm for `host` is raised meanwhile."""
        notifies = self._listening.setdefault(host, [])
        notifies.append(notify)
        try:
            yield
        finally:
            notifies.remove(notify)
            if not notifies:
                del self._listening[host]
