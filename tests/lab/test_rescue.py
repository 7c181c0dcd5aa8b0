"""A real Byway and a censor of each kind: what one sees who opens a blocked site, once, again, and after the block.

The scenario table says by which way a page has to come, and what is believed; here the log, the ledger and `site show`
tell why. Byway has no local means, so each way of blocking leads to the relay. All stories are lived at once, in one
country, before the first test; the tests then look at what was seen. Nothing here asserts a length of time: what a
rescue waited for shows in the order of the attempts and in the kernel's own numbers. Where the oracle has to see it,
the timers that would hide its blindness are set out of reach; where a failure has to, so is the oracle, which would
call a reset that comes late on a busy machine a drop. `python -m tests.lab.run` measures the waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab import places, rules
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import NO_HEDGE, RELAY, Country, Running, Site
from tests.lab.links import PERFECT
from tests.lab.scenarios import Scenario
from tests.lab.sockets import listener
from tests.support import programs
from tests.support.client import Fetched
from tests.support.streams import listening
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

Row = dict[str, Any]

AT_ONCE = "control_after_s = 0.05\ncontrol_interval_s = 0.05\n"
RETESTS = f"""{AT_ONCE}
retest_suspect_s = 0.5
retest_blocked_s = [0.5, 0.5, 0.5]
retest_jitter = 0
retest_pair_s = 1
retest_per_hour = 10000
"""
AT_FAILURE = f"{RETESTS}{NO_HEDGE}"
BY_KERNEL = f"""{RETESTS}
hedge_silent_s = 3600
hedge_blind_s = 3600
hedge_relay_s = 3600
hedge_syn_s = 3
dropped_s = 0.5
dropped_rtos = 1
syn_s = 4
"""
"""No silence hedges here: only the kernel's word, a failure, or a SYN without an answer."""
BY_CLOCK = f"""{RETESTS}
hedge_silent_s = 1.5
hedge_silent_rtts = 0
hedge_relay_s = 3600
silent_s = 10
"""
"""Silence hedges, once the kernel says that the flight was acknowledged."""
SOON_BLOCKED = f"""{AT_ONCE}{NO_HEDGE}
signal_interval_s = 0.05
episode_gap_s = 0.05
retest_suspect_s = 0.1
retest_blocked_s = [0.1]
retest_success_s = 0.1
retest_apart_s = 0.05
retest_successes = 2
retest_jitter = 0
retest_per_hour = 10000
"""
NO_BLOCK_ENDS = f"{AT_ONCE}{NO_HEDGE}retest_suspect_s = 3600\n"
RULES = "DOMAIN-SUFFIX,left-alone.test,DIRECT\nMATCH,AUTO\n"
_BETWEEN_VISITS_S = 0.05


@dataclass(frozen=True)
class Case:
    """One row of the scenario table, and what the log and the belief have to say of it."""

    row: str
    stage: str
    symptoms: tuple[str, ...]
    signal: str
    scheme: str = "https"
    name: str = ""

    @property
    def scenario(self) -> Scenario:
        return BY_NAME[self.row]

    @property
    def host(self) -> str:
        return f"{self.name or self.row}.test"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{':80' if self.scheme == 'tunnel' else ''}/"


BY_FAILURE = [
    Case("sni-reset-records", "first_byte", ("reset",), "tls_reset"),
    Case("sni-eof", "first_byte", ("eof",), "tls_eof"),
    Case("sni-garbage", "first_byte", ("garbage",), "tls_garbage"),
    Case("sni-alert", "first_byte", ("alert",), "tls_alert"),
    Case("syn-reset", "connect", ("refused",), "tcp_refused"),
    Case("http-reset", "first_byte", ("reset",), "http_reset", "http"),
    Case("http-reset", "first_byte", ("reset",), "http_reset", "tunnel", "http-in-tunnel"),
    Case("dns-nxdomain", "resolve", ("no_name", "resolve_failed"), "dns_failed"),
]
DROPPED = [
    Case("sni-drop-records", "first_byte", ("dropped",), "tls_dropped"),
    Case("http-drop", "first_byte", ("dropped",), "http_dropped", "http"),
]
SILENT = [
    Case("sni-silence", "first_byte", ("silent",), "tls_silent"),
    Case("http-silence", "first_byte", ("silent",), "http_silent", "http"),
]
UNANSWERED = [Case("address-drop", "connect", ("timeout",), "tcp_timeout")]
CASES = [*BY_FAILURE, *DROPPED, *SILENT, *UNANSWERED]

