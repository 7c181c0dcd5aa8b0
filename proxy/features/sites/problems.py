"""Problems of sites: interception, and blocks that only a relay could bypass, without a relay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.control.answers.problems import Button, Problem, ProblemSubject
from proxy.control.frame import Moment
from proxy.control.site_states import KnownSite
from proxy.detect.verdict.site_status import BLOCKS, SiteStatus
from proxy.model.phrase import _, ngettext

_NAMED = 3  # the most sites in a sentence


async def problems(moment: Moment) -> list[Problem]:
    """Returns the present problems."""
    return present(await moment.troubled(), has_relay=bool(moment.frame.relays.enabled()))


def present(troubled: Sequence[KnownSite], *, has_relay: bool) -> list[Problem]:
    """As `problems`. `has_relay`: whether a relay is in use."""
    return [Problem(ProblemSubject.SITES, text, do, (button,)) for text, do, button in _problems(troubled, has_relay)]


def _problems(troubled: Sequence[KnownSite], has_relay: bool) -> Iterator[tuple[str, str, Button]]:
    intercepted = [site.name_and_port for site in troubled if SiteStatus.INTERCEPTED in site.called]
    if intercepted:
        names = ", ".join(intercepted[:_NAMED])
        if intercepted[_NAMED:]:
            names = _("{sites} and others", sites=names)
        text = (
            _("TLS interception: {sites}. Using relays only.")
            if has_relay
            else _("TLS interception: {sites}. Without a relay it is not opened.")
        )
        yield (
            text.given(sites=names),
            f"byway why {intercepted[0]}",
            Button(_("Show"), f"sites/{intercepted[0]}", leads=True),
        )
    blocked = [site for site in troubled if not BLOCKS.isdisjoint(site.called)]
    # A site that a local strategy opens, such as direct|tlsrec, needs no relay.
    blocked = [site for site in blocked if not site.state.works_by.startswith("direct|")]
    if blocked and not has_relay:
        text = ngettext(
            "{count} site is blocked, and there is no relay.",
            "{count} sites are blocked, and there is no relay.",
            len(blocked),
        )
        yield text, "byway relay add URL", Button(_("Add relays"), "relays", leads=True)
