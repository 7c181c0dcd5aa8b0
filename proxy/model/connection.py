"""One connection: where it goes, the routes it may take, what was tried, and how it ended."""

from __future__ import annotations

import ipaddress
from dataclasses import field, replace
from enum import StrEnum
from typing import NamedTuple, NewType

from proxy.model.evidence import NO_EVIDENCE, Evidence
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.remembered import remembered

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

NetworkId = NewType("NetworkId", str)
"""The network in use: a keyed hash, or `UNKNOWN_NETWORK`. Beliefs never cross networks."""

UNKNOWN_NETWORK = NetworkId("unknown")


@remembered(4096)
def literal(host: str) -> IPAddress | None:
    """Returns the address of a canonical host that is an IP literal; None if the host is a name."""
    if not (host[-1:].isdigit() or ":" in host):
        return None  # the usual case, without the cost of an exception
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def bracketed(host: str) -> str:
    """The host as URLs and `host:port` spell it: an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def host_and_port(text: str) -> tuple[str, str]:
    """Splits a `host:port` that Byway itself wrote, such as `Stream.peer`; the host is without brackets. Text from a
    client is parsed by `wire.hostnames.authority`."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), port


@frozen_dataclass
class Destination:
    """The destination of a request. `host` is always in its one canonical spelling: an A-label name in lower case
    without a trailing dot, or an IP literal (IPv6 compressed, without brackets)."""

    host: str  # made by `wire.hostnames`
    port: int
    address: IPAddress | None = field(init=False, repr=False, compare=False)
    """The address when the host is a literal, else None."""

    def __init__(self, host: str, port: int) -> None:
        # Written out, and not in __post_init__: every connection makes destinations, and reads `address` five times.
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "port", port)
        object.__setattr__(self, "address", literal(host))

    def from_here(self) -> Destination:
        """Returns the destination at which this computer reaches a listener on this address: loopback in place of an
        unspecified address (0.0.0.0, ::)."""
        if self.address is None or not self.address.is_unspecified:
            return self
        return Destination("::1" if self.address.version == 6 else "127.0.0.1", self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Inbound(StrEnum):
    """The protocol of the client's request."""

    HTTP = "http"
    CONNECT = "connect"
    SOCKS4 = "socks4"
    SOCKS4A = "socks4a"
    SOCKS5 = "socks5"
    RETEST = "retest"  # no client: a re-test, or another request of Byway's own


_REPEATABLE = ("GET", "HEAD", "OPTIONS")


@frozen_dataclass
class HttpRequest:
    """A plain HTTP request: the method and the origin-form target (`/path?query`)."""

    method: str
    target: str

    @property
    def is_repeatable(self) -> bool:
        """Whether the method lets a race send the request again on another route (RFC 9110 section 9.2.1)."""
        return self.method in _REPEATABLE


@frozen_dataclass
class Request:
    """The request of one client on one connection."""

    id: int
    destination: Destination
    inbound: Inbound
    client: str  # "address:port" of the client
    http: HttpRequest | None = None  # plain HTTP only

    def with_host(self, host: str) -> Request:
        """Returns the same request with a host name, for a client that gave an address and named the host in its
        flight."""
        if not host or host == self.destination.host:
            return self
        return replace(self, destination=replace(self.destination, host=host))


class Route(NamedTuple):  # compared and hashed many times for each connection: in C
    """One way to reach a destination: relays in the order they are reached, then wrappers. No relay: direct."""

    relays: tuple[str, ...] = ()
    wrap: tuple[str, ...] = ()

    @property
    def is_direct(self) -> bool:
        return not self.relays

    @classmethod
    def parse(cls, text: str) -> Route:
        """The inverse of str()."""
        path, *wrap = text.split("|")
        return cls(() if path == "direct" else tuple(path.split(">")), tuple(wrap))

    def __str__(self) -> str:
        return "|".join((">".join(self.relays) or "direct", *self.wrap))


DIRECT = Route()

DOH = Route(wrap=("doh",))
"""Direct, to an address from encrypted DNS."""


class Action(StrEnum):
    """The action of a rule or an override."""

    AUTO = "AUTO"  # direct first, rescue when blocked
    DIRECT = "DIRECT"  # never a relay
    RELAY = "RELAY"  # relays only: fails closed
    PREFER_RELAY = "PREFER-RELAY"  # relays first, direct last
    BLOCK = "BLOCK"  # refuse


PAUSE_MAX_S = 7 * 86_400.0
"""Seconds of the longest pause. AutoMode.DIRECT has no end."""


class AutoMode(StrEnum):
    """What AUTO does now (`byway mode`). PAUSED acts as DIRECT and ends by itself."""

    AUTO = "auto"
    DIRECT = "direct"
    RELAY = "relay"
    PAUSED = "paused"


@frozen_dataclass
class Override:
    """An action set with `byway site set` for a host and its subdomains; it wins over rules."""

    action: Action
    relay: str = ""  # with RELAY and PREFER-RELAY: the relay to use; empty: any
    until: float = 0.0  # seconds since the epoch; 0: it has no end

    def has_ended(self, now: float) -> bool:
        return 0.0 < self.until <= now


@frozen_dataclass
class Plan:
    """The routes for one request, in order, and the reason for them."""

    action: Action
    routes: tuple[Route, ...]
    why: str  # the rule line with its place, the override, or the belief, in words
    intercept: bool = False
    before: Plan | None = None  # the plan before addons changed it; None: no addon did
    decided_by: str = ""  # the text of the rule or of the override that chose the action; empty: none matches
    learns: bool = True  # False while `byway pause` or `byway mode` replaces AUTO: nothing is learned from the outcome
    is_home: bool = False  # the destination is on the home network, so no relay reaches it
    direct_waits: bool = False  # direct brings a first byte and then stops: it overtakes no relay that is only slow
    kept_out: str = ""  # why its client never gets a relay; empty: it may get one

    def via(self, *routes: str) -> Plan:
        """Relays alone, in this order: `via("tor", "vps>tor")`. Fails closed."""
        return replace(self, action=Action.RELAY, routes=tuple(map(Route.parse, routes)), is_home=False)

    def prefer(self, *routes: str) -> Plan:
        """These relays first, then the routes of this plan."""
        first = tuple(map(Route.parse, routes))
        rest = tuple(route for route in self.routes if route not in first)
        return replace(self, action=Action.PREFER_RELAY, routes=first + rest, is_home=False)

    def direct(self) -> Plan:
        """Direct and never a relay."""
        return replace(self, action=Action.DIRECT, routes=(DIRECT,))

    def block(self, why: str) -> Plan:
        """No route: the connection is refused, for this reason."""
        return replace(self, action=Action.BLOCK, routes=(), why=why)

    def inspect(self, wanted: bool = True) -> Plan:
        """The same plan with TLS and HTTP inspected, or not."""
        return replace(self, intercept=wanted)


class Stage(StrEnum):
    """How far an attempt came."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    RELAY = "relay"  # a handshake with a relay
    FIRST_BYTE = "first_byte"  # connected, flight sent
    DONE = "done"  # a valid server byte came back


class Symptom(StrEnum):
    """What stopped an attempt, as observed. `detect` decides what it means."""

    NONE = ""
    NO_NAME = "no_name"  # the resolver says that the name, or an address for it, does not exist
    RESOLVE_FAILED = "resolve_failed"  # the resolver failed or stayed silent
    FORBIDDEN = "forbidden"  # the address guard refused
    REFUSED = "refused"  # connection refused, or reset on SYN
    UNREACHABLE = "unreachable"  # ICMP says so; the host's or the network's, see evidence
    OFFLINE = "offline"  # this machine has no route
    TIMEOUT = "timeout"  # SYN unanswered, or a handshake byte that did not come in time
    RESET = "reset"  # reset after the flight
    EOF = "eof"  # closed after the flight, without a byte
    GARBAGE = "garbage"  # an answer in another protocol
    ALERT = "alert"  # a TLS alert in answer to the ClientHello
    BLOCK_PAGE = "block_page"  # the answer is a known block page; evidence "page" names its row
    REDIRECTED = "elsewhere"  # a redirect to another registrable domain, until another route says the same
    FROZEN = "frozen"  # it delivered, and then the flow stopped for good
    THROTTLED = "throttled"  # it delivered, far slower than everything else
    FORGED = "forged"  # the resolver's answer is forged; evidence "dns" holds the signal's id
    CERTIFICATE = "certificate"  # another certificate than the site's came; evidence says whose
    DROPPED = "dropped"  # the flight was not acknowledged completely (TCP_INFO)
    SILENT = "silent"  # acknowledged, or not known whether, and no answer
    RELAY_DOWN = "relay_down"  # the relay cannot be reached, or broke off its handshake
    RELAY_AUTH = "relay_auth"  # the relay refused our credentials, or its certificate was refused by us
    RELAY_GARBAGE = "relay_garbage"  # the relay does not speak its protocol
    RELAY_LOOP = "relay_loop"  # the relay connects back to this Byway
    RELAY_REFUSED = "relay_refused"  # the relay says that it cannot or will not reach the destination
    SKIPPED = "skipped"  # the route cannot carry this destination (a name on a relay that wants addresses)
    LOCAL = "local"  # a lack of local resources: descriptors, ports, memory
    ABANDONED = "abandoned"  # not decided: the client left, or another route had won

    @property
    def blames_relay(self) -> bool:
        return self in (Symptom.RELAY_DOWN, Symptom.RELAY_AUTH, Symptom.RELAY_GARBAGE, Symptom.RELAY_LOOP)


@frozen_dataclass
class Attempt:
    """One attempt on one route. `symptom` is empty if the attempt delivered (stage DONE) or is not decided yet."""

    route: Route
    stage: Stage
    symptom: Symptom = Symptom.NONE
    error: str = ""
    started: float = 0.0  # seconds after the connection's first attempt began
    elapsed: float = 0.0  # seconds until it reached its stage or failed
    address: str = ""  # the remote address that was connected: of the origin on direct, else of the first relay
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)

    @property
    def delivered(self) -> bool:
        return self.stage is Stage.DONE

    @property
    def pending(self) -> bool:
        return self.stage is not Stage.DONE and self.symptom is Symptom.NONE


class Protocol(StrEnum):
    """The protocol of the flight."""

    TLS = "tls"
    HTTP = "http"
    OTHER = "other"
    NONE = ""  # no flight was seen


class ClosedBy(StrEnum):
    CLIENT = "client"
    USER = "user"  # with `close` among the open connections
    SERVER = "server"
    IDLE = "idle"  # our idle or half-open limit
    BYWAY = "byway"  # refused, failed, or shutting down


@frozen_dataclass
class Outcome:
    """The outcome of a connection."""

    request: Request
    plan: Plan
    attempts: tuple[Attempt, ...] = ()
    winner: Route | None = None
    protocol: Protocol = Protocol.NONE
    host: str = (
        ""  # the host it is stored under: the flight's when the destination is a literal, else the destination's
    )
    at: float = 0.0  # when the request was read
    flight_at: float = 0.0  # when its flight was complete: much later for a tunnel that was opened in advance
    flight_bytes: int = 0  # bytes of the flight, which `bytes_up` includes
    bytes_up: int = 0
    bytes_down: int = 0
    duration: float = 0.0
    closed_by: ClosedBy = ClosedBy.BYWAY
    error: str = ""  # the sentence for the client, when no route won

    @property
    def direct_attempt(self) -> Attempt | None:
        """The last attempt on plain direct; None: there was none."""
        for attempt in reversed(self.attempts):
            if attempt.route == DIRECT:
                return attempt
        return None

    def with_attempt(self, attempt: Attempt) -> Outcome:
        """Returns the outcome with a decided attempt: it replaces the pending attempt of its route and keeps that one's
        evidence. Without a pending attempt it is appended."""
        place = next((n for n, a in enumerate(self.attempts) if a.route == attempt.route and a.pending), None)
        if place is None:
            return replace(self, attempts=(*self.attempts, attempt))
        decided = replace(attempt, evidence={**self.attempts[place].evidence, **attempt.evidence})
        return replace(self, attempts=(*self.attempts[:place], decided, *self.attempts[place + 1 :]))

    def with_evidence(self, route: Route, evidence: Evidence) -> Outcome:
        """Returns the outcome with more evidence for the attempts on `route`."""
        attempts = (
            replace(attempt, evidence={**attempt.evidence, **evidence}) if attempt.route == route else attempt
            for attempt in self.attempts
        )
        return replace(self, attempts=tuple(attempts))


class GroupPolicy(StrEnum):
    """How a group orders its members."""

    FALLBACK = "fallback"  # as written; a member that failed goes last until it works again
    FASTEST = "fastest"  # by the time that visits through each member took
    STICKY = "sticky"  # one member for a site
    SELECT = "select"  # the member that the user selected, and no other


@frozen_dataclass
class RelayGroup:
    """Relays under one name. `choices` are the names that `byway relay use` takes, one for each member: the members
    themselves, except for a chain over a group, which follows the selection of that group (`selected_in`)."""

    name: str
    members: tuple[str, ...]
    policy: GroupPolicy
    choices: tuple[str, ...]
    selected_in: str
