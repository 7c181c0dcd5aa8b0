"""The schedule of re-tests (docs/detection.md, "Re-tests").

A re-test runs only beside a visit; this module says from when on it is due. The steps grow, each with a random delay so
that many hosts do not fall due together. Every recent end of a block makes the next re-test later, so that a provider
that toggles does not make the state flap.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

from proxy.config.detect_tuning import DetectTuning
from proxy.model import Belief, NetworkId
from proxy.model.bounded import Bounded

HOUR_S = 3600.0
NETWORKS_MAX = 64


class RetestSchedule:
    """Dates re-tests. A belief's `retest_step` tells which of `retest_blocked_s` follows a failure."""

    def __init__(self, settings: DetectTuning, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng

    def of_suspect(self, belief: Belief, now: float) -> Belief:
        """First re-test of a host that has just become suspect: after 2 min, twice as long for each recent exit."""
        delay_s = self._settings.retest_suspect_s * 2 ** min(20, len(recent_exits(belief, now, self._settings)))
        return self._at(belief, now, min(delay_s, self._settings.retest_blocked_s[-1]), step=0)

    def of_blocked(self, belief: Belief, now: float) -> Belief:
        """First re-test of a host that has just become blocked."""
        return self._at(belief, now, self._settings.retest_blocked_s[0], step=1)

    def after_failure(self, belief: Belief, now: float) -> Belief:
        """The next step, after a re-test in which direct failed, also when the other route failed as well: that is
        rarely over soon, and would use up the budget of the network. A suspect that failed its early re-test goes on
        with the steps of a blocked host."""
        steps = self._settings.retest_blocked_s
        step = min(belief.retest_step, len(steps) - 1)
        return self._at(belief, now, steps[step], step=step + 1)

    def after_success(self, belief: Belief, now: float) -> Belief:
        """The next re-test after a success that does not end the block yet."""
        return self._at(belief, now, self._settings.retest_success_s, step=belief.retest_step)

    def _at(self, belief: Belief, now: float, delay_s: float, *, step: int) -> Belief:
        late = 1 + self._settings.retest_jitter * self._rng.random()
        return replace(belief, retest_at=now + delay_s * late, retest_step=step)


class Budget:
    """Limits the re-tests of each network in an hour."""

    def __init__(self, per_hour: int) -> None:
        self._per_hour = per_hour
        self._spent: Bounded[NetworkId, deque[float]] = Bounded(NETWORKS_MAX)

    def take(self, network: NetworkId, now: float) -> bool:
        """Takes one re-test out of the budget; False when it is used up."""
        spent = self._spent[network] = self._spent.get(network, deque())
        while spent and not 0 <= now - spent[0] < HOUR_S:
            spent.popleft()
        if len(spent) >= self._per_hour:
            return False
        spent.append(now)
        return True


def recent_exits(belief: Belief, now: float, settings: DetectTuning) -> tuple[float, ...]:
    """The ends of suspicions and blocks that still make the next one later."""
    return tuple(at for at in belief.exits if now - at < settings.retest_exits_window_s)


def successes_needed(belief: Belief, now: float, settings: DetectTuning) -> int:
    """Consecutive successes that end a block: `retest_successes`, and one for each recent exit, up to a limit."""
    return settings.retest_successes + min(settings.retest_exits_max, len(recent_exits(belief, now, settings)))
