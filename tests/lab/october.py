"""The seventh of October: `python -m tests.lab.october` plays it with the detection's own numbers, in 45 minutes.

On that day in 2008 a provider began to drop the connections to LiveJournal's blogs in silence, by their names. The play
has five blogs of one site at one address, on a network where another site is open meanwhile. A visitor opens them one
after the other, on that network and on another; then the censor stops. Values record the attempts of each visit, the
names that the provider could read and the contents of Byway's ledger, and `Story.checks` compares them with the
promises: none of these concerns time. `main` prints the waits of the visitor. Exit code 5 when a promise was not kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.model import State
from proxy.net import tasks
from tests.lab import places
from tests.lab.country import RELAY, Country, Running
from tests.lab.events import NameSeen
from tests.lab.flows import Flow
from tests.lab.matches import Match
from tests.lab.origins import Conduct
from tests.lab.packets import Packet
from tests.lab.rules import AddressDrop, HttpDrop, Rule, SniDrop, When
from tests.lab.sockets import connect
from tests.lab.spaces import begin_with_spaces
from tests.lab.visitor import Visit
from tests.support.client import fetch
from tests.support.waiting import until_read

BROKEN = 5
SITE = "livejournal.test"
BLOGS = tuple(f"{blog}.{SITE}" for blog in ("ivanov", "petrov", "sidorov", "kuznetsov", "popov"))
ALL_BLOGS = f"*.{SITE}"
OPEN_SITE = "radio.test"
"""A page that stays open and goes on: 2 KB a second."""

FIRST_WAIT_S = 0.8
"""The additional wait that the first two blogs may cost the visitor (docs/detection.md, "Two clocks")."""

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of the play: lines of `[detect]`, and the times that a person leaves between two visits."""

    detect: str = ""
    apart_s: float = 10.0
    again_s: float = 15.0  # while a re-test is waited for, which comes only beside a visit
    limit_s: float = 3600.0  # for a re-test to come
    ladder_s: float = 200.0  # until the local means have been tried beside a visit, once an address has calmed down


OWN = Pace()
"""The detection's own numbers."""
HURRIED = Pace(
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\nlift_apart_s = 1.0\ndropped_s = 2.2\ndropped_rtos = 1.0\n"
    "retest_suspect_s = 16.0\nretest_blocked_s = [1.0, 8.0]\nretest_success_s = 1.0\nretest_apart_s = 0.5\n"
    "retest_jitter = 0.0\nretest_per_hour = 100000\n",
    apart_s=1.0,
    again_s=0.25,
    limit_s=60.0,
    ladder_s=0.0,
)
"""A minute of real time in a second; the waits of the visitor are unchanged. A suspicion is tested later than that, so
that all five visits come before it, also on a busy machine."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One visit, and its line in Byway's log once the last attempt was judged."""

    visit: Visit
    row: dict[str, Any]
    seen: tuple[NameSeen, ...]  # where the provider could read the name until then, and not on the way to the relay

    @property
    def routes(self) -> list[str]:
        return [attempt["route"] for attempt in self.row["attempts"]]

    @property
    def winner(self) -> str:
        return str(self.row["winner"])

    @property
    def added_s(self) -> float:
        """The seconds from its first attempt to the start of the route that won."""
        return float(next(a["started_s"] for a in self.row["attempts"] if a["route"] == self.winner))

    @property
    def direct(self) -> dict[str, Any]:
        return next(dict(attempt) for attempt in self.row["attempts"] if attempt["route"] == "direct")

    @property
    def was_dropped(self) -> bool:
        """Whether it tried direct, and the kernel reported that its flight never arrived."""
        tried = self.direct
        told = tried["evidence"]
        return (
            (tried["symptom"], tried["stage"], told["acknowledged"]) == ("dropped", "first_byte", 0)
            and told["retransmits"] >= 2
            and told["unacked"] > 0
        )


