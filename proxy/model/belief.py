"""Beliefs about sites and networks, the signals that they rest on, and the steps and results of measurements."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from proxy.model.connection import NetworkId, Protocol, Route, Symptom
from proxy.model.evidence import NO_EVIDENCE, Evidence, SignalId
from proxy.model.frozen_dataclass import frozen_dataclass


class Cause(StrEnum):
    """Why a site does not work (`docs/detection.md`, "Causes").

    A cause may also be plain text: addons may give a signal a cause of their own, and the store returns text. So
    compare with `==` or `in`."""

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
    CLIENT_HELLO = "client_hello"  # of two programs, only the ClientHello of one is answered
    REFUSED = "refused"  # the site answers 403, 429 or 451
    DOWN = "down"
    NO_SUCH_NAME = "name"
    UNRESOLVED = "unresolved"  # the system's resolver has no address for it, and no other one answers
    HELLO_RESET = "hello_reset"  # this and the next five: direct fails, and there is no other route to compare with
    HELLO_CLOSED = "hello_closed"
    HELLO_SILENCE = "hello_silence"
    UNANSWERED = "unanswered"
    UNREACHED = "unreached"
    NO_ADDRESS = "no_address"
    RELAYS_FAIL = "relays"
    RESTRICTED = "restricted"
    OFFLINE = "offline"
    PORTAL = "portal"

    # Faults of a certificate.
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    SELF_SIGNED = "self_signed"
    WRONG_NAME = "wrong_name"
    UNTRUSTED_ISSUER = "untrusted_issuer"
    CLOCK = "clock"  # this computer's clock is wrong


NAME_CAUSES = frozenset({Cause.SNI_RESET, Cause.SNI_DROP, Cause.HTTP_HOST})
"""Causes of a block by name, which a local strategy that hides the name may get around."""

SURVIVES_FIRST_BYTE = frozenset({Cause.FROZEN, Cause.THROTTLED, Cause.INTERCEPTION})
"""Causes of blocks that let the first byte pass: a first byte does not show that such a block is over, nor that direct
is better than a route that has not answered yet."""


class State(StrEnum):
    """The state of a scope on a network."""

    UNKNOWN = "unknown"
    WORKS = "works"
    SUSPECT = "suspect"
    BLOCKED = "blocked"
    DOWN = "down"
    REFUSED = "refused"


TROUBLED = (State.SUSPECT, State.BLOCKED)
"""States of a scope in trouble: direct did not deliver what another route did."""


@frozen_dataclass
class Signal:
    """One observation with a weight for blocking (above 0) or against it (below)."""

    id: SignalId  # docs/detection.md, "Signals"
    weight: float
    cause: Cause | str  # text where an addon gave a cause of its own
    at: float  # seconds since the epoch


@frozen_dataclass
class Belief:
    """The stored status of a scope on a network. Only `detect.beliefs` makes these."""

    scope: str  # a host, `*.` and a registrable domain with its subdomains, or an address prefix
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
    successes: int = 0  # consecutive re-tests in which direct delivered
    success_at: float = 0.0
    exits: tuple[float, ...] = ()  # when suspicions and blocks ended, over the last 24 h
    why: str = ""  # one sentence: the evidence, with its numbers
    family: int = 0  # of cause `ip`: 4 or 6 when only that address family is blocked
    rungs_failed: tuple[str, ...] = ()  # str(Route) of local strategies that failed, kept for `last_good_s`
    rungs_failed_at: float = 0.0
    began: float = 0.0  # when the present failures began, with no success of direct since; 0: there are none
    protocol: Protocol = Protocol.NONE  # of cause `ip`: the only one that failed, as where one port is blocked

    @property
    def hide_name_from_dns(self) -> bool:
        """True if the name may not be looked up unencrypted: the site is suspect or blocked, or it was lately and
        direct has not reached it since. A suspicion that has lapsed does not make the name harmless."""
        was_suspect = self.state is State.UNKNOWN and bool(self.cause or self.last_good)
        return was_suspect or self.state in (State.SUSPECT, State.BLOCKED)

    @property
    def has_lapsed_unproven(self) -> bool:
        """Whether it is a suspicion that has lapsed, for which no signal has counted and no other route has delivered,
        such as one of a transfer that stalled once."""
        return self.state is State.UNKNOWN and bool(self.cause) and not (self.last_good or self.signal_at)


class CutHellos(StrEnum):
    """Whether a race may send a ClientHello in pieces, against a filter that reads the name."""

    ALLOWED = "allowed"
    LAST = "last"  # after every relay, and after a second whole one: direct delivered the host lately
    NEVER = "never"  # the network punishes them, or may just have punished one


class NetworkState(StrEnum):
    """The state of a network as a whole."""

    OK = "ok"
    OFFLINE = "offline"  # no route to anywhere
    PORTAL = "portal"  # a captive portal answers in place of every site
    RESTRICTED = "restricted"  # an allow-list or a shutdown: only domestic hosts answer
    NO_HTTPS = "no_https"  # the same for HTTPS alone, as where port 443 is reset: plain HTTP reaches foreign hosts
    SHUT = "shut"  # as restricted, and no relay works either
    INSPECTED = "inspected"  # TLS is re-signed by a CA that the system trusts: a company proxy, an antivirus

    @property
    def is_restricted(self) -> bool:
        return self in (NetworkState.RESTRICTED, NetworkState.NO_HTTPS, NetworkState.SHUT)


class ConnectivityResult(StrEnum):
    """The result of a request for a control page."""

    WELL = "well"
    FAILED = "failed"
    PORTAL = "portal"  # another page, or another certificate, came in its place
    RESIGNED = "resigned"  # the system trusts the certificate, but no public log knows it


@frozen_dataclass
class DnsFinding:
    """A fault in the system resolver's answer for a name."""

    signal: SignalId  # DNS_BOGON, DNS_TWO_ANSWERS, DNS_DENIED, DNS_SILENT or DNS_MISMATCH
    detail: str  # half a sentence with the addresses
    at: float  # seconds since the epoch


