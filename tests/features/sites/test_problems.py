"""What is said to be wrong with sites, and what to do about it."""

from __future__ import annotations

import pytest

from proxy.control.site_states import KnownSite
from proxy.detect.verdict.site_status import site_state
from proxy.features.sites.problems import present
from proxy.model import Belief, State
from tests.support.outcomes import HOME


def site(
    name: str = "a.example", state: State = State.BLOCKED, cause: str = "sni_reset", last_good: str = ""
) -> KnownSite:
    stored = Belief(name, HOME, state, cause, last_good=last_good)
    return KnownSite(name, stored, site_state(stored))


@pytest.mark.parametrize(
    ("has_relay", "text"),
    [
        (True, "TLS interception: a.example, b.example, c.example and others. Using relays only."),
        (False, "TLS interception: a.example, b.example, c.example and others. Without a relay it is not opened."),
    ],
)
def test_intercepted_sites_are_named(has_relay: bool, text: str) -> None:
    first, *others = present([site(f"{name}.example", cause="interception") for name in "abcd"], has_relay=has_relay)
    assert (first.text, first.do) == (text, "byway why a.example")
    assert bool(others) is not has_relay


def test_blocked_sites_need_a_relay() -> None:
    assert [(it.text, it.do) for it in present([site()], has_relay=False)] == [
        ("1 site is blocked, and there is no relay.", "byway relay add URL")
    ]
    assert present([site()], has_relay=True) == []


@pytest.mark.parametrize(("state", "cause"), [(State.SUSPECT, "refused"), (State.DOWN, "down")])
def test_a_site_that_refuses_or_is_down_is_none_that_is_blocked(state: State, cause: str) -> None:
    assert present([site(state=state, cause=cause)], has_relay=False) == []


@pytest.mark.parametrize(("last_good", "is_problem"), [("direct|tlsrec", False), ("tor", True), ("direct", True)])
def test_what_a_local_strategy_opens_needs_no_relay(last_good: str, is_problem: bool) -> None:
    """And one that only a relay opened, which is no more there, does."""
    found = present([site(last_good=last_good)], has_relay=False)
    assert [problem.do for problem in found] == ["byway relay add URL"] * is_problem