@dataclass
class Story:
    """The events of the day, in order."""

    secure: bool
    blogs: list[Opened] = field(default_factory=list)  # the five
    lifted: dict[str, Any] = field(default_factory=dict)  # what was believed of the third before it was visited
    controls: int = 0  # control pages asked until then
    why: dict[str, Any] = field(default_factory=dict)  # `byway why --json` of the first
    abroad: list[Opened] = field(default_factory=list)  # the first, on the second network
    home: list[Opened] = field(default_factory=list)  # back on the first one, until the censor let go
    blocked: dict[str, Any] = field(default_factory=dict)  # what was believed then
    let_go_at: float = 0.0  # seconds since the epoch
    after: list[Opened] = field(default_factory=list)  # since then, until direct was taken again
    retests: int = 0  # direct connections beside those visits
    relayed: int = 0  # connections of the relay's for them and beside them
    shown: dict[str, Any] = field(default_factory=dict)  # `byway site show --json` at the end
    printed: str = ""  # `byway site show`

    @property
    def cause(self) -> str:
        return "sni_drop" if self.secure else "http_host"

    @property
    def spell(self) -> dict[str, Any]:
        """The ledger's entry for all blogs together."""
        return next((dict(spell) for spell in self.shown["timeline"] if spell["scope"] == ALL_BLOGS), {})

    def checks(self) -> Mapping[str, bool]:
        """The promises, and whether each was kept."""
        first, later = self.blogs[:2], self.blogs[2:]
        verdict, spell = self.why["verdict"], self.spell
        word = "blocked" if self.secure else "likely blocked"  # no harmless Host is tried at the same address
        signals = {signal["id"] for signal in verdict["signals"]}
        every = (*self.blogs, *self.abroad, *self.home, *self.after)
        return {
            "every page came from its site": all(opened.visit.genuine for opened in every),
            "the first two were dropped, and the relay brought them": all(
                opened.was_dropped and opened.winner == RELAY for opened in first
            ),
            "two blogs spoke for all": (self.lifted["scope"], self.lifted["cause"]) == (ALL_BLOGS, self.cause),
            "the open page told that the uplink is well": self.controls == 0,
            "from the third on direct was not tried": all(opened.routes == [RELAY] for opened in later),
            "and the provider read none of their names": not any(opened.seen for opened in later),
            "why calls it blocked by name in silence": (
                (verdict["words"], verdict["cause"]) == (word, self.cause)
                and signals >= ({"tls_dropped", "sni_swap"} if self.secure else {"http_dropped"})
            ),
            "why shows the evidence": "acknowledged" in verdict["seen"] and ALL_BLOGS in self.why["belief"]["scope"],
            # First: on a busy machine direct may be late, and the relay is started as well.
            "on another network it went direct at once": [opened.routes[0] for opened in self.abroad] == ["direct"],
            "and at home not": all(opened.routes == [RELAY] for opened in self.home),
            "a failed re-test made it blocked": (self.blocked["scope"], self.blocked["state"])
            == (ALL_BLOGS, State.BLOCKED),
            "direct came back": (self.after[-1].routes[0], self.after[-1].winner) == ("direct", "direct"),
            "and not before two pairs": (
                # At least: on a busy machine a pair may tell nothing, and another one follows.
                self.retests >= 2
                and self.relayed >= len(self.after) - 1 + 2
                and all(opened.routes == [RELAY] for opened in self.after[:-1])
            ),
            "the ledger shows both dates": bool(spell)
            and spell["cause"] == self.cause
            and spell["since"] <= spell["blocked_since"] < self.let_go_at < (spell["until"] or 0.0),
            "and a person sees them": "until" in self.printed and f"with all of {SITE}, ended" in self.printed,
        }


