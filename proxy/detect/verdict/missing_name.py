"""Decides the status of a site whose name has no address, for measurements and for connections.

"No such name" needs a resolver that says so: two must agree, unless only one may be asked. An encrypted DNS server that
does not answer says nothing, and a censor that forges denials often blocks encrypted DNS too. Then the status is "does
not resolve".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from proxy.detect.verdict.site_status import SiteStatus
from proxy.model import DIRECT, DOH, Attempt, Evidence, Stage, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass


class Lookup(Enum):
    """The result of a lookup by one resolver."""

    NOT_ASKED = auto()  # it may not be asked for this name, or was not
    FOUND = auto()
    DENIED = auto()  # it says that the name does not exist, or has no address
    FORGED = auto()  # it gave an address that no public name has
    FAILED = auto()  # it was asked and gave no answer


def lookup_result(symptom: Symptom, evidence: Evidence) -> Lookup:
    """Returns the result of a lookup without an address. If encrypted DNS does not answer, the symptom is "skipped",
    since that says nothing about the name; `evidence["doh"]` shows that it was asked."""
    if symptom is Symptom.NO_NAME:
        return Lookup.DENIED
    if symptom is Symptom.FORGED:
        return Lookup.FORGED
    return Lookup.FAILED if symptom is Symptom.RESOLVE_FAILED or evidence.get("doh") else Lookup.NOT_ASKED


@frozen_dataclass
class NameAnswers:
    """The answers of resolvers and relays about a name for which direct found no address."""

    system: Lookup
    secure: Lookup
    by_relays: int = 0  # relays that answered that they cannot reach it
    has_relays: bool = False  # whether any relay was tried, even one that fails itself

    @property
    def status(self) -> SiteStatus | None:
        """The status of the site; None: the relays decide, or a resolver has found an address."""
        denied = [self.system, self.secure].count(Lookup.DENIED)
        if Lookup.FOUND in (self.system, self.secure):
            return None
        if denied and denied + self.by_relays > 1:
            return SiteStatus.NO_SUCH_NAME
        if self.has_relays:
            return None
        if self.secure is Lookup.FAILED and self.system is not Lookup.NOT_ASKED:
            return SiteStatus.DOES_NOT_RESOLVE
        # A private address for a name that no other resolver has means a name of the local network.
        return SiteStatus.NO_SUCH_NAME if denied and self.system is not Lookup.FORGED else None


def answers_of(attempts: Sequence[Attempt], compared: Sequence[Attempt], *, has_relays: bool) -> NameAnswers:
    """Returns the answers of resolvers and relays in a connection. `compared` are the attempts of relays that do not
    fail themselves. `has_relays`: any relay was tried."""
    direct = [attempt for attempt in attempts if attempt.route == DIRECT]
    by_doh = [attempt for attempt in attempts if attempt.route == DOH]
    return NameAnswers(
        _last_lookup(direct),
        _last_lookup(by_doh),
        by_relays=sum(attempt.symptom is Symptom.RELAY_REFUSED for attempt in compared),
        has_relays=has_relays,
    )


def _last_lookup(attempts: Sequence[Attempt]) -> Lookup:
    """Returns the result of the lookup in the last attempt: FOUND if the attempt came further."""
    if not attempts:
        return Lookup.NOT_ASKED
    last = attempts[-1]
    return lookup_result(last.symptom, last.evidence) if last.stage is Stage.RESOLVE else Lookup.FOUND
