"""The story of a site, from the lines of its ledger."""

from __future__ import annotations

import random
from dataclasses import replace

from proxy.control.answers.sites import ChangeJson
from proxy.control.timeline import scopes, spells
from proxy.model import Belief, NetworkId, State

HOME, AWAY = "home", "away"


def line(
    at: float, before: str, after: str, *, network: str = HOME, scope: str = "a.test", why: str = ""
) -> ChangeJson:
    cause = "sni_drop" if after in ("suspect", "blocked") else ""
    return ChangeJson(at, scope, network, before, after, cause, why)


STORY = [
    line(10, "unknown", "suspect", why="a drop"),
    line(80, "suspect", "blocked", why="a second drop"),
    line(90, "blocked", "blocked", why="a third"),
    line(5000, "blocked", "works", why="direct delivered in a re-test, 2 times in a row"),
    line(9000, "works", "suspect", why="again"),
]


def test_a_block_has_a_beginning_and_an_end() -> None:
    again, first = spells(STORY)
    assert (first.since, first.blocked_since, first.until) == (10, 80, 5000)
    assert (first.state, first.cause, first.began) == ("blocked", "sni_drop", "a second drop")
    assert first.ended == "direct delivered in a re-test, 2 times in a row"
    assert (again.since, again.blocked_since, again.until) == (9000, None, None)


def test_an_end_without_a_reason_says_what_the_site_is_called_now() -> None:
    (spell,) = spells([line(10, "unknown", "blocked", why="a drop"), line(20, "blocked", "works")])
    assert spell.ended == "now works"


def test_a_cause_that_was_found_later_is_told() -> None:
    """An attempt that was overtaken is judged seconds after its host has become suspect, and no state changes then."""
    began = replace(line(10, "unknown", "suspect", why="no answer"), cause="")
    ended = replace(line(90, "suspect", "works", why="direct delivered in a re-test"), cause="ip")
    (nameless,) = spells([began])
    assert nameless.cause == ""
    (lasting,) = spells([began], [Belief("a.test", NetworkId(HOME), State.SUSPECT, "ip")])
    assert lasting.cause == "ip"
    (elsewhere,) = spells([began], [Belief("a.test", NetworkId(AWAY), State.SUSPECT, "ip")])
    assert elsewhere.cause == ""
    (over,) = spells([began, ended])
    assert (over.cause, over.until) == ("ip", 90)


def test_order_does_not_matter() -> None:
    shuffled = random.Random(1).sample(STORY, len(STORY))
    assert spells(shuffled) == spells(STORY)


def test_networks_and_scopes_are_told_apart() -> None:
    told = spells([
        line(1, "unknown", "suspect"),
        line(2, "unknown", "suspect", network=AWAY),
        line(3, "unknown", "blocked", scope="*.test"),
        line(4, "suspect", "unknown", network=AWAY, why="it lapsed"),
    ])  # fmt: skip
    assert [(spell.network, spell.scope, spell.until) for spell in told] == [
        (HOME, "*.test", None), (AWAY, "a.test", 4), (HOME, "a.test", None),
    ]  # fmt: skip


def test_nothing_happened() -> None:
    assert spells([]) == ()
    assert spells([line(1, "unknown", "works"), line(2, "works", "unknown")]) == ()


def test_what_a_host_stands_under() -> None:
    assert scopes("a.b.test") == ["a.b.test", "*.a.b.test", "*.b.test"]
    assert scopes("localhost") == ["localhost"]
    assert len(scopes(".".join("x" * 100))) == 6
