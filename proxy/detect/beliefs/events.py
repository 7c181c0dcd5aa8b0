"""The events from which beliefs are learned, as values.

The most frequent one is the Outcome of a connection. Others come from flows, control pages, measurements, re-tests and
checks of certificates, and from changes of this computer and its network.
"""

from __future__ import annotations

import math

from proxy.model import ConnectivityResult, Outcome, Protocol, Route, Signal
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class DirectDelivered:
    """A direct connection to `host` received bytes, perhaps in a tunnel opened long ago. That is no visit, but shows
    that internet access works. They may have come as early as `since`; None: just now."""

    host: str
    since: float | None = None


@frozen_dataclass
class Carried:
    """A route has carried `count` bytes of a host on one connection, down or up, at `bytes_s` a second at best (up: 0,
    which says nothing of downloads). When a relay has carried enough, a direct flow that stopped was frozen by the
    network, and a slow one was throttled if the relay is much faster. When direct has carried enough, such a block is
    over."""

    host: str
    route: Route
    count: int
    bytes_s: float = math.inf


@frozen_dataclass
class ControlAnswered:
    """A control page of `host`, requested at `started`, was answered or failed. `domestic`: the site is in the user's
    own country; `issuer`: the fingerprint of the CA that re-signed its certificate; `portal`: the URL of the login page
    that came in its place, as far as it is known."""

    host: str
    result: ConnectivityResult
    started: float
    domestic: bool = False
    issuer: str = ""
    portal: str = ""


@frozen_dataclass
class BlockMeasured:
    """A measurement of `host` found a block on direct: another site was reached direct meanwhile, and `winner`
    delivered in `protocol` what direct did not. `signal` is the heaviest signal, at `address` ("address:port"; empty:
    at none), and `text` describes the observation."""

    host: str
    signal: Signal
    winner: Route
    protocol: Protocol
    address: str
    text: str


@frozen_dataclass
class OpenMeasured:
    """A measurement of `host` opened it direct, at `address` ("address:port"), and got the site's page without doubt.
    `protocol` is the one in which direct delivered what a block would have prevented."""

    host: str
    protocol: Protocol
    address: str


@frozen_dataclass
class Intercepted:
    """Direct got a certificate for `host` that is not the site's, while a relay got the site's. `known`: a root that is
    known to intercept signed it; else `trusted` says whether the system trusts it, as it does a company proxy's.
    `fingerprint` is the root's, or the issuer's."""

    host: str
    fingerprint: str
    known: bool
    trusted: bool = False


@frozen_dataclass
class Retested:
    """A re-test ended: whether direct and the other route delivered. When both failed, nothing changes. `forged`:
    direct got a certificate that is not the site's; without it a failure is no evidence for interception."""

    host: str
    direct_ok: bool
    other_ok: bool
    forged: bool = False


@frozen_dataclass
class StrategyTried:
    """A local strategy was probed beside a visit. `ok`: it worked."""

    host: str
    route: Route
    ok: bool


EventBeside = (
    DirectDelivered | Carried | ControlAnswered | BlockMeasured | OpenMeasured | Intercepted | Retested | StrategyTried
)
"""Events about a host besides its connections."""


@frozen_dataclass
class NetworkLeft:
    """This computer is on another network now."""


Event = Outcome | EventBeside | NetworkLeft
"""Events that may change a stored belief: the argument of `Beliefs.learn`."""


@frozen_dataclass
class ComputerResumed:
    """This computer was suspended."""


@frozen_dataclass
class ClockMeasured:
    """This computer's clock is wrong. `ahead`: by so many seconds, negative when it is behind; infinite: by an unknown
    time."""

    ahead: float


@frozen_dataclass
class ResolverMeasured:
    """A measurement has asked the system's resolver: it failed for `unresolved`, unrelated domains, or, if there are
    none, it works."""

    unresolved: frozenset[str] = frozenset()


@frozen_dataclass
class PortalSuspected:
    """Something else answered in place of a site, as a captive portal does: a control page must show whether."""


@frozen_dataclass
class CertificateAccepted:
    """A client accepted a certificate that came over direct, so no portal presented it."""


@frozen_dataclass
class FlowStalled:
    """A flow of `host` stalled, and nothing shows that the network is there: a control page of another site is due,
    unless the flow is answered or another one receives meanwhile."""

    host: str


@frozen_dataclass
class FlightBroken:
    """A ClientHello or request that names `host` was reset or dropped at `address`, with or without a port."""

    address: str
    host: str


@frozen_dataclass
class FlightAnswered:
    """A ClientHello or request that names `host` looked dropped at `address`, and was answered."""

    address: str
    host: str


Circumstance = (
    ComputerResumed
    | ClockMeasured
    | ResolverMeasured
    | PortalSuspected
    | CertificateAccepted
    | FlowStalled
    | FlightBroken
    | FlightAnswered
)
"""Events that change no stored belief, but decide what may be learned later: the argument of `Beliefs.note`."""
