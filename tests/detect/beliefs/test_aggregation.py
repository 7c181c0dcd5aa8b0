"""From hosts to domains and prefixes: the story of a site with many blogs, and of a /24 that is dropped."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import aggregation
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import BlockMeasured, Carried, DirectDelivered, Intercepted, NetworkLeft, Retested
from proxy.detect.beliefs.tables import Key, NameCounter
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Cause,
    ConnectivityResult,
    IPAddress,
    NetworkId,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
)
from tests.detect.seen import OTHER, Seen
from tests.support.outcomes import AWAY, HOME, TOR, delivered, failed, outcome, pending, restrict

DOMAIN = "*.livejournal.test"
BLOGS = [f"blog{number}.livejournal.test" for number in range(1, 6)]
SAME = "203.0.113.7:443"


def _two_blogs(seen: Seen, *, apart_s: float = 10, symptom: Symptom = Symptom.DROPPED) -> None:
    for blog in BLOGS[:2]:
        seen.rescued(blog, symptom, address=SAME)
        seen.after(1).works(OTHER)
        seen.after(apart_s - 1)


def test_7_october() -> None:
    """Five blogs dropped in silence, one other site open: the third goes round at once; the censor lifts, and direct
    comes back after two re-tests beside visits."""
    seen = Seen()
    _two_blogs(seen)
    for blog in BLOGS[2:]:
        held = seen.held(blog)
        assert (held.scope, held.state, held.cause, held.last_good) == (DOMAIN, State.SUSPECT, "sni_drop", "tor")
    assert seen.held(BLOGS[0]).scope == DOMAIN  # the domain speaks for it
    assert seen.held(BLOGS[2], network=AWAY).state is State.UNKNOWN

    seen.after(130)
    assert seen.beliefs.retest_due(BLOGS[3], network=HOME, now=seen.now)
    assert not seen.beliefs.retest_due(BLOGS[4], network=HOME, now=seen.now)  # one for all
    seen.works(OTHER)
    seen.changes += seen.beliefs.learn(Retested(BLOGS[3], direct_ok=False, other_ok=True), network=HOME, now=seen.now)
    assert seen.held(BLOGS[4]).state is State.BLOCKED

    for _ in range(2):
        seen.after(901)
        assert seen.held(BLOGS[4]).state is State.BLOCKED
        assert seen.beliefs.retest_due(BLOGS[3], network=HOME, now=seen.now)
        seen.changes += seen.beliefs.learn(
            Retested(BLOGS[3], direct_ok=True, other_ok=True), network=HOME, now=seen.now
        )
    assert all(seen.state(blog) is not State.BLOCKED for blog in BLOGS)
    story = [(c.before, c.after) for c in seen.changes if c.scope == DOMAIN and c.before is not c.after]
    assert story == [
        (State.UNKNOWN, State.SUSPECT), (State.SUSPECT, State.BLOCKED), (State.BLOCKED, State.WORKS),
    ]  # fmt: skip


def test_7_october_as_races_tell_it() -> None:
    """A rescue comes first, without a cause; that the flight was dropped is known seconds later. At the second blog it
    may be the echo of the first, which both share an address."""
    seen = Seen()
    for blog in BLOGS[:2]:
        told = outcome(replace(pending(), address=SAME), delivered(TOR), host=blog, at=seen.now - 0.6)
        seen.learn(told)
        seen.after(2.5).works(OTHER)
        assert seen.held(blog).cause == ""
        seen.learn(told.with_attempt(replace(failed(Symptom.DROPPED, elapsed=3.0), address=SAME)))
        seen.after(7.5)

    held = seen.held(BLOGS[2])
    assert (held.scope, held.cause) == (DOMAIN, "sni_drop")
    assert held.score == pytest.approx(2, abs=0.01)


def test_whichever_host_is_the_first() -> None:
    seen = Seen()
    for blog in (BLOGS[1], BLOGS[0]):
        seen.rescued(blog, Symptom.DROPPED)
        seen.after(10).works(OTHER)
    assert seen.held(BLOGS[4]).scope == DOMAIN


def test_two_counted_hosts_are_two_episodes() -> None:
    seen = Seen()
    for blog in BLOGS[:2]:
        seen.rescued(blog)
        seen.works(OTHER)
        seen.after(10)

    assert (seen.held(BLOGS[2]).state, seen.held(BLOGS[2]).episodes) == (State.BLOCKED, 2)


@pytest.mark.parametrize("why", ["too soon", "another cause", "another domain", "nothing counted", "a public suffix"])
def test_what_lifts_nothing(why: str) -> None:
    seen = Seen()
    first, second, third = BLOGS[0], BLOGS[1], BLOGS[2]
    if why == "another domain":
        second = "blog.other.test"
    if why == "a public suffix":
        first, second, third = "one.github.io", "two.github.io", "three.github.io"
    seen.rescued(first)
    if why != "nothing counted":
        seen.works(OTHER)
    seen.after(9 if why == "too soon" else 11)
    symptom, stage = (Symptom.TIMEOUT, Stage.CONNECT) if why == "another cause" else (Symptom.RESET, Stage.FIRST_BYTE)
    seen.rescued(second, symptom, stage)
    if why != "nothing counted":
        seen.works(OTHER)

    assert seen.state(third) is State.UNKNOWN
    assert seen.state(first) is State.SUSPECT


def test_a_sibling_that_works_direct_keeps_its_own() -> None:
    seen = Seen()
    seen.works("www.livejournal.test")
    _two_blogs(seen)
    assert seen.state("www.livejournal.test") is State.WORKS
    assert seen.held("api.livejournal.test").scope == DOMAIN

    seen.works("api.livejournal.test")  # its relay was down, so direct had its turn
    assert seen.state("api.livejournal.test") is State.WORKS
    assert seen.held(BLOGS[4]).scope == DOMAIN


def test_one_that_worked_long_before_does_not() -> None:
    seen = Seen()
    seen.works(BLOGS[2])
    seen.after(3600)
    _two_blogs(seen)

    assert seen.held(BLOGS[2]).scope == DOMAIN


def test_a_visit_to_any_blog_renews_the_domain() -> None:
    seen = Seen()
    _two_blogs(seen, symptom=Symptom.RESET)
    seen.after(5).learn(outcome(delivered(Route(("vps",))), host=BLOGS[4], at=seen.now))

    assert seen.held(BLOGS[3]).last_good == "vps"


def test_failures_under_a_domain_are_the_domains() -> None:
    seen = Seen()
    _two_blogs(seen)
    seen.after(61).rescued(BLOGS[3], Symptom.DROPPED)  # the relay had been down
    seen.works(OTHER)

    assert (seen.held(BLOGS[3]).scope, seen.held(BLOGS[3]).state) == (DOMAIN, State.BLOCKED)
    assert {belief.scope for belief in seen.beliefs.all(now=seen.now)} == {DOMAIN}


def test_a_sibling_that_never_failed_speaks_for_itself_alone() -> None:
    """Only blogs are blocked: their site's front page always worked."""
    seen = Seen()
    _two_blogs(seen, symptom=Symptom.RESET)
    seen.after(61).rescued(BLOGS[0])
    seen.works(OTHER)
    front = "www.livejournal.test"
    for _ in range(4):
        seen.after(1000)
        seen.beliefs.retest_due(front, network=HOME, now=seen.now)
        seen.beliefs.learn(Retested(front, direct_ok=True, other_ok=True), network=HOME, now=seen.now)
    assert (seen.held(front).state, seen.held(front).scope) == (State.WORKS, front)
    assert (seen.held(BLOGS[4]).state, seen.held(BLOGS[4]).successes) == (State.BLOCKED, 0)

    assert seen.beliefs.retest_due(BLOGS[0], network=HOME, now=seen.now), "the front page's took no turn of the blogs'"
    for _ in range(2):
        seen.beliefs.learn(Retested(BLOGS[0], direct_ok=True, other_ok=True), network=HOME, now=seen.now)
        seen.after(1000)
    assert seen.state(BLOGS[4]) is not State.BLOCKED


