"""The words for a site, the same in list, card, CLI and JSON, made from a belief's state and cause.

Never by colour alone: each word comes with a glyph of its own. What is the network's trouble and not the site's (no
network, a portal) comes in as a cause and wins over the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from proxy.model import NetworkState, State


class Word(NamedTuple):
    """What to call a site's state."""

    glyph: str
    text: str

    def __str__(self) -> str:
        return f"{self.glyph} {self.text}"


WORKS = Word("✓", "works")
SLOW = Word("◔", "slow")
LIKELY_BLOCKED = Word("◐", "likely blocked")
BLOCKED = Word("✗", "blocked")
SITE_DOWN = Word("↓", "site down")
REFUSED_BY_SITE = Word("⊘", "refused by site")
NO_NETWORK = Word("∅", "no network")
PORTAL = Word("⌂", "portal")
NOT_TESTED = Word("?", "not tested")

_BY_STATE: Mapping[State, Word] = MappingProxyType(
    {
        State.UNKNOWN: NOT_TESTED,
        State.WORKS: WORKS,
        State.SUSPECT: LIKELY_BLOCKED,
        State.BLOCKED: BLOCKED,
        State.DOWN: SITE_DOWN,
        State.REFUSED: REFUSED_BY_SITE,
    }
)

_OF_THE_NETWORK: Mapping[str, Word] = MappingProxyType({"offline": NO_NETWORK, "portal": PORTAL})

_NETWORKS: Mapping[NetworkState, tuple[str, str]] = MappingProxyType(
    {
        NetworkState.OFFLINE: (
            "This machine has no network, so what fails now says nothing about sites.",
            "see to the network first",
        ),
        NetworkState.PORTAL: (
            "A login page of this network comes in the place of every site.",
            "open any page in a browser and log in to the network",
        ),
        NetworkState.RESTRICTED: (
            "This network lets hardly anything through but what is domestic, so relays go first.",
            "nothing: direct is tried again by itself",
        ),
        NetworkState.SHUT: (
            "This network lets hardly anything through but what is domestic, and no relay gets through either, so "
            "direct goes first, and one relay after it.",
            "try another network, or add a relay of another kind: byway relay add URL",
        ),
        NetworkState.INSPECTED: (
            "Somebody opens and re-signs everything that is sent over this network, as an office or an antivirus does, "
            "and this computer trusts them. Nothing is relayed by itself here.",
            "byway site set HOST RELAY, for what they shall not read",
        ),
    }
)

_REFUSED = "refused"

_SLOW_CAUSES = frozenset({"frozen", "throttled"})

_CAUSES: Mapping[str, str] = MappingProxyType(
    {
        "dns": "its name does not resolve here",
        "ip": "its address does not answer here; by the network or by the site's own geo-fence, not separable here",
        "sni_reset": "the connection is broken off as soon as it names the site",
        "sni_drop": "what names the site is answered with silence",
        "http_host": "plain requests that name the site do not get through",
        "block_page": "a block page comes in its place",
        "interception": "somebody else's certificate comes in its place",
        "ech": "the outer name of its encrypted hello is filtered",
        "frozen": "its connections freeze after some bytes",
        "throttled": "it is slowed down",
        _REFUSED: "the site itself refuses who comes this way",
        "offline": "this machine has no network",
        "portal": "a login page of the network comes in the place of every site",
    }
)


def word(state: State, cause: str = "") -> Word:
    """What to call a site with a belief of this state and cause."""
    if cause in _OF_THE_NETWORK:
        return _OF_THE_NETWORK[cause]
    if cause == _REFUSED:
        return REFUSED_BY_SITE
    if cause in _SLOW_CAUSES and state in (State.SUSPECT, State.BLOCKED):
        return SLOW
    return _BY_STATE[state]


def network_in_words(state: NetworkState) -> tuple[str, str] | None:
    """What is wrong with a network as a whole, in one or two sentences, and what to do about it; None: nothing is."""
    return _NETWORKS.get(state)


def cause_in_words(cause: str) -> str:
    """What a cause means, as half a sentence; empty for none."""
    return _CAUSES.get(cause, cause)
