"""Decides what may be written to the log, by `[log] hosts` and `[log] never`.

The log is browsing history. By default a host is named only if its visit needed a decision; a host that worked direct
is only counted. Beliefs on the unknown network are never stored: they could be of any network.
"""

from __future__ import annotations

import fnmatch
import re
from enum import Enum, auto

from proxy.config.schema import Log
from proxy.model import UNKNOWN_NETWORK, Action, Change, Inbound, Outcome, Stage, State, StoredResult


class Kept(Enum):
    """The traces of a connection in the log."""

    NOTHING = auto()
    COUNT = auto()  # counted in the hourly sums of its routes and relays
    DIRECT_COUNT = auto()  # the same, if only direct was tried, and delivered: most connections, by default
    ROW = auto()  # also a row of its own, with its host


class LogPrivacy:
    """The current settings for the log."""

    def __init__(self, settings: Log) -> None:
        self._hosts = settings.hosts
        self.counts_direct = settings.hosts == "decisions"
        """Whether a visit is only counted if only direct was tried, and delivered."""
        patterns = [pattern.lower() for pattern in settings.never]
        patterns += [pattern[2:] for pattern in patterns if pattern.startswith("*.")]  # `*.gov.kz` also covers gov.kz
        # Compiled once: fnmatch.fnmatch would look each pattern up again for every connection.
        self._never = re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None

    def is_private(self, host: str) -> bool:
        """Whether `[log] never` names the host."""
        return self._never is not None and self._never.match(host) is not None

    def kept(self, outcome: Outcome) -> Kept:
        """Returns the traces of a connection. Byway's own re-tests are not visits and leave none."""
        if self._hosts == "off" or outcome.request.inbound is Inbound.RETEST:
            return Kept.NOTHING
        if self._hosts == "decisions" and not needed_a_decision(outcome):
            return Kept.DIRECT_COUNT if len(outcome.attempts) == 1 else Kept.COUNT
        if self._never is None:
            return Kept.ROW
        is_private = self.is_private(outcome.host) or self.is_private(outcome.request.destination.host)
        return Kept.COUNT if is_private else Kept.ROW

    def may_list(self, change: Change) -> bool:
        """Whether a change of belief is written to the ledger."""
        return self._hosts != "off" and not self.is_private(change.scope)

    def may_store(self, change: Change) -> bool:
        """Whether the belief of a change is stored across restarts."""
        return is_storable(change) and self.may_list(change)

    def may_keep(self, result: StoredResult, *, is_troubled: bool = False) -> bool:
        """Whether a result is stored across restarts. By default that of a working site is not, unless a block of the
        site is stored (`is_troubled`), which the result contradicts."""
        if self._hosts == "off" or result.network == UNKNOWN_NETWORK or self.is_private(result.host):
            return False
        return self._hosts == "all" or is_troubled or result.status != State.WORKS


def is_storable(change: Change) -> bool:
    """Whether a belief may be stored at all. Beliefs on the unknown network, and of sites that are down, may not."""
    return change.network != UNKNOWN_NETWORK and change.after is not State.DOWN


def needed_a_decision(outcome: Outcome) -> bool:
    """Whether an attempt failed, the winner was not plain direct, or a rule or an addon replaced AUTO. With `hosts =
    "decisions"`, such connections are logged by name."""
    winner, plan = outcome.winner, outcome.plan
    if winner is None or winner.relays or winner.wrap:
        return True
    if plan.action is not Action.AUTO or plan.intercept or plan.before is not None:
        return True
    return [attempt.stage for attempt in outcome.attempts] != [Stage.DONE] * len(outcome.attempts)
