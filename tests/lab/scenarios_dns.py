"""Rows of the scenario table about forged addresses that stay silent, and their innocent twins: slow sites. One more is
`dns-replace-poison` of the table."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.model import State
from tests.lab import rules
from tests.lab.country import Country, Site
from tests.lab.name_servers import Addresses
from tests.lab.origins import Conduct
from tests.lab.rules import Rule
from tests.lab.rules_dns import Mute
from tests.lab.scenarios import (
    TROUBLED,
    Reach,
    Scenario,
    Way,
    blocking,
    innocent,
    lie,
    nearby,
    nearby_servers,
)

ASK_S = 0.7
"""Silence after which encrypted DNS is asked (`hedge_ask_s`)."""
RESCUED_S = 1.0
"""The wait for the page where a forged address is silent: `ASK_S`, the query, and a connection to the true address."""

BLACK_HOLE = "198.19.252.0/24"
_LED = "198.19.252.9"
_RUNG, _FINE = frozenset({Way.RUNG}), frozenset({State.UNKNOWN, State.WORKS})


def mute(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """The provider's resolver leads to a host that accepts connections and never answers."""
    lie(Addresses((_LED,)))(country, sites)
    return (Mute(BLACK_HOLE),)


def late_nearby(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """A CDN whose servers for the provider's customers are overloaded: they accept after 1.2 s."""
    return [rules.LateSynAck(1.2, f"{at}/32") for at in nearby(country, sites)]


ROWS: tuple[Scenario, ...] = (
    blocking("dns-mute", "the resolver leads to a host that accepts and never answers", mute, "dns", ways=_RUNG,
             wait_s=RESCUED_S, settle_s=9, third=TROUBLED),
    blocking("dns-mute-no-relay", "a host that accepts and never answers, and there is no relay", mute, "dns",
             ways=_RUNG, wait_s=RESCUED_S, settle_s=9, third=TROUBLED, relays="none", reach=Reach.NETWORK),
    innocent("slow-hello", "answers a ClientHello after 1.5 s", lambda country, sites: (),
             conduct=Conduct(hello_delay_s=1.5), wait_s=1.5),
    innocent("slow-cdn", "the same, with other addresses by resolver", nearby_servers,
             conduct=Conduct(hello_delay_s=1.5), wait_s=1.5),
    innocent("late-region", "the servers that the provider's resolver knows accept late", late_nearby,
             ways=frozenset({Way.DIRECT, Way.RUNG}), wait_s=1.2, first=_FINE | {State.SUSPECT}),
)  # fmt: skip
