"""Which visits bring a search for a local strategy, what it sends and when, and what the answers teach: over scripted
sockets behind a censor that reads the stream up to the end of the first record."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.schema import Auto
from proxy.detect.beliefs.events import BlockMeasured, Carried, ControlAnswered
from proxy.model import (
    DIRECT,
    Attempt,
    Cause,
    ConnectivityResult,
    Destination,
    IPAddress,
    Outcome,
    Protocol,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.net.tasks import cancel_all
from proxy.probe.ladder_search import ASKED_WITHIN_S, TRIED_MAX
from proxy.session.events import Rescued
from tests.lab.censors import Censor, Segment, by_packet, joined, sni
from tests.lab.street import CONTROL, SITES, WORKING, Fault, Street, flight_to
from tests.support.clock import run
from tests.support.outcomes import AWAY, HOME, delivered, outcome
from tests.support.rows import each_row
from tests.support.services import Judged

SITE, SECOND, _ = SITES
LATER_S = 200.0
"""After the residual window."""
OVER_S = 30.0
"""After a visit, all beside it is over."""


def up_to_two_records(segments: Sequence[Segment], name: str) -> bool:
    return sni(joined(segments), records=2) == name


STRICT = Censor("two-records", up_to_two_records)
BY_PACKET = Censor("by-packet", by_packet)  # `split` passes


async def suspect(street: Street, *names: str) -> None:
    """A re-test has already failed: the next visit brings a search, once the window is over."""
    for name in (WORKING, *names):
        await street.visit(name)
    await asyncio.sleep(LATER_S)
    for name in names:
        await street.visit(name)
    await asyncio.sleep(LATER_S)
    street.hellos.clear()
    street.struck.clear()


def last_good(street: Street, name: str) -> str:
    return street.beliefs.lookup(name, network=HOME, now=street.now()).last_good


def test_one_after_the_other_until_one_fails_that_has_left_a_residue() -> None:
    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"))
        await suspect(street, SITE)
        for tried in (["tlsrec"], ["tlsrec", "tlsrec|split", ""]):
            await street.visit(SITE)
            await asyncio.sleep(OVER_S)
            assert street.sent_over(SITE) == tried
            await asyncio.sleep(LATER_S)
        assert last_good(street, SITE) == "direct|tlsrec|split"
        assert street.struck == [(SITE, False), (CONTROL, True), (SITE, False)], "the last is plain, for the credit"
        assert (await street.visit(SECOND)).relays, "direct has just begun a window"
        await asyncio.sleep(LATER_S)
        assert await street.visit(SECOND) == Route((), ("tlsrec", "split")), "with another site, too"
        await cancel_all()

    run(story())


def test_a_site_alone_goes_on_at_once_where_no_residue_is_left() -> None:
    async def story() -> None:
        street = Street(BY_PACKET)
        await suspect(street, SITE)
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == ["tlsrec", "tlsrec|split", ""]
        assert street.sent_over(CONTROL) == [""]
        assert (await street.visit(SECOND)).relays, "direct has just begun a window, in which visits try none"
        await asyncio.sleep(LATER_S)
        assert await street.visit(SECOND) == Route((), ("tlsrec", "split"))
        await cancel_all()

    run(story())


def test_where_no_residue_is_left_several_are_tried_a_second_apart() -> None:
    async def story() -> None:
        street = Street(STRICT)
        await street.visit(WORKING)
        await street.visit(SITE)
        await asyncio.sleep(6)
        street.hellos.clear()
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(CONTROL) == [""], "another name, once"
        assert street.sent_over(SITE) == ["", "tlsrec", "tlsrec|split", "split"], "first the plain one once more"
        times = [at for at, name, _ in street.hellos if name == SITE]
        assert all(later - at >= 1.0 for at, later in pairwise(times))
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(CONTROL) == [""]
        assert street.sent_over(SITE)[4:] == ["tlsrec|split-at-name", "tlsrec-by-4", ""]
        assert last_good(street, SITE) == "direct|tlsrec-by-4"
        assert (await street.visit(SITE)).relays, "visits try none in a window"
        await asyncio.sleep(LATER_S)
        street.hellos.clear()
        await street.visit(SITE)
        assert street.sent_over(SITE) == ["tlsrec-by-4"]
        await cancel_all()

    run(story())


def test_no_hello_is_cut_for_a_site_that_failed_once() -> None:
    async def story() -> None:
        street = Street(BY_PACKET)
        await street.visit(WORKING)
        await street.visit(SITE)
        street.censor = None
        street.hellos.clear()
        await asyncio.sleep(6)
        assert (await street.visit(SITE)).relays
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == [""], "the plain one once more, which is answered"
        assert street.sent_over(CONTROL) == []
        assert await street.visit(SITE) == DIRECT
        await cancel_all()

    run(story())


def test_plain_direct_that_passes_only_where_encrypted_dns_leads_ends_no_suspicion() -> None:
    async def story() -> None:
        street = Street(BY_PACKET)

        async def elsewhere(_name: str) -> IPAddress:
            street.censor = BY_PACKET  # what is sent there is stopped
            return ipaddress.ip_address("192.0.2.99")

        resolver: Any = SimpleNamespace(**{**vars(street.setup.resolver), "elsewhere": elsewhere})
        street.setup = replace(street.setup, resolver=resolver)
        await street.visit(WORKING)
        await street.visit(SITE)
        street.censor = None
        street.hellos.clear()
        await asyncio.sleep(6)
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == ["", ""]
        assert street.beliefs.lookup(SITE, network=HOME, now=street.now()).state is not State.WORKS
        assert last_good(street, SITE) == "direct|doh"
        await cancel_all()

    run(story())


def test_a_residue_is_not_looked_for_when_it_may_be_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The papers know of one that lasts 60 s. The window of Byway is longer: what is broken in it begins both anew, and
    another name is asked right after."""

    async def story() -> None:
        monkeypatch.setattr("tests.lab.street.PUNISHED_S", 60.0)
        street = Street(replace(BY_PACKET, residual="flight"))
        await street.visit(WORKING)
        await street.visit(SITE)
        await asyncio.sleep(100)
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.struck[1:] == [(SITE, False), (CONTROL, True)]
        assert street.sent_over(SITE)[1:] == [""], "no strategy is tried in the window"
        await cancel_all()

    run(story())


