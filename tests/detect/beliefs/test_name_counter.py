"""What many names have in common, within bounds."""

from __future__ import annotations

from proxy.detect.beliefs.tables import DomainCounter, NameCounter, on_network
from tests.support.outcomes import AWAY, HOME

NOW = 1_000_000.0
WARNING, REDIRECTED = (HOME, "warning"), (HOME, "elsewhere")


def seen(*names: str, at: float = NOW) -> NameCounter:
    sightings = NameCounter(places=3, names=4)
    for name in names:
        sightings.note(WARNING, name, at)
    return sightings


def test_it_counts_names_by_place_within_the_time() -> None:
    sightings = seen("a", "a", "b")
    assert sightings.within(WARNING, 3600, NOW) == ["a", "b"]
    assert sightings.within(REDIRECTED, 3600, NOW) == sightings.within((AWAY, "warning"), 3600, NOW) == []
    sightings.note(WARNING, "b", NOW + 3600)
    assert sightings.within(WARNING, 3600, NOW + 3600) == ["a", "b"]
    assert sightings.within(WARNING, 3600, NOW + 3601) == ["b"]
    assert sightings.within(WARNING, 3600, NOW - 1) == [], "the clock was set"


def test_it_knows_the_places_on_a_network() -> None:
    sightings = seen("a")
    sightings.note((AWAY, "warning"), "a", NOW)
    assert (sightings.places_on(HOME), sightings.places_on(AWAY)) == ([WARNING], [(AWAY, "warning")])


def test_it_knows_who_was_seen() -> None:
    sightings = seen("a")
    assert (WARNING in sightings, REDIRECTED in sightings) == (True, False)
    assert [sightings.saw(WARNING, name) for name in "ab"] == [True, False]
    assert not sightings.saw(REDIRECTED, "a")


def test_what_was_seen_least_recently_goes_first() -> None:
    sightings = seen(*"abcd")
    sightings.note(WARNING, "a", NOW)
    sightings.note(WARNING, "e", NOW)
    assert [name for name in "abcde" if sightings.saw(WARNING, name)] == ["a", "c", "d", "e"]
    for place in ("two", "three"):
        sightings.note((HOME, place), "x", NOW)
    sightings.note(WARNING, "a", NOW)
    sightings.note((HOME, "four"), "x", NOW)
    assert WARNING in sightings
    assert (HOME, "two") not in sightings


def test_it_forgets() -> None:
    sightings = seen("a")
    sightings.note((AWAY, "warning"), "a", NOW)
    sightings.note(REDIRECTED, "a", NOW)
    sightings.pop(REDIRECTED)
    sightings.pop(REDIRECTED)
    assert (WARNING in sightings, REDIRECTED in sightings) == (True, False)
    sightings.forget(on_network(HOME, None))
    assert (WARNING in sightings, (AWAY, "warning") in sightings) == (False, True)
    sightings.clear()
    assert (AWAY, "warning") not in sightings


def test_it_forgets_a_name_and_its_place_with_the_last_one() -> None:
    sightings = seen("blog.example.org", "b.example.net")
    sightings.forget(on_network(HOME, "example.org"))
    assert not sightings.saw(WARNING, "blog.example.org")
    assert sightings.saw(WARNING, "b.example.net")
    sightings.forget(on_network(AWAY, "example.net"))
    assert WARNING in sightings
    sightings.forget(on_network(None, "example.net"))
    assert WARNING not in sightings


def test_a_domain_is_forgotten_with_any_host_of_it() -> None:
    sightings = DomainCounter(places=3, names=4)
    for domain in ("gone.test", "kept.test"):
        sightings.note(WARNING, domain, NOW)
    sightings.forget(on_network(HOME, "www.gone.test"))
    assert [sightings.saw(WARNING, domain) for domain in ("gone.test", "kept.test")] == [False, True]