def test_nor_does_what_it_carries_end_what_froze_others() -> None:
    seen = Seen()
    for blog in BLOGS[:2]:
        seen.learn(outcome(replace(delivered(), symptom=Symptom.FROZEN), host=blog, at=seen.now))
        seen.beliefs.learn(Carried(blog, TOR, count=70_000), network=HOME, now=seen.now)
        seen.after(10)
    assert seen.held(BLOGS[2]).scope == DOMAIN
    for _ in range(3):
        seen.after(1000).beliefs.learn(Carried(BLOGS[3], DIRECT, count=200_000), network=HOME, now=seen.now)

    assert (seen.state(BLOGS[3]), seen.state(BLOGS[2])) == (State.WORKS, State.BLOCKED)


def test_after_a_restart_any_of_them_tells() -> None:
    first = Seen()
    _two_blogs(first, symptom=Symptom.RESET)
    first.after(61).rescued(BLOGS[0])
    first.works(OTHER)
    second = Seen(known=first.beliefs.all(now=first.now))
    second.now = first.now
    assert second.state(BLOGS[0]) is State.BLOCKED
    for _ in range(2):
        second.after(1000).beliefs.learn(
            Retested(BLOGS[4], direct_ok=True, other_ok=True), network=HOME, now=second.now
        )

    assert second.state(BLOGS[0]) is not State.BLOCKED


