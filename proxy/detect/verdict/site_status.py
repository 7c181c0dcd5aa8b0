"""Decides the status of a site, in one place for lists, the desktop, the command line, reports and JSON.

It depends on the stored status (a Belief), the last result (of a measurement, or of the last connection that failed),
the state of the network, and the working relays. Each status has a glyph, so colour is never the only difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from proxy.detect.relay_health import WORKED_S
from proxy.detect.signals import concerns
from proxy.model import DIRECT, DOH, TROUBLED, UNKNOWN_NETWORK, Belief, Cause, NetworkState, Protocol, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, pgettext

HTTP, HTTPS = 80, 443
PORTS = (HTTPS, HTTP)
"""The ports of a site as a whole, which people mean when they name it."""


class SiteStatus(StrEnum):
    """The status of a site. The value is the word for people and programs."""

    glyph: str
    in_words: str  # the value as a phrase

    def __new__(cls, word: str, glyph: str = "", in_words: str = "") -> Self:
        status = str.__new__(cls, word)
        status._value_, status.glyph, status.in_words = word, glyph, in_words
        return status

    WORKS = "works", "✓", pgettext("status", "works")  # it opens on the route shown
    # another route delivers it, plain direct does not, and another site works direct
    BLOCKED = "blocked", "✗", pgettext("status", "blocked")
    LIKELY_BLOCKED = "likely blocked", "~", pgettext("status", "likely blocked")  # the same with less evidence
    # another certificate is presented instead of the site's
    INTERCEPTED = "intercepted", "↯", pgettext("status", "intercepted")
    SLOW = "slow", "◔", pgettext("status", "slow")  # throttled, or transfers stall
    # the system's resolver says so, and an encrypted one or a relay agrees
    NO_SUCH_NAME = "no such name", "?", pgettext("status", "no such name")
    # and encrypted DNS does not answer: a typo, or tampering
    DOES_NOT_RESOLVE = "does not resolve", "?", pgettext("status", "does not resolve")
    # a relay gets the same one; or there is none to compare with
    BAD_CERTIFICATE = "bad certificate", "⚠", pgettext("status", "bad certificate")
    # it fails on every route, and those routes work for other sites
    SITE_DOWN = "site down", "↓", pgettext("status", "site down")
    # direct fails by a block or a fault of the site, and nothing was compared
    DOES_NOT_OPEN = "does not open", "∅", pgettext("status", "does not open")
    REFUSES_THIS_ROUTE = "refuses this route", "⊘", pgettext("status", "refuses this route")  # 403, 429 or 451
    # direct fails, and so do the relays themselves: nothing can be said about the site
    RELAYS_FAIL = "relays fail", "!", pgettext("status", "relays fail")
    NO_NETWORK = "no network", "–", pgettext("status", "no network")
    PORTAL = "portal", "–", pgettext("status", "portal")
    # it is on the local network, where no relay leads
    NOT_REACHABLE = "not reachable on this network", "⌂", pgettext("status", "not reachable on this network")
    NOT_TESTED = "not tested", "·", pgettext("status", "not tested")  # nothing was concluded

    @property
    def advice(self) -> str:
        """What the user can do, in one sentence; empty if that depends on more than the status."""
        return _ADVICE.get(self, "")

    @property
    def is_trouble(self) -> bool:
        """Whether something is wrong with the site or with the routes to it."""
        return self not in (SiteStatus.WORKS, SiteStatus.NOT_TESTED)


_ADVICE: Mapping[SiteStatus, Phrase] = {
    SiteStatus.NO_SUCH_NAME: _("Check the spelling."),
    SiteStatus.DOES_NOT_RESOLVE: _("Check the spelling, or add a relay with `byway relay add URL`."),
    SiteStatus.BAD_CERTIFICATE: _("Do not enter passwords there. `byway why` names the reason."),
    SiteStatus.SITE_DOWN: _("No route reached it. Wait, or try another relay."),
    SiteStatus.DOES_NOT_OPEN: _(
        "A relay would tell whether it is blocked or down: `byway relay add URL`. If its name is filtered, Byway may"
        " find a local strategy beside later visits."
    ),
    SiteStatus.REFUSES_THIS_ROUTE: _("The site refuses this route. Try another relay."),
    SiteStatus.RELAYS_FAIL: _("The relays fail: see `byway status`, then `byway relay test`."),
    SiteStatus.NO_NETWORK: _("Check your network connection."),
    SiteStatus.PORTAL: _("Open any page in a browser and log in to the network."),
    SiteStatus.NOT_REACHABLE: _(
        "Check that the device is on and on this network. AUTO uses no relay for it; if one leads there: "
        "`byway site set HOST relay`"
    ),
}


class Source(StrEnum):
    """The sources of a result."""

    MEASUREMENT = "measurement"  # `byway why` or `byway test`
    CONNECTION = "connection"  # a client's connection


@frozen_dataclass
class LastResult:
    """The result of the last measurement of a site, or of the last connection to it that failed."""

    status: SiteStatus
    at: float  # seconds since the epoch
    source: Source
    cause: Cause | str = Cause.NONE
    text: str = ""  # one sentence
    relays: tuple[str, ...] = ()  # at least one of them must work for other sites, else the status is `otherwise`
    otherwise: SiteStatus = SiteStatus.NOT_TESTED
    since: float = 0.0  # time of the first of equal results in a row; 0: this is the first
    port: int = 443  # of the site
    works_by: str = ""  # str(Route) that delivered; empty: none did

    @property
    def began(self) -> float:
        """When the first of equal results in a row came, in seconds since the epoch."""
        return self.since or self.at


@frozen_dataclass
class SiteState:
    """The present status of a site, the same in each list, page, command, report and document. Times are seconds since
    the epoch; 0: not known."""

    status: SiteStatus
    cause: Cause | str = Cause.NONE
    text: str = ""  # one sentence: the evidence
    since: float = 0.0  # when this status began; nothing has contradicted it since
    found_at: float = 0.0  # when it was last seen
    works_by: str = ""  # str(Route) that opens it; empty: none is known
    retest_at: float = 0.0  # direct is tested again beside the first visit after this
    port: int = 0  # the port with this status; 0: the site as a whole
    last: LastResult | None = None


def status_in_words(word: str) -> str:
    """Returns a status in a document as a phrase. A word of another version is returned unchanged."""
    return SiteStatus(word).in_words if word in list(SiteStatus) else word


def status_of(state: State, cause: Cause | str = Cause.NONE) -> SiteStatus:
    """Returns the status for a stored state with this cause."""
    if cause == Cause.REFUSED:
        return SiteStatus.REFUSES_THIS_ROUTE
    if state in (State.SUSPECT, State.BLOCKED):
        if cause == Cause.INTERCEPTION:
            return SiteStatus.INTERCEPTED
        if cause in (Cause.FROZEN, Cause.THROTTLED):
            return SiteStatus.SLOW
    return _BY_STATE[state]


_BY_STATE: Mapping[State, SiteStatus] = {
    State.UNKNOWN: SiteStatus.NOT_TESTED,
    State.WORKS: SiteStatus.WORKS,
    State.SUSPECT: SiteStatus.LIKELY_BLOCKED,
    State.BLOCKED: SiteStatus.BLOCKED,
    State.DOWN: SiteStatus.NOT_TESTED,  # no route delivered; the last result says what that means
    State.REFUSED: SiteStatus.REFUSES_THIS_ROUTE,
}

_BY_NETWORK: Mapping[NetworkState, SiteStatus] = {
    NetworkState.OFFLINE: SiteStatus.NO_NETWORK,
    NetworkState.PORTAL: SiteStatus.PORTAL,
}
OF_NETWORKS = frozenset(_BY_NETWORK.values())
"""The statuses of all sites on a network that is offline or behind a portal."""

BLOCKS = frozenset({SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED, SiteStatus.INTERCEPTED, SiteStatus.SLOW})
"""The statuses of blocked sites: direct does not deliver them properly, while another route does."""


def says_the_same(one: SiteStatus, other: SiteStatus) -> bool:
    """Whether two results count as equal results in a row: all kinds of blocks do."""
    return one is other or BLOCKS.issuperset((one, other))


def site_state(
    belief: Belief,
    last: LastResult | None = None,
    network: NetworkState = NetworkState.OK,
    working_relays: Mapping[str, float] = MappingProxyType({}),
    own_port: int = 443,
    resolver_fails: bool = False,
) -> SiteState:
    """Returns the present status of a site. `working_relays` are the relays that have delivered and not failed since,
    with the times of their last deliveries. `own_port` is the port that people mean by the site's name.
    `resolver_fails`: the system's resolver fails for all names, so a failed lookup of this one is no sign of a block.

    While the network is offline or behind a portal, nothing can be said about a site beyond it. Otherwise the newer of
    the last result and the stored status decides. A result without a conclusion does not replace a stored status. A
    result of failing relays, or of the network, ends when they work again. A block that was measured stays certain
    while visits only confirm it."""
    is_at_home = last is not None and last.status is SiteStatus.NOT_REACHABLE
    if network in _BY_NETWORK and not is_at_home:
        status = _BY_NETWORK[network]
        is_of_it = last is not None and last.status is status
        since, at = (last.began, last.at) if last is not None and is_of_it else (0.0, 0.0)
        return SiteState(status, Cause(network), since=since, found_at=at, last=last)
    if last is not None and (_is_over(last, working_relays) or _is_of_one_port(last, belief, own_port)):
        last = None
    stored = _of_belief(belief, last)
    if resolver_fails and (belief.state, belief.cause) == (State.SUSPECT, Cause.DNS):
        text, route = without_resolver(belief.last_good or str(DOH)), belief.last_good or str(DOH)
        stored = replace(stored, status=SiteStatus.WORKS, cause=Cause.NONE, text=text, works_by=route, retest_at=0.0)
        last = None if last is not None and last.cause == Cause.DNS else last
    if last is None:
        return stored
    is_stored = belief.state in (State.SUSPECT, State.BLOCKED)
    # A delivery by another route does not contradict a measurement in which direct opened the site.
    is_opened = last.status is SiteStatus.WORKS and last.works_by == str(DIRECT)
    changed_at = max(belief.since, belief.signal_at, 0.0 if is_opened else belief.last_good_at)
    is_older = last.at < changed_at and not (_is_certain(last) and stored.status is SiteStatus.LIKELY_BLOCKED)
    if is_stored and (is_older or last.status in _WITHOUT_CONCLUSION):
        return stored
    if belief.state is State.WORKS and last.status in BLOCKS and last.at < belief.since:
        return stored
    if last.relays and not any(working_relays.get(name, -math.inf) >= last.at - WORKED_S for name in last.relays):
        cause = Cause.RELAYS_FAIL if last.otherwise is SiteStatus.RELAYS_FAIL else Cause.NONE
        last = replace(last, status=last.otherwise, cause=cause)
    is_same = belief.began and last.status in BLOCKS
    if belief.state is State.WORKS and last.status is SiteStatus.WORKS:
        last = replace(last, since=min(belief.since, last.began))
    return SiteState(
        last.status,
        last.cause,
        last.text,
        since=belief.began if is_same else last.began,
        found_at=max(last.at, stored.found_at) if is_same else last.at,
        works_by=last.works_by or (belief.last_good if last.status in _OPENS_OTHERWISE else ""),
        retest_at=belief.retest_at if is_stored else 0.0,
        port=0 if last.port in PORTS else last.port,
        last=last,
    )


def without_resolver(route: str) -> str:
    """Returns the sentence for a site that a route opens while the system's resolver fails for all names."""
    return _("{route} delivered; the system's DNS resolver fails for other sites as well", route=route)


