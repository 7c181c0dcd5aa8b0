"""Decides what may be written to the log, by `[log] hosts` and `[log] never`.

The log is browsing history. By default a host is named only where a decision about it was needed; one that worked
direct is counted and not named. Beliefs of the unknown network are never stored: they could be of any network.
"""

from __future__ import annotations

import fnmatch
import re

from proxy.config.schema import Log
from proxy.model import UNKNOWN_NETWORK, Action, Change, Inbound, Outcome, Stage, State


class LogPrivacy:
    """The user's settings for the log, as they are now."""

    def __init__(self, settings: Log) -> None:
        self._hosts = settings.hosts
        patterns = [pattern.lower() for pattern in settings.never]
        patterns += [pattern[2:] for pattern in patterns if pattern.startswith("*.")]  # `*.gov.kz` covers gov.kz, too
        # Compiled once: fnmatch.fnmatch would look each pattern up again for every connection.
        self._never = re.compile("|".join(map(fnmatch.translate, patterns))) if patterns else None

    def is_private(self, host: str) -> bool:
        """Whether `[log] never` names the host."""
        return self._never is not None and self._never.match(host) is not None

    def only_counts(self, outcome: Outcome) -> bool:
        """Whether a connection is only added to the hourly sums, as most are by default: direct alone was tried, and
        delivered."""
        return (
            self._hosts == "decisions"
            and len(outcome.attempts) == 1
            and outcome.request.inbound is not Inbound.RETEST
            and not needed_a_decision(outcome)
        )

    def may_count(self, outcome: Outcome) -> bool:
        """Whether a connection is added to the hourly sums. Byway's own re-tests are no visits and are not."""
        return self._hosts != "off" and outcome.request.inbound is not Inbound.RETEST

    def may_name(self, outcome: Outcome) -> bool:
        """Whether a connection that may be counted also gets a row of its own, with its hosts."""
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
    """Whether something failed, a relay was used, or a rule or an addon decided otherwise than AUTO. Such connections
    are logged by name with `hosts = "decisions"`."""
    winner, plan = outcome.winner, outcome.plan
    if winner is None or winner.relays or winner.wrap:
        return True
    if plan.action is not Action.AUTO or plan.intercept or plan.before is not None:
        return True
    return [attempt.stage for attempt in outcome.attempts] != [Stage.DONE] * len(outcome.attempts)
