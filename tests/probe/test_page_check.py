"""Which doubted pages are compared, what is sent for it, and what the answers teach: over scripted paths, under a
virtual clock, with real beliefs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.schema import Auto, Settings
from proxy.detect.beliefs.events import DirectDelivered
from proxy.detect.pages.block_pages import BlockPages
from proxy.detect.pages.page_classifier import PageKind, classify_page
from proxy.model import DIRECT, Action, Evidence, Outcome, PageDoubt, Protocol, Route, State, Symptom
from proxy.net.knowledge import ClassifiedAnswer, NothingKnown
from proxy.net.tasks import cancel_all
from proxy.probe.page_check import CHECKS_AT_ONCE, PageCheck
from proxy.session.events import Doubted
from proxy.wire.flight import Flight
from proxy.wire.tls import Verdict
from tests.probe.scene import BesideScene
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, HOST, TOR, VPS, delivered, outcome
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedDialer, ScriptedDirect
from tests.support.services import NO_PAGES

CASED, SPLIT = Route(wrap=("hostcase",)), Route(wrap=("split",))
PLANNED = (DIRECT, SPLIT, CASED, TOR, VPS)
ASKED = [DIRECT, TOR, CASED]
"""The routes of a whole check."""
OTHER = "www.news.test"
RESET = ConnectionResetError(104, "Connection reset by peer")
AGENT = "User-Agent: Mozilla/5.0 (X11)"
REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: keep-alive\r\n{AGENT}\r\nAccept: */*\r\n\r\n".encode()


def page(title: str, length: int = 700, *fields: str, status: int = 200) -> bytes:
    body = f"<html><title>{title}</title>".ljust(length).encode()
    lines = (f"HTTP/1.1 {status} X", "Content-Type: text/html", f"Content-Length: {length}", *fields)
    return "\r\n".join((*lines, "", "")).encode() + body


DENIED = page("Not available")
SITE = page("Daily sport of today", 9000)
UPGRADE = f"HTTP/1.1 301 X\r\nLocation: https://{HOST}/\r\nContent-Length: 0\r\n\r\n".encode()


class Pages(NothingKnown):
    """Classifies as a running Byway does."""

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        page = classify_page(answer, host, ended=complete, pages=BlockPages())
        match page.kind:
            case PageKind.MORE:
                return ClassifiedAnswer(Verdict.MORE)
            case PageKind.REDIRECTED:
                return ClassifiedAnswer(Verdict.GARBAGE, Symptom.REDIRECTED)
        return ClassifiedAnswer(Verdict.VALID, page_mark=page.mark)


class Scene(BesideScene):
    """Direct has delivered the page of an unrelated site. `answers`: those to the check, None: silence. That of direct
    is the same page again, unless it is given."""

    def __init__(self, answers: dict[Route, bytes | Exception | None] | None = None, auto: Auto | None = None) -> None:
        usual: dict[Route, bytes | Exception | None] = {DIRECT: b"", CASED: DENIED, TOR: SITE, VPS: SITE}
        self.scripts = {route: Script(answer=answer) for route, answer in (usual | (answers or {})).items()}
        super().__init__(Settings(auto=auto or Auto()), near={"near.test"}, knowledge=Pages())
        self.never_relay: set[str] = set()
        self.waits = 0
        self.check = PageCheck(self.services(sound=self._sound))

    def _sound(self) -> None:
        self.waits += 1

    # -- the router and the registry of its setup

    def may_relay(self, host: str) -> bool:
        return host not in self.never_relay

    @property
    def direct(self) -> ScriptedDirect:
        return ScriptedDirect(lambda: self.scripts[DIRECT])

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        return ScriptedDialer(self.scripts[route])

    # -- what came of it

    @property
    def asked(self) -> list[Route]:
        """The routes by which the page was requested, in order."""
        times = [(at, route) for route, script in self.scripts.items() for at in script.dialed]
        return [route for _, route in sorted(times, key=lambda pair: pair[0])]

    @property
    def sent(self) -> set[bytes]:
        return {stream.sent for script in self.scripts.values() for stream in script.streams}

    def begin(
        self,
        request: bytes = REQUEST,
        *,
        doubt: PageDoubt = PageDoubt.SHARED,
        answer: bytes = DENIED,
        visit: Outcome | None = None,
    ) -> None:
        """A visit over plain HTTP that direct has just delivered."""
        begun = visit or visit_at(self.now(), doubt)
        if self.scripts[DIRECT].answer == b"":
            self.scripts[DIRECT].answer = answer
        flight = Flight.of_http(request, "GET", bodiless=True)
        record = cast(Any, SimpleNamespace(outcome=begun, network=HOME))
        self.check.on_doubted(Doubted(self.setup, record, flight, answer))

    async def visit(self, request: bytes = REQUEST, **how: Any) -> None:
        """A visit, and all that comes of it."""
        self.begin(request, **how)
        await asyncio.sleep(1)
        self.beliefs.learn(DirectDelivered("other.test"), network=HOME, now=self.now())
        await asyncio.sleep(70)  # two silent relays have 30 s each
        assert all(stream.closed for script in self.scripts.values() for stream in script.streams)
        await cancel_all()


def visit_at(now: float, doubt: PageDoubt = PageDoubt.SHARED, **more: Any) -> Outcome:
    evidence: Evidence = {"status": 200, "doubt": doubt}
    attempt = replace(delivered(), evidence=evidence, address="192.0.2.1:80")
    made = outcome(attempt, at=now, protocol=Protocol.HTTP, port=80, **more)
    return replace(made, plan=replace(made.plan, routes=PLANNED), flight_at=now)


def test_a_page_that_the_relay_does_not_show_makes_the_next_visit_take_it() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit()
        assert scene.asked == ASKED
        assert (scene.held.state, scene.held.cause, scene.held.last_good) == (State.SUSPECT, "block_page", "tor")
        assert scene.held.score == pytest.approx(5.0, rel=0.01)
        assert scene.waits == 1, "a control page may be due"

    play(story())


@each_row(
    ("relayed", "cased", "by"),
    [
        (SITE, SITE, "direct|hostcase"),
        (SITE, page("Sports of tomorrow", 8000), "direct|hostcase"),  # about as long
        (UPGRADE, UPGRADE, "direct|hostcase"),
        (SITE, page("Welcome to nginx", 2000), "tor"),  # of a server that reads the host case by case
        (UPGRADE, page("Welcome to nginx", 2000), "tor"),
        (SITE, page("Are you human?", 9000, status=403), "tor"),
        (SITE, RESET, "tor"),
    ],
)
def test_the_host_strategy_is_taken_where_it_brings_what_the_relay_brings(
    relayed: bytes, cased: bytes | Exception, by: str
) -> None:
    async def story() -> None:
        scene = Scene({TOR: relayed, CASED: cased})
        await scene.visit()
        assert scene.asked == ASKED
        assert (scene.held.state, scene.held.last_good) == (State.SUSPECT, by)

    play(story())


@each_row("answer", [SITE, page("Pixel", 60), UPGRADE, RESET, None])
def test_a_page_that_answers_what_is_left_out_is_not_compared(answer: bytes | Exception | None) -> None:
    """The visit had a query, or a cookie: the same request without them brings another page on the same way."""

    async def story() -> None:
        scene = Scene({DIRECT: answer})
        await scene.visit(f"GET /px?id=1 HTTP/1.1\r\nHost: {HOST}\r\nCookie: a=b\r\n\r\n".encode())
        assert scene.asked == [DIRECT]
        assert scene.held.state is State.UNKNOWN

    play(story())


@each_row("answer", [UPGRADE, page("Daily", 9000, "X-Other: 1")])
def test_other_answers_that_differ(answer: bytes) -> None:
    async def story() -> None:
        scene = Scene({TOR: answer})
        await scene.visit(answer=page("Not available", 700, "X-Box: 1"))
        assert scene.held.state is State.SUSPECT

    play(story())


INNOCENT: dict[str, tuple[bytes, bytes | Exception | None, list[Route]]] = {  # of direct, of the relay; the routes
    "the default page of a server": (DENIED, DENIED, [DIRECT, TOR]),
    "a parked domain": (page("Buy this domain", 2000), page("Buy this domain", 2100), [DIRECT, TOR]),
    "another language": (DENIED, page("Nicht da", 800), [DIRECT, TOR]),
    "an A/B test": (page("Sport", 700, "X-Variant: a"), page("Daily", 9000, "X-Variant: b"), [DIRECT, TOR]),
    "a challenge for the relay": (DENIED, page("Are you human?", 9000, status=403), [DIRECT, TOR]),
    "one of the same front server": (page("Sport", 700, "X-Iinfo: 1"), page("", 9000, "X-Iinfo: 2"), [DIRECT, TOR]),
    "neither has a title": (page("", 60), page("", 9000), [DIRECT, TOR]),
    "neither has a word in its title": (page("Shop", 700), page("Home", 9000), [DIRECT, TOR]),
    "the relay fails": (DENIED, RESET, [DIRECT, TOR, VPS]),
    "the relay is silent": (DENIED, None, [DIRECT, TOR, VPS]),
    "the relay is led elsewhere": (
        DENIED,
        b"HTTP/1.1 302 X\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\n\r\n",
        [DIRECT, TOR, VPS],
    ),
    "an error of the site": (DENIED, page("Bad gateway", 150, status=502), [DIRECT, TOR]),
}


@each_row("case", INNOCENT)
def test_innocent_pages_teach_nothing(case: str) -> None:
    shown, relayed, asked = INNOCENT[case]

    async def story() -> None:
        scene = Scene({CASED: SITE, TOR: relayed, VPS: relayed if asked[-1] == VPS else SITE})
        await scene.visit(answer=shown)
        assert scene.asked == asked
        assert scene.held.state is State.UNKNOWN

    play(story())


def test_a_page_of_a_relay_that_works_is_taken_where_another_relay_fails() -> None:
    async def story() -> None:
        scene = Scene({TOR: RESET})
        await scene.visit()
        assert scene.asked == [DIRECT, TOR, VPS, CASED]
        assert scene.held.last_good == "vps"

    play(story())


def test_the_page_that_the_relay_shows_as_well_is_not_doubted_any_more() -> None:
    async def story() -> None:
        scene = Scene({TOR: DENIED})
        mark = classify_page(DENIED, HOST, ended=True, pages=BlockPages()).mark
        scene.beliefs.page_doubt(OTHER, mark, "192.0.2.9:80", network=HOME, now=0.0)
        for doubt in (PageDoubt.SHARED, None):
            found = scene.beliefs.page_doubt(HOST, mark, "192.0.2.1:80", network=HOME, now=scene.now())
            assert found is doubt
            await scene.visit()
        assert scene.asked == [DIRECT, TOR], "and it is not compared again"

    play(story())


# -- what is sent ------------------------------------------------------------------------------------------------------


@each_row(
    ("target", "fields", "line"),
    [
        ("/", "", "GET / HTTP/1.1"),
        ("/news/today?id=42", "Cookie: session=1\r\n", "GET /news/today HTTP/1.1"),
        ("/news", "Authorization: Basic QTpi\r\nX-Token: 1\r\nReferer: http://a.test/?q=1\r\n", "GET /news HTTP/1.1"),
    ],
)
def test_the_request_has_the_path_and_nothing_of_its_user(target: str, fields: str, line: str) -> None:
    async def story() -> None:
        scene = Scene()
        head = f"GET {target} HTTP/1.1\r\nHost: {HOST}:8080\r\n{AGENT}\r\n{fields}accept-language: fa\r\n\r\n"
        await scene.visit(head.encode())
        expected = f"{line}\r\nHost: {HOST}:8080\r\n{AGENT}\r\nAccept-Language: fa\r\nConnection: close\r\n\r\n"
        assert scene.sent == {expected.encode()}
        assert scene.held.state is State.SUSPECT

    play(story())


PERSONAL = {
    "a query": f"GET /?id=1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "a cookie": f"GET / HTTP/1.1\r\nHost: {HOST}\r\ncookie: a=b\r\n\r\n",
    "a password": f"GET / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Basic QTpi\r\n\r\n",
}


@each_row("what", PERSONAL)
@each_row("sign", [PageDoubt.UNLIKE, PageDoubt.ADDRESS])
def test_a_page_that_may_be_its_users_own_is_compared_only_when_another_site_has_it(what: str, sign: PageDoubt) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(PERSONAL[what].encode(), doubt=sign)
        assert scene.asked == []
        await scene.visit(doubt=sign)
        assert scene.asked == ASKED, "the control"
        assert scene.held.score == pytest.approx(1.5, rel=0.01)

    play(story())


# -- which visits ------------------------------------------------------------------------------------------------------


@each_row(
    ("path", "asked"),
    [
        ("/unsubscribe/9f86d081884c7d65", False),
        ("/reset/Zm9vYmFyYmF6cXV4==/now", False),
        ("/invite/550e8400-e29b-41d4-a716-446655440000", False),
        ("/a;jsessionid=0A1B2C3D4E5F6071", False),
        ("/unsubscribe/9f86d081884c7d6", True),
        ("/news/internationalisation-of-latest_news.html", True),
    ],
)
def test_a_path_that_may_be_a_secret_is_not_repeated(path: str, asked: bool) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert scene.asked == (ASKED if asked else [])

    play(story())


NO_OCCASION = {
    "a form is sent": f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\n\r\nhi",
    "a form without a body": f"POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n",
    "the head alone": f"HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n",
    "two requests at once": REQUEST.decode() * 2,
    "no host": "GET / HTTP/1.0\r\n\r\n",
    "no request": "hello",
}


@each_row("occasion", NO_OCCASION)
def test_other_requests_are_not_made_again(occasion: str) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(NO_OCCASION[occasion].encode())
        assert scene.asked == []

    play(story())


@each_row("action", [Action.DIRECT, Action.PREFER_RELAY])
def test_not_where_a_rule_decides(action: Action) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.visit(visit=visit_at(scene.now(), action=action))
        assert scene.asked == []

    play(story())


@each_row("why", ["never_relay", "never", "no re-tests", "near", "home", "another name", "another network"])
def test_not_where_the_user_wants_none(why: str) -> None:
    async def story() -> None:
        scene = Scene(auto=Auto(retest=why != "no re-tests"))
        begun = visit_at(scene.now(), host="near.test" if why == "near" else HOST)
        match why:
            case "never_relay":
                scene.never_relay.add(HOST)
            case "never":
                scene.private.add(HOST)
            case "home":
                begun = replace(begun, plan=replace(begun.plan, is_home=True))
            case "another network":
                scene.network = AWAY
        if why == "another name":  # in a tunnel
            flight = Flight()
            flight.receive_data(REQUEST.replace(HOST.encode(), b"inner.test"))
            record = cast(Any, SimpleNamespace(outcome=begun, network=HOME))
            scene.check.on_doubted(Doubted(scene.setup, record, flight, DENIED))
        else:
            scene.begin(visit=begun)
        await asyncio.sleep(40)
        assert scene.asked == []

    play(story())


def test_without_the_strategy_the_relay_alone_is_asked_and_without_a_relay_nobody() -> None:
    async def story() -> None:
        for planned, asked in (((DIRECT, TOR), [DIRECT, TOR]), ((DIRECT, CASED), []), ((DIRECT, SPLIT), [])):
            scene = Scene()
            begun = visit_at(scene.now())
            await scene.visit(visit=replace(begun, plan=replace(begun.plan, routes=planned)))
            assert scene.asked == asked

    play(story())


def test_once_a_day() -> None:
    async def story() -> None:
        scene = Scene({TOR: page("Are you human?", status=403)})
        for _ in range(3):
            await scene.visit()
        assert scene.asked == [DIRECT, TOR]
        await asyncio.sleep(86_400)
        await scene.visit()
        assert scene.asked == [DIRECT, TOR] * 2

    play(story())


def test_six_an_hour() -> None:
    """A page may have many images of plain HTTP, each of another host."""

    async def story() -> None:
        scene = Scene()
        for number in range(8):
            await scene.visit(visit=visit_at(scene.now(), host=f"site{number}.test"))
        assert scene.asked == ASKED * 6
        await asyncio.sleep(3600)
        await scene.visit()
        assert scene.asked == ASKED * 7

    play(story())


def test_few_at_once() -> None:
    async def story() -> None:
        scene = Scene()
        for number in range(CHECKS_AT_ONCE + 2):
            scene.begin(visit=visit_at(scene.now(), host=f"site{number}.test"))
        await asyncio.sleep(10)
        assert len(scene.asked) == len(ASKED) * CHECKS_AT_ONCE
        await scene.visit()
        assert len(scene.asked) == len(ASKED) * (CHECKS_AT_ONCE + 1), "and more later"

    play(story())


@each_row("what", ["network", "setup"])
def test_what_has_changed_meanwhile_ends_it(what: str) -> None:
    async def story() -> None:
        scene = Scene()
        changed: Any = AWAY if what == "network" else replace(scene.setup, pages=NO_PAGES)
        asyncio.get_running_loop().call_later(0.15, setattr, scene, what, changed)
        await scene.visit()
        assert scene.asked == [DIRECT]
        assert scene.held.state is State.UNKNOWN

    play(story())