class October:
    """One country on that day. `secure`: the censor drops by the SNI, else by the Host."""

    def __init__(self, country: Country, byway: Running, *, secure: bool) -> None:
        self.country = country
        self.byway = byway
        self.secure = secure
        self.site = country.add_site(SITE)
        country.add_site(OPEN_SITE, conduct=Conduct(bytes_per_s=2000.0))
        self.censor: tuple[Rule, ...] = (at_home(SniDrop(*BLOGS)), at_home(HttpDrop(*BLOGS)))

    @contextlib.asynccontextmanager
    async def an_open_page(self) -> AsyncIterator[None]:
        """Keeps a page of another site open meanwhile, which goes on."""
        listening = tasks.spawn(self._listen(), name="an open page")
        try:
            await until_read(lambda: _looked(bool(self.country.origins.peers(OPEN_SITE))))
            yield
        finally:
            listening.cancel()

    async def _listen(self) -> None:
        """Reads the page. Its visitor opens it again when it has ended, as when the network changes."""
        visitor = self.country.visitor()
        while True:
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                await fetch(
                    f"https://{OPEN_SITE}/bytes/100000",
                    via=self.byway.proxy,
                    trust=visitor.trust,
                    dial=lambda host, port: connect(visitor.make, (host, port)),
                )
            await asyncio.sleep(_LOOK_S)

    async def open(self, blog: str) -> Opened:
        """Makes a visit, and returns it with its result."""
        since = self.country.router.events.clock()
        before = len(await self.byway.rows(blog))
        visit = await self.country.visitor(self.byway).visit(f"http{'s' if self.secure else ''}://{blog}/")
        rows: list[dict[str, Any]] = []

        async def written() -> bool:
            rows[:] = await self.byway.rows(blog)
            return await _looked(len(rows) > before)

        await until_read(written)
        return Opened(visit, rows[before], self.in_clear(blog, since=since))

    def in_clear(self, name: str, *, since: float = 0.0) -> tuple[NameSeen, ...]:
        """Returns the places where the provider could read the name."""
        names = self.country.router.events.names_on("client", sender="client", since=since)
        return tuple(seen for seen in names if seen.name == name and seen.target != places.SOCKS_RELAY)

    def connections(self, sender: str, *, since: float) -> int:
        """Returns the number of hellos or requests with a blog's name that got out from `sender` into the world; none
        counts twice."""
        names = self.country.router.events.names_on("net", sender=sender, since=since)
        blogs = [seen for seen in names if seen.name in BLOGS and seen.target == self.site.address]
        return len({(seen.source, seen.source_port, seen.seq) for seen in blogs})

    controls = tuple(places.CONTROLS)

    @property
    def url(self) -> str:
        return f"http{'s' if self.secure else ''}://{BLOGS[0]}/"


@contextlib.asynccontextmanager
async def living(folder: Path, detect: str, *, secure: bool) -> AsyncIterator[October]:
    """Yields a country in which nothing is done yet; `detect` are lines of that table."""
    async with Country(folder) as country:
        config = country.config(detect=detect)
        async with country.byway(folder / "byway", config=config) as byway:
            yield October(country, byway, secure=secure)


async def play(folder: Path, pace: Pace, *, secure: bool, told: Callable[[str], None] = lambda _: None) -> Story:
    """Plays the whole day. Raises TimeoutError when an expected event does not come."""
    story = Story(secure)
    async with living(folder, pace.detect, secure=secure) as day, day.an_open_page():
        country, byway = day.country, day.byway
        country.rules.set(day.censor)
        await _visit_all(day, story, pace, told)
        story.controls = sum(len(day.in_clear(control)) for control in day.controls)
        story.why = await byway.read("why", day.url)
        told(f"why: {story.why['verdict']['words']}, {story.why['verdict']['seen']}")
        home = story.blogs[0].row["network"]
        country.change_network()
        await until_read(lambda: _is_on(byway, home, False))
        story.abroad.append(await day.open(BLOGS[0]))
        told(f"on another network by {story.abroad[0].winner}")
        country.come_home()
        await until_read(lambda: _is_on(byway, home, True))
        await _until_blocked(day, story, pace)
        told(f"blocked: {story.blocked['evidence']}")
        # A re-test under way would go out once the censor has let go, and count as one without its relay's half.
        await until_read(lambda: _looked(not byway.is_connected_to(day.site.address)))
        story.let_go_at, since = time.time(), country.router.events.clock()
        country.rules.clear()
        await _until_back(day, story, pace)
        told(f"direct is back {time.time() - story.let_go_at:.0f} s after the censor let go")
        story.retests = day.connections("client", since=since) - 1  # the last visit's own
        story.relayed = day.connections("relay", since=since)
        told(f"{story.retests} re-tests of direct, {story.relayed} connections by the relay, {len(story.after)} visits")
        story.shown = await byway.read("site", "show", BLOGS[0])
        story.printed = (await byway.command("site", "show", BLOGS[0])).stdout
    return story