def test_another_name_is_asked_within_seconds_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(*_: object) -> str:
        await asyncio.sleep(ASKED_WITHIN_S)
        return CONTROL

    async def story() -> None:
        monkeypatch.setattr("proxy.probe.ladder_search.neutral_name", late)
        street = Street(BY_PACKET)
        await suspect(street, SITE)
        await street.visit(SITE)
        await asyncio.sleep(2 * OVER_S)
        assert street.sent_over(SITE) == ["tlsrec"], "it ends in the window"
        assert street.sent_over(CONTROL) == []
        await cancel_all()

    run(story())


class Late(Judged):
    """The record of a visit whose direct attempt is judged seconds after a relay delivered."""

    def __init__(self, begun: Outcome, direct: Attempt) -> None:
        super().__init__(begun)
        self._direct = direct

    async def direct_judged(self) -> None:
        await asyncio.sleep(3)
        self.outcome = self.outcome.with_attempt(self._direct)


@each_row(
    ("judged", "sent"),
    [
        (Attempt(DIRECT, Stage.DONE, elapsed=2.0), []),  # it was slow
        (Attempt(DIRECT, Stage.FIRST_BYTE, Symptom.ABANDONED, elapsed=2.0), ["tlsrec", "tlsrec|split", ""]),
        (Attempt(DIRECT, Stage.FIRST_BYTE, Symptom.SILENT, elapsed=7.0), ["tlsrec", "tlsrec|split"]),
    ],
)
def test_a_direct_attempt_that_is_pending_has_not_failed(judged: Attempt, sent: Sequence[str]) -> None:
    async def story() -> None:
        street = Street(BY_PACKET)
        await suspect(street, SITE)
        by_relay = Attempt(Route(("vps",)), Stage.DONE, started=1.0, elapsed=0.4)
        begun = outcome(replace(judged, stage=Stage.FIRST_BYTE, symptom=Symptom.NONE), by_relay, host=SITE)
        record = cast(Any, Late(begun, judged))
        street.search.on_rescued(Rescued(street.setup, record, flight_to(SITE, Protocol.TLS), begun))
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == sent
        await cancel_all()

    run(story())


