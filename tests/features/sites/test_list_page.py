"""Which sites stand on a page of the list, and what is counted."""

from __future__ import annotations

import pytest

from proxy.control.kept_sites import KeptSites
from proxy.control.site_states import SiteStates
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.features.sites.list_page import ROWS, Chosen, SitesFilter, choose
from proxy.model import Belief, State
from tests.support.control_world import World
from tests.support.outcomes import AWAY, HOME

NOW = 1_790_000_000.0


@pytest.fixture
def kept() -> KeptSites:
    """70 blocked sites and one that works here, and one blocked on another network."""
    world = World()
    causes, until = ("sni_reset", "sni_drop"), NOW + 9e5
    known = [
        Belief(f"www.site{number}.example", HOME, State.BLOCKED, causes[number % 2], since=NOW - number, until=until)
        for number in range(70)
    ]
    known += [Belief("free.example", HOME, State.WORKS, since=NOW, until=until)]
    known += [Belief("away.example", AWAY, State.BLOCKED, "dns", since=NOW, until=until)]
    states, kept = SiteStates(Beliefs(world.settings.detect, known), HOME, {}, NOW), KeptSites()
    for domain in kept.outdated(states):
        kept.renew(states, domain)
    world.close()
    return kept


def names(chosen: Chosen) -> list[str]:
    return [site.name for site in chosen.sites]


def test_a_page_has_50_rows_and_the_counts_are_of_all(kept: KeptSites) -> None:
    first = choose(kept, HOME, SitesFilter())
    assert names(first) == [f"www.site{number}.example" for number in range(ROWS)]
    assert (first.count, first.troubled, first.pages) == (71, 70, 2)
    last = choose(kept, HOME, SitesFilter(page=99))
    assert names(last)[-1] == "free.example"
    assert (last.asked.page, len(last.sites)) == (2, 21)


def test_the_filter(kept: KeptSites) -> None:
    for typed in ("www.site7.", "SITE7.", "site7.example"):
        assert names(choose(kept, HOME, SitesFilter(name=typed))) == ["www.site7.example"]
    assert names(choose(kept, HOME, SitesFilter(name="www.free"))) == ["free.example"]
    works = choose(kept, HOME, SitesFilter(status="works"))
    assert (names(works), works.troubled) == (["free.example"], 0)
    everywhere = choose(kept, HOME, SitesFilter(network="all", name="a", status="blocked"))
    assert everywhere.count == 71
    assert choose(kept, HOME, SitesFilter(name="no such")).pages == 1


def test_causes_with_the_same_plain_word_are_one(kept: KeptSites) -> None:
    found = choose(kept, HOME, SitesFilter())
    assert [*found.causes.values()] == ["DNS lies", "Name filter"]
    by_name = next(cause for cause, word in found.causes.items() if word == "Name filter")
    assert choose(kept, HOME, SitesFilter(cause=by_name)).count == 70


def test_an_empty_list(kept: KeptSites) -> None:
    assert choose(KeptSites(), HOME, SitesFilter()).is_empty
    assert not choose(kept, HOME, SitesFilter(name="no such")).is_empty