def test_an_own_trouble_of_another_cause_stays_its_own() -> None:
    seen = Seen()
    seen.beliefs.learn(Intercepted(BLOGS[3], known=True, fingerprint="ab" * 32), network=HOME, now=seen.now)
    _two_blogs(seen)

    assert (seen.held(BLOGS[3]).cause, seen.held(BLOGS[4]).cause) == ("interception", "sni_drop")


def test_a_lifted_domain_is_there_after_a_restart_and_can_be_forgotten() -> None:
    first = Seen()
    _two_blogs(first, symptom=Symptom.RESET)
    kept = first.beliefs.all(now=first.now)
    second = Seen(known=kept)
    second.now = first.now
    assert second.held(BLOGS[4]).scope == DOMAIN

    assert [change.scope for change in second.beliefs.forget(BLOGS[0])] == [DOMAIN]
    assert second.state(BLOGS[4]) is State.UNKNOWN


@pytest.mark.parametrize(
    ("one", "other", "family"),
    [
        ("203.0.113.1", "198.51.100.1", 4),
        ("2001:db8:1::1", "2001:db8:2::1", 6),
        ("203.0.113.1", "2001:db8::1", 0),
        ("2001:db8::1", "203.0.113.1", 0),
    ],
)
def test_the_family_of_a_domain_is_that_of_both_hosts(one: str, other: str, family: int) -> None:
    seen = Seen()
    for blog, address in zip(BLOGS, (one, other), strict=False):
        seen.after(10).works(OTHER)
        seen.rescued(blog, Symptom.TIMEOUT, Stage.CONNECT, evidence={"addresses": address})
    assert (seen.held(BLOGS[4]).scope, seen.held(BLOGS[4]).family) == (DOMAIN, family)


# -- prefixes ----------------------------------------------------------------------------------------------------------

INSIDE = ipaddress.ip_address("203.0.113.200")
OUTSIDE = ipaddress.ip_address("198.51.100.1")


def _prefix_fails(seen: Seen, hosts: int = 3, network: NetworkId = HOME) -> None:
    for number in range(hosts):
        seen.rescued(
            f"site{number}.example", Symptom.TIMEOUT, Stage.CONNECT,
            evidence={"addresses": f"203.0.113.{number + 1}"}, network=network,
        )  # fmt: skip
        seen.after(5)