RESET = ("first_byte", ("reset",), "tls_reset")
ALONE = Case("sni-reset-records", *RESET, name="reset.left-alone")
ALONE_HTTP = Case("http-reset", "first_byte", ("reset",), "http_reset", "http", "http.left-alone")
BLOCKED = Case("sni-reset-records", *RESET, name="blocked")
DOWN = Case("sni-reset-records", *RESET, name="down")
GONE = Case("syn-reset", "connect", ("refused",), "http_refused", "http", "gone")
CROWD = Case("sni-reset-records", *RESET, name="crowd")
LONE = Case("sni-reset-records", *RESET, name="lone")
TURNED = Case("sni-drop-records", "first_byte", ("dropped",), "tls_dropped", name="turned")
OTHERS = (ALONE, ALONE_HTTP, BLOCKED, DOWN, GONE, CROWD, LONE)
SLOW, SLOWER = "slow.test", "slower.test"


@dataclass
class Story:
    """What was seen of one name."""

    fetched: list[Fetched] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)  # the belief, each time it was asked for
    shown: str = ""  # what `byway site show` printed
    peers: list[str] = field(default_factory=list)  # from where the site was asked
    ledger: list[tuple[str, str]] = field(default_factory=list)  # changes of state, the oldest first
    after_restart: int = 0  # the first row of the second Byway


