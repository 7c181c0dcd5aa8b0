"""The story of a site, from the lines of its ledger."""

from __future__ import annotations

import random
from dataclasses import replace

from proxy.features.sites.timeline import spells
from proxy.model import Belief, NetworkId, State
from proxy.store.logged import StatusChange

HOME, AWAY = "home", "away"


def now(
    state: State, *, cause: str = "", began: float = 0.0, since: float = 0.0, network: str = HOME, scope: str = "a.test"
) -> Belief:
    return Belief(scope, NetworkId(network), state, cause, since=since, began=began)


def line(
    at: float, before: str, after: str, *, network: str = HOME, scope: str = "a.test", why: str = ""
) -> StatusChange:
    cause = "sni_drop" if after in ("suspect", "blocked") else ""
    return StatusChange(at, scope, network, before, after, cause, why)


STORY = [
    line(10, "unknown", "suspect", why="a drop"),
    line(80, "suspect", "blocked", why="a second drop"),
    line(90, "blocked", "blocked", why="a third"),
    line(5000, "blocked", "works", why="direct delivered in a re-test, 2 times in a row"),
    line(9000, "works", "suspect", why="again"),
]


def test_a_block_has_a_beginning_and_an_end() -> None:
    again, first = spells(STORY, [now(State.SUSPECT, began=9000)])
    assert (first.since, first.blocked_since, first.until) == (10, 80, 5000)
    assert (first.state, first.cause, first.began) == ("blocked", "sni_drop", "a second drop")
    assert first.ended == "direct delivered in a re-test, 2 times in a row"
    assert (again.since, again.blocked_since, again.until) == (9000, None, None)


def test_an_end_without_a_reason_says_what_the_site_is_called_now() -> None:
    (spell,) = spells([line(10, "unknown", "blocked", why="a drop"), line(20, "blocked", "works")], [])
    assert spell.ended == "now works"


def test_a_cause_that_was_found_later_is_told() -> None:
    """An attempt that was overtaken is judged seconds after its host has become suspect, and no state changes then."""
    began = replace(line(10, "unknown", "suspect", why="no answer"), cause="")
    ended = replace(line(90, "suspect", "works", why="direct delivered in a re-test"), cause="ip")
    (nameless,) = spells([began], [now(State.SUSPECT)])
    assert nameless.cause == ""
    (lasting,) = spells([began], [now(State.SUSPECT, cause="ip")])
    assert lasting.cause == "ip"
    elsewhere = spells([began], [now(State.SUSPECT), now(State.SUSPECT, cause="ip", network=AWAY, began=5)])
    assert [(spell.network, spell.cause) for spell in elsewhere] == [(HOME, ""), (AWAY, "ip")]
    (over,) = spells([began, ended], [])
    assert (over.cause, over.until) == ("ip", 90)


def test_order_does_not_matter() -> None:
    shuffled = random.Random(1).sample(STORY, len(STORY))
    assert spells(shuffled, []) == spells(STORY, [])


def test_networks_and_scopes_are_told_apart() -> None:
    told = spells([
        line(1, "unknown", "suspect"),
        line(2, "unknown", "suspect", network=AWAY),
        line(3, "unknown", "blocked", scope="*.test"),
        line(4, "suspect", "unknown", network=AWAY, why="it lapsed"),
    ], [now(State.SUSPECT), now(State.BLOCKED, scope="*.test")])  # fmt: skip
    assert [(spell.network, spell.scope, spell.until) for spell in told] == [
        (HOME, "*.test", None), (AWAY, "a.test", 4), (HOME, "a.test", None),
    ]  # fmt: skip


def test_nothing_happened() -> None:
    assert spells([], []) == ()
    assert spells([line(1, "unknown", "works"), line(2, "works", "unknown")], [now(State.WORKS)]) == ()


def test_a_suspicion_that_time_ended_is_over_until_it_is_found_again() -> None:
    """Time writes no row, and what is found again is the same spell."""
    story = [line(10, "unknown", "suspect")]
    (over,) = spells(story, [now(State.UNKNOWN, since=130, began=10)])
    assert (over.since, over.until, over.ended) == (10, 130, "not confirmed since")
    (again,) = spells([*story, line(500, "unknown", "suspect")], [now(State.SUSPECT, since=500, began=10)])
    assert (again.since, again.until) == (10, None)
    (forgotten,) = spells(story, [])
    assert (forgotten.since, forgotten.until) == (10, 10)


def test_a_spell_that_began_before_the_log_did_is_told_by_the_belief() -> None:
    (spell,) = spells([], [now(State.BLOCKED, cause="dns", began=10, since=80)])
    assert (spell.since, spell.blocked_since, spell.until, spell.words, spell.cause) == (10, 80, None, "blocked", "dns")


def test_a_site_that_refuses_is_not_called_blocked() -> None:
    refused = replace(line(10, "unknown", "suspect"), cause="refused")
    assert [spell.words for spell in spells([refused], [now(State.SUSPECT, cause="refused")])] == ["refuses this route"]
