"""Makes spells of the changes of a site's status. A spell is one time for which the site was blocked on one network.

The store has a row for each change of a stored status. A spell begins with the first row of "likely blocked" or
"blocked". It ends with the row that revokes it, or when the belief expired without confirmation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from proxy.detect.verdict.site_status import status_of
from proxy.features.sites.answers import SpellJson
from proxy.model import TROUBLED, Belief, State
from proxy.store.logged import StatusChange


def spells(changes: Sequence[StatusChange], held: Iterable[Belief]) -> tuple[SpellJson, ...]:
    """Returns the spells of all scopes and networks in `changes` (in any order), the latest first.

    `held` are all present beliefs about these scopes. They have more than the rows: there is none for a cause that was
    found after a spell had begun, none for a suspicion that expired, and none that is older than the log."""
    open_now: dict[tuple[str, str], SpellJson] = {}
    ended: list[SpellJson] = []
    for change in sorted(changes, key=lambda change: change.at):
        key = (change.network, change.scope)
        spell = open_now.get(key)
        if change.after in TROUBLED:
            open_now[key] = _extended(spell or _spell(change, State(change.after), change.at), change)
        elif spell is not None:
            reason = change.why or f"now {status_of(State(change.after))}"
            ended.append(_ended(spell, change.at, reason, change.cause))
            del open_now[key]
    present: list[SpellJson] = []
    beliefs: dict[tuple[str, str], Belief] = {(belief.network, belief.scope): belief for belief in held}
    for key, spell in open_now.items():
        belief = beliefs.pop(key, None)
        if belief is not None and belief.state in TROUBLED:
            present.append(_of_cause(replace(spell, since=belief.began or spell.since), belief.cause))
        else:
            at = max(spell.since, spell.blocked_since or 0.0, 0.0 if belief is None else belief.since)
            ended.append(_ended(spell, at, "not confirmed since", "" if belief is None else belief.cause))
    present += [
        _spell(each, each.state, each.began or each.since, each.since if each.state is State.BLOCKED else None)
        for each in beliefs.values()
        if each.state in TROUBLED
    ]
    return tuple(sorted([*ended, *present], key=lambda spell: spell.since, reverse=True))


def _extended(spell: SpellJson, change: StatusChange) -> SpellJson:
    """Returns the spell with the worst state, and with the last known cause."""
    if change.after == State.BLOCKED and spell.blocked_since is None:
        began = change.why or spell.began
        spell = replace(spell, state=change.after, blocked_since=change.at, began=began)
    return _of_cause(spell, change.cause)


def _spell(of: StatusChange | Belief, state: State, since: float, blocked_since: float | None = None) -> SpellJson:
    """Returns a present spell, of the change that begins it, or of a belief that has no row."""
    words = status_of(state, of.cause)
    return SpellJson(of.scope, of.network, state, words, of.cause, since, blocked_since, None, of.why, "")


def _ended(spell: SpellJson, at: float, why: str, cause: str) -> SpellJson:
    return _of_cause(replace(spell, until=at, ended=why), cause)


def _of_cause(spell: SpellJson, cause: str) -> SpellJson:
    """Returns the spell with this cause, unless it is empty, and with its status."""
    cause = cause or spell.cause
    return replace(spell, cause=cause, words=status_of(State(spell.state), cause))