@dataclass
class World:
    """One country with all its Byways, while the stories happen."""

    country: Country
    sites: dict[str, Site]  # by host
    in_force: dict[str, Sequence[rules.Rule]]  # by host
    at_failure: Running
    by_kernel: Running
    by_clock: Running
    soon_blocked: Running
    unwitnessed: Running  # soon blocked too, but nobody else is ever seen to work
    unreached: set[str] = field(default_factory=set)  # hosts that the relay cannot reach

    def lift(self, case: Case) -> None:
        self.country.rules.remove(*self.in_force[case.host])

    async def rescued(self, case: Case) -> tuple[Story]:
        """One visit, one more, what is said of it, the end of the block, the way back, and a last visit."""
        byway = self.at_failure if case in BY_FAILURE else self.by_clock if case in SILENT else self.by_kernel
        story = Story()
        story.fetched = [await byway.get(case.url), await byway.get(case.url)]
        story.rows = await byway.rows(case.host, 2)
        await byway.until_counted(case.host)
        story.shown = (await byway.command("site", "show", case.host)).stdout
        story.held.append(await byway.belief(case.host))
        self.lift(case)
        story.fetched += await visit_until(byway, case, "works")
        story.fetched.append(await byway.get(case.url))
        story.rows.append((await byway.rows(case.host, len(story.fetched)))[-1])
        story.ledger = await byway.ledger(case.host)
        return (story,)

    async def left_alone(self, case: Case) -> tuple[Story]:
        """The control: the same censor, and a rule that forbids every rescue."""
        story, byway = Story(), self.at_failure
        with contextlib.suppress(OSError, EOFError):
            story.fetched.append(await byway.get(case.url))
        story.rows = await byway.rows(case.host, 1)

        async def is_told() -> bool:
            """Whether another site has been reached direct meanwhile: the failure is not the network's then."""
            story.held = [await byway.belief(case.host)]
            return bool(story.held[0]["words"] != "not tested")

        await until_read(is_told)
        return (story,)

    async def crowd(self) -> tuple[Story]:
        """A page whose six connections are all reset."""
        story, byway = Story(), self.at_failure
        story.fetched = await asyncio.gather(*(byway.get(CROWD.url) for _ in range(6)))
        story.rows = await byway.rows(CROWD.host, 6)
        await byway.until_counted(CROWD.host)
        story.held.append(await byway.belief(CROWD.host))
        return (story,)

    async def lone(self) -> tuple[Story]:
        """A site that fails again and again, at visits and in re-tests, where nothing else is visited."""
        story, byway = Story(), self.unwitnessed
        for visit in range(1, 7):
            story.fetched.append(await byway.get(LONE.url))
            story.rows = await byway.rows(LONE.host, visit)
            story.held.append(await byway.belief(LONE.host))
            await asyncio.sleep(max(0.0, (story.held[-1]["retest_at"] or 0.0) - time.time()))
        story.ledger = await byway.ledger(LONE.host)
        return (story,)

    async def turned(self) -> tuple[Story]:
        """A site that works, is blocked the next minute, and is free again when its relay has gone."""
        story, byway = Story(), self.by_clock
        (censor,) = TURNED.scenario.arrange(self.country, [self.sites[TURNED.host]])
        for number in range(3):
            if number == 1:
                self.country.rules.add(censor)
            if number == 2:
                self.country.rules.remove(censor)
                self.unreached.add(TURNED.host)
            story.fetched.append(await byway.get(TURNED.url))
            story.rows = await byway.rows(TURNED.host, number + 1)
            story.held.append(await byway.belief(TURNED.host))
        return (story,)

    async def blocked_and_down(self) -> tuple[Story, Story, Story]:
        """Two that are down everywhere and one that is blocked; a restart in between; then all come back."""
        blocked, byway = Story(), self.soon_blocked
        downs = {case: Story() for case in (DOWN, GONE)}
        for case, story in downs.items():
            self.unreached.add(case.host)
            for _ in range(4):
                with contextlib.suppress(OSError, EOFError):
                    story.fetched.append(await byway.get(case.url))
            story.held.append(await byway.belief(case.host))
        blocked.fetched = await visit_until(byway, BLOCKED, "blocked")
        blocked.held.append(await byway.belief(BLOCKED.host))
        blocked.rows = await byway.rows(BLOCKED.host, len(blocked.fetched))
        blocked.after_restart = len(blocked.rows)

        assert await byway.stop() == 0
        await byway.start()
        blocked.held.append(await byway.belief(BLOCKED.host))
        blocked.fetched.append(await byway.get(BLOCKED.url))
        for case, story in downs.items():
            story.held.append(await byway.belief(case.host))
            self.unreached.discard(case.host)
            self.lift(case)
            story.fetched.append(await byway.get(case.url))
            story.rows = await byway.rows(case.host, 5)
            story.held.append(await byway.belief(case.host))
            story.peers = self.country.origins.peers(case.host)
            story.ledger = await byway.ledger(case.host)
        self.lift(BLOCKED)
        blocked.fetched += await visit_until(byway, BLOCKED, "works")
        blocked.held.append(await byway.belief(BLOCKED.host))
        blocked.fetched.append(await byway.get(BLOCKED.url))
        blocked.rows = await byway.rows(BLOCKED.host, len(blocked.fetched))
        blocked.ledger = await byway.ledger(BLOCKED.host)
        return blocked, downs[DOWN], downs[GONE]

    async def slow(self, host: str, *, relay_first: bool) -> tuple[Story]:
        """A site that answers nobody before both routes have asked; then one, and after that the other."""
        story, byway, site = Story(), self.by_clock, SlowSite()
        where = (self.sites[host].address, 8080)
        async with listening(site.serve, sock=listener(self.country.net.socket, where)):
            url = f"http://{host}:8080/"
            visited, _ = await asyncio.gather(byway.get(url), site.answer_one_of_both(relay=relay_first))
            story.fetched.append(visited)
            site.may_answer[not relay_first].set()
            await byway.rows(host, 1)
            story.held.append(await byway.belief(host))
            story.fetched.append(await byway.get(url))
            story.rows = await byway.rows(host, 2)
        story.ledger = await byway.ledger(host)
        return (story,)


class SlowSite:
    """A site that answers when it is told to, so that slowness needs no waiting; direct and by the relay apart."""

    def __init__(self) -> None:
        self._asked = {is_relay: asyncio.Event() for is_relay in (True, False)}
        self.may_answer = {is_relay: asyncio.Event() for is_relay in (True, False)}

    async def answer_one_of_both(self, *, relay: bool) -> None:
        """Waits until both ways have been tried, and answers the one."""
        async with asyncio.timeout(20):
            await asyncio.gather(*(asked.wait() for asked in self._asked.values()))
        self.may_answer[relay].set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_relay = writer.get_extra_info("peername")[0] == places.SOCKS_RELAY
        await reader.readuntil(b"\r\n\r\n")
        self._asked[is_relay].set()
        await self.may_answer[is_relay].wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nslow\n")
        await writer.drain()


