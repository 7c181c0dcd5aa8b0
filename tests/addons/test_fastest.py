from __future__ import annotations

from proxy.model import Plan
from proxy.testing import attempt, outcome, plan, request
from tests.addons.shipped import shipped

OPTIONS = {"sites": ["example.org"], "relays": ["a", "b", "c"]}


def order(made: Plan) -> list[str]:
    return [str(route) for route in made.routes]


def test_the_relay_that_answers_first_comes_first() -> None:
    addon = shipped("fastest", OPTIONS)
    for _ in range(5):
        addon.attempt(request(), attempt("c", elapsed=0.1))
        addon.attempt(request(), attempt("a", elapsed=3.0))
    made = addon.plan(request("www.example.org"), plan())
    assert order(made) == ["c", "b", "a"]
    assert made.action == "RELAY"
    assert addon.plan(request("elsewhere.example"), plan()) is None


def test_how_fast_it_carries_counts_as_well() -> None:
    addon = shipped("fastest", OPTIONS)
    for _ in range(10):
        addon.attempt(request(), attempt("a", elapsed=0.1))
        addon.outcome(outcome("example.org", attempt("a"), bytes_down=1_000_000, duration=50))
        addon.outcome(outcome("example.org", attempt("b"), bytes_down=1_000_000, duration=0.1))
        addon.outcome(outcome("example.org", attempt("c"), bytes_down=10, duration=50))  # says nothing of the speed
    assert order(addon.plan(request(), plan())) == ["b", "c", "a"]


def test_one_that_failed_comes_last_for_a_minute() -> None:
    addon = shipped("fastest", OPTIONS)
    addon.api.at(1000.0)
    addon.attempt(request(), attempt("a", "relay_down", stage="relay"))
    addon.attempt(request(), attempt("b", "reset"))  # the site's doing
    addon.attempt(request(), attempt("direct", "relay_down"))
    assert order(addon.plan(request(), plan())) == ["b", "c", "a"]
    addon.api.at(1061.0)
    assert order(addon.plan(request(), plan())) == ["a", "b", "c"]


def test_without_relays_it_does_nothing() -> None:
    assert shipped("fastest").plan(request(), plan()) is None