def test_what_passes_where_plain_direct_works_too_is_no_credit() -> None:
    async def story() -> None:
        street = Street(BY_PACKET)
        await suspect(street, SITE)
        street.censor = None
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == ["tlsrec", ""]
        held = street.beliefs.lookup(SITE, network=HOME, now=street.now())
        assert (held.successes, held.last_good) == (1, "vps"), "as of a re-test"
        assert street.beliefs.about(SECOND, network=HOME, now=street.now()).rungs == ()
        await cancel_all()

    run(story())


def test_what_a_server_rejects_is_left_for_that_site_alone() -> None:
    async def story() -> None:
        street = Street(BY_PACKET, strict=frozenset({SITE}))
        await suspect(street, SITE, SECOND)
        street.censor = replace(BY_PACKET, sees=up_to_first_record)
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        held = street.beliefs.lookup(SITE, network=HOME, now=street.now())
        assert held.rungs_failed[0] == "direct|tlsrec"
        await street.visit(SECOND)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SECOND) == ["tlsrec", ""]
        assert last_good(street, SECOND) == "direct|tlsrec"
        await cancel_all()

    run(story())


def up_to_first_record(segments: Sequence[Segment], name: str) -> bool:
    return sni(joined(segments), records=1) == name


def test_a_ladder_of_the_users_own_is_all_that_is_tried() -> None:
    async def story() -> None:
        street = Street(STRICT, auto=Auto(ladder=("split",)))
        await suspect(street, SITE)
        for _ in range(2):
            await street.visit(SITE)
            await asyncio.sleep(LATER_S)
        assert street.sent_over(SITE) == ["split"]
        await cancel_all()

    run(story())


@each_row("how", ["no re-tests", "a private host"])
def test_where_nothing_is_sent_of_our_own_accord(how: str) -> None:
    async def story() -> None:
        is_off = how == "no re-tests"
        street = Street(STRICT, auto=Auto(retest=not is_off), private=frozenset() if is_off else frozenset({SITE}))
        await suspect(street, SITE)
        await street.visit(SITE)
        await asyncio.sleep(LATER_S)
        assert street.hellos == []
        await cancel_all()

    run(story())


def test_on_another_network_it_ends_and_is_due_again() -> None:
    async def story() -> None:
        street = Street(BY_PACKET)
        await suspect(street, SITE)
        await street.visit(SITE)
        street.network = AWAY
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == [], "it has waited for its turn"
        street.network = HOME
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SITE) == ["tlsrec", "tlsrec|split", ""]
        await cancel_all()

    run(story())


def test_a_visit_in_the_window_after_a_search_goes_by_the_relay() -> None:
    """The plain hello that gave the credit has begun the window anew."""

    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"))
        await suspect(street, SITE)
        for wait_s in (LATER_S, OVER_S):
            await street.visit(SITE)
            await asyncio.sleep(wait_s)
        assert last_good(street, SITE) == "direct|tlsrec|split"
        assert (await street.visit(SITE)).relays
        await asyncio.sleep(LATER_S)
        assert (await street.visit(SITE)).wrap == ("tlsrec", "split")
        assert {name for name, is_residue in street.struck if is_residue} == {CONTROL}, "who was asked"
        await cancel_all()

    run(story())