async def visit_until(byway: Running, case: Case, state: str) -> list[Fetched]:
    """Visits, whenever a re-test is due, until the site is in `state`; returns every answer that the user had."""
    answers: list[Fetched] = []

    async def visited() -> bool:
        held = await byway.belief(case.host)
        if held["state"] == state:
            return True
        await asyncio.sleep(max(_BETWEEN_VISITS_S, (held["retest_at"] or 0.0) - time.time()))
        answers.append(await byway.get(case.url))
        return False

    await until_read(visited)
    return answers


def settings(country: Country, detect: str, *, witness: bool = True) -> str:
    """Returns the configuration of a Byway whose only other way is the relay; without a `witness`, no control page
    answers."""
    controls = None if witness else [f"http://{next(iter(places.CONTROLS))}:9/"]
    return country.config(detect=detect, auto="ladder = []", servers=(), controls=controls)


async def live(folder: Path) -> dict[str, Story | Exception]:
    """Every story at once, by its host; an Exception is one that broke off."""
    async with Country(folder, link=PERFECT) as country:
        sites = {host: country.add_site(host) for host in (*(c.host for c in (*CASES, *OTHERS, TURNED)), SLOW, SLOWER)}
        in_force = {c.host: c.scenario.arrange(country, [sites[c.host]]) for c in (*CASES, *OTHERS)}
        country.rules.set(in_force.values())
        at_failure = country.byway(folder / "failure", config=settings(country, AT_FAILURE), rules=RULES)
        by_kernel = country.byway(folder / "kernel", config=settings(country, BY_KERNEL))
        by_clock = country.byway(folder / "clock", config=settings(country, BY_CLOCK))
        soon_blocked = country.byway(folder / "blocked", config=settings(country, SOON_BLOCKED))
        unwitnessed = country.byway(folder / "lone", config=settings(country, SOON_BLOCKED, witness=False))
        byways = (at_failure, by_kernel, by_clock, soon_blocked, unwitnessed)
        async with at_failure, by_kernel, by_clock, soon_blocked, unwitnessed:
            world = World(country, sites, in_force, *byways)
            country.relay.refuses = lambda host: host in world.unreached

            async def lived(told: Coroutine[Any, Any, tuple[Story, ...]], *hosts: str) -> dict[str, Story | Exception]:
                try:
                    return dict(zip(hosts, await told, strict=True))
                except Exception as error:
                    error.add_note("\n".join(byway.report() for byway in byways))
                    return dict.fromkeys(hosts, error)

            stories = await asyncio.gather(
                *(lived(world.rescued(case), case.host) for case in CASES),
                *(lived(world.left_alone(case), case.host) for case in (ALONE, ALONE_HTTP)),
                *(lived(world.slow(host, relay_first=host == SLOWER), host) for host in (SLOW, SLOWER)),
                lived(world.crowd(), CROWD.host),
                lived(world.turned(), TURNED.host),
                lived(world.lone(), LONE.host),
                lived(world.blocked_and_down(), BLOCKED.host, DOWN.host, GONE.host),
            )
            return {host: story for told in stories for host, story in told.items()}


Tell = Callable[[str], Story]


@pytest.fixture(scope="module")
def tell() -> Tell:
    with tempfile.TemporaryDirectory(prefix="byway-rescue-") as folder:
        stories = asyncio.run(live(Path(folder)))

    def tell(host: str) -> Story:
        story = stories[host]
        if isinstance(story, Exception):
            raise story
        return story

    return tell


def came_from(page: Fetched) -> str:
    """Returns the address that asked the site for this page, as the page says."""
    return page.body.decode().rpartition(" says hello to ")[2].strip()


def by_host(case: Case) -> str:
    return case.host.removesuffix(".test")


def routes(row: Row) -> list[tuple[str, str]]:
    """What was tried; but for what there was nothing to try with: where an address is blocked, one of the other family
    would do, and here no name has any."""
    return [(tried["route"], tried["stage"]) for tried in row["attempts"] if tried["symptom"] != "skipped"]


def went_direct(row: Row) -> bool:
    """Whether direct was tried first and won: a busy machine may take long enough to call the relay too."""
    return row["winner"] == "direct" and routes(row)[0] == ("direct", "done")


