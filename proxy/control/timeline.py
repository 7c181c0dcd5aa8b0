"""Turns the changes of a site's status into spells: from when to when it was blocked, on which network, how it ended.

The store has a row for each change of a stored status. A spell begins with the first row that says "likely blocked" or
"blocked", and ends with the row that takes it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from proxy.control.answers.sites import ChangeJson, SpellJson
from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.verdict.site_status import status_of
from proxy.model import Belief, State


def spells(changes: Sequence[ChangeJson], stored: Iterable[Belief] = ()) -> tuple[SpellJson, ...]:
    """Returns the spells of all scopes and networks in `changes` (in any order), the latest first.

    `stored` are the present beliefs: a cause that was found after a spell had begun is only there, and in the change
    that ends it."""
    open_now: dict[tuple[str, str], SpellJson] = {}
    ended: list[SpellJson] = []
    for change in sorted(changes, key=lambda change: change.at):
        key = (change.network, change.scope)
        spell = open_now.get(key)
        if change.after in TROUBLED:
            open_now[key] = _extended(spell or _begun(change), change)
        elif spell is not None:
            reason = change.why or f"now {status_of(State(change.after))}"
            ended.append(replace(spell, until=change.at, ended=reason, cause=change.cause or spell.cause))
            del open_now[key]
    for belief in stored:
        key = (belief.network, belief.scope)
        if (spell := open_now.get(key)) is not None:
            open_now[key] = replace(spell, cause=belief.cause or spell.cause)
    return tuple(sorted((*ended, *open_now.values()), key=lambda spell: spell.since, reverse=True))


def _begun(change: ChangeJson) -> SpellJson:
    return SpellJson(
        scope=change.scope,
        network=change.network,
        state=change.after,
        cause=change.cause,
        since=change.at,
        blocked_since=None,
        until=None,
        began=change.why,
        ended="",
    )


def _extended(spell: SpellJson, change: ChangeJson) -> SpellJson:
    """Returns the spell with the worst state, and the last cause that was found."""
    if change.after == State.BLOCKED and spell.blocked_since is None:
        began = change.why or spell.began
        spell = replace(spell, state=change.after, blocked_since=change.at, began=began)
    return replace(spell, cause=change.cause or spell.cause)


def scopes(host: str) -> list[str]:
    """Returns the scopes that a belief about a host may have: the host, and each domain above it as a whole."""
    labels = host.split(".")
    above = [".".join(labels[place:]) for place in range(len(labels) - 1)]
    return [host, *(f"*.{domain}" for domain in above[-_DOMAINS:])]


_DOMAINS = 5
"""A registrable domain has at most this many labels."""
