"""Decides what may be written to the log, by `[log] hosts` and `[log] never`.

The log is browsing history. By default a host is named only where a decision about it was needed; one that worked
direct is counted and not named. Beliefs of the unknown network are never stored: they could be of any network.
"""

from __future__ import annotations

import fnmatch
import re
from enum import Enum, auto

from proxy.config.schema import Log
from proxy.model import UNKNOWN_NETWORK, Action, Change, Inbound, Outcome, Stage, State, StoredResult


class Kept(Enum):
    """What the log keeps of a connection."""

    NOTHING = auto()
    COUNT = auto()  # in the hourly sums of its routes and relays
    DIRECT_COUNT = auto()  # the same, of one that direct alone was tried for, and delivered: most, by default
    ROW = auto()  # a row of its own too, with its hosts


class LogPrivacy:
    """The user's settings for the log, as they are now."""

    def __init__(self, settings: Log) -> None:
        self._hosts = settings.hosts
        self.counts_direct = settings.hosts == "decisions"
        """Whether a visit for which direct alone was tried, and delivered, is only counted."""
        patterns = [pattern.lower() for pattern in settings.never]
        patterns += [pattern[2:] for pattern in patterns if pattern.startswith("*.")]  # `*.gov.kz` covers gov.kz, too
        # Compiled once: fnmatch.fnmatch would look each pattern up again for every connection.
        self._never = re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None

    def is_private(self, host: str) -> bool:
        """Whether `[log] never` names the host."""
        return self._never is not None and self._never.match(host) is not None

    def kept(self, outcome: Outcome) -> Kept:
        """What the log keeps of a connection. Byway's own re-tests are no visits and leave nothing."""
        if self._hosts == "off" or outcome.request.inbound is Inbound.RETEST:
            return Kept.NOTHING
        if self._hosts == "decisions" and not needed_a_decision(outcome):
            return Kept.DIRECT_COUNT if len(outcome.attempts) == 1 else Kept.COUNT
        if self._never is None:
            return Kept.ROW
        is_private = self.is_private(outcome.host) or self.is_private(outcome.request.destination.host)
        return Kept.COUNT if is_private else Kept.ROW

    def may_list(self, change: Change) -> bool:
        """Whether a change of belief enters the ledger."""
        return self._hosts != "off" and not self.is_private(change.scope)

    def may_store(self, change: Change) -> bool:
        """Whether the belief of this change is stored, so that it is known after a restart."""
        return is_storable(change) and self.may_list(change)

    def may_keep(self, result: StoredResult, *, is_troubled: bool = False) -> bool:
        """Whether a result is stored, so that it is known after a restart: by default not of a site that works, unless
        a block of it is stored (`is_troubled`), which that result contradicts."""
        if self._hosts == "off" or result.network == UNKNOWN_NETWORK or self.is_private(result.host):
            return False
        return self._hosts == "all" or is_troubled or result.status != State.WORKS


def is_storable(change: Change) -> bool:
    """Whether a belief may be stored at all: one of the unknown network, or of a site that is down, may not."""
    return change.network != UNKNOWN_NETWORK and change.after is not State.DOWN


def needed_a_decision(outcome: Outcome) -> bool:
    """Whether something failed, a relay was used, or a rule or an addon decided otherwise than AUTO. Such connections
    are logged by name with `hosts = "decisions"`."""
    winner, plan = outcome.winner, outcome.plan
    if winner is None or winner.relays or winner.wrap:
        return True
    if plan.action is not Action.AUTO or plan.intercept or plan.before is not None:
        return True
    return [attempt.stage for attempt in outcome.attempts] != [Stage.DONE] * len(outcome.attempts)