def test_three_hosts_of_a_prefix_lift_it_for_an_hour() -> None:
    seen = Seen()
    _prefix_fails(seen)
    held = seen.held("new.example", addresses=[INSIDE])

    assert (held.scope, held.state, held.cause, held.family) == ("203.0.113.0/24", State.SUSPECT, "ip", 4)
    assert held.last_good == str(TOR)
    assert seen.held("new.example", addresses=[INSIDE, OUTSIDE]).state is State.UNKNOWN
    assert seen.held("new.example").state is State.UNKNOWN
    assert seen.after(3600).held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_a_prefix_speaks_for_a_host_whose_own_suspicion_has_lapsed() -> None:
    seen = Seen()
    seen.rescued("old.example")
    assert seen.after(121).held("old.example").state is State.UNKNOWN
    _prefix_fails(seen)
    assert seen.held("old.example", addresses=[INSIDE]).scope == "203.0.113.0/24"


def test_a_prefix_whose_hour_is_over_is_none_any_more_also_after_a_restart() -> None:
    """Else every first visit would be looked up because of it, for as long as Byway runs."""
    seen = Seen()
    _prefix_fails(seen)
    assert len(seen.beliefs.prefixes) == 1
    kept = seen.beliefs.held(["203.0.113.0/24"], now=seen.now)
    assert len(Beliefs(DetectTuning(), kept).prefixes) == 1, "the control"
    seen.after(3600).held("new.example")
    assert not seen.beliefs.prefixes
    kept = seen.beliefs.held(["203.0.113.0/24"], now=seen.now)
    assert [belief.state for belief in kept] == [State.UNKNOWN], "what is kept of it"
    assert not Beliefs(DetectTuning(), kept).prefixes
    _prefix_fails(seen)
    assert len(seen.beliefs.prefixes) == 1


def test_prefixes_that_are_never_asked_about_again_do_not_add_up() -> None:
    """A censor, or a site with many addresses, can name any number of them."""
    seen, most = Seen(), 0
    for network in range(60):
        for number in range(3):
            seen.rescued(
                f"site{number}x{network}.example", Symptom.TIMEOUT, Stage.CONNECT,
                evidence={"addresses": f"203.{network}.1.{number + 1}"},
            )  # fmt: skip
            seen.after(100)
        most = max(most, len(seen.beliefs.prefixes))
    assert most == 12, "as many as an hour has seen"


def test_the_oldest_prefix_gives_way_with_its_belief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregation, "PREFIXES_MAX", 2)
    seen = Seen()
    for network in range(4):
        for number in range(3):
            seen.rescued(
                f"site{number}x{network}.example", Symptom.TIMEOUT, Stage.CONNECT,
                evidence={"addresses": f"203.{network}.1.{number + 1}"},
            )  # fmt: skip
    assert [scope for _, scope in seen.beliefs.prefixes] == ["203.2.1.0/24", "203.3.1.0/24"]
    assert {it.scope for it in seen.beliefs.all(now=seen.now) if "/" in it.scope} == {"203.2.1.0/24", "203.3.1.0/24"}
    assert [change.scope for change in seen.changes if "limit memory" in change.why] == ["203.0.1.0/24", "203.1.1.0/24"]


@pytest.mark.parametrize("worked", ["before", "after"])
def test_not_where_anything_in_it_works(worked: str) -> None:
    seen = Seen()
    if worked == "before":
        seen.works("works.example", address="203.0.113.9:443")
    _prefix_fails(seen)
    if worked == "after":
        seen.works("works.example", address="203.0.113.9:443")
        assert any(change.scope == "203.0.113.0/24" and change.belief is None for change in seen.changes)

    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


@pytest.mark.parametrize(("network", "goes_along"), [(UNKNOWN_NETWORK, False), (HOME, True)])
def test_failures_on_two_networks_without_identity_are_not_added_up(network: NetworkId, goes_along: bool) -> None:
    seen = Seen()
    _prefix_fails(seen, 2, network)
    seen.beliefs.learn(NetworkLeft(), network=HOME, now=seen.now)
    seen.rescued(
        "site3.example", Symptom.TIMEOUT, Stage.CONNECT, evidence={"addresses": "203.0.113.9"}, network=network
    )
    held = seen.held("new.example", addresses=[INSIDE], network=network)
    assert (held.state is State.SUSPECT) == goes_along