# -- visits that no route carries --------------------------------------------------------------------------------------

LADDER = ["", "tlsrec", "tlsrec|split", "split"]
"""What a visit itself sends, without a relay."""
QUICK_S = 10.0
DAY_S = 86_400.0


async def visits(street: Street, name: str, *, times: int, apart_s: float, beside: str = "other.test") -> list[Route]:
    """Visits a site so many times, and returns the routes that won."""
    won = []
    for _ in range(times):
        if (route := await street.try_visit(name, beside=beside)) is not None:
            won.append(route)
        await asyncio.sleep(apart_s)
    return won


def test_alone_the_second_visit_that_fails_brings_a_search_and_another_site_uses_what_passes() -> None:
    async def story() -> None:
        street = Street(STRICT, relays=())
        assert await visits(street, SITE, times=1, apart_s=OVER_S) == []
        assert street.sent_over(SITE) == LADDER, "of the visit: one failure may be an accident"
        assert street.added == []
        assert await visits(street, SITE, times=1, apart_s=OVER_S) == []
        first = [(SITE, ""), (CONTROL, ""), (SITE, "tlsrec"), (SITE, "tlsrec|split"), (SITE, "split")]
        assert street.added == first, "another name shows that there is no residue, and that the server is up"
        assert street.beliefs.lookup(SITE, network=HOME, now=street.now()).state is State.UNKNOWN
        assert await visits(street, SITE, times=1, apart_s=OVER_S) == []
        second = [(SITE, "tlsrec|split-at-name"), (SITE, "tlsrec-by-4"), (SITE, "")]
        assert street.added[len(first) :] == second, "the last is plain, for the credit"
        times = [at for at, name, _ in street.hellos if name == SITE]
        assert all(later - at >= 1.0 for at, later in pairwise(times) if later in street.added_at)
        held = street.beliefs.lookup(SITE, network=HOME, now=street.now())
        assert (held.state, held.cause, held.last_good) == (State.SUSPECT, Cause.SNI_RESET, "direct|tlsrec-by-4")
        assert held.why.startswith("direct failed"), held.why
        assert held.why.endswith("direct|tlsrec-by-4 delivered (tls_reset, weight 2)"), held.why
        assert await street.visit(SITE) == Route((), ("tlsrec-by-4",))
        assert await street.visit(SECOND) == Route((), ("tlsrec-by-4",)), "right after direct"
        await cancel_all()

    run(story())


def test_alone_a_search_waits_for_the_end_of_the_window() -> None:
    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"), relays=())
        await visits(street, SITE, times=2, apart_s=QUICK_S)
        assert street.added == [(SITE, ""), (CONTROL, "")], "it leaves a residue"
        await asyncio.sleep(150)
        assert len(street.added) == 2
        await asyncio.sleep(50)
        assert street.added[2:] == [(SITE, "tlsrec")]
        await asyncio.sleep(LATER_S)
        assert len(street.added) == 3, "it has begun a window"
        await visits(street, SITE, times=1, apart_s=LATER_S)
        assert street.added[3:] == [(SITE, "tlsrec|split"), (SITE, "")]
        await asyncio.sleep(LATER_S)
        assert await street.visit(SITE) == Route((), ("tlsrec", "split"))
        await cancel_all()

    run(story())


def test_alone_a_search_that_a_visit_comes_before_waits_anew_and_is_not_counted() -> None:
    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"), relays=())
        await visits(street, SITE, times=2, apart_s=QUICK_S)
        before, now = len(street.added), street.now()
        calm_at = street.beliefs.struck_until(SITE, [], Protocol.TLS, network=HOME, now=now)
        await asyncio.sleep(calm_at - now - 0.06)
        await street.try_visit(SITE)  # its hello is under way when the search begins
        assert len(street.added) == before
        await asyncio.sleep(LATER_S)
        assert street.added[before:] == [(SITE, "tlsrec")]
        assert len(street.beliefs._state.searches[HOME, SITE]) == len(street.beliefs._state.searched[HOME]) == 1
        await cancel_all()

    run(story())