@pytest.mark.parametrize("case", CASES, ids=by_host)
def test_the_first_visit_is_rescued_by_itself(case: Case, tell: Tell) -> None:
    story = tell(case.host)
    first, row = story.fetched[0], story.rows[0]
    assert (first.status, came_from(first)) == (200, places.SOCKS_RELAY)
    assert (row["action"], row["winner"], row["error"]) == ("AUTO", RELAY, "")
    direct, relay = row["attempts"]
    assert (direct["route"], direct["stage"]) == ("direct", case.stage)
    assert direct["symptom"] in case.symptoms
    assert (relay["route"], relay["stage"], relay["symptom"]) == (RELAY, "done", "")


@pytest.mark.parametrize("case", BY_FAILURE, ids=by_host)
def test_a_failure_is_left_as_soon_as_it_is_one(case: Case, tell: Tell) -> None:
    """The relay was not asked before direct had failed."""
    direct, relay = tell(case.host).rows[0]["attempts"]
    assert relay["started_s"] >= direct["started_s"] + direct["elapsed_s"] - 0.0002  # each is rounded
    assert direct["error"]


@pytest.mark.parametrize("case", DROPPED, ids=by_host)
def test_a_dropped_flight_is_seen_by_the_kernel(case: Case, tell: Tell) -> None:
    """Every timer that knows of silence was an hour away, so it is the retransmissions that called the relay."""
    direct, relay = tell(case.host).rows[0]["attempts"]
    evidence = direct["evidence"]
    assert evidence["retransmits"] >= 2
    assert (evidence["unacked"] > 0, evidence["acknowledged"]) == (True, 0)
    assert direct["started_s"] < relay["started_s"] < direct["started_s"] + direct["elapsed_s"]


@pytest.mark.parametrize("case", SILENT, ids=by_host)
def test_silence_after_an_acknowledgement_is_told_from_a_drop(case: Case, tell: Tell) -> None:
    direct, relay = tell(case.host).rows[0]["attempts"]
    assert direct["evidence"]["acknowledged"] == 1  # after a retransmission too, where the acknowledgement was late
    assert direct["started_s"] < relay["started_s"] < direct["started_s"] + direct["elapsed_s"]


@pytest.mark.parametrize("case", UNANSWERED, ids=by_host)
def test_an_unanswered_syn_is_hedged_and_judged_later(case: Case, tell: Tell) -> None:
    direct, relay = tell(case.host).rows[0]["attempts"]
    assert direct["started_s"] < relay["started_s"] < direct["started_s"] + direct["elapsed_s"]
    assert direct["error"] == "the connection attempt was not answered"


@pytest.mark.parametrize("case", CASES, ids=by_host)
def test_the_second_visit_waits_for_nothing(case: Case, tell: Tell) -> None:
    story = tell(case.host)
    assert story.fetched[1].status == 200
    assert routes(story.rows[1]) == [(RELAY, "done")]
    assert "likely blocked: direct" in story.rows[1]["why"]
    assert came_from(story.fetched[1]) == places.SOCKS_RELAY


@pytest.mark.parametrize("case", CASES, ids=by_host)
def test_site_show_says_why(case: Case, tell: Tell) -> None:
    story = tell(case.host)
    held = story.held[0]
    assert (held["state"], held["cause"], held["last_good"]) == ("suspect", case.scenario.cause, RELAY)
    assert "likely blocked" in story.shown
    assert f"{RELAY} delivered ({case.signal}, weight" in story.shown
    assert "likely blocked, now\t" in story.shown
    assert f"\t{case.scenario.cause}: direct" in story.shown


@pytest.mark.parametrize("case", CASES, ids=by_host)
def test_after_the_censor_the_site_is_direct_again(case: Case, tell: Tell) -> None:
    story = tell(case.host)
    assert all(fetched.status == 200 for fetched in story.fetched)
    assert went_direct(story.rows[-1])
    assert came_from(story.fetched[-1]) == places.CLIENT
    assert story.ledger == [("unknown", "suspect"), ("suspect", "works")]