@frozen_dataclass
class Change:
    """A change of a belief, with its evidence."""

    at: float
    scope: str
    network: NetworkId
    before: State
    after: State
    cause: Cause | str
    why: str
    belief: Belief | None  # the new belief; None: forgotten


# -- measurements ------------------------------------------------------------------------------------------------------


class StepKind(StrEnum):
    """The kinds of steps of a measurement."""

    RESOLVE = "resolve"  # by the system's resolver
    SECURE = "secure"  # by DoH or DoT
    CONNECT = "connect"
    RELAY = "relay"  # a handshake with a relay
    NEUTRAL = "neutral"  # a ClientHello to the same address with the SNI of a control site
    HELLO = "hello"  # a ClientHello with the site's SNI
    SHAPE = "shape"  # the same from another program: recorded at a visit that direct did not deliver
    CERTIFICATE = "certificate"
    ANSWER = "answer"  # to a request
    TRANSFER = "transfer"  # repeated requests for the page on one connection: do transfers stall, or are they slow?
    PAUSE = "pause"  # requests on one connection for half a minute: is it cut some time after the handshake?
    CONTROL = "control"  # another site, tested direct: does internet access work?


class StepResult(StrEnum):
    """How a step ended. NOT_TESTED is for a step that is not allowed or makes no sense; it is never a failure."""

    OK = "ok"
    FAILED = "failed"
    NOT_TESTED = "not_tested"


@frozen_dataclass
class MeasurementStep:
    """One step of a measurement on one route, with its result."""

    kind: StepKind
    route: Route
    result: StepResult
    symptom: Symptom = Symptom.NONE
    text: str = ""  # half a sentence: what was observed, or why it was not tested
    address: str = ""  # the remote address, if one was contacted
    elapsed: float = 0.0  # seconds that the step took
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)

    @property
    def ok(self) -> bool:
        return self.result is StepResult.OK

    @property
    def failed(self) -> bool:
        return self.result is StepResult.FAILED


ResultKey = tuple[NetworkId, str, int]
"""A network, a host and a port."""


@frozen_dataclass
class StoredResult:
    """The result of the last visit to one port of a host, or of its last measurement. Status and cause are plain text:
    the file may be of another version."""

    network: NetworkId
    host: str
    port: int
    status: str  # a status of `detect.verdict.site_status`
    at: float  # seconds since the epoch
    source: str  # a measurement, or a connection
    cause: str = ""
    text: str = ""  # one sentence
    relays: tuple[str, ...] = ()  # at least one of them must work for other sites, else the status is `otherwise`
    otherwise: str = ""
    since: float = 0.0  # time of the first of equal results in a row; 0: this is the first
    works_by: str = ""  # str(Route) that delivered; empty: none did

    @property
    def key(self) -> ResultKey:
        """At most one result is stored for a key."""
        return self.network, self.host, self.port