def test_two_hosts_or_a_reset_of_the_name_are_not_enough() -> None:
    seen = Seen()
    _prefix_fails(seen, hosts=2)
    seen.rescued("site9.example", address="203.0.113.99:443")

    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_the_addresses_may_come_from_the_resolver_and_be_ipv6() -> None:
    seen = Seen()
    for number in range(3):
        seen.after(5)
        seen.learn(
            _timed_out(f"site{number}.example", seen.now), addresses=[ipaddress.ip_address(f"2001:db8:1:{number}::1")]
        )
    held = seen.held("new.example", addresses=[ipaddress.ip_address("2001:db8:1:ff::1")])

    assert (held.scope, held.family) == ("2001:db8:1::/48", 6)


def _timed_out(host: str, now: float) -> Outcome:
    return outcome(failed(Symptom.TIMEOUT, Stage.CONNECT), delivered(TOR), host=host, at=now)


WIDE = [ipaddress.ip_address(f"203.0.{third}.1") for third in range(4)]


def _wide_prefix_fails(
    seen: Seen,
    addresses: Sequence[IPAddress] = WIDE,
    *,
    domains: int = 3,
    by: Route = TOR,
    apart_s: float = 5,
    symptom: Symptom = Symptom.TIMEOUT,
) -> None:
    """A host fails at each of the addresses, and another route reaches it."""
    for number, address in enumerate(addresses):
        host = f"host{number}.site{number % domains}.example"
        seen.rescued(host, symptom, Stage.CONNECT, evidence={"addresses": str(address)}, by=by)
        seen.after(apart_s)


@pytest.mark.parametrize("symptom", [Symptom.TIMEOUT, Symptom.REFUSED])
def test_four_hosts_in_four_prefixes_lift_the_wide_one_around_them(symptom: Symptom) -> None:
    """Some censors drop SYNs, others answer them with resets."""
    seen = Seen()
    _wide_prefix_fails(seen, symptom=symptom)
    held = seen.held("new.example", addresses=[ipaddress.ip_address("203.0.200.9")])

    assert (held.scope, held.state, held.cause, held.family) == ("203.0.0.0/16", State.SUSPECT, "ip", 4)
    assert held.last_good == str(TOR)
    assert "4 hosts of 3 domains in 4 prefixes" in held.why
    assert seen.held("new.example", addresses=[ipaddress.ip_address("203.1.0.1")]).state is State.UNKNOWN
    assert seen.held("new.example", addresses=[INSIDE, OUTSIDE]).state is State.UNKNOWN
    assert seen.after(3600).held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_a_wide_prefix_of_ipv6_is_a_32() -> None:
    seen = Seen()
    _wide_prefix_fails(seen, [ipaddress.ip_address(f"2001:db8:{number}::1") for number in range(4)])
    held = seen.held("new.example", addresses=[ipaddress.ip_address("2001:db8:ffff::1")])

    assert (held.scope, held.family) == ("2001:db8::/32", 6)