def test_alone_a_visit_that_fails_after_the_strategy_was_answered_is_the_credit() -> None:
    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"), relays=())
        await visits(street, SITE, times=2, apart_s=240)
        await street.try_visit(SITE)
        now = street.now()
        await asyncio.sleep(street.beliefs.struck_until(SITE, [], Protocol.TLS, network=HOME, now=now) - now + 0.5)
        assert street.added[-1] == (SITE, "tlsrec|split")
        assert await street.try_visit(SITE) is None
        await asyncio.sleep(OVER_S)
        assert street.added[-1] == (SITE, "tlsrec|split"), "plain direct is not sent in the window"
        assert last_good(street, SITE) == "direct|tlsrec|split"
        await cancel_all()

    run(story())


def test_alone_a_visit_that_may_not_connect_in_the_window_brings_a_search_after_it() -> None:
    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="syn"), relays=())
        await visits(street, SITE, times=2, apart_s=240)
        tried = [(SITE, "tlsrec")]
        assert street.added == tried, "the question about residue was refused"
        assert street.struck[-1] == (SITE, False)
        assert await street.try_visit(SITE) is None
        assert street.struck[-1] == (SITE, True), "the trial has begun a window"
        await asyncio.sleep(LATER_S)
        assert street.added[len(tried) :] == [(SITE, "tlsrec|split"), (SITE, "")]
        await cancel_all()

    run(story())


