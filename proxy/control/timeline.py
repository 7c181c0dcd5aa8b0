"""From the ledger to the story of a site: from when to when it was in trouble, on which network, and how that ended.

The ledger has a line for each change of a belief; a spell is what lies between the first line that says "likely
blocked" or "blocked" and the one that takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.verdict.site_status import status_of
from proxy.model import Belief, State

Document = dict[str, Any]


def spells(changes: Sequence[Mapping[str, Any]], held: Iterable[Belief] = ()) -> list[Document]:
    """The spells of all scopes and networks in `changes` (the ledger's rows, in any order), the latest first.

    `held` is what is believed now: a cause that was found only after the spell had begun stands there, and in the line
    that ends it. `blocked_since` is null when it never went beyond likely blocked; `until` and `ended` are null and
    empty while it lasts."""
    open_now: dict[tuple[str, str], Document] = {}
    told: list[Document] = []
    for change in sorted(changes, key=lambda row: float(row["at"])):
        key = (change["network"], change["scope"])
        spell = open_now.get(key)
        if change["after"] in TROUBLED:
            if spell is None:
                spell = open_now[key] = _begun(change)
                told.append(spell)
            _went_on(spell, change)
        elif spell is not None:
            spell |= {"until": change["at"], "ended": change["why"] or f"now {status_of(State(change['after']))}"}
            spell["cause"] = change["cause"] or spell["cause"]
            del open_now[key]
    for belief in held:
        spell = open_now.get((belief.network, belief.scope))
        if spell is not None:
            spell["cause"] = belief.cause or spell["cause"]
    return sorted(told, key=lambda spell: float(spell["since"]), reverse=True)


def _begun(change: Mapping[str, Any]) -> Document:
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


def _went_on(spell: Document, change: Mapping[str, Any]) -> None:
    """The worst that it came to, and the last cause that was found."""
    if change["after"] == State.BLOCKED and spell["blocked_since"] is None:
        spell |= {"state": change["after"], "blocked_since": change["at"], "began": change["why"] or spell["began"]}
    if change["cause"]:
        spell["cause"] = change["cause"]


def scopes(host: str) -> list[str]:
    """What beliefs about a host may stand under: itself, and each domain above it as a whole."""
    labels = host.split(".")
    above = [".".join(labels[place:]) for place in range(len(labels) - 1)]
    return [host, *(f"*.{domain}" for domain in above[-_DOMAINS:])]


_DOMAINS = 5
"""A registrable domain has at most so many labels."""
