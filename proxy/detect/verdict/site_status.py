"""The word for a site, decided in one place for lists, the desktop, the command line, reports and JSON.

It depends on the stored status (a Belief), the last result (a measurement, or the last connection that failed), the
state of the network, and the relays that fail. Each word has a glyph, so that colour is never the only difference.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType

from proxy.model import Belief, Cause, NetworkState, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, pgettext


class SiteStatus(StrEnum):
    """The word for a site. The value is what people and programs read."""

    WORKS = "works"  # it opens on the route shown
    BLOCKED = "blocked"  # another route delivers it, plain direct does not, and another site works direct
    LIKELY_BLOCKED = "likely blocked"  # the same with less evidence
    INTERCEPTED = "intercepted"  # another certificate is presented instead of the site's
    SLOW = "slow"  # throttled, or transfers stall
    NO_SUCH_NAME = "no such name"  # the system's resolver says so, and an encrypted one or a relay agrees
    DOES_NOT_RESOLVE = "does not resolve"  # and encrypted DNS does not answer: a typo, or tampering
    BAD_CERTIFICATE = "bad certificate"  # a relay gets the same one; or there is none to compare with
    SITE_DOWN = "site down"  # it fails on every route, and those routes work for other sites
    REFUSES_THIS_ROUTE = "refuses this route"  # 403, 429 or 451
    RELAYS_FAIL = "relays fail"  # direct fails, and so do the relays themselves: nothing can be said about the site
    NO_NETWORK = "no network"
    PORTAL = "portal"
    NOT_TESTED = "not tested"  # nothing was concluded

    @property
    def glyph(self) -> str:
        return _GLYPHS[self]

    @property
    def in_words(self) -> str:
        """The value, to be said in any language."""
        return _IN_WORDS[self]

    @property
    def advice(self) -> str:
        """What the user can do, in one sentence; empty where that depends on more."""
        return _ADVICE.get(self, "")

    @property
    def is_trouble(self) -> bool:
        """Whether the site, or the way to it, is in trouble."""
        return self not in (SiteStatus.WORKS, SiteStatus.NOT_TESTED)


_GLYPHS: Mapping[SiteStatus, str] = MappingProxyType(
    {
        SiteStatus.WORKS: "✓",
        SiteStatus.BLOCKED: "✗",
        SiteStatus.LIKELY_BLOCKED: "~",
        SiteStatus.INTERCEPTED: "↯",
        SiteStatus.SLOW: "◔",
        SiteStatus.NO_SUCH_NAME: "?",
        SiteStatus.DOES_NOT_RESOLVE: "?",
        SiteStatus.BAD_CERTIFICATE: "⚠",
        SiteStatus.SITE_DOWN: "↓",
        SiteStatus.REFUSES_THIS_ROUTE: "⊘",
        SiteStatus.RELAYS_FAIL: "!",
        SiteStatus.NO_NETWORK: "–",
        SiteStatus.PORTAL: "–",
        SiteStatus.NOT_TESTED: "·",
    }
)


_IN_WORDS: Mapping[SiteStatus, Phrase] = MappingProxyType(
    {
        SiteStatus.WORKS: pgettext("status", "works"),
        SiteStatus.BLOCKED: pgettext("status", "blocked"),
        SiteStatus.LIKELY_BLOCKED: pgettext("status", "likely blocked"),
        SiteStatus.INTERCEPTED: pgettext("status", "intercepted"),
        SiteStatus.SLOW: pgettext("status", "slow"),
        SiteStatus.NO_SUCH_NAME: pgettext("status", "no such name"),
        SiteStatus.DOES_NOT_RESOLVE: pgettext("status", "does not resolve"),
        SiteStatus.BAD_CERTIFICATE: pgettext("status", "bad certificate"),
        SiteStatus.SITE_DOWN: pgettext("status", "site down"),
        SiteStatus.REFUSES_THIS_ROUTE: pgettext("status", "refuses this route"),
        SiteStatus.RELAYS_FAIL: pgettext("status", "relays fail"),
        SiteStatus.NO_NETWORK: pgettext("status", "no network"),
        SiteStatus.PORTAL: pgettext("status", "portal"),
        SiteStatus.NOT_TESTED: pgettext("status", "not tested"),
    }
)

_ADVICE: Mapping[SiteStatus, Phrase] = MappingProxyType(
    {
        SiteStatus.NO_SUCH_NAME: _("Check the spelling."),
        SiteStatus.DOES_NOT_RESOLVE: _("Check the spelling, or add a relay with `byway relay add URL`."),
        SiteStatus.BAD_CERTIFICATE: _("Do not enter passwords there. `byway why` names the reason."),
        SiteStatus.SITE_DOWN: _("No route reached it. Wait, or try another relay."),
        SiteStatus.REFUSES_THIS_ROUTE: _("The site refuses this route. Try another relay."),
        SiteStatus.RELAYS_FAIL: _("The relays fail: see `byway status`, then `byway relay test`."),
        SiteStatus.NO_NETWORK: _("Check your network connection."),
        SiteStatus.PORTAL: _("Open any page in a browser and log in to the network."),
    }
)


class Source(StrEnum):
    """Where a result comes from."""

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
    relays: tuple[str, ...] = ()  # that took the request and did not answer, where no other route was compared


@frozen_dataclass
class SiteState:
    """The word for a site, and its source."""

    status: SiteStatus
    cause: Cause | str = Cause.NONE
    text: str = ""  # one sentence: the evidence
    at: float = 0.0  # since when, or when the last result came; 0: never
    last: LastResult | None = None


def status_in_words(word: str) -> str:
    """The word of a status in a document, to be said in any language. One of another version stays as it is."""
    return SiteStatus(word).in_words if word in _STATUS_WORDS else word


_STATUS_WORDS = frozenset(SiteStatus)


def status_of(state: State, cause: Cause | str = Cause.NONE) -> SiteStatus:
    """The word for a stored status of this cause."""
    if cause == Cause.REFUSED:
        return SiteStatus.REFUSES_THIS_ROUTE
    if state in (State.SUSPECT, State.BLOCKED):
        if cause == Cause.INTERCEPTION:
            return SiteStatus.INTERCEPTED
        if cause in (Cause.FROZEN, Cause.THROTTLED):
            return SiteStatus.SLOW
    return _BY_STATE[state]


_BY_STATE: Mapping[State, SiteStatus] = MappingProxyType(
    {
        State.UNKNOWN: SiteStatus.NOT_TESTED,
        State.WORKS: SiteStatus.WORKS,
        State.SUSPECT: SiteStatus.LIKELY_BLOCKED,
        State.BLOCKED: SiteStatus.BLOCKED,
        State.DOWN: SiteStatus.SITE_DOWN,
        State.REFUSED: SiteStatus.REFUSES_THIS_ROUTE,
    }
)

_BY_NETWORK: Mapping[NetworkState, SiteStatus] = MappingProxyType(
    {NetworkState.OFFLINE: SiteStatus.NO_NETWORK, NetworkState.PORTAL: SiteStatus.PORTAL}
)


def site_state(
    belief: Belief,
    last: LastResult | None = None,
    network: NetworkState = NetworkState.OK,
    working_relays: Collection[str] = (),
) -> SiteState:
    """The word for a site now. `working_relays` are the relays that delivered other sites lately.

    While the network is offline or behind a portal, nothing can be said about any site. Else the newer of the last
    result and the stored status decides; a result without a conclusion gives way to a stored status."""
    if network in _BY_NETWORK:
        status = _BY_NETWORK[network]
        at = last.at if last is not None and last.status is status else 0.0
        return SiteState(status, Cause(network), at=at, last=last)
    stored = SiteState(status_of(belief.state, belief.cause), belief.cause, belief.why, belief.since, last)
    if last is None:
        return stored
    is_stored = belief.state in (State.SUSPECT, State.BLOCKED)
    changed_at = max(belief.since, belief.signal_at, belief.last_good_at)
    if is_stored and (last.at < changed_at or last.status is SiteStatus.NOT_TESTED):
        return stored
    if last.status is SiteStatus.SITE_DOWN and last.relays and not set(last.relays) & set(working_relays):
        return SiteState(SiteStatus.RELAYS_FAIL, Cause.RELAYS_FAIL, last.text, last.at, last)
    return SiteState(last.status, last.cause, last.text, last.at, last)
