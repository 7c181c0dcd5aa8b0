"""The policies of groups, under a clock of the test's own."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_groups import EXIT_S, HOLD_S, SITES_MAX, RelayGroups
from proxy.detect.relay_health import MEASURED_S, REST_MAX_S, REST_S, STEADY_S, Health
from proxy.model import GroupPolicy, RelayGroup, Route, Symptom
from tests.support.outcomes import AWAY, HOME, delivered, failed, outcome
from tests.support.rows import each_row

NOW = 1_000_000.0
MEMBERS = ("a", "b", "c")


def group(policy: GroupPolicy, *members: str, name: str = "eu") -> RelayGroup:
    named = members or MEMBERS
    return RelayGroup(name, named, policy, named, name)


FALLBACK, FASTEST, STICKY, SELECT = map(group, GroupPolicy)


class World:
    """Groups, the health of their relays, and a clock."""

    def __init__(self) -> None:
        self.health = Health(DetectTuning(relay_backoff_jitter=0.0))
        self.groups = RelayGroups(self.health)
        self.now = NOW

    def order(self, of: RelayGroup, host: str = "www.example.org", network: object = HOME) -> str:
        return "".join(self.groups.order(of, host, network=network, now=self.now))  # type: ignore[arg-type]

    def visit(self, *tried: tuple[str, float | None], host: str = "www.example.org") -> None:
        """A visit that tried relays in this order: with the seconds until each delivered, None when it refused."""
        attempts = [
            failed(Symptom.RELAY_DOWN, route=Route((name,))) if took_s is None
            else delivered(Route((name,)), elapsed=took_s)
            for name, took_s in tried
        ]  # fmt: skip
        seen = outcome(*attempts, host=host, at=self.now)
        self.health.learn(seen, self.now)
        for attempt in attempts:
            if not attempt.delivered:
                self.fail(str(attempt.route))
        self.groups.learn(seen, network=HOME, now=self.now)

    def fail(self, name: str) -> None:
        self.health.failed(name, self.now, fault=RelayFault.CONNECTION_REFUSED)

    def after(self, seconds: float) -> World:
        self.now += seconds
        return self


@pytest.fixture
def world() -> World:
    return World()


# -- fallback ----------------------------------------------------------------------------------------------------------


def test_fallback_goes_through_its_members_as_they_are_written(world: World) -> None:
    assert world.order(FALLBACK) == "abc"
    world.visit(("c", 0.01), host="fast.example")
    assert world.order(FALLBACK) == "abc", "a faster one is not preferred"


def test_fallback_leaves_a_member_that_fails_at_once_and_puts_it_last(world: World) -> None:
    world.order(FALLBACK)
    world.visit(("a", None), ("b", 0.1))
    assert world.order(FALLBACK) == "bca"
    world.visit(("b", None), ("c", 0.1))
    assert world.order(FALLBACK) == "cab", "both are over their back-off at the same time: as they are written"


def test_fallback_returns_to_the_first_when_a_visit_may_show_that_it_works(world: World) -> None:
    world.order(FALLBACK)
    world.visit(("a", None), ("b", 0.1))
    assert world.after(10).order(FALLBACK) == "bca", "its breaker is closed, and it still rests"
    assert world.after(REST_S - 10).order(FALLBACK) == "abc"
    world.visit(("a", 0.1))
    assert world.after(1).order(FALLBACK) == "abc"


def test_a_member_that_fails_again_rests_longer_each_time_and_begins_anew_once_it_was_steady(world: World) -> None:
    world.order(FALLBACK)
    rests = []
    for _ in range(6):
        world.visit(("a", None), ("b", 0.1))
        rests.append(world.health.of("a").rests_until - world.now)
        assert world.order(FALLBACK)[0] == "b"
        assert world.after(rests[-1]).order(FALLBACK)[0] == "a"
        world.visit(("a", 0.1))
    assert rests == [120, 240, 480, 960, REST_MAX_S, REST_MAX_S]
    world.after(STEADY_S).visit(("a", None), ("b", 0.1))
    assert world.health.of("a").rests_until - world.now == REST_S


def test_a_test_that_the_user_asked_for_ends_the_rest(world: World) -> None:
    world.order(FALLBACK)
    world.visit(("a", None), ("b", 0.1))
    world.after(HOLD_S / 2).health.worked("a", world.now)
    assert world.after(HOLD_S / 2).order(FALLBACK) == "abc"


def test_when_all_have_failed_the_present_one_stays_for_two_minutes(world: World) -> None:
    world.order(FALLBACK)
    for name in "abc":
        world.visit((name, None))
    assert world.order(FALLBACK)[0] == "a", "no member delivered"
    world.visit(("a", None), ("b", 0.1))
    assert world.order(FALLBACK) == "abc", "b works, and failed a moment ago"
    for _ in range(11):
        world.after(10).visit(("a", None), ("b", 0.1))
        assert world.order(FALLBACK)[0] == "a"
    assert world.after(10).order(FALLBACK)[0] == "b", "it has rested"


def test_another_network_forgets_all_failures(world: World) -> None:
    world.order(FALLBACK)
    world.visit(("a", None), ("b", 0.1))
    world.after(HOLD_S / 2).health.clear_faults()
    assert world.after(HOLD_S / 2).order(FALLBACK) == "abc"


# -- fastest -----------------------------------------------------------------------------------------------------------


def measure_all(world: World, **took_s: float) -> None:
    """Visits, one a second, until each member went first for a minute."""
    for _ in range(3 * int(HOLD_S) + 3):
        first = world.order(FASTEST)[0]
        world.visit((first, took_s[first]))
        world.after(1)


def test_fastest_lets_visits_measure_each_member_for_a_minute_and_then_uses_the_fastest(world: World) -> None:
    firsts = []
    for _ in range(4 * int(HOLD_S)):
        firsts.append(world.order(FASTEST)[0])
        world.visit((firsts[-1], {"a": 0.3, "b": 0.1, "c": 0.5}[firsts[-1]]))
        world.after(1)
    minute = int(HOLD_S)
    assert "".join(firsts) == "a" * minute + "b" * minute + "c" * minute + "b" * minute
    assert world.order(FASTEST) == "bac"


@pytest.mark.parametrize(("took_s", "first"), [(0.08, "a"), (0.071, "a"), (0.069, "b"), (0.01, "b")])
def test_fastest_changes_only_for_a_member_that_is_faster_by_30_percent(
    world: World, took_s: float, first: str
) -> None:
    measure_all(world, a=0.1, b=0.5, c=0.5)
    assert world.after(HOLD_S).order(FASTEST)[0] == "a"
    for _ in range(15):
        world.visit(("b", took_s))
    assert world.order(FASTEST)[0] == first


def test_one_slow_site_does_not_move_the_fastest_group(world: World) -> None:
    measure_all(world, a=0.1, b=0.2, c=0.5)
    for _ in range(5):
        world.visit(("a", 9.0), host="slow.example")
    assert world.after(HOLD_S).order(FASTEST)[0] == "a"


def test_fastest_leaves_a_member_that_fails_for_the_next_fastest_at_once(world: World) -> None:
    measure_all(world, a=0.3, b=0.1, c=0.2)
    assert world.order(FASTEST)[0] == "b"
    world.visit(("b", None), ("c", 0.2))
    assert world.order(FASTEST) == "cab"


def test_what_was_not_used_for_an_hour_is_measured_again(world: World) -> None:
    measure_all(world, a=0.1, b=0.2, c=0.2)
    for _ in range(int(MEASURED_S / HOLD_S) + 8):
        first = world.order(FASTEST)[0]
        world.visit((first, 0.1 if first == "a" else 0.01))
        world.after(HOLD_S)
    assert world.order(FASTEST)[0] in "bc", "they had become faster meanwhile"


def test_a_member_that_never_delivers_does_not_stay_first_to_be_measured(world: World) -> None:
    for _ in range(4 * int(HOLD_S)):
        first = world.order(FASTEST)[0]
        world.visit((first, 0.1) if first == "a" else ("a", 0.1))  # b and c refuse each site, which is their right
        world.after(1)
    assert world.order(FASTEST)[0] == "a"


# -- sticky ------------------------------------------------------------------------------------------------------------

SITES = [f"site{number}.example" for number in range(300)]


def test_sticky_uses_one_member_for_a_site_with_its_subdomains_on_a_network_and_all_members(world: World) -> None:
    firsts = {site: world.order(STICKY, site)[0] for site in SITES}
    for site in SITES:
        assert world.order(STICKY, f"cdn.{site}")[0] == firsts[site]
    assert World().order(STICKY, SITES[0]) == world.order(STICKY, SITES[0]), "also after a restart"
    assert all(60 < list(firsts.values()).count(name) < 140 for name in MEMBERS)
    assert any(world.order(STICKY, site, AWAY)[0] != firsts[site] for site in SITES)


def test_a_new_member_moves_few_sites(world: World) -> None:
    more = group(GroupPolicy.STICKY, "a", "b", "c", "d")
    moved = [site for site in SITES if world.order(STICKY, site)[0] != world.order(more, site)[0]]
    assert 45 < len(moved) < 105, "a quarter"
    assert {world.order(more, site)[0] for site in moved} == {"d"}


def test_sticky_takes_another_when_its_member_fails_and_stays_with_that_for_an_hour(world: World) -> None:
    site = next(site for site in SITES if world.order(STICKY, site)[0] == "a")
    other = next(site for site in SITES if world.order(STICKY, site)[0] == "b")
    world.visit(("a", None), ("b", 0.1), host=other)
    taken = world.order(STICKY, site)[0]
    assert taken in "bc"
    assert world.order(STICKY, site)[-1] == "a"
    world.after(REST_S).visit(("a", 0.1), host=other)
    assert world.order(STICKY, site)[0] == taken, "a works again"
    assert world.order(STICKY, other)[0] == "b"
    assert world.after(EXIT_S - REST_S - 1).order(STICKY, site)[0] == taken
    assert world.after(1).order(STICKY, site)[0] == "a"


def test_a_site_that_is_forgotten_stays_with_no_member(world: World) -> None:
    site = next(site for site in SITES if world.order(STICKY, site)[0] == "a")
    other = next(site for site in SITES if world.order(STICKY, site)[0] == "b")
    world.visit(("a", None), ("b", 0.1), host=other)
    assert world.order(STICKY, site)[0] != "a"
    world.after(REST_S).visit(("a", 0.1), host=other)
    world.groups.forget_sites(lambda name: name == other)
    assert world.order(STICKY, site)[0] != "a", "the control"
    world.groups.forget_sites(lambda name: name == site)
    assert world.order(STICKY, site)[0] == "a"


def test_sticky_stays_with_what_delivered_when_its_member_failed_for_this_site_alone(world: World) -> None:
    site = next(site for site in SITES if world.order(STICKY, site)[0] == "a")
    silent = outcome(
        failed(Symptom.SILENT, route=Route(("a",))), delivered(Route(("c",))), host=f"www.{site}", at=world.now
    )
    world.health.learn(silent, world.now)
    world.groups.learn(silent, network=HOME, now=world.now)
    assert not world.health.is_open("a", world.now)
    assert world.order(STICKY, site)[0] == "c"
    assert {world.order(STICKY, other)[0] for other in SITES} == {"a", "b", "c"}


def test_a_hedged_member_that_another_overtook_keeps_its_site(world: World) -> None:
    site = next(site for site in SITES if world.order(STICKY, site)[0] == "a")
    overtaken = outcome(
        failed(Symptom.ABANDONED, route=Route(("a",))), delivered(Route(("c",))), host=site, at=world.now
    )
    world.groups.learn(overtaken, network=HOME, now=world.now)
    assert world.order(STICKY, site)[0] == "a"


@pytest.mark.slow
def test_the_sites_that_were_moved_are_bounded(world: World) -> None:
    world.order(STICKY, SITES[0])
    world.fail("a")
    for number in range(4 * SITES_MAX):
        world.order(STICKY, f"site{number}.example")
    assert len(world.groups._exits) == SITES_MAX


# -- select ------------------------------------------------------------------------------------------------------------


def test_select_means_the_selected_member_and_no_other(world: World) -> None:
    assert world.order(SELECT) == "a", "the first one, until the user selects"
    world.groups.select("eu", "b")
    assert world.order(SELECT) == "b"
    world.fail("b")
    assert world.order(SELECT) == "b", "it does not fail over"


def test_a_selection_that_is_no_member_any_more_means_the_first(world: World) -> None:
    world.groups.select("eu", "gone")
    assert world.order(SELECT) == "a"


def test_a_chain_over_a_group_follows_the_selection_of_that_group(world: World) -> None:
    chain = RelayGroup("far", ("far/a", "far/b"), GroupPolicy.SELECT, ("a", "b"), "eu")
    world.groups.select("eu", "b")
    assert world.groups.order(chain, "x.example", network=HOME, now=world.now) == ("far/b",)


# -- among all relays --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relays", "groups", "expected"),
    [
        ("xaybzc", (FALLBACK,), "xbycza"),  # a has failed
        ("xaybzc", (), "xaybzc"),
        ("cxba", (SELECT,), "bxac"),
        ("bxc", (FALLBACK,), "bxc"),  # a is disabled
        ("abxy", (group(GroupPolicy.FALLBACK, "b", "a"), group(GroupPolicy.SELECT, "a", "x", name="later")), "baxy"),
    ],
)
def test_members_change_places_among_themselves(
    world: World, relays: str, groups: tuple[RelayGroup, ...], expected: str
) -> None:
    world.groups.select("eu", "b")
    world.fail("a")
    given = world.groups.arrange(relays, groups, "site.example", network=HOME, now=world.now)
    assert "".join(given) == expected


def test_a_group_without_members_has_no_order(world: World) -> None:
    for policy in GroupPolicy:
        assert world.groups.order(RelayGroup("none", (), policy, (), "none"), "x", network=HOME, now=NOW) == ()


# -- an order that is kept ---------------------------------------------------------------------------------------------

Kept = dict[tuple[str, str], tuple[str, int, float]]


def _kept_orders(seed: int, *, versions_count: bool = True, ends_count: bool = True) -> tuple[int, int]:
    """Keeps orders over a random history. Returns how often one was used, and how often it had changed. Raises
    AssertionError where one is used that is wrong."""
    rng, world = random.Random(seed), World()
    kept: Kept = {}
    used = changed = 0
    for _ in range(4000):
        world.after(rng.choice((0.0, 0.1, 1.0, 5.0, 30.0, 30.0, 400.0)))
        name = rng.choice("abc")
        match rng.choice(("visit", "visit", "visit", "fails", "tested", "clear", "select", "keep", "back", "nothing")):
            case "visit":
                world.visit((name, rng.choice((0.1, 0.3, 2.0))), host=rng.choice(SITES[:5]))
            case "fails":
                world.visit((name, None), (rng.choice("abc"), 0.1), host=rng.choice(SITES[:5]))
            case "tested":
                world.health.worked(name, world.now)
            case "clear" if rng.random() < 0.1:
                world.health.clear_faults()
            case "select":
                world.groups.select("chosen", name)
            case "keep" if rng.random() < 0.1:
                world.groups.keep(rng.sample(GROUPS, 3))
            case "back" if rng.random() < 0.05:
                world.after(-rng.choice((30.0, 5_000.0)))
        for each in rng.sample(GROUPS, 2):
            site = rng.choice(SITES[:5])
            order = world.order(each, site)
            key = (each.name, site)
            if key in kept:
                before, version, until = kept[key]
                changed += order != before
                is_current = version == world.health.version or not versions_count
                if is_current and (world.now < until or not ends_count):
                    used += 1
                    assert order == before, (each.name, site)
            kept[key] = (order, world.health.version, world.groups.order_until(world.now))
        if rng.random() < 0.03:
            kept.clear()
    return used, changed


GROUPS = [
    FALLBACK,
    group(GroupPolicy.FASTEST, name="fast"),
    group(GroupPolicy.STICKY, name="stay"),
    group(GroupPolicy.SELECT, name="chosen"),
]


@each_row("seed", range(8))
def test_an_order_is_the_same_while_version_and_time_say_so(seed: int) -> None:
    used, changed = _kept_orders(seed)
    assert min(used, changed) > 50


def test_neither_version_nor_time_alone_tells_that_the_order_is_the_same() -> None:
    for alone in ({"versions_count": False}, {"ends_count": False}):
        with pytest.raises(AssertionError):
            _kept_orders(0, **alone)


def test_a_group_that_nobody_asked_for_costs_nothing(world: World) -> None:
    assert not world.groups.in_use
    assert (world.health.version, world.groups.order_until(NOW)) == (0, math.inf)


# -- no flapping -------------------------------------------------------------------------------------------------------


class Change(NamedTuple):
    """Another member leads. `was_needed`: the one before had failed."""

    at: float
    was_needed: bool


def _hours(policy: GroupPolicy, seed: int, delay: Callable[[random.Random, str, float], float | None]) -> list[Change]:
    """Six hours of visits through a group, one in two seconds or so. `delay`: how long a relay takes, None when it
    fails, at a moment."""
    rng, world = random.Random(seed), World()
    of = group(policy)
    before, seen = world.order(of)[0], list[Change]()

    while world.now < NOW + 6 * 3600:
        order = world.order(of)
        assert world.groups.leading(of, world.now) == before, "nothing but a visit changes it"
        tried: list[tuple[str, float | None]] = []
        for name in order:
            tried.append((name, delay(rng, name, world.now - NOW)))
            if tried[-1][1] is not None:
                break
        world.visit(*tried)
        if (lead := world.groups.leading(of, world.now)) != before:
            assert lead == tried[-1][0], "only to the member that delivered"
            assert tried[-1][1] is not None
            seen.append(Change(world.now, world.health.standing(before, world.now) > 0))
            before = lead
        world.after(rng.expovariate(0.5))
    return seen


def _random_delays(rng: random.Random, name: str, _: float) -> float:
    return rng.lognormvariate(math.log(0.2), 1.0)


def _waves(rng: random.Random, name: str, at: float) -> float:
    """Each relay is slow for some minutes in turn."""
    return rng.lognormvariate(math.log(0.1 + 0.4 * (int(at / 150) % 3 == "abc".index(name))), 0.5)


def _comes_and_goes(rng: random.Random, name: str, at: float) -> float | None:
    """The first relay works and fails in turn, every second."""
    return None if name == "a" and int(at) % 2 else rng.uniform(0.1, 0.3)


def _all_fail_at_times(rng: random.Random, name: str, _: float) -> float | None:
    return None if rng.random() < 0.2 else rng.uniform(0.1, 0.3)


def _restarts(rng: random.Random, name: str, at: float) -> float | None:
    """Each relay is down for 20 s now and then."""
    return None if (at + 700 * "abc".index(name)) % 2000 < 20 else rng.uniform(0.1, 0.3)


@pytest.mark.slow
@each_row("seed", range(2))
@each_row("policy", [GroupPolicy.FALLBACK, GroupPolicy.FASTEST])
@each_row("delay", [_random_delays, _waves, _comes_and_goes, _all_fail_at_times, _restarts])
def test_a_group_changes_at_most_once_a_minute(
    delay: Callable[[random.Random, str, float], float | None], policy: GroupPolicy, seed: int
) -> None:
    changes = _hours(policy, seed, delay)
    assert len(changes) <= 6 * 60
    for before, after in itertools.pairwise(changes):
        assert after.at - before.at >= HOLD_S or after.was_needed, "only a failure is a reason within a minute"
    for first in changes:
        assert sum(first.at <= each.at < first.at + 600 for each in changes) <= 10, "nor more over ten minutes"


REFUSED, SILENT = Symptom.RELAY_DOWN, Symptom.SILENT


@pytest.mark.slow
@pytest.mark.parametrize("policy", [GroupPolicy.FALLBACK, GroupPolicy.FASTEST])
@pytest.mark.parametrize(
    "deaths",
    [
        {"a": REFUSED}, {"a": SILENT}, {"a": REFUSED, "b": REFUSED}, {"a": REFUSED, "b": SILENT},
        {"a": SILENT, "b": REFUSED}, {"a": SILENT, "b": SILENT, "c": SILENT}, {"a": REFUSED, "b": SILENT, "c": REFUSED},
    ],
)  # fmt: skip
def test_members_that_die_at_once_are_one_change(world: World, deaths: dict[str, Symptom], policy: GroupPolicy) -> None:
    """Visits of ten minutes each, one a second: all live, some are dead, all live. Two more are open at any time, which
    were begun with the order of that time."""
    of = group(policy, *"abcde")
    took_s = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.5}
    leads: list[str] = []
    open_visits: list[str] = []
    for second in range(1800):
        dead = deaths if 600 <= second < 1200 else {}
        open_visits.append(world.order(of))
        if len(open_visits) > 2:
            attempts = []
            for name in open_visits.pop(0):
                symptom = dead.get(name)
                route = Route((name,))
                attempts.append(
                    delivered(route, elapsed=took_s[name]) if symptom is None else failed(symptom, route=route)
                )
                if symptom is None:
                    break
            seen = outcome(*attempts, at=world.now)
            world.health.learn(seen, world.now)
            for attempt in attempts:
                if attempt.symptom is REFUSED:
                    world.fail(str(attempt.route))
            world.groups.learn(seen, network=HOME, now=world.now)
        leads.append(world.groups.leading(of, world.now))
        world.after(1)
    live = next(name for name in "abcde" if name not in deaths)
    while_dead = [lead for lead, _ in itertools.groupby(leads[599:1200])]
    assert while_dead == ["a", live]
    stays = [len(list(same)) for _, same in itertools.groupby(leads[1199:])]
    assert min(stays[1:-1], default=HOLD_S) >= HOLD_S, "they return one by one"
    assert leads[-1] == "a"


def test_a_member_on_trial_goes_first_until_a_visit_shows_whether_it_delivers(world: World) -> None:
    world.order(FALLBACK)
    world.visit(("a", None), ("b", 0.1))
    world.after(REST_S)
    assert world.order(FALLBACK) == "abc"
    assert world.groups.leading(FALLBACK, world.now) == "b"
    world.visit(("a", None), ("b", 0.1))
    assert world.order(FALLBACK)[0] == world.groups.leading(FALLBACK, world.now) == "b"
    world.health.worked("a", world.after(HOLD_S).now)  # the user has mended and tested it
    assert world.order(FALLBACK)[0] == "a"
    silent = outcome(failed(SILENT, route=Route(("a",))), delivered(Route(("b",))), at=world.now)
    world.health.learn(silent, world.now)
    world.groups.learn(silent, network=HOME, now=world.now)
    assert world.order(FALLBACK)[0] == "b", "silence once is no failure of a relay, and ends the trial"
    assert world.after(HOLD_S).order(FALLBACK)[0] == "a"
    world.visit(("a", 0.1))
    assert world.groups.leading(FALLBACK, world.now) == "a"


@pytest.mark.slow
def test_random_delays_do_move_a_fastest_group() -> None:
    """The control: the bound above is kept by the policy, and not since nothing would change."""
    assert len(_hours(GroupPolicy.FASTEST, 0, _waves)) > 30


# -- large groups, most of whose members are dead ----------------------------------------------------------------------


@each_row("policy", [GroupPolicy.FALLBACK, GroupPolicy.FASTEST])
def test_once_a_member_of_a_large_group_works_a_dead_one_is_tried_once_a_minute(policy: GroupPolicy) -> None:
    world = World()
    large = group(policy, *"abcdefgh")
    assert world.order(large) == "abcdefgh"
    world.visit(("a", None), ("b", None), ("f", 0.1))
    assert world.order(large)[0] == "f"
    world.after(HOLD_S)
    tried = world.order(large)
    assert tried[:2] == "cf", "the one that works comes right behind the trial"
    world.visit(("c", None), ("f", 0.1))
    for _ in range(5):
        assert world.after(HOLD_S / 6).order(large)[0] == "f"
        world.visit(("f", 0.1))
    tried = world.after(HOLD_S / 6).order(large)
    assert tried[0] != "f"
    assert tried[1] == "f"


def test_after_a_restart_the_member_of_a_large_group_that_worked_last_leads(world: World) -> None:
    large = group(GroupPolicy.FALLBACK, *"abcdefgh")
    world.visit(("c", 0.1))
    world.after(1).visit(("f", 0.1))
    again = World()
    again.health.restore(world.health.remembered())
    assert again.order(large) == "fcabdegh"
    assert again.after(HOLD_S).order(large)[:3] == "afc", "the preferred one is on trial again"
    assert again.order(FALLBACK) == "abc"


def test_the_first_lead_of_a_large_group_is_no_member_that_failed_since(world: World) -> None:
    large = group(GroupPolicy.FALLBACK, *"abcdefgh")
    world.visit(("c", 0.1))
    world.after(1).visit(("f", 0.1))
    world.health.failed("f", world.after(1).now)
    assert world.health.standing("f", world.now) == 0, "once is no reason for a rest"
    again = World()
    again.health.restore(world.health.remembered())
    assert again.order(large)[0] == "c"


def test_a_new_large_group_that_goes_by_speed_begins_with_the_fastest(world: World) -> None:
    world.visit(("c", 0.1))
    world.after(1).visit(("f", 0.9))
    assert world.order(group(GroupPolicy.FASTEST, *"abcdefgh"))[0] == "c"


def test_two_thousand_relays_are_arranged_while_a_visit_waits() -> None:
    world = World()
    names = tuple(f"r{n}" for n in range(2000))
    large = group(GroupPolicy.FALLBACK, *names)
    world.visit(("r1999", 0.1))
    arranged = world.groups.arrange(names, [large], "www.example.org", network=HOME, now=world.now)
    assert arranged[:3] == ["r1999", "r0", "r1"]
    assert sorted(arranged) == sorted(names)
