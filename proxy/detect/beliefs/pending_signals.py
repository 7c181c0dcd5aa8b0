"""Signals that have not passed both gates (docs/detection.md, "Two gates").

Comparison gate: another route must deliver the same host within `rescue_window_s` (30 s). Control gate: another host
must deliver direct within `uplink_window_s` (10 s), which `network_health` knows. A frozen or throttled flow waits for
a relay to carry what direct did not. A signal that waits longer is dropped and never counts.
"""

from __future__ import annotations

from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.basis import Bases
from proxy.detect.beliefs.host_lru import HostLru, Key
from proxy.detect.scopes import registrable
from proxy.detect.signals import Observed
from proxy.model import NetworkId
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass

WAITING_MAX = 256
"""Hosts of one network that wait at the control gate at once: many times those of one page."""

OBSERVED_MAX = 8
"""Signals of one host that wait at the control gate; the heaviest of them counts."""


@frozen_dataclass
class Waiting:
    """The signals of a host, and when they began to wait."""

    observed: tuple[Observed, ...]
    since: float
    story: str = ""
    compared: bool = True  # other routes were tried with the same request, or could have been


class PendingSignals:
    """All signals that wait. Belongs to one thread."""

    def __init__(self, settings: DetectTuning, bases: Bases | None = None) -> None:
        """`bases` are told of each change of what waits for another route."""
        bounds = {"total": settings.hosts_max, "per_domain": settings.hosts_per_domain_max}
        self._settings = settings
        self._unexplained: HostLru[Waiting] = HostLru(bases, **bounds)
        self._unproven: HostLru[Waiting] = HostLru(**bounds)
        self.waiting: dict[NetworkId, Bounded[Key, Waiting]] = {}
        """What waits at the control gate; empty when nothing does."""

    # -- comparison gate: another route ------------------------------------------------------------------------------

    def await_other_route(self, key: Key, observed: list[Observed], now: float, *, compared: bool = True) -> None:
        """No route delivered: the signals count if another route delivers soon. `compared`: another one was tried and
        failed as well."""
        self._unexplained.put(key, Waiting(tuple(observed), now, compared=compared))

    def uncompared(self, key: Key, now: float) -> Waiting | None:
        """The signals of direct while no other route has been tried since, for as long as a rescue makes a suspect."""
        if (unexplained := self._unexplained.get(key)) is None:
            return None
        waiting = _young(unexplained, now, self._settings.rescue_suspect_s)
        return waiting if waiting is not None and not waiting.compared else None

    def compared(self, key: Key) -> None:
        """Notes that another route has been tried since, and failed as well."""
        waiting = self._unexplained.get(key)
        if waiting is not None:
            self._unexplained.correct(key, replace(waiting, compared=True))

    def take_for(self, key: Key, now: float) -> Waiting | None:
        """Takes out the signals that waited for the route that has just delivered."""
        return _young(self._unexplained.pop(key), now, self._settings.rescue_window_s)

    def prove_later(self, key: Key, waiting: Waiting) -> None:
        """A flow was frozen or throttled: the signals count if a relay carries more."""
        self._unproven.put(key, waiting)

    def proven(self, key: Key, now: float) -> Waiting | None:
        """Takes out the signals that waited for a relay to carry more."""
        return _young(self._unproven.pop(key), now, self._settings.rescue_suspect_s)

    def cancel(self, key: Key) -> None:
        """Direct delivered, so what waits about this host is no evidence."""
        if self._unexplained.get(key) is not None:
            self._unexplained.pop(key)
        if self.waiting:
            self._withdraw(key)

    # -- control gate: another host --------------------------------------------------------------------------------

    def waits(self, network: NetworkId, now: float) -> bool:
        """Whether anything waits at the control gate of a network."""
        return bool(self._alive(network, now))

    def pending_for_domain(self, network: NetworkId, domain: str, now: float) -> bool:
        """Whether a host of `domain` waits at the control gate: it cannot be its own control."""
        return any(registrable(host) == domain for _, host in self._alive(network, now))

    def wait(self, key: Key, observed: list[Observed], story: str, now: float) -> None:
        """The signals count when another host delivers direct."""
        waiting = self.waiting.setdefault(key[0], Bounded(WAITING_MAX))
        before = waiting.pop(key, None)
        old = (
            []
            if before is None
            else [o for o in before.observed if now - o.signal.at <= self._settings.uplink_window_s]
        )
        waiting[key] = Waiting((*old, *observed)[-OBSERVED_MAX:], now, story)

    def release(
        self, network: NetworkId, domain: str, now: float, *, came_at: float | None = None
    ) -> list[tuple[Key, Waiting]]:
        """Takes out the signals for which a host of `domain` is a control: it delivered direct, at `came_at` at the
        earliest (None: now), after what they are about was sent."""
        alive = self._alive(network, now)
        before = now if came_at is None else came_at
        through = [
            (key, waiting)
            for key, waiting in alive.items()
            if registrable(key[1]) != domain and all(observed.sent <= before for observed in waiting.observed)
        ]
        for key, _ in through:
            self._withdraw(key)
        return through

    # -- dropping ----------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Drops all: another network, a resume, or a clock that was set."""
        self.waiting.clear()
        self._unexplained.clear()
        self._unproven.clear()

    def forget(self, key: Key) -> None:
        """Drops what waits about one host."""
        self.cancel(key)
        self._unproven.pop(key)

    def hosts(self) -> set[Key]:
        """The hosts about which anything waits."""
        return {*self._unexplained, *self._unproven, *(key for waiting in self.waiting.values() for key in waiting)}

    def _alive(self, network: NetworkId, now: float) -> Bounded[Key, Waiting]:
        waiting = self.waiting.get(network, Bounded(WAITING_MAX))
        for key, old in list(waiting.items()):
            if _young(old, now, self._settings.uplink_window_s) is None:
                self._withdraw(key)
        return waiting

    def _withdraw(self, key: Key) -> None:
        waiting = self.waiting.get(key[0])
        if waiting is not None:
            waiting.pop(key, None)
            if not waiting:
                del self.waiting[key[0]]


def _young(waiting: Waiting | None, now: float, limit_s: float) -> Waiting | None:
    return waiting if waiting is not None and 0 <= now - waiting.since <= limit_s else None