def port_state(
    last: LastResult,
    network: NetworkState = NetworkState.OK,
    working_relays: Mapping[str, float] = MappingProxyType({}),
) -> SiteState:
    """Returns the present status of the port of a result. The stored status does not count: it is not about a port."""
    unknown = Belief("", UNKNOWN_NETWORK)
    return replace(site_state(unknown, last, network, working_relays), port=last.port)


def usual_ports_first(port: int) -> int:
    """A key to sort the ports of a host: the usual ports of a site first."""
    return PORTS.index(port) if port in PORTS else len(PORTS)


def _is_certain(last: LastResult) -> bool:
    """Whether a measurement found a certain block."""
    return last.source is Source.MEASUREMENT and last.status in BLOCKS and last.status is not SiteStatus.LIKELY_BLOCKED


def _is_of_one_port(last: LastResult, belief: Belief, own_port: int) -> bool:
    """Whether a result is only about another port than the site's own, while a status of the site is stored: a closed
    port is not a fault of the site."""
    if last.port == HTTPS or belief.state not in (State.WORKS, *TROUBLED):
        return False
    if last.port == HTTP and last.status is SiteStatus.WORKS and belief.state in TROUBLED:
        return not concerns(belief, Protocol.HTTP)  # SNI filtering lets plain HTTP pass, also if that was visited last
    if last.port == own_port:
        return False
    if last.port == HTTP:
        return belief.state is State.WORKS and last.status.is_trouble
    return belief.state is State.WORKS or last.status not in BLOCKS


