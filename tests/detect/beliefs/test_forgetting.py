"""What is forgotten is in no table of the beliefs, whatever was learned: all that they refer to is searched."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import Retested
from proxy.model import NetworkId, Protocol, Symptom, as_evidence
from tests.detect.beliefs.history import HOSTS, T0, TUNINGS, History
from tests.detect.beliefs.test_generations import block_domain
from tests.support.outcomes import AWAY, HOME, TOR, delivered, failed, outcome, rescued
from tests.support.rows import each_row

HISTORIES = 12
_NO_DATA = (int, float, bytes, type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)


def places_of(word: str, root: object) -> set[str]:
    """The paths of attributes that lead to strings with this word. Of mappings both keys and values are searched."""
    found, seen = set[str](), set[int]()
    left: list[tuple[object, str]] = [(root, "")]
    while left:
        it, path = left.pop()
        if isinstance(it, str):
            if word in it:
                found.add(path)
        elif id(it) not in seen and not isinstance(it, _NO_DATA):
            seen.add(id(it))
            left += [(part, path + name) for name, part in parts_of(it)]
    return found


def parts_of(it: object) -> Iterator[tuple[str, object]]:
    if isinstance(it, types.MethodType):
        yield "()", it.__self__
    if isinstance(it, dict):
        yield from (("{}", part) for item in it.items() for part in item)
    elif isinstance(it, list | tuple | set | frozenset):
        yield from (("[]", part) for part in it)
    names = [*getattr(it, "__dict__", ())]
    for kind in type(it).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    yield from ((f".{name}", getattr(it, name)) for name in names if hasattr(it, name))


def learned(number: int) -> Beliefs:
    """Beliefs with a random history, at whose end re-tests are under way."""
    history = History(number, TUNINGS[list(TUNINGS)[number % len(TUNINGS)]]).run(300)
    for host in HOSTS:
        history.beliefs.retest_due(host, network=HOME, now=history.now)
    return history.beliefs


def test_of_all_hosts_nothing_is_left() -> None:
    known = set[str]()
    for number in range(HISTORIES):
        beliefs = learned(number)
        known |= places_of("example", beliefs)
        beliefs.forget()
        assert places_of("example", beliefs) == set(), number
    for table in (
        *("stored", "works", "statuses", "early_resets", "residual", "failing_in", "_results", "_visited", "claims"),
    ):
        assert any(f".{table}" in place for place in known), f"no history had anything in {table}"


def test_of_a_domain_and_of_redirects_nothing_is_left() -> None:
    """These the histories seldom meet."""
    beliefs, now = Beliefs(DetectTuning()), T0 + 200.0
    block_domain(beliefs)
    moved = replace(failed(Symptom.REDIRECTED), evidence=as_evidence({"elsewhere": "warning.example"}))
    seen = outcome(moved, delivered(TOR), host="www.news.example", at=now, protocol=Protocol.HTTP)
    beliefs.learn(seen, network=HOME, now=now)
    known = places_of("example", beliefs)
    for table in ("failed_under", "shared"):
        assert any(f".{table}" in place for place in known), f"nothing is in {table}"
    beliefs.forget()
    assert places_of("example", beliefs) == set()


@each_row("ok", [True, False])
def test_a_re_test_that_was_under_way_brings_no_host_back(ok: bool) -> None:
    beliefs = Beliefs(DetectTuning())
    beliefs.learn(rescued(host="www.news.example", at=T0), network=HOME, now=T0)
    assert places_of("example", beliefs)
    beliefs.forget()
    beliefs.learn(Retested("www.news.example", direct_ok=ok, other_ok=True), network=HOME, now=T0 + 5)
    assert places_of("example", beliefs) == set()


@each_row("set_s", [0.0, -7200.0, 7200.0, 31 * 86_400.0])
def test_a_connection_that_was_open_brings_no_host_back(set_s: float) -> None:
    """Its outcome may show something hours later, and what is learned is stored by name. New ones teach at once. All of
    that also when the clock is set."""
    beliefs, now = Beliefs(DetectTuning()), T0 + 200.0
    beliefs.lookup("a.example", network=HOME, now=now)
    beliefs.forget()
    beliefs.ignore(range(7))
    beliefs.ignore({8})
    beliefs.lookup("a.example", network=HOME, now=now + set_s)
    now += set_s + 200.0
    for number, learns in ((6, False), (8, False), (7, True), (9, True)):
        made = rescued(host=f"{number}.example", at=now - 1)
        made = replace(made, request=replace(made.request, id=number))
        assert bool(beliefs.learn(made, network=HOME, now=now)) is learns
        assert bool(places_of(f"{number}.example", beliefs)) is learns


@pytest.mark.parametrize("host", ["a.example.org", "www.news.example"])
def test_of_one_host_nothing_is_left(host: str) -> None:
    for number in range(HISTORIES):
        beliefs = learned(number)
        beliefs.forget(host)
        assert places_of(host, beliefs) == set(), number


@pytest.mark.parametrize("network", [HOME, AWAY])
def test_of_one_network_nothing_is_left_and_of_the_others_all(network: NetworkId) -> None:
    other = AWAY if network is HOME else HOME
    for number in range(HISTORIES):
        beliefs = learned(number)
        before = {key for key in beliefs._state.results.known() if key[0] == other}
        beliefs.forget(network=network)
        left = {place for place in places_of(network, beliefs) if ".spent" not in place and ".searched" not in place}
        assert left == set(), number
        assert {key for key in beliefs._state.results.known() if key[0] == other} == before
