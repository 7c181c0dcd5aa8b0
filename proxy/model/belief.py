"""What is believed about sites and networks, and the observations that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from proxy.model.connection import NetworkId
from proxy.model.evidence import SignalId


class Cause(StrEnum):
    """Why a site does not work, or that it is not a block at all (`docs/detection.md`, "Causes").

    Addons may give a signal a cause of their own, and the store returns text: compare with `==` or `in`."""

    NONE = ""  # no cause is known

    # Blocks.
    DNS = "dns"
    IP = "ip"
    SNI_RESET = "sni_reset"
    SNI_DROP = "sni_drop"
    ECH = "ech"  # the outer name of an encrypted ClientHello is filtered
    HTTP_HOST = "http_host"
    BLOCK_PAGE = "block_page"
    INTERCEPTION = "interception"
    FROZEN = "frozen"
    THROTTLED = "throttled"

    # No block of this site.
    REFUSED = "refused"  # the site answers 403, 429 or 451
    DOWN = "down"
    NO_SUCH_NAME = "name"
    RELAYS_FAIL = "relays"
    RESTRICTED = "restricted"
    OFFLINE = "offline"
    PORTAL = "portal"

    # What is wrong with a certificate.
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    SELF_SIGNED = "self_signed"
    WRONG_NAME = "wrong_name"
    UNTRUSTED_ISSUER = "untrusted_issuer"
    CLOCK = "clock"  # this computer's clock is wrong


NAME_CAUSES = frozenset({Cause.SNI_RESET, Cause.SNI_DROP, Cause.HTTP_HOST})
"""Causes of a block by name, which a local strategy that hides the name may get around."""


class State(StrEnum):
    """What is held about a scope on a network."""

    UNKNOWN = "unknown"
    WORKS = "works"
    SUSPECT = "suspect"
    BLOCKED = "blocked"
    DOWN = "down"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Signal:
    """One observation with a weight for blocking (above 0) or against it (below)."""

    id: SignalId  # docs/detection.md, "Signals"
    weight: float
    cause: Cause | str  # text where an addon gave a cause of its own
    at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Belief:
    """What we hold about a scope on a network. Only `detect.beliefs` makes and changes these."""

    scope: str  # a host, `*.` and a registrable domain for all below it, or an address prefix
    network: NetworkId
    state: State = State.UNKNOWN
    cause: Cause | str = Cause.NONE
    score: float = 0.0  # as of `scored_at`; halves with age
    since: float = 0.0  # when `state` was entered
    until: float = 0.0  # when it lapses unless renewed
    last_good: str = ""  # str(Route) that last delivered when direct did not
    last_good_at: float = 0.0
    scored_at: float = 0.0
    signal_at: float = 0.0  # the last counted signal: at most one per minute counts
    signal_weight: float = 0.0
    episodes: int = 0
    episode_at: float = 0.0
    retest_at: float = 0.0  # not before; 0: none is due
    retest_step: int = 0
    successes: int = 0  # consecutive paired re-tests in which direct delivered
    success_at: float = 0.0
    exits: tuple[float, ...] = ()  # when blocked was left, over the last 24 h
    why: str = ""  # one sentence: the evidence, with its numbers
    family: int = 0  # of cause `ip`: 4 or 6 when only that one is blocked
    rungs_failed: tuple[str, ...] = ()  # str(Route) of local means that did not help, kept for `last_good_s`
    rungs_failed_at: float = 0.0

    @property
    def hide_name_from_dns(self) -> bool:
        """Whether its name may not be asked for in the clear: it is suspect or blocked, or was so of late and has not
        been reached direct since. That a suspicion has lapsed makes the name no less telling."""
        was_so = self.state is State.UNKNOWN and bool(self.cause or self.last_good)
        return was_so or self.state in (State.SUSPECT, State.BLOCKED)


class NetworkState(StrEnum):
    """What is held about a network as a whole."""

    OK = "ok"
    OFFLINE = "offline"  # nothing leads out
    PORTAL = "portal"  # a login page comes in the place of every site
    RESTRICTED = "restricted"  # an allow-list or a shutdown: only domestic hosts answer
    SHUT = "shut"  # the same, and no relay gets through either
    INSPECTED = "inspected"  # somebody re-signs everything, and the system trusts it: an office, an antivirus

    @property
    def is_restricted(self) -> bool:
        return self in (NetworkState.RESTRICTED, NetworkState.SHUT)


class ConnectivityResult(StrEnum):
    """What asking a control page showed."""

    WELL = "well"
    FAILED = "failed"
    PORTAL = "portal"  # another page, or somebody else's certificate, came in its place
    RESIGNED = "resigned"  # the system trusts the certificate, whose issuer is none of the public ones


@dataclass(frozen=True, slots=True)
class DnsFinding:
    """What is wrong with what the system's resolver said of a name."""

    signal: SignalId  # DNS_BOGON, DNS_TWO_ANSWERS, DNS_DENIED, DNS_SILENT or DNS_MISMATCH
    detail: str  # one half-sentence with the addresses
    at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the ledger: a belief changed state, and on what evidence."""

    at: float
    scope: str
    network: NetworkId
    before: State
    after: State
    cause: Cause | str
    why: str
    belief: Belief | None  # the new belief; None: forgotten
