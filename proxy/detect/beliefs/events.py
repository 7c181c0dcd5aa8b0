"""The events from which beliefs are learned, as values.

The most frequent one is the Outcome of a connection. Others come from flows, control pages, measurements, re-tests and
checks of certificates, and from changes of this computer and its network.
"""

from __future__ import annotations

import math
from enum import Enum, auto

from proxy.model import (
    UNKNOWN_NETWORK,
    Attempt,
    ConnectivityResult,
    NetworkId,
    Outcome,
    PageDoubt,
    Protocol,
    Route,
    Signal,
)
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class DirectDelivered:
    """A direct connection to `host`, at `address` ("address:port"; empty: not known), received bytes, perhaps in a
    tunnel opened long ago. That is no visit, but shows that internet access works. They may have come as early as
    `since`; None: just now."""

    host: str
    since: float | None = None
    address: str = ""


@frozen_dataclass
class Carried:
    """A route has carried `count` bytes of a host on one connection, down or up, at `bytes_s` a second at best (up: 0,
    which says nothing of downloads), the last of them `lasted_s` after its handshake (0: not known). `is_whole`: it has
    ended, with nothing missing. When a relay has carried enough, a direct flow that stopped was frozen by the network,
    and a slow one was throttled if the relay is much faster; when its connection outlived those of direct, these were
    cut. When direct does the same, such a block is over; and another host that freezes at its `address`
    ("address:port"; empty: not known) does so by its name."""

    host: str
    route: Route
    count: int
    bytes_s: float = math.inf
    lasted_s: float = 0.0
    is_whole: bool = False
    address: str = ""


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
class SilenceExplained:
    """An experiment beside a visit ended. Direct sent a ClientHello for `host` at `sent`, in seconds since the epoch,
    and was judged silent; `winner` delivered `delivered_s` after that hello.

    The other fields are times in seconds until a ClientHello was answered; infinite: it was not. `relay_s`: that of the
    visit, through the relay; `neutral_s`: one for another name, and `again_s`: one more for the host, both direct, to
    one address of the host and in the shape of the visit's; `other_s`: one for the host in the shape of another
    program's, which is sent there only if neither of these is answered."""

    host: str
    sent: float
    winner: Route
    delivered_s: float
    relay_s: float
    neutral_s: float
    again_s: float
    other_s: float = math.inf


@frozen_dataclass
class PageCompared:
    """A page was compared with that of another route, `other`. Direct had delivered it for `host` over plain HTTP at
    `address` ("address:port"), for a request that left at `sent`, in seconds since the epoch, and there was a `doubt`.
    `mark` is that of the page. `is_unlike`: the two have nothing in common."""

    host: str
    mark: int
    address: str
    sent: float
    doubt: PageDoubt
    other: Route
    is_unlike: bool


@frozen_dataclass
class SpeedsCompared:
    """Direct to `host`, at `address` ("address:port"), carried `direct_bytes_s` at best, in a visit that was slower
    than others at that time and in a comparison beside it; `route` carried `bytes_s` in the latter."""

    host: str
    address: str
    protocol: Protocol
    direct_bytes_s: float
    route: Route
    bytes_s: float


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
    """A local strategy was probed beside a visit (`ok`: it worked), or a transfer over it stopped in a visit, and there
    is no relay to compare with."""

    host: str
    route: Route
    ok: bool


@frozen_dataclass
class StrategyBroke:
    """The transfer of an `attempt` over a local strategy froze, was throttled, or was reset as the one before it. It
    shows something once a relay has carried more. `others`: the other strategies of its plan."""

    host: str
    attempt: Attempt
    others: tuple[Route, ...] = ()


class RungResult(Enum):
    """The result of a local strategy that was tried beside a visit."""

    PASSED = auto()  # it was answered, and the same hello without it was not
    FAILED = auto()
    REJECTED = auto()  # the server closed, or sent an alert: perhaps because of the strategy


@frozen_dataclass
class RungTried:
    """The search for a local strategy tried one on a connection of its own, with a flight like that of a visit. Without
    `is_carried`, no route delivered that visit."""

    host: str
    route: Route
    result: RungResult
    is_carried: bool = True


EventBeside = (
    DirectDelivered
    | Carried
    | ControlAnswered
    | BlockMeasured
    | SilenceExplained
    | PageCompared
    | SpeedsCompared
    | OpenMeasured
    | Intercepted
    | Retested
    | StrategyTried
    | StrategyBroke
    | RungTried
)
"""Events about a host besides its connections."""


@frozen_dataclass
class NetworkLeft:
    """This computer has left the network `before`, and is on another one now, or on none."""

    before: NetworkId = UNKNOWN_NETWORK


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
class PageDoubted:
    """A measurement found that a relay shows another page for `host` over plain HTTP than direct."""

    host: str


@frozen_dataclass
class SpeedNotShown:
    """The speed of `host` was to be compared, and its first page is too small, or none: it shows no speed."""

    host: str


@frozen_dataclass
class CertificateAccepted:
    """A client accepted a certificate that came over direct, so no portal presented it."""


@frozen_dataclass
class PlainPageRequested:
    """Foreign control pages have failed over https, and one over plain http was requested. `came`: it did."""

    came: bool


@frozen_dataclass
class FlowStalled:
    """A flow of `host` stalled, and nothing shows that the network is there: a control page of another site is due,
    unless the flow is answered or another one receives meanwhile."""

    host: str


@frozen_dataclass
class FlightBroken:
    """A ClientHello or request for `host` was reset or dropped at `address`, with or without a port."""

    address: str
    host: str


@frozen_dataclass
class FlightAnswered:
    """A ClientHello or request for `host` looked dropped at `address`, and was answered."""

    address: str
    host: str


@frozen_dataclass
class ResidueAsked:
    """An address at which a flight was broken within the last seconds was sent one with another name. `is_answered`: it
    was answered."""

    protocol: Protocol
    is_answered: bool


Circumstance = (
    ComputerResumed
    | ClockMeasured
    | ResolverMeasured
    | PortalSuspected
    | PageDoubted
    | SpeedNotShown
    | CertificateAccepted
    | PlainPageRequested
    | FlowStalled
    | FlightBroken
    | FlightAnswered
    | ResidueAsked
)
"""Events that change no stored belief, but decide what may be learned later: the argument of `Beliefs.note`."""