def test_alone_no_visit_that_may_not_connect_outside_of_a_window_brings_one() -> None:
    async def story() -> None:
        street = Street(STRICT, relays=())
        await visits(street, SITE, times=2, apart_s=LATER_S)
        before = len(street.added)
        street.down_direct = DialError("refused", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
        await visits(street, SITE, times=6, apart_s=LATER_S)
        assert len(street.added) == before
        await cancel_all()

    run(story())


def test_alone_a_site_that_failed_goes_first_by_what_passes_for_another_one() -> None:
    """Else plain direct would begin the window in which that strategy fails."""

    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"), relays=())
        await visits(street, SITE, times=4, apart_s=240)
        assert last_good(street, SITE) == "direct|tlsrec|split"
        assert await street.try_visit(SECOND) is None, "nothing is known of it"
        assert street.beliefs.lookup(SECOND, network=HOME, now=street.now()).state is State.UNKNOWN
        await asyncio.sleep(LATER_S)
        street.hellos.clear()
        assert await street.visit(SECOND) == Route((), ("tlsrec", "split"))
        await asyncio.sleep(OVER_S)
        assert street.sent_over(SECOND) == ["tlsrec|split", "tlsrec|split", ""], "and then it is shown"
        assert street.beliefs.lookup(SECOND, network=HOME, now=street.now()).state is State.SUSPECT
        await cancel_all()

    run(story())


def test_alone_a_site_that_works_again_ends_all_of_it() -> None:
    async def story() -> None:
        street = Street(replace(BY_PACKET, residual="flight"), relays=())
        await visits(street, SITE, times=4, apart_s=240)
        assert last_good(street, SITE)
        await visits(street, SECOND, times=1, apart_s=LATER_S)
        street.censor = None
        await visits(street, SECOND, times=1, apart_s=OVER_S)
        assert await street.visit(SECOND) == DIRECT, "beside the visit plain direct was answered"
        await cancel_all()

    run(story())


def test_alone_what_passes_no_more_is_left_for_what_does() -> None:
    async def story() -> None:
        street = Street(BY_PACKET, relays=())
        await visits(street, SITE, times=2, apart_s=OVER_S)
        assert last_good(street, SITE) == "direct|tlsrec|split"
        street.censor = STRICT
        await visits(street, SITE, times=4, apart_s=1800)
        assert last_good(street, SITE) == "direct|tlsrec-by-4"
        assert await street.visit(SITE) == Route((), ("tlsrec-by-4",))
        await cancel_all()

    run(story())


@each_row("how", ["no re-tests", "a private host"])
def test_alone_where_nothing_is_sent_of_our_own_accord(how: str) -> None:
    async def story() -> None:
        is_off = how == "no re-tests"
        private = frozenset[str]() if is_off else frozenset({SITE})
        street = Street(STRICT, auto=Auto(retest=not is_off), private=private, relays=())
        await visits(street, SITE, times=4, apart_s=OVER_S)
        assert street.added == []
        await cancel_all()

    run(story())


def test_beside_relays_that_fail_themselves_it_goes_on_as_alone() -> None:
    async def story() -> None:
        street = Street(STRICT, down_relays=DialError("down", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN))
        await visits(street, SITE, times=3, apart_s=OVER_S)
        assert last_good(street, SITE) == "direct|tlsrec-by-4"
        await cancel_all()

    run(story())


def test_where_a_relay_does_not_reach_the_site_either_nothing_is_tried() -> None:
    async def story() -> None:
        refused = DialError("the relay says: host unreachable", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
        street = Street(STRICT, down_relays=refused)
        await visits(street, SITE, times=6, apart_s=OVER_S)
        assert street.added == []
        await cancel_all()

    run(story())


def _of_the_site(name: str, _at: str) -> Fault:
    return "silent" if name == SITE else ""


def _resets_the_site(name: str, _at: str) -> Fault:
    return "reset" if name == SITE else ""


def _down(_name: str, at: str) -> Fault:
    return "silent" if at == SITE else ""


def _three_of_ten(luck: random.Random) -> Callable[[str, str], Fault]:
    return lambda name, _at: "reset" if name == SITE and luck.random() < 0.3 else ""


ALL_TRIED = 8
"""Strategies for TLS."""
HOURS = 23

TWINS: dict[str, tuple[Callable[[str, str], Fault], str, int, int]] = {
    # the server; who delivers beside it; most strategies in a day, and most hellos in all
    "a router by SNI whose backend is gone": (_of_the_site, "other.test", ALL_TRIED, 2 * ALL_TRIED),
    "one that resets": (_resets_the_site, "other.test", ALL_TRIED, 2 * ALL_TRIED),
    # By the hour: the question about residue, with plain direct before it, and the name before each search.
    "a server that is down": (_down, "other.test", 0, 4 * HOURS),
    "the network is down": (lambda _name, _at: "silent", "", 0, 4 * HOURS),
    "something resets everything": (lambda _name, _at: "reset", "", 0, 4 * HOURS),
}


@each_row("name", TWINS)
def test_alone_a_site_that_is_down_for_everybody_is_sent_little_and_nothing_is_learned(name: str) -> None:
    server, beside, strategies, hellos = TWINS[name]

    async def story() -> None:
        street = Street(None, relays=(), server=server)
        assert await visits(street, SITE, times=HOURS * 6, apart_s=600, beside=beside) == []
        assert sum(bool(strategy) for _, strategy in street.added) <= strategies, street.added
        assert len(street.added) <= hellos, street.added
        about = street.beliefs.about(SITE, network=HOME, now=street.now())
        assert (about.belief.state, about.rungs) == (State.UNKNOWN, ())
        assert street.beliefs.about(SECOND, network=HOME, now=street.now()).rungs == ()
        street.server = lambda _name, _at: ""
        assert await street.visit(SITE) == DIRECT
        await cancel_all()

    run(story())


@each_row("seed", range(5))
def test_alone_a_server_that_resets_three_of_ten_is_not_believed_blocked(seed: int) -> None:
    async def story() -> None:
        street = Street(None, seed, relays=(), server=_three_of_ten(random.Random(seed)))
        await visits(street, SITE, times=24 * 6, apart_s=600)
        searched = [strategy for _, strategy in street.added if strategy]
        assert len(searched) <= 2 * 24 * TRIED_MAX
        street.server = lambda _name, _at: ""
        await visits(street, SITE, times=8, apart_s=1800)
        assert await street.visit(SITE) == DIRECT
        await cancel_all()

    run(story())


def test_alone_a_server_that_rejects_cut_hellos_and_resets_for_a_while_is_left_alone() -> None:
    async def story() -> None:
        street = Street(None, relays=(), strict=frozenset({SITE}), server=_resets_the_site)
        await visits(street, SITE, times=6, apart_s=OVER_S)
        street.server = lambda _name, _at: ""
        before = len(street.added)
        assert await street.visit(SITE) == DIRECT
        await asyncio.sleep(LATER_S)
        assert await street.visit(SITE) == DIRECT
        assert len(street.added) == before
        assert street.beliefs.about(SECOND, network=HOME, now=street.now()).rungs == ()
        await cancel_all()

    run(story())


@each_row("how", ["a portal", "no network"])
def test_alone_on_a_network_that_is_at_fault_nothing_is_tried(how: str) -> None:
    async def story() -> None:
        street = Street(None, relays=(), server=lambda _name, _at: "reset")
        await visits(street, SITE, times=1, apart_s=OVER_S, beside="")
        if how == "a portal":
            answered = ControlAnswered(CONTROL, ConnectivityResult.PORTAL, started=street.now())
            street.beliefs.learn(answered, network=HOME, now=street.now())
        else:
            offline = outcome(Attempt(DIRECT, Stage.CONNECT, Symptom.OFFLINE), host=SECOND, at=street.now())
            street.beliefs.learn(offline, network=HOME, now=street.now())
        await visits(street, SITE, times=6, apart_s=OVER_S, beside="")
        assert street.added == []
        await cancel_all()

    run(story())


# -- sites whose transfers freeze --------------------------------------------------------------------------------------

VPS = Route(("vps",))
TLSREC, BOTH, SPLIT = (Route((), wrap) for wrap in (("tlsrec",), ("tlsrec", "split"), ("split",)))
WHOLE = 64 * 1024
FREEZES_S = 10.0


class Freezing(Street):
    """A street of which SITE is blocked since its transfers freeze. Each route brings so many bytes of its page."""

    def __init__(self, brings: Mapping[Route, int], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(None)
        self.brings = {VPS: WHOLE, **brings}
        self.asked: list[Route] = []
        """The routes over which the page was requested."""
        self._dialers: list[tuple[object, Route]] = []
        monkeypatch.setattr("proxy.probe.ladder_search.measure_throughput", self._haul)

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> Any:
        made = super().dialer(route, avoid_residual=avoid_residual)
        self._dialers.append((made, route))
        return made

    async def _haul(
        self, dialer: object, to: Destination, host: str, protocol: Protocol, *, enough: int, within_s: float
    ) -> int:
        assert (to.host, host, protocol, enough, within_s) == (SITE, SITE, Protocol.TLS, WHOLE, FREEZES_S)
        route = next(route for made, route in self._dialers if made is dialer)
        self.asked.append(route)
        count = self.brings.get(route, 0)
        await asyncio.sleep(0.5 if count else within_s)
        return count

    async def freeze(self, *, by_name: bool = True) -> None:
        where = f"{self.known(SITE)[0]}:443"
        spoiled = replace(delivered(), symptom=Symptom.FROZEN, address=where)
        for _ in range(2):
            await asyncio.sleep(61)
            self.beliefs.learn(outcome(spoiled, host=SITE, at=self.now()), network=HOME, now=self.now())
            self.beliefs.learn(Carried(SITE, VPS, WHOLE), network=HOME, now=self.now())
        assert self.beliefs.lookup(SITE, network=HOME, now=self.now()).state is State.BLOCKED
        if by_name:
            self.beliefs.learn(Carried(WORKING, DIRECT, WHOLE, address=where), network=HOME, now=self.now())


FROZEN: dict[str, tuple[dict[Route, int], list[Route], str, tuple[Route, ...]]] = {
    # bytes of the page by each route → the routes that are asked for it, the one taken next, and those that fail
    "one passes": ({BOTH: WHOLE}, [TLSREC, VPS, BOTH, DIRECT], "direct|tlsrec|split", (TLSREC,)),
    "the simplest passes": ({TLSREC: WHOLE}, [TLSREC, DIRECT], "direct|tlsrec", ()),
    "all of a small page": ({VPS: 40_000, TLSREC: 37_000}, [TLSREC, VPS, DIRECT], "direct|tlsrec", ()),
    "less of it": ({VPS: 40_000, TLSREC: 34_000}, [TLSREC, VPS, BOTH, SPLIT], "vps", (TLSREC, BOTH, SPLIT)),
    "answers, and freezes": ({}, [TLSREC, VPS, BOTH, SPLIT], "vps", (TLSREC, BOTH, SPLIT)),
    "too little to tell": ({VPS: 20_000, TLSREC: 20_000}, [TLSREC, VPS], "vps", ()),
    "the relay fails": ({VPS: 0}, [TLSREC, VPS], "vps", ()),
    "plain direct, too": ({TLSREC: WHOLE, DIRECT: WHOLE}, [TLSREC, DIRECT], "vps", ()),
}


@each_row("name", FROZEN)
def test_against_a_freeze_a_strategy_passes_that_carries_more_than_a_frozen_connection(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    brings, asked, taken, failed = FROZEN[name]

    async def story() -> None:
        street = Freezing(brings, monkeypatch)
        await street.freeze()
        assert (await street.visit(SITE)).relays
        await asyncio.sleep(LATER_S)
        held = street.beliefs.lookup(SITE, network=HOME, now=street.now())
        assert (street.asked, held.last_good, held.rungs_failed) == (asked, taken, tuple(map(str, failed)))
        assert held.successes == (brings.get(DIRECT) == WHOLE), "as of a re-test"
        assert street.hellos == [], "an answer shows nothing: no hello of the visit is sent again"
        await cancel_all()

    run(story())


def test_a_freeze_of_the_whole_address_brings_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        street = Freezing({TLSREC: WHOLE}, monkeypatch)
        await street.freeze(by_name=False)
        for _ in range(3):
            assert (await street.visit(SITE)).relays
            await asyncio.sleep(OVER_S)
        assert street.asked == []
        await cancel_all()

    run(story())


def test_the_next_visit_goes_by_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        street = Freezing({TLSREC: WHOLE}, monkeypatch)
        await street.freeze()
        await street.visit(SITE)
        await asyncio.sleep(OVER_S)
        assert await street.visit(SITE) == TLSREC
        await cancel_all()

    run(story())


def test_an_answer_is_no_credit_where_the_site_was_found_to_freeze_meanwhile() -> None:
    async def story() -> None:
        street = Street(BY_PACKET)
        await suspect(street, SITE)
        await street.visit(SITE)
        froze = Signal(SignalId.FROZEN, 8.0, Cause.FROZEN, street.now())
        found = BlockMeasured(SITE, froze, VPS, Protocol.TLS, "", "it froze")
        street.beliefs.learn(found, network=HOME, now=street.now())
        assert street.beliefs.lookup(SITE, network=HOME, now=street.now()).cause == Cause.FROZEN
        await asyncio.sleep(OVER_S)
        held = street.beliefs.lookup(SITE, network=HOME, now=street.now())
        assert (street.sent_over(SITE), held.last_good, held.rungs_failed) == (["tlsrec"], "vps", ())
        await cancel_all()

    run(story())
