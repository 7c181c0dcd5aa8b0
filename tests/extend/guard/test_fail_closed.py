"""What an addon closed last holds for its site, until a good answer for the same place says otherwise."""

from __future__ import annotations

from dataclasses import replace

from proxy.extend.guard.fail_closed import KEPT_MAX, FailClosed
from proxy.model import Destination, Plan
from tests.extend.making import PLAN

VIA, NO = PLAN.via("tor"), PLAN.block("no")


def kept(*said: tuple[str, Plan | None]) -> FailClosed:
    made = FailClosed()
    for host, plan in said:
        made.note("plan", Destination(host, 443), plan)
    return made


def test_what_is_open_is_not_kept() -> None:
    for plan in (None, PLAN, PLAN.direct(), PLAN.prefer("tor")):
        assert kept(("a.site.test", plan)).find("plan", "a.site.test") is None


def test_relays_hold_for_the_site_and_a_refusal_for_its_host() -> None:
    held = kept(("a.site.test", VIA), ("www.other.test", NO), ("site.example", NO))
    assert held.find("plan", "b.site.test") is VIA
    assert held.find("plan", "www.other.test") is NO
    for host in ("other.test", "b.other.test", "a.site.example", "test", "elsewhere.test"):
        assert held.find("plan", host) is None
    assert held.find("admit", "a.site.test") is None


def test_a_refusal_goes_before_the_relays_of_its_site() -> None:
    held = kept(("site.test", NO), ("a.site.test", VIA))
    assert (held.find("plan", "site.test"), held.find("plan", "a.site.test")) == (NO, VIA)


def test_what_is_said_of_a_neighbour_opens_nothing() -> None:
    held = kept(("a.site.test", VIA), ("b.site.test", None))
    held.note("plan", Destination("a.site.test", 80), None)
    assert held.find("plan", "a.site.test") is VIA


def test_the_last_word_holds() -> None:
    assert kept(("a.site.test", VIA), ("a.site.test", None)).find("plan", "a.site.test") is None
    assert kept(("a.site.test", VIA), ("a.site.test", NO)).find("plan", "b.site.test") is None
    other = replace(VIA, why="another")
    assert kept(("a.site.test", VIA), ("b.site.test", other)).find("plan", "a.site.test") is other


def test_it_is_bounded() -> None:
    held = kept(*((f"site{number}.test", VIA) for number in range(KEPT_MAX + 1)))
    assert len(held._kept) == KEPT_MAX
    assert held.find("plan", "site0.test") is None
    assert held.find("plan", f"site{KEPT_MAX}.test") is VIA