@pytest.mark.parametrize(
    "why",
    ["three hosts", "three prefixes", "two domains", "no relay", "too long ago", "one works before", "one works after"],
)
def test_what_lifts_no_wide_prefix(why: str) -> None:
    """The addresses of one site often stand in several prefixes, and fail together when the site is down."""
    seen, domains, by, apart_s = Seen(), 3, TOR, 5.0
    addresses = WIDE
    match why:
        case "three hosts":
            addresses = WIDE[:3]
        case "three prefixes":
            addresses = [*WIDE[:3], ipaddress.ip_address("203.0.0.2")]
        case "two domains":
            domains = 2
        case "no relay":
            by = Route(wrap=("doh",))
        case "too long ago":
            apart_s = 1201.0
        case "one works before":
            seen.works("works.example", address="203.0.77.9:443")
    _wide_prefix_fails(seen, addresses, domains=domains, by=by, apart_s=apart_s)
    if why == "one works after":
        assert seen.held("new.example", addresses=[INSIDE]).state is State.SUSPECT
        seen.works("works.example", address="203.0.77.9:443")
        assert any(change.scope == "203.0.0.0/16" and change.belief is None for change in seen.changes)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_one_that_works_is_not_crowded_out_by_others_elsewhere() -> None:
    seen = Seen()
    seen.works("works.example", address="203.0.77.9:443")
    for number in range(1100):
        seen.works(f"many{number}.example", address=f"198.{number // 200}.{number % 200}.1:443")
    _wide_prefix_fails(seen)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_one_to_which_a_tunnel_is_open_for_long_works() -> None:
    seen = Seen()
    seen.works("works.example", address="203.0.77.9:443")
    _wide_prefix_fails(seen.after(3600), WIDE[:3])
    event = DirectDelivered("works.example", address="203.0.77.9:443")
    seen.changes += seen.beliefs.learn(event, network=HOME, now=seen.now)
    seen.rescued("last.example", Symptom.TIMEOUT, Stage.CONNECT, evidence={"addresses": str(WIDE[3])})
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_a_wide_prefix_is_counted_once_a_failure_and_not_where_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[NetworkId] = []

    def places_on(self: NameCounter, network: NetworkId) -> list[Key]:
        read.append(network)
        return []

    monkeypatch.setattr(NameCounter, "places_on", places_on)
    addresses = " ".join(f"203.0.{number}.1" for number in range(4))
    seen = Seen()
    seen.rescued("down.example", Symptom.TIMEOUT, Stage.CONNECT, evidence={"addresses": addresses})
    assert read == [HOME]
    seen.works("works.example", address="203.0.77.9:443")
    seen.rescued("down.example", Symptom.TIMEOUT, Stage.CONNECT, evidence={"addresses": addresses})
    assert read == [HOME]


def test_what_failed_on_a_restricted_network_counts_for_no_prefix_when_it_is_over() -> None:
    seen = Seen()
    _prefix_fails(seen, hosts=2)
    restrict(seen.beliefs, now=seen.now)
    for page in ("one.control.test", "two.control.test"):
        seen.on_control_answer(ConnectivityResult.WELL, page)
    _prefix_fails(seen, hosts=1)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_a_host_that_is_forgotten_counts_for_no_wide_prefix() -> None:
    seen = Seen()
    _wide_prefix_fails(seen, WIDE[:3])
    seen.beliefs.forget("host0.site0.example")
    seen.rescued("last.example", Symptom.TIMEOUT, Stage.CONNECT, evidence={"addresses": str(WIDE[3])})
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def _prefix_freezes(seen: Seen, hosts: int = 3, *, proven: bool = True, symptom: Symptom = Symptom.FROZEN) -> None:
    """Transfers of hosts in it freeze or are slow, one after the other, and a relay carries more."""
    for number in range(hosts):
        host, direct = f"frozen{number}.example", replace(delivered(), address=f"203.0.113.{number + 1}:443")
        first = outcome(direct, host=host, at=seen.now)
        seen.learn(first)
        froze = replace(direct, symptom=symptom, error="froze after 17000 bytes", elapsed=8.0)
        seen.after(8).learn(first.with_attempt(froze))
        if proven:
            seen.after(1).learn(outcome(delivered(TOR), host=host, at=seen.now, bytes_down=70_000))


