"""Which relays are well, from the user's own traffic alone: no relay is ever probed on a timer.

A relay is blamed only when another route worked, since otherwise it may as well be our uplink. After three failures in
a row its breaker opens: it is ordered last, not removed, until a wait that doubles with each further failure is over,
and then tried again like any other. A relay that takes far longer than the quickest is ordered behind the quick ones;
apart from that the user's order stands.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.config.schema import Detect
from proxy.model import Attempt, Outcome, Route, Stage, Symptom

SLOW_S = 2.0
SLOW_TIMES = 4.0
"""A relay is slow when it usually takes longer than both: this, and so many times the quickest relay."""

SMOOTHING = 0.3
"""Share of the newest time in the running mean."""

_AT_THE_ORIGIN = frozenset({Symptom.RESET, Symptom.EOF, Symptom.GARBAGE, Symptom.SILENT, Symptom.TIMEOUT})


@dataclass(slots=True)
class RelayHealth:
    """What is known of one relay, or of one chain."""

    failures: int = 0  # in a row
    failed_at: float = 0.0
    worked_at: float = 0.0
    usual_s: float = 0.0  # running mean until the first byte; 0: not measured
    open_until: float = 0.0  # ordered last until then
    last_error: str = ""


class Health:
    """The health of all relays. Belongs to one thread."""

    def __init__(self, settings: Detect, *, rng: random.Random | None = None) -> None:
        self._settings = settings
        self._rng = rng if rng is not None else random.SystemRandom()
        self._relays: dict[str, RelayHealth] = {}

    def order(self, names: Sequence[str], now: float) -> list[str]:
        """The same names: those that are well in the user's order, then the slow ones, then those with an open breaker,
        the one whose wait ends first before the others."""
        if not self._relays:
            return list(names)
        known = [self._relays.get(name) for name in names]
        quickest = min((relay.usual_s for relay in known if relay is not None and relay.usual_s), default=0.0)

        def rank(name: str) -> tuple[int, float]:
            relay = self._relays.get(name)
            if relay is None:
                return 0, 0.0
            if self._is_open(relay, now):
                return 2, relay.open_until
            return int(relay.usual_s > max(SLOW_S, SLOW_TIMES * quickest)), 0.0

        return sorted(names, key=rank)

    def learn(self, outcome: Outcome, now: float) -> None:
        """Takes what one connection showed of the relays it tried."""
        for attempt in outcome.attempts:
            if attempt.route.is_direct:
                continue
            name = relay_name(attempt.route)
            if attempt.delivered:
                self.worked(name, now, elapsed_s=attempt.elapsed)
            elif outcome.winner is not None and outcome.winner.relays != attempt.route.relays and _blames(attempt):
                self.failed(name, now, error=attempt.error)

    def failed(self, name: str, now: float, *, error: str = "") -> None:
        """The relay failed where another route worked."""
        relay = self._relays.setdefault(name, RelayHealth())
        relay.failures += 1
        relay.failed_at = now
        relay.last_error = error
        beyond = relay.failures - self._settings.relay_failures
        if beyond >= 0:
            wait_s = min(self._settings.relay_backoff_max_s, self._settings.relay_backoff_s * 2.0 ** min(beyond, 30))
            relay.open_until = now + wait_s * (1 + self._settings.relay_backoff_jitter * self._rng.random())

    def worked(self, name: str, now: float, *, elapsed_s: float | None = None) -> None:
        """The relay delivered. `elapsed_s`: how long its first byte took."""
        relay = self._relays.setdefault(name, RelayHealth())
        relay.failures = 0
        relay.open_until = 0.0
        relay.last_error = ""
        relay.worked_at = now
        if elapsed_s is not None:
            relay.usual_s += (elapsed_s - relay.usual_s) * (SMOOTHING if relay.usual_s else 1.0)

    def of(self, name: str) -> RelayHealth:
        """What is known of one relay; all zero when it was never used."""
        return self._relays.get(name) or RelayHealth()

    def is_open(self, name: str, now: float) -> bool:
        """Whether its breaker is open."""
        return self._is_open(self.of(name), now)

    def keep(self, names: Sequence[str]) -> None:
        """Forgets every relay that is not among `names`: after a reload."""
        kept = set(names)
        self._relays = {name: relay for name, relay in self._relays.items() if kept.issuperset(name.split(">"))}

    def _is_open(self, relay: RelayHealth, now: float) -> bool:
        # a wait that ends later than it can is from a clock that was set back
        longest_s = self._settings.relay_backoff_max_s * (1 + self._settings.relay_backoff_jitter)
        return now < relay.open_until <= now + longest_s


def relay_name(route: Route) -> str:
    """Under what a route's relays are remembered: a chain stands for itself, since it is not said which link broke."""
    return ">".join(route.relays)


def _blames(attempt: Attempt) -> bool:
    """Whether a failed attempt speaks against its relay: that it cannot be reached, breaks its handshake, or says
    "connected" and then passes nothing on where another route does. A refusal is the relay's right."""
    if attempt.symptom.blames_relay:
        return True
    return attempt.stage in (Stage.RELAY, Stage.FIRST_BYTE) and attempt.symptom in _AT_THE_ORIGIN