def test_six_resets_of_one_page_are_one_piece_of_evidence(tell: Tell) -> None:
    story = tell(CROWD.host)
    assert [fetched.status for fetched in story.fetched] == [200] * 6
    assert {row["winner"] for row in story.rows} == {RELAY}
    held = story.held[0]
    assert (held["state"], held["episodes"]) == ("suspect", 1)
    assert held["score"] == pytest.approx(2, abs=0.01)


def test_a_site_that_worked_until_now_is_rescued_too(tell: Tell) -> None:
    """And when the relay is lost, direct is still the last resort."""
    story = tell(TURNED.host)
    assert [fetched.status for fetched in story.fetched] == [200, 200, 200]
    assert went_direct(story.rows[0])
    assert routes(story.rows[1]) == [("direct", "first_byte"), (RELAY, "done")]
    assert routes(story.rows[2])[:2] == [(RELAY, "relay"), ("direct", "done")]  # and then the relay again
    assert story.rows[1]["attempts"][0]["symptom"] == "dropped"
    assert story.rows[2]["attempts"][0]["symptom"] == "relay_refused"
    assert [held["state"] for held in story.held[:2]] == ["works", "suspect"]
    assert [came_from(fetched) for fetched in story.fetched] == [places.CLIENT, places.SOCKS_RELAY, places.CLIENT]


@pytest.mark.parametrize("case", [ALONE, ALONE_HTTP], ids=by_host)
def test_control_what_may_not_be_rescued_fails(case: Case, tell: Tell) -> None:
    """The censor does bite: with a DIRECT rule nothing gets through, and nothing is learned without a comparison."""
    story = tell(case.host)
    assert [fetched.status for fetched in story.fetched] == ([502] if case.scheme == "http" else [])
    assert routes(story.rows[0]) == [("direct", "first_byte")]
    assert story.rows[0]["attempts"][0]["symptom"] == "reset"
    assert (story.held[0]["state"], story.held[0]["words"]) == ("unknown", "does not open")


def test_what_fails_again_beside_a_relay_that_works_is_blocked(tell: Tell) -> None:
    story = tell(BLOCKED.host)
    assert story.ledger[:2] == [("unknown", "suspect"), ("suspect", "blocked")]
    held = story.held[0]
    assert (held["state"], held["words"], held["cause"]) == ("blocked", "blocked", "sni_reset")
    assert held["episodes"] >= 2
    assert routes(story.rows[0]) == [("direct", "first_byte"), (RELAY, "done")]


def test_the_control_without_a_witness_nothing_counts(tell: Tell) -> None:
    """The same censor, and everything that blocks it above: but no other site is seen to work, so it may be the uplink.
    It is rescued all the same, and after the first visit without a wait."""
    story = tell(LONE.host)
    assert [fetched.status for fetched in story.fetched] == [200] * 6
    assert {(held["state"], held["score"], held["episodes"]) for held in story.held} == {("suspect", 0, 0)}
    assert "not counted until another site works" in story.held[0]["evidence"]
    assert [routes(row) for row in story.rows] == [
        [("direct", "first_byte"), (RELAY, "done")],
        *[[(RELAY, "done")]] * 5,
    ]
    assert story.ledger == [("unknown", "suspect")]


def test_a_block_is_remembered_over_a_restart(tell: Tell) -> None:
    story = tell(BLOCKED.host)
    assert story.held[1]["state"] == "blocked"
    assert story.held[1]["since"] == story.held[0]["since"]
    assert routes(story.rows[story.after_restart]) == [(RELAY, "done")]


def test_the_way_back_from_a_block_never_gambles_a_visit(tell: Tell) -> None:
    """Two re-tests in a row find the way free. Until then every visit goes through the relay, and then none does."""
    story = tell(BLOCKED.host)
    assert all(fetched.status == 200 for fetched in story.fetched)
    assert story.ledger == [("unknown", "suspect"), ("suspect", "blocked"), ("blocked", "works")]
    assert story.held[-1]["evidence"] == "direct delivered in a re-test, 2 times in a row"
    first, *later = [" then ".join(f"{route} {stage}" for route, stage in routes(row)) for row in story.rows]
    assert first == f"direct first_byte then {RELAY} done"
    assert list(dict.fromkeys(later)) == [f"{RELAY} done", "direct done"]
    assert later == sorted(later, key=[f"{RELAY} done", "direct done"].index)


