"""Names for which no address was found: which word that gives, for measurements and for connections alike.

"No such name" is a claim, which a resolver must have made: two agree, or only one may be asked. An encrypted DNS server
that did not answer has said nothing, and a censor that forges denials often blocks encrypted DNS too. Then the word is
"does not resolve".
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from proxy.detect.verdict.site_status import SiteStatus
from proxy.model import DIRECT, DOH, Attempt, Evidence, Stage, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass


class Lookup(Enum):
    """What came of a lookup by one resolver."""

    NOT_ASKED = auto()  # it may not be asked for this name, or was not
    FOUND = auto()
    DENIED = auto()  # it says that the name does not exist, or has no address
    FORGED = auto()  # it gave an address to which no public name leads
    FAILED = auto()  # it was asked and gave no answer


def lookup_result(symptom: Symptom, evidence: Evidence) -> Lookup:
    """What a lookup came to that found nothing. Encrypted DNS that does not answer is "skipped", since that teaches
    nothing about the name; `evidence["doh"]` says that it was asked."""
    if symptom is Symptom.NO_NAME:
        return Lookup.DENIED
    if symptom is Symptom.FORGED:
        return Lookup.FORGED
    return Lookup.FAILED if symptom is Symptom.RESOLVE_FAILED or evidence.get("doh") else Lookup.NOT_ASKED


@frozen_dataclass
class NameAnswers:
    """What was said of a name that direct found no address for."""

    system: Lookup
    secure: Lookup
    by_relays: int = 0  # relays that say that they cannot reach it
    has_relays: bool = False  # whether any relay was tried, even one that fails itself

    @property
    def denials(self) -> int:
        """How many say, each for itself, that the name does not exist."""
        return [self.system, self.secure].count(Lookup.DENIED) + self.by_relays

    @property
    def status(self) -> SiteStatus | None:
        """The word for the site; None when the relays decide it, or when a resolver has found an address."""
        denied = Lookup.DENIED in (self.system, self.secure)
        if Lookup.FOUND in (self.system, self.secure):
            return None
        if denied and self.denials > 1:
            return SiteStatus.NO_SUCH_NAME
        if self.has_relays:
            return None
        if self.secure is Lookup.FAILED and self.system is not Lookup.NOT_ASKED:
            return SiteStatus.DOES_NOT_RESOLVE
        # A private address of a name that no other resolver knows is the local network's own.
        return SiteStatus.NO_SUCH_NAME if denied and self.system is not Lookup.FORGED else None


def answers_of(attempts: Sequence[Attempt], compared: Sequence[Attempt], *, has_relays: bool) -> NameAnswers:
    """What resolvers and relays said of the name in a connection. `compared` are the attempts by relays that do not
    fail themselves; `has_relays`: any relay was tried."""
    direct = [attempt for attempt in attempts if attempt.route == DIRECT]
    by_doh = [attempt for attempt in attempts if attempt.route == DOH]
    return NameAnswers(
        _last_lookup(direct),
        _last_lookup(by_doh),
        by_relays=sum(attempt.symptom is Symptom.RELAY_REFUSED for attempt in compared),
        has_relays=has_relays,
    )


def _last_lookup(attempts: Sequence[Attempt]) -> Lookup:
    """What the lookup of the last of these attempts came to. It is found when the attempt came further."""
    if not attempts:
        return Lookup.NOT_ASKED
    last = attempts[-1]
    return lookup_result(last.symptom, last.evidence) if last.stage is Stage.RESOLVE else Lookup.FOUND