@pytest.mark.parametrize(("symptom", "how"), [(Symptom.FROZEN, "froze"), (Symptom.THROTTLED, "were slow")])
def test_three_hosts_whose_transfers_freeze_make_their_prefix_suspect_for_an_hour(symptom: Symptom, how: str) -> None:
    seen = Seen()
    _prefix_freezes(seen, symptom=symptom)
    held = seen.held("new.example", addresses=[INSIDE])

    assert (held.scope, held.state, held.cause) == ("203.0.113.0/24", State.SUSPECT, str(symptom))
    assert held.last_good == str(TOR)
    assert f"transfers of 3 hosts in it {how}" in held.why
    assert seen.held("new.example", addresses=[OUTSIDE]).state is State.UNKNOWN
    assert seen.after(3600).held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_two_frozen_hosts_or_three_that_no_relay_brought_are_not_enough() -> None:
    seen = Seen()
    _prefix_freezes(seen, 2)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN
    seen = Seen()
    _prefix_freezes(seen, 5, proven=False)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_name_that_such_a_censor_spares_goes_direct_and_changes_nothing_for_the_others(when: str) -> None:
    """It is in the same prefix, works, and its first byte would be no news of the others: every host has one."""
    seen = Seen()
    if when == "before":
        seen.works("spared.example", address="203.0.113.9:443")
    _prefix_freezes(seen)
    if when == "after":
        seen.works("spared.example", address="203.0.113.9:443")
    assert seen.held("spared.example", addresses=[INSIDE]).state is State.WORKS
    assert seen.held("new.example", addresses=[INSIDE]).state is State.SUSPECT


@pytest.mark.parametrize("how", ["a re-test", "a visit"])
def test_a_host_that_froze_and_does_no_more_frees_its_prefix(how: str) -> None:
    seen = Seen()
    _prefix_freezes(seen)
    seen.after(130)

    def learn(host: str) -> None:
        event = Retested(host, True, True) if how == "a re-test" else Carried(host, DIRECT, count=65_536)
        seen.beliefs.learn(event, network=HOME, now=seen.now)

    learn("spared.example")
    assert seen.held("new.example", addresses=[INSIDE]).state is State.SUSPECT, "it never froze"
    learn("frozen1.example")
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN
    assert not seen.beliefs.prefixes


def test_frozen_and_slow_hosts_are_not_added_up() -> None:
    seen = Seen()
    _prefix_freezes(seen, 2)
    signal = Signal(SignalId.THROTTLED, 1.5, Cause.THROTTLED, seen.now)
    slow = BlockMeasured("slow.example", signal, TOR, Protocol.TLS, "203.0.113.9:443", "3 KB/s")
    seen.beliefs.learn(slow, network=HOME, now=seen.now)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_a_re_test_of_one_slow_host_frees_their_prefix() -> None:
    seen = Seen()
    _prefix_freezes(seen, symptom=Symptom.THROTTLED)
    seen.after(130).beliefs.learn(Retested("frozen1.example", True, True), network=HOME, now=seen.now)
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_who_forgets_a_host_forgets_that_it_froze() -> None:
    seen = Seen()
    _prefix_freezes(seen, 2)
    seen.beliefs.forget("frozen0.example")
    _prefix_freezes(seen, 1, proven=False)
    seen.rescued("site9.example", address="203.0.113.99:443")
    assert seen.held("new.example", addresses=[INSIDE]).state is State.UNKNOWN


def test_hosts_that_measurements_found_frozen_count_as_well() -> None:
    seen = Seen()
    for number in range(3):
        signal = Signal(SignalId.FROZEN, 2.0, Cause.FROZEN, seen.now)
        measured = BlockMeasured(
            f"m{number}.example", signal, TOR, Protocol.TLS, f"203.0.113.{number + 1}:443", "stalls after 16 KB"
        )
        seen.beliefs.learn(measured, network=HOME, now=seen.now)
    assert seen.held("new.example", addresses=[INSIDE]).scope == "203.0.113.0/24"


@pytest.mark.parametrize(
    ("addresses", "family"), [("203.0.113.1", 4), ("2001:db8::1", 6), ("203.0.113.1 2001:db8::1", 0), ("", 0)]
)
def test_the_family_of_an_address_that_does_not_answer(addresses: str, family: int) -> None:
    seen = Seen()
    seen.rescued(symptom=Symptom.TIMEOUT, stage=Stage.CONNECT, evidence={"addresses": addresses})
    seen.works(OTHER)

    assert (seen.held().cause, seen.held().family) == ("ip", family)
