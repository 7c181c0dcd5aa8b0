"""A real Byway and a censor of each kind: what one sees who opens a blocked site, once, again, and after the block.

All stories are lived at once, in one event loop, before the first test; the tests then look at what was seen. Nothing
here asserts a length of time. What a rescue waited for shows in the order of the attempts and in the kernel's own
numbers: where the oracle has to see it, the timers that would hide its blindness are set out of reach. How long it took
is measured by tests/bench/rescue.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cases import BY_FAILURE, CASES, DROPPED, FULL, SILENT, Case
from tests.e2e.country import DEAD, RELAY, Country, Row, Running
from tests.e2e.slow import SlowSite
from tests.support import programs
from tests.support.censor import Behaviour
from tests.support.client import Fetched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: the censor is made of Linux socket filters")

ROOT = Path(__file__).parents[2]
RETESTS = """
retest_suspect_s = 0.5
retest_blocked_s = [0.5, 0.5, 0.5]
retest_jitter = 0
retest_pair_s = 1
retest_per_hour = 10000
"""
BY_KERNEL = f"""{RETESTS}
hedge_silent_s = 3600
hedge_blind_s = 3600
hedge_syn_s = 0.3
dropped_s = 0.5
dropped_rtos = 1
syn_s = 0.6
"""
"""No silence hedges here: only the kernel's word, a failure, or a SYN without an answer."""
BY_CLOCK = f"""{RETESTS}
hedge_silent_s = 0.3
hedge_silent_rtts = 0
silent_s = 2
"""
"""Silence hedges, once the kernel says that the flight was acknowledged."""
SOON_BLOCKED = """
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
RULES = "DOMAIN-SUFFIX,left-alone.test,DIRECT\nMATCH,AUTO\n"


UNRESOLVED = frozenset(case.name for case in CASES if case.stage == "resolve")

ALONE = Case("reset.left-alone", Behaviour.RESET, "first_byte", ("reset",), "tls_reset", "sni_reset")
ALONE_HTTP = Case("http.left-alone", Behaviour.RESET, "first_byte", ("reset",), "http_reset", "http_host", "http")
BLOCKED = Case("blocked", Behaviour.RESET, "first_byte", ("reset",), "tls_reset", "sni_reset")
DOWN = Case("down", Behaviour.RESET, "first_byte", ("reset",), "tls_reset", "sni_reset")
GONE = Case("gone", Behaviour.REFUSE, "connect", ("refused",), "http_refused", "ip", "http")
CROWD = Case("crowd", Behaviour.RESET, "first_byte", ("reset",), "tls_reset", "sni_reset")
LONE = Case("lone", Behaviour.RESET, "first_byte", ("reset",), "tls_reset", "sni_reset")
TURNED = Case("turned", Behaviour.PASS, "first_byte", ("dropped",), "tls_dropped", "sni_drop")
SLOW, SLOWER = "slow.test", "slower.test"
OTHERS = (ALONE, ALONE_HTTP, BLOCKED, DOWN, GONE, CROWD, LONE, TURNED)


@dataclass
class Story:
    """What was seen of one name."""

    fetched: list[Fetched] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    held: list[dict[str, Any]] = field(default_factory=list)  # the belief, each time it was asked for
    shown: str = ""  # what `byway site show` printed
    peers: list[str] = field(default_factory=list)  # from where the origin was asked
    ledger: list[tuple[str, str]] = field(default_factory=list)  # changes of state, the oldest first
    network: str = ""
    after_restart: int = 0  # the first row of the second Byway
    struck: int = 0  # how often the censor did


@dataclass
class World:
    """One country with all its Byways, while the stories happen."""

    country: Country
    by_kernel: Running
    by_clock: Running
    soon_blocked: Running
    unwitnessed: Running  # soon blocked too, but nobody else is ever seen to work

    async def rescued(self, case: Case) -> tuple[Story]:
        """One visit, one more, what is said of it, the end of the block, the way back, and a last visit."""
        byway = self.by_clock if case in SILENT else self.by_kernel
        url, story = case.url(self.country), Story()
        story.fetched = [await byway.get(url), await byway.get(url)]
        story.rows = await byway.rows(case.name, 2)
        story.peers = self.country.peers(case.name)
        await byway.until_counted(case.name)
        story.shown = (await byway.command("site", "show", case.name)).stdout
        story.held.append(await byway.belief(case.name))
        await self.lift(case)
        story.fetched += await byway.visit_until(url, case.name, "works")
        story.fetched.append(await byway.get(url))
        story.rows.append((await byway.rows(case.name, len(story.fetched)))[-1])
        story.peers.append(self.country.peers(case.name)[-1])
        story.ledger = await byway.ledger(case.name)
        return (story,)

    async def lift(self, case: Case) -> None:
        if case.name in UNRESOLVED:
            self.by_kernel.config.write_text(f"config_version = 1\n{self.country.config(BY_KERNEL)}")
        else:
            await self.country.censors[case.name].lift()

    async def left_alone(self, case: Case) -> tuple[Story]:
        """The control: the same censor, and a rule that forbids every rescue."""
        story, byway = Story(), self.by_kernel
        with contextlib.suppress(OSError, EOFError):
            story.fetched.append(await byway.get(case.url(self.country)))
        story.rows = await byway.rows(case.name, 1)
        story.peers = self.country.peers(case.name)
        story.held.append(await byway.belief(case.name))
        return (story,)

    async def crowd(self) -> tuple[Story]:
        """A page whose six connections are all reset."""
        story, byway = Story(), self.by_kernel
        story.fetched = await asyncio.gather(*(byway.get(CROWD.url(self.country)) for _ in range(6)))
        story.rows = await byway.rows(CROWD.name, 6)
        await byway.until_counted(CROWD.name)
        story.held.append(await byway.belief(CROWD.name))
        return (story,)

    async def lone(self) -> tuple[Story]:
        """A site that fails again and again, at visits and in re-tests, where nothing else is visited."""
        story, byway = Story(), self.unwitnessed
        for visit in range(1, 7):
            story.fetched.append(await byway.get(LONE.url(self.country)))
            story.rows = await byway.rows(LONE.name, visit)
            story.held.append(await byway.belief(LONE.name))
            await asyncio.sleep(max(0.0, (story.held[-1]["retest_at"] or 0.0) - time.time()))
        story.ledger, story.struck = await byway.ledger(LONE.name), self.country.censors[LONE.name].struck
        return (story,)

    async def turned(self) -> tuple[Story]:
        """A site that works, is blocked the next minute, and is free again when its relay has gone."""
        story, byway = Story(), self.by_clock
        for behaviour, led in (
            (Behaviour.PASS, self.country.origin.addresses[0]),
            (Behaviour.DROP, self.country.origin.addresses[0]),
            (Behaviour.PASS, DEAD),
        ):
            await self.country.censors[TURNED.name].set(behaviour)
            self.country.leads[TURNED.name] = led
            story.fetched.append(await byway.get(TURNED.url(self.country)))
            story.rows = await byway.rows(TURNED.name, len(story.fetched))
            story.held.append(await byway.belief(TURNED.name))
        story.peers = self.country.peers(TURNED.name)
        return (story,)

    async def blocked_and_down(self) -> tuple[Story, Story, Story]:
        """Two that are down everywhere and one that is blocked; a restart in between; then all come back."""
        blocked, byway, country = Story(), self.soon_blocked, self.country
        url = BLOCKED.url(country)
        blocked.network = (await byway.ask("/v1/status"))["network"]
        downs = {case: Story() for case in (DOWN, GONE)}
        for case, story in downs.items():
            country.leads[case.name] = DEAD
            for _ in range(4):
                with contextlib.suppress(OSError, EOFError):
                    story.fetched.append(await byway.get(case.url(country)))
            story.held.append(await byway.belief(case.name))
        blocked.fetched = await byway.visit_until(url, BLOCKED.name, "blocked")
        blocked.held.append(await byway.belief(BLOCKED.name))
        blocked.rows = await byway.rows(BLOCKED.name, len(blocked.fetched))
        blocked.after_restart = len(blocked.rows)

        assert await byway.stop() == 0
        await byway.start()
        blocked.held.append(await byway.belief(BLOCKED.name))
        blocked.fetched.append(await byway.get(url))
        for case, story in downs.items():
            story.held.append(await byway.belief(case.name))
            country.leads[case.name] = country.origin.addresses[0]
            await country.censors[case.name].lift()
            story.fetched.append(await byway.get(case.url(country)))
            story.rows = await byway.rows(case.name, 5)
            story.held.append(await byway.belief(case.name))
            story.peers, story.ledger = country.peers(case.name), await byway.ledger(case.name)
        await country.censors[BLOCKED.name].lift()
        blocked.fetched += await byway.visit_until(url, BLOCKED.name, "works")
        blocked.held.append(await byway.belief(BLOCKED.name))
        blocked.fetched.append(await byway.get(url))
        blocked.rows = await byway.rows(BLOCKED.name, len(blocked.fetched))
        blocked.peers, blocked.ledger = country.peers(BLOCKED.name), await byway.ledger(BLOCKED.name)
        return blocked, downs[DOWN], downs[GONE]

    async def slow(self, name: str, *, relay_first: bool) -> tuple[Story]:
        """A site that answers nobody before both routes have asked; then one, and after that the other."""
        story, byway = Story(), self.by_clock
        async with SlowSite(self.country.addresses[name], relay=self.country.relay.address) as site:
            self.country.leads[name] = site.address
            url = f"http://{name}:{site.port}/"
            visited, _ = await asyncio.gather(byway.get(url), site.answer_one_of_both(relay=relay_first))
            story.fetched.append(visited)
            site.answer(relay=not relay_first)
            await byway.rows(name, 1)
            story.held.append(await byway.belief(name))
            story.fetched.append(await byway.get(url))
            story.rows = await byway.rows(name, 2)
        story.ledger = await byway.ledger(name)
        return (story,)


async def live(folder: Path) -> dict[str, Story | Exception]:
    """Every story at once, by the id of its case or its name; an Exception is one that broke off."""
    async with Country([*(case.name for case in (*CASES, *OTHERS)), SLOW, SLOWER]) as country:
        for case in (*CASES, *OTHERS):
            await country.censor(case.name, case.behaviour, secure=case.scheme == "https")
        by_kernel = country.byway(folder / "kernel", detect=BY_KERNEL, unresolved=UNRESOLVED, rules=RULES)
        by_clock = country.byway(folder / "clock", detect=BY_CLOCK)
        soon_blocked = country.byway(folder / "blocked", detect=SOON_BLOCKED)
        unwitnessed = country.byway(folder / "lone", detect=SOON_BLOCKED, witness=False)
        async with by_kernel, by_clock, soon_blocked, unwitnessed:
            world = World(country, by_kernel, by_clock, soon_blocked, unwitnessed)

            async def lived(told: Coroutine[Any, Any, tuple[Story, ...]], *names: str) -> dict[str, Story | Exception]:
                try:
                    return dict(zip(names, await told, strict=True))
                except Exception as error:
                    error.add_note(
                        "\n".join(byway.report() for byway in (by_kernel, by_clock, soon_blocked, unwitnessed))
                    )
                    return dict.fromkeys(names, error)

            stories = await asyncio.gather(
                *(lived(world.rescued(case), case.id) for case in CASES),
                *(lived(world.left_alone(case), case.id) for case in (ALONE, ALONE_HTTP)),
                *(lived(world.slow(name, relay_first=name == SLOWER), name) for name in (SLOW, SLOWER)),
                lived(world.crowd(), CROWD.id),
                lived(world.turned(), TURNED.id),
                lived(world.lone(), LONE.id),
                lived(world.blocked_and_down(), BLOCKED.id, DOWN.id, GONE.id),
            )
            return {name: story for told in stories for name, story in told.items()}


Tell = Callable[[str], Story]


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Tell:
    stories = asyncio.run(live(tmp_path_factory.mktemp("censored")))

    def tell(name: str) -> Story:
        story = stories[name]
        if isinstance(story, Exception):
            raise story
        return story

    return tell


def by_id(case: Case) -> str:
    return case.id


def routes(row: Row) -> list[tuple[str, str]]:
    """What was tried; but for what there was nothing to try with: where an address is blocked, one of the other family
    would do, and here no name has any."""
    return [(tried["route"], tried["stage"]) for tried in row["attempts"] if tried["symptom"] != "skipped"]


@pytest.mark.parametrize("case", CASES, ids=by_id)
def test_the_first_visit_is_rescued_by_itself(case: Case, tell: Tell) -> None:
    story = tell(case.id)
    first, row = story.fetched[0], story.rows[0]
    assert (first.status, first.body.endswith(b"says hello\n")) == (200, True)
    assert story.peers[0] == "127.0.0.9"
    assert (row["action"], row["winner"], row["error"]) == ("AUTO", RELAY, "")
    direct, relay = row["attempts"]
    assert (direct["route"], direct["stage"]) == ("direct", case.stage)
    assert direct["symptom"] in case.symptoms
    assert (relay["route"], relay["stage"], relay["symptom"]) == (RELAY, "done", "")


@pytest.mark.parametrize("case", BY_FAILURE, ids=by_id)
def test_a_failure_is_left_as_soon_as_it_is_one(case: Case, tell: Tell) -> None:
    """The relay was not asked before direct had failed."""
    direct, relay = tell(case.id).rows[0]["attempts"]
    assert relay["started_s"] >= direct["started_s"] + direct["elapsed_s"] - 0.0002  # each is rounded
    assert direct["error"]


@pytest.mark.parametrize("case", DROPPED, ids=by_id)
def test_a_dropped_flight_is_seen_by_the_kernel(case: Case, tell: Tell) -> None:
    """Every timer that knows of silence was an hour away, so it is the retransmissions that called the relay."""
    direct, relay = tell(case.id).rows[0]["attempts"]
    evidence = direct["evidence"]
    assert evidence["retransmits"] >= 2
    assert (evidence["unacked"] > 0, evidence["acknowledged"]) == (True, 0)
    assert direct["started_s"] < relay["started_s"] < direct["started_s"] + direct["elapsed_s"]


@pytest.mark.parametrize("case", SILENT, ids=by_id)
def test_silence_after_an_acknowledgement_is_told_from_a_drop(case: Case, tell: Tell) -> None:
    direct, relay = tell(case.id).rows[0]["attempts"]
    assert (direct["evidence"]["retransmits"], direct["evidence"]["acknowledged"]) == (0, 1)
    assert direct["started_s"] < relay["started_s"] < direct["started_s"] + direct["elapsed_s"]


@pytest.mark.parametrize("case", FULL, ids=by_id)
def test_an_unanswered_syn_is_hedged_and_judged_later(case: Case, tell: Tell) -> None:
    direct, relay = tell(case.id).rows[0]["attempts"]
    assert direct["started_s"] < relay["started_s"] < direct["started_s"] + direct["elapsed_s"]
    assert direct["error"] == "the connection attempt was not answered"


@pytest.mark.parametrize("case", CASES, ids=by_id)
def test_the_second_visit_waits_for_nothing(case: Case, tell: Tell) -> None:
    story = tell(case.id)
    assert story.fetched[1].status == 200
    assert routes(story.rows[1]) == [(RELAY, "done")]
    assert "likely blocked: direct" in story.rows[1]["why"]
    assert story.peers[1] == "127.0.0.9"


@pytest.mark.parametrize("case", CASES, ids=by_id)
def test_site_show_says_why(case: Case, tell: Tell) -> None:
    story = tell(case.id)
    held = story.held[0]
    assert (held["state"], held["cause"], held["last_good"]) == ("suspect", case.cause, RELAY)
    assert "likely blocked" in story.shown
    assert f"{RELAY} delivered ({case.signal}, weight" in story.shown
    assert "likely blocked, now\t" in story.shown
    assert f"\t{case.cause}: direct" in story.shown


@pytest.mark.parametrize("case", CASES, ids=by_id)
def test_after_the_censor_the_site_is_direct_again(case: Case, tell: Tell) -> None:
    story = tell(case.id)
    assert all(fetched.status == 200 for fetched in story.fetched)
    assert story.rows[-1]["winner"] == "direct"
    assert routes(story.rows[-1])[0] == ("direct", "done")  # a busy machine may take long enough to call the relay too
    assert story.peers[-1] not in ("127.0.0.9", "")
    assert story.ledger == [("unknown", "suspect"), ("suspect", "works")]


def test_six_resets_of_one_page_are_one_piece_of_evidence(tell: Tell) -> None:
    story = tell(CROWD.id)
    assert [fetched.status for fetched in story.fetched] == [200] * 6
    assert {row["winner"] for row in story.rows} == {RELAY}
    held = story.held[0]
    assert (held["state"], held["episodes"]) == ("suspect", 1)
    assert held["score"] == pytest.approx(2, abs=0.01)


def test_a_site_that_worked_until_now_is_rescued_too(tell: Tell) -> None:
    """And when the relay is lost, direct is still the last resort."""
    story = tell(TURNED.id)
    assert [fetched.status for fetched in story.fetched] == [200, 200, 200]
    assert [routes(row) for row in story.rows] == [
        [("direct", "done")],
        [("direct", "first_byte"), (RELAY, "done")],
        [(RELAY, "relay"), ("direct", "done")],
    ]
    assert story.rows[1]["attempts"][0]["symptom"] == "dropped"
    assert story.rows[2]["attempts"][0]["symptom"] == "relay_refused"
    assert [held["state"] for held in story.held[:2]] == ["works", "suspect"]
    assert story.peers[1] == "127.0.0.9"


@pytest.mark.parametrize("case", [ALONE, ALONE_HTTP], ids=by_id)
def test_control_what_may_not_be_rescued_fails(case: Case, tell: Tell) -> None:
    """The censor does bite: with a DIRECT rule nothing gets through, and nothing is learned without a comparison."""
    story = tell(case.id)
    assert [fetched.status for fetched in story.fetched] == ([502] if case.scheme == "http" else [])
    assert story.peers == []
    assert routes(story.rows[0]) == [("direct", "first_byte")]
    assert story.rows[0]["attempts"][0]["symptom"] == "reset"
    assert story.held[0]["state"] == "down"


def test_what_fails_again_beside_a_relay_that_works_is_blocked(tell: Tell) -> None:
    story = tell(BLOCKED.id)
    assert story.ledger[:2] == [("unknown", "suspect"), ("suspect", "blocked")]
    held = story.held[0]
    assert (held["state"], held["words"], held["cause"]) == ("blocked", "blocked", "sni_reset")
    assert held["episodes"] >= 2
    assert routes(story.rows[0]) == [("direct", "first_byte"), (RELAY, "done")]


def test_the_control_without_a_witness_nothing_counts(tell: Tell) -> None:
    """The same censor, and everything that blocks it above: but no other site is seen to work, so it may be the uplink.
    It is rescued all the same, and after the first visit without a wait."""
    story = tell(LONE.id)
    assert [fetched.status for fetched in story.fetched] == [200] * 6
    assert {(held["state"], held["score"], held["episodes"]) for held in story.held} == {("suspect", 0, 0)}
    assert "not counted until another site works" in story.held[0]["evidence"]
    assert [routes(row) for row in story.rows] == [
        [("direct", "first_byte"), (RELAY, "done")],
        *[[(RELAY, "done")]] * 5,
    ]
    assert story.ledger == [("unknown", "suspect")]


def test_a_block_is_remembered_over_a_restart(tell: Tell) -> None:
    story = tell(BLOCKED.id)
    if story.network == "unknown":
        pytest.skip("not run: this machine has no default route, so what is learned is kept in memory only")
    assert story.held[1]["state"] == "blocked"
    assert story.held[1]["since"] == story.held[0]["since"]
    assert routes(story.rows[story.after_restart]) == [(RELAY, "done")]


def test_the_way_back_from_a_block_never_gambles_a_visit(tell: Tell) -> None:
    """Two re-tests in a row find the way free. Until then every visit goes through the relay, and then none does."""
    story = tell(BLOCKED.id)
    assert all(fetched.status == 200 for fetched in story.fetched)
    assert story.ledger == [("unknown", "suspect"), ("suspect", "blocked"), ("blocked", "works")]
    assert story.held[-1]["evidence"] == "direct delivered in a re-test, 2 times in a row"
    beginnings = {0, story.after_restart} if story.network == "unknown" else {0}  # else the second one knows
    taken = [" then ".join(f"{route} {stage}" for route, stage in routes(row)) for row in story.rows]
    assert {taken[place] for place in beginnings} == {f"direct first_byte then {RELAY} done"}
    later = [way for place, way in enumerate(taken) if place not in beginnings]
    assert list(dict.fromkeys(later)) == [f"{RELAY} done", "direct done"]
    assert later == sorted(later, key=[f"{RELAY} done", "direct done"].index)


@pytest.mark.parametrize("case", [DOWN, GONE], ids=by_id)
def test_a_site_that_is_down_everywhere_teaches_nothing(case: Case, tell: Tell) -> None:
    """However often it fails; and once it is up it is direct at the first visit."""
    story = tell(case.id)
    *failed, last = story.rows
    assert [row["winner"] for row in failed] == [None] * 4
    assert all([tried["route"] for tried in row["attempts"]] == ["direct", RELAY] for row in failed)
    assert all(row["attempts"][0]["symptom"] in case.symptoms for row in failed)
    assert [held["state"] for held in story.held] == ["down", "unknown", "works"]
    assert story.held[0]["words"] == "site down"
    assert story.ledger == []
    assert (story.fetched[-1].status, routes(last)) == (200, [("direct", "done")])
    assert len(story.peers) == 1
    assert story.peers != ["127.0.0.9"]


def test_a_slow_site_is_not_suspect(tell: Tell) -> None:
    """It answered direct, after the relay had been asked as well."""
    story = tell(SLOW)
    assert [fetched.status for fetched in story.fetched] == [200, 200]
    first, second = story.rows
    assert routes(first)[0] == ("direct", "done")
    assert [tried["route"] for tried in first["attempts"]] == ["direct", RELAY]
    assert first["winner"] == "direct"
    assert routes(second) == [("direct", "done")]
    assert (story.held[0]["state"], story.ledger) == ("works", [])


def test_a_site_that_is_slow_at_the_relay_too_is_cleared(tell: Tell) -> None:
    """The relay was first, and direct answered after all."""
    story = tell(SLOWER)
    assert [fetched.status for fetched in story.fetched] == [200, 200]
    first, second = story.rows
    assert routes(first) == [("direct", "done"), (RELAY, "done")]
    assert first["winner"] == RELAY
    assert (story.held[0]["state"], story.ledger) == ("works", [("unknown", "suspect"), ("suspect", "works")])
    assert routes(second) == [("direct", "done")]


@pytest.mark.slow
@pytest.mark.namespaces
@pytest.mark.needs("ip", "unshare")
def test_what_is_learned_is_kept_and_never_crosses_networks(tmp_path: Path) -> None:
    script = [programs.require("unshare"), "-Urnm", sys.executable, "-m", "tests.e2e.two_networks", str(tmp_path)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