@pytest.mark.parametrize("case", [DOWN, GONE], ids=by_host)
def test_a_site_that_is_down_everywhere_teaches_nothing(case: Case, tell: Tell) -> None:
    """However often it fails; and once it is up it is direct at the first visit."""
    story = tell(case.host)
    *failed, last = story.rows
    assert [row["winner"] for row in failed] == [None] * 4
    assert all([tried["route"] for tried in row["attempts"]] == ["direct", RELAY] for row in failed)
    assert all(row["attempts"][0]["symptom"] in case.symptoms for row in failed)
    assert [held["state"] for held in story.held] == ["down", "unknown", "works"]
    assert story.held[0]["words"] == "site down"
    assert story.ledger == []
    assert (story.fetched[-1].status, routes(last)) == (200, [("direct", "done")])
    assert story.peers == [places.CLIENT]


def test_a_slow_site_is_not_suspect(tell: Tell) -> None:
    """It answered direct, after the relay had been asked as well."""
    story = tell(SLOW)
    assert [fetched.status for fetched in story.fetched] == [200, 200]
    first, second = story.rows
    assert routes(first)[0] == ("direct", "done")
    assert [tried["route"] for tried in first["attempts"]] == ["direct", RELAY]
    assert first["winner"] == "direct"
    assert went_direct(second)
    assert (story.held[0]["state"], story.ledger) == ("works", [])


def test_a_site_that_is_slow_at_the_relay_too_is_cleared(tell: Tell) -> None:
    """The relay was first, and direct answered after all."""
    story = tell(SLOWER)
    assert [fetched.status for fetched in story.fetched] == [200, 200]
    first, second = story.rows
    assert routes(first) == [("direct", "done"), (RELAY, "done")]
    assert first["winner"] == RELAY
    assert (story.held[0]["state"], story.ledger) == ("works", [("unknown", "suspect"), ("suspect", "works")])
    assert went_direct(second)


@pytest.mark.slow
@pytest.mark.needs("ip")
async def test_what_is_learned_is_kept_and_never_crosses_networks(country: Country, tmp_path: Path) -> None:
    """Nor is it kept over a restart where there is no network to keep it for."""
    site = country.add_site("blog.test")
    country.rules.set([rules.SniReset(site.name)])
    known, unknown = [(RELAY, "done")], [("direct", "first_byte"), (RELAY, "done")]
    async with country.byway(tmp_path / "byway", config=settings(country, NO_BLOCK_ENDS)) as byway:
        visits: list[Row] = []

        async def visit() -> list[tuple[str, str]]:
            assert (await byway.get(site.url())).status == 200
            visits[:] = await byway.rows(site.name, len(visits) + 1)
            return routes(visits[-1])

        async def arrive(left: str) -> str:
            """Returns the network once it is another than `left`."""
            seen = [left]

            async def is_elsewhere() -> bool:
                seen.append(str((await byway.ask("/v1/status"))["network"]))
                return seen[-1] != left

            await until_read(is_elsewhere)
            return seen[-1]

        async def restart() -> None:
            assert await byway.stop() == 0
            await byway.start()

        home = await arrive(left="")
        assert home != "unknown"
        assert [await visit(), await visit()] == [unknown, known]

        country.change_network()
        cafe = await arrive(left=home)
        assert cafe != "unknown"
        assert (await byway.belief(site.name))["state"] == "unknown"
        assert [await visit(), await visit()] == [unknown, known]

        await restart()
        assert await arrive(left="") == cafe
        assert await visit() == known
        told = await byway.ask(f"/v1/sites/{site.name}")
        assert [(held["network"], held["state"]) for held in told["elsewhere"]] == [(home, "suspect")]

        for prefix in (places.PROVIDER, places.RELAYS, places.SITES, places.SERVICES):  # and no default route
            words = (programs.require("ip"), "route", "add", prefix, "via", country.router.ports["client"].gateways[0])
            assert await asyncio.to_thread(country.client.popen(words).wait) == 0
        country.router.ports["client"].unplug()
        assert await arrive(left=cafe) == "unknown"
        assert [await visit(), await visit()] == [unknown, known]
        await restart()
        assert await visit() == unknown, "what has no network is kept in memory only"

        country.come_home()
        assert await arrive(left="unknown") == home
        assert await visit() == known