async def _visit_all(day: October, story: Story, pace: Pace, told: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    for number, blog in enumerate(BLOGS):
        if number == 2:
            story.lifted = await day.byway.belief(blog)
        began = loop.time()
        story.blogs.append(await day.open(blog))
        told(f"{blog} by {story.blogs[-1].winner}, {story.blogs[-1].added_s:.2f} s later")
        await asyncio.sleep(max(0.0, began + pace.apart_s - loop.time()))


async def _is_on(byway: Running, network: str, wanted: bool) -> bool:
    """Returns whether Byway has noticed on which network it is."""
    return await _looked(((await byway.ask("/v1/sites"))["network"] == network) == wanted)


async def _until_blocked(day: October, story: Story, pace: Pace) -> None:
    """Waits until the blogs are blocked: Byway tests the suspicion once, beside a visit, and the local means later."""
    clock = asyncio.get_running_loop().time
    blocked_at = float("inf")

    async def done() -> bool:
        nonlocal blocked_at
        story.home.append(await day.open(BLOGS[0]))
        story.blocked = await day.byway.belief(BLOGS[-1])
        if story.blocked["state"] == State.BLOCKED:
            blocked_at = min(blocked_at, clock())
        if clock() - blocked_at >= pace.ladder_s:
            return True
        await asyncio.sleep(pace.again_s)
        return False

    await until_read(done, within_s=pace.limit_s)


async def _until_back(day: October, story: Story, pace: Pace) -> None:
    """Visits blogs until one goes direct."""

    async def goes_direct() -> bool:
        story.after.append(await day.open(BLOGS[0]))
        if story.after[-1].winner == "direct":
            return True
        await asyncio.sleep(pace.again_s)
        return False

    await until_read(goes_direct, within_s=pace.limit_s)


async def _looked(found: bool) -> bool:
    """Returns `found`; waits a moment first when it is false: two hundred looks a second would be load."""
    if not found:
        await asyncio.sleep(_LOOK_S)
    return found


def without_controls() -> Rule:
    """Returns a rule that blocks the controls: nothing can show whether the uplink is well."""
    return AddressDrop(*places.CONTROLS.values())


class _FromHere(Match):
    """The traffic that another match selects, of the flows of one address alone."""

    def __init__(self, match: Match, client: str) -> None:
        self._match = match
        self._client = client

    def concerns(self, flow: Flow) -> bool:
        return str(flow.client) == self._client and self._match.concerns(flow)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        return self._match.hits(packet, flow)


def at_home(rule: When) -> When:
    """Returns the rule for the first network's provider alone: the second one has no such rule."""
    return When(_FromHere(rule.match, places.CLIENT), rule.deed, rule.share, rule.seed, rule.residual)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.october", description=__doc__)
    parser.add_argument("--http", action="store_true", help="by the Host of plain requests, not by the SNI")
    parser.add_argument("--hurried", action="store_true", help="as the test does: a minute of life in a second")
    asked = parser.parse_args(arguments)
    pace, began = HURRIED if asked.hurried else OWN, time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        story = asyncio.run(play(Path(folder), pace, secure=not asked.http, told=tell))
    for number, opened in enumerate(story.blogs, 1):
        promised = FIRST_WAIT_S if number <= 2 else 0.0
        print(
            f"blog {number}: {opened.added_s:.2f} s more, {opened.visit.elapsed_s:.2f} s in all (promised {promised:g})"
        )
    print(story.printed)
    checks = story.checks()
    for what, kept in checks.items():
        print(f"{'kept  ' if kept else 'BROKEN'}  {what}")
    return 0 if all(checks.values()) else BROKEN


if __name__ == "__main__":
    begin_with_spaces("tests.lab.october")
    sys.exit(main())
