"""Turns the changes of a site's status into spells: from when to when it was blocked, on which network, how it ended.

The store has a row for each change of a stored status. A spell begins with the first row that says "likely blocked" or
"blocked", and ends with the row that takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.verdict.site_status import status_of
from proxy.model import Belief, State

Document = dict[str, Any]


def spells(changes: Sequence[Mapping[str, Any]], stored: Iterable[Belief] = ()) -> list[Document]:
    """Returns the spells of all scopes and networks in `changes` (rows of the store, in any order), the latest first.

    `stored` are the present beliefs: a cause that was found after a spell had begun is only there, and in the row that
    ends it. `blocked_since` is null when the site was never more than likely blocked; while a spell lasts, `until` is
    null and `ended` is empty."""
    open_now: dict[tuple[str, str], Document] = {}
    found: list[Document] = []
    for change in sorted(changes, key=lambda row: float(row["at"])):
        key = (change["network"], change["scope"])
        spell = open_now.get(key)
        if change["after"] in TROUBLED:
            if spell is None:
                spell = open_now[key] = _begin(change)
                found.append(spell)
            _extend(spell, change)
        elif spell is not None:
            spell |= {"until": change["at"], "ended": change["why"] or f"now {status_of(State(change['after']))}"}
            spell["cause"] = change["cause"] or spell["cause"]
            del open_now[key]
    for belief in stored:
        spell = open_now.get((belief.network, belief.scope))
        if spell is not None:
            spell["cause"] = belief.cause or spell["cause"]
    return sorted(found, key=lambda spell: float(spell["since"]), reverse=True)


def _begin(change: Mapping[str, Any]) -> Document:
    return {
        "scope": change["scope"],
        "network": change["network"],
        "state": change["after"],
        "cause": change["cause"],
        "since": change["at"],
        "blocked_since": None,
        "until": None,
        "began": change["why"],
        "ended": "",
    }


def _extend(spell: Document, change: Mapping[str, Any]) -> None:
    """Raises the spell to the worst state, and sets the last cause that was found."""
    if change["after"] == State.BLOCKED and spell["blocked_since"] is None:
        spell |= {"state": change["after"], "blocked_since": change["at"], "began": change["why"] or spell["began"]}
    if change["cause"]:
        spell["cause"] = change["cause"]


def scopes(host: str) -> list[str]:
    """Returns the scopes that a belief about a host may have: the host, and each domain above it as a whole."""
    labels = host.split(".")
    above = [".".join(labels[place:]) for place in range(len(labels) - 1)]
    return [host, *(f"*.{domain}" for domain in above[-_DOMAINS:])]


_DOMAINS = 5
"""A registrable domain has at most this many labels."""