def _is_over(last: LastResult, working_relays: Mapping[str, float]) -> bool:
    """Whether the reason of a result is over: a relay has worked since the relays failed, or the network works
    again."""
    if last.status is SiteStatus.RELAYS_FAIL:
        return any(at > last.at for at in working_relays.values())
    return last.status in OF_NETWORKS


def _of_belief(belief: Belief, last: LastResult | None) -> SiteState:
    """Returns the status by the stored belief alone."""
    status = status_of(belief.state, belief.cause)
    if status is SiteStatus.NOT_TESTED:
        return SiteState(status, text=belief.why, last=last)
    if status is SiteStatus.WORKS:  # `began` and `cause` may be of earlier failures
        at = belief.since
        return SiteState(status, text=belief.why, since=at, found_at=at, works_by=str(DIRECT), last=last)
    return SiteState(
        status,
        belief.cause,
        belief.why,
        since=belief.began or belief.since,
        found_at=max(belief.since, belief.signal_at),
        works_by=belief.last_good,
        retest_at=belief.retest_at,
        last=last,
    )


_WITHOUT_CONCLUSION = frozenset({SiteStatus.NOT_TESTED, SiteStatus.DOES_NOT_OPEN})
"""The statuses of results without a comparison."""

_OPENS_OTHERWISE = BLOCKS | {SiteStatus.REFUSES_THIS_ROUTE}
"""The statuses of sites that another route than direct opens."""
