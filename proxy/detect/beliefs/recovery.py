"""Ends blocks: direct is re-tested beside the user's visits, and a block ends after enough successes.

A re-test is a pair, direct and the route that delivers now; a success is what the cause would have prevented
(docs/detection.md, "Re-tests"). Local strategies are probed beside a visit in the same way, once the residual blocking
of the address is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Literal

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.belief_table import BeliefTable
from proxy.detect.beliefs.host_lru import Key
from proxy.detect.beliefs.retest_schedule import Budget, successes_needed
from proxy.detect.beliefs.score import aged, counted, enough_to_block
from proxy.model import NAME_CAUSES, Belief, Cause, Change, Route, Signal, SignalId, State

CLAIM_S = 60.0
"""Seconds for which a re-test that has been claimed is not due again, in case its result is never reported."""

Needs = Literal["byte", "hello", "page", "verified", "64k"]

_NEEDS: Mapping[Cause | str, Needs] = {
    Cause.DNS: "verified",  # a verified handshake at the system's address
    Cause.IP: "byte",
    Cause.SNI_RESET: "hello",  # a ServerHello to a ClientHello like the browser's
    Cause.SNI_DROP: "hello",
    Cause.ECH: "hello",
    Cause.HTTP_HOST: "byte",
    Cause.BLOCK_PAGE: "page",  # an answer that is neither a block page nor a redirect elsewhere
    Cause.INTERCEPTION: "verified",
    Cause.FROZEN: "64k",  # at least 64 KiB on one connection
    Cause.THROTTLED: "64k",
}


def retest_needs(belief: Belief) -> Needs:
    """What direct must deliver for a re-test to be a success: what the cause would have prevented."""
    return _NEEDS.get(belief.cause, "byte")


class Recovery:
    """Re-tests of the beliefs in `table`. Belongs to one thread."""

    def __init__(self, settings: DetectTuning, table: BeliefTable) -> None:
        self._settings = settings
        self._table = table
        self._budget = Budget(settings.retest_per_hour)
        self._claimed: dict[Key, float] = {}  # re-tests under way, and when each claim ends

    def due(self, key: Key, now: float) -> bool:
        """Whether a re-test is due beside this visit; True claims it. The suspicion does not lapse while it runs."""
        belief = self._table.troubled(key, now)
        if belief is None or not 0 < belief.retest_at <= now or not self._claim(key, now):
            return False
        if belief.until < (over := now + self._settings.retest_pair_s):
            self._table.stored.correct(key, replace(belief, until=over))
        return True

    def strategies_due(self, key: Key, now: float) -> bool:
        """Whether local strategies are to be probed beside this visit: the block is by name, nothing is known about the
        strategies, and the residual blocking is over. True claims them."""
        belief = self._table.stored.get(key)
        if belief is None or belief.cause not in NAME_CAUSES or belief.rungs_failed or "|" in belief.last_good:
            return False
        if not max(belief.signal_at, belief.since) + self._settings.residual_s <= now:
            return False
        return self._table.troubled(key, now) is not None and self._claim(key, now)

    def strategy_result(self, key: Key, route: Route, now: float, *, ok: bool) -> list[Change]:
        """Takes whether a local strategy worked beside a visit."""
        self._claimed.pop(key, None)
        if not ok:
            return self.strategies_failed(key, [route], now)
        belief = self._table.troubled(key, now)
        if belief is None:
            return []
        others = tuple(failed for failed in belief.rungs_failed if failed != str(route))
        return self._table.write(
            key, belief, replace(belief, last_good=str(route), last_good_at=now, rungs_failed=others), now
        )

    def strategies_failed(self, key: Key, routes: Iterable[Route], now: float) -> list[Change]:
        """Notes local strategies that failed where another route delivered."""
        belief = self._table.troubled(key, now)
        if belief is None:
            return []
        failed = tuple(dict.fromkeys((*belief.rungs_failed, *map(str, routes))))
        if failed == belief.rungs_failed:
            return []
        return self._table.write(key, belief, replace(belief, rungs_failed=failed, rungs_failed_at=now), now)

    def failed(self, key: Key, now: float, *, other_ok: bool, counts: bool) -> list[Change]:
        """Direct failed in a re-test. When both routes failed, only the next date changes. `counts`: it adds to the
        score."""
        self._claimed.pop(key, None)
        belief = self._table.troubled(key, now)
        if belief is None:
            return []
        if not other_ok:
            self._table.stored.correct(key, self._table.schedule.after_failure(belief, now))
            return []
        return self._failed_again(key, belief, now, counts=counts)

    def release(self, key: Key) -> None:
        """Ends a claim without a result: the re-test is due as before."""
        self._claimed.pop(key, None)

    def succeeded(self, key: Key, belief: Belief, now: float, why: str) -> list[Change]:
        """Direct delivered to a troubled host. A suspect is cleared; a block ends after enough successes apart."""
        table = self._table
        if belief.state is State.SUSPECT:
            return table.end_block(key, belief, now, why)
        if belief.successes and now - belief.success_at < self._settings.retest_apart_s:
            table.stored.correct(key, table.schedule.after_success(belief, now))
            return []
        after = replace(belief, successes=belief.successes + 1, success_at=now)
        if after.successes < successes_needed(belief, now, self._settings):
            return table.write(key, belief, table.schedule.after_success(after, now), now)
        cleared = replace(after, score=0.0, scored_at=now, signal_at=0.0, signal_weight=0.0, episodes=0)
        return table.end_block(key, cleared, now, f"{why}, {after.successes} times in a row")

    def forget_claims(self, meant: Callable[[Key], bool] = lambda key: True) -> None:
        """Ends the claims that are meant, by default all: the clock was set or the network changed, and nothing will be
        reported, or a user wants them forgotten."""
        self._claimed = {key: until for key, until in self._claimed.items() if not meant(key)}

    def _failed_again(self, key: Key, belief: Belief, now: float, *, counts: bool) -> list[Change]:
        """Direct failed and the other route delivered: the same evidence once more, and the next step of the
        schedule."""
        signal = Signal(SignalId.RETEST, belief.signal_weight if counts else 0.0, belief.cause, now)
        after = counted(belief, signal, now, self._settings) if signal.weight else aged(belief, now, self._settings)
        after = replace(after, successes=0, last_good_at=now)
        if belief.state is State.SUSPECT and enough_to_block(after, signal, self._settings):
            return self._table.set_blocked(key, belief, after, now)
        after = self._table.schedule.after_failure(after, now)
        if belief.state is State.SUSPECT:
            after = replace(after, until=self._table.suspect_until(after, now))
        return self._table.write(key, belief, after, now)

    def _claim(self, key: Key, now: float) -> bool:
        if self._claimed.get(key, 0.0) > now or not self._budget.take(key[0], now):
            return False
        self._claimed = {other: until for other, until in self._claimed.items() if until > now}
        self._claimed[key] = now + CLAIM_S
        return True
