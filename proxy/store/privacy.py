"""Decides what may be written to the log, by `[log] hosts` and `[log] never`.

The log is browsing history. By default a host is named only where something had to be decided about it; one that simply
worked direct is counted and not named. Beliefs of the unknown network are never stored: they could be of any network.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

from proxy.config.schema import Log
from proxy.model import UNKNOWN_NETWORK, Action, Change, Inbound, Outcome, Stage, State


class LogPrivacy:
    """The user's settings for the log, as they are now."""

    def __init__(self, settings: Log) -> None:
        self._hosts = settings.hosts
        self.is_private = _matcher(settings.never)
        """Whether `[log] never` names a host."""

    def may_count(self, outcome: Outcome) -> bool:
        """Whether a connection enters the hourly sums. Byway's own re-tests are no visits and do not."""
        return self._hosts != "off" and outcome.request.inbound is not Inbound.RETEST

    def may_name(self, outcome: Outcome) -> bool:
        """Whether a connection that may be counted gets a row of its own, with its hosts."""
        names = (outcome.host, outcome.request.destination.host)
        return (self._hosts == "all" or needed_a_decision(outcome)) and not any(map(self.is_private, names))

    def may_list(self, change: Change) -> bool:
        """Whether a change of belief enters the ledger."""
        return self._hosts != "off" and not self.is_private(change.scope)

    def may_store(self, change: Change) -> bool:
        """Whether the belief of this change is stored, so that it is known after a restart."""
        return is_storable(change) and self.may_list(change)


def is_storable(change: Change) -> bool:
    """Whether a belief may be stored at all: one of the unknown network, or of a site that is down, may not."""
    return change.network != UNKNOWN_NETWORK and change.after is not State.DOWN


def needed_a_decision(outcome: Outcome) -> bool:
    """Whether something failed, a relay was used, or a rule or an addon said otherwise than AUTO: what
    `hosts = "decisions"` keeps by name."""
    winner = outcome.winner
    return (
        winner is None
        or outcome.plan.action is not Action.AUTO
        or outcome.plan.intercept
        or outcome.plan.before is not None
        or not winner.is_direct
        or bool(winner.wrap)
        or not all(attempt.stage is Stage.DONE for attempt in outcome.attempts)
    )


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Matches hosts against the patterns of `[log] never`; `*.gov.kz` covers gov.kz itself, too."""
    if not patterns:
        return lambda _host: False
    meant = [pattern.lower() for pattern in patterns]
    meant += [pattern[2:] for pattern in meant if pattern.startswith("*.")]
    matches = re.compile("|".join(map(fnmatch.translate, meant))).match
    return lambda host: matches(host) is not None
