"""The way from this computer to a site's page as a drawing: which step direct passes, and which one stops it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from proxy.detect.verdict.site_status import SiteStatus
from proxy.model import DIRECT, Cause
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, pgettext


class Passes(StrEnum):
    """What is known of a step, with its glyph."""

    YES = "good"
    NO = "bad"
    SLOW = "warn"
    UNKNOWN = "quiet"

    @property
    def glyph(self) -> str:
        return _GLYPHS[self]

    @property
    def in_words(self) -> str:
        return _WORDS[self]


_GLYPHS = {Passes.YES: "✓", Passes.NO: "✗", Passes.SLOW: "◔", Passes.UNKNOWN: "·"}
_WORDS = {
    Passes.YES: pgettext("step", "passes"),
    Passes.NO: pgettext("step", "stopped here"),
    Passes.SLOW: pgettext("step", "slowed here"),
    Passes.UNKNOWN: pgettext("step", "not known"),
}


@frozen_dataclass
class Station:
    """A step of the way."""

    name: str
    passes: Passes


_NAMES = (
    pgettext("station", "DNS"),
    pgettext("station", "Address"),
    pgettext("station", "Name"),
    pgettext("station", "Certificate"),
    pgettext("station", "Page"),
)
_DNS, _ADDRESS, _NAME, _CERTIFICATE, _PAGE = range(5)

_STOPPED_AT: Mapping[str, int] = {
    Cause.DNS: _DNS,
    Cause.IP: _ADDRESS,
    Cause.SNI_RESET: _NAME,
    Cause.SNI_DROP: _NAME,
    Cause.ECH: _NAME,
    Cause.INTERCEPTION: _CERTIFICATE,
    Cause.HTTP_HOST: _PAGE,
    Cause.BLOCK_PAGE: _PAGE,
    Cause.FROZEN: _PAGE,
    Cause.THROTTLED: _PAGE,
    # These are of direct alone: it may be the site's fault as well.
    Cause.NO_ADDRESS: _DNS,
    Cause.UNREACHED: _ADDRESS,
    Cause.HELLO_RESET: _NAME,
    Cause.HELLO_CLOSED: _NAME,
    Cause.HELLO_SILENCE: _NAME,
    Cause.UNANSWERED: _PAGE,
}
"""The step that each cause stops. Steps before it were passed: a filter of names sees the name only after a connection
to an address."""


def drawing(status: SiteStatus, cause: str, works_by: str) -> Sequence[Station]:
    """Returns the steps of direct to a site with this status, which `works_by` opens; empty when no step is known, as
    without a test."""
    if status is SiteStatus.WORKS:
        return [Station(name, Passes.YES) for name in _NAMES] if works_by == str(DIRECT) else ()
    if (stop := _STOPPED_AT.get(cause)) is None:
        return ()
    stopped = Passes.SLOW if cause in (Cause.FROZEN, Cause.THROTTLED) else Passes.NO
    states = [Passes.YES] * stop + [stopped] + [Passes.UNKNOWN] * (len(_NAMES) - stop - 1)
    return [Station(name, passes) for name, passes in zip(_NAMES, states, strict=True)]


def described(stations: Sequence[Station]) -> str:
    """Returns the drawing in a sentence."""
    stop = next((station for station in stations if station.passes in (Passes.NO, Passes.SLOW)), None)
    if stop is None:
        return _("Direct passes every step.")
    if stop.passes is Passes.SLOW:
        return _("Direct is slowed at the step: {step}.", step=stop.name)
    return _("Direct is stopped at the step: {step}.", step=stop.name)
