"""What our own connections beside a visit send, and what they take for an answer: over scripted paths, under a virtual
clock. What a hello of ours looks like is told in test_way_back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.bundled import bundled
from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.detect.tls_interception import KnownRoots
from proxy.model import DIRECT, Protocol, Route, Symptom
from proxy.net.dialers import tls
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.knowledge import VALID, ClassifiedAnswer, NothingKnown
from proxy.net.poller import make_poller
from proxy.net.race.hello_ledger import no_turn
from proxy.net.tasks import cancel_all, spawn
from proxy.probe.same_flight import PAGE_LIMIT, get_page, gets_answer, gets_own_certificate, gets_untrusted_certificate
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from proxy.wire.tls import Verdict
from tests.lab.authorities import STATE_ROOT, Authority
from tests.support.answering import answering, babbling
from tests.support.clock import run as play
from tests.support.outcomes import HOST, TOR, rescued
from tests.support.rows import each_row
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedDirect, ScriptedStream
from tests.support.services import NO_PAGES, NO_RESOLVER
from tests.wire import hellos

HELLO = hellos.by_hand(hellos.sni(HOST.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"
ALERT = b"\x15\x03\x03\x00\x02\x02\x70"  # fatal, unrecognized_name
RESET = ConnectionResetError(104, "Connection reset by peer")
OK = b"HTTP/1.1 200 OK\r\n\r\n"
VISIT = rescued(by=TOR)
ROOTS = KnownRoots.parse(bundled("certs/known_roots.json").read_text("utf-8"), "known_roots.json")
OVER_HTTP = replace(rescued(by=TOR, protocol=Protocol.HTTP), host=HOST)
MORE = ClassifiedAnswer(Verdict.MORE)
BLOCKED = ClassifiedAnswer(Verdict.GARBAGE, Symptom.BLOCK_PAGE)
ELSEWHERE = ClassifiedAnswer(Verdict.GARBAGE, Symptom.REDIRECTED)


class Pages(NothingKnown):
    """A page says itself what it is; one that says nothing is the site's."""

    def classify(self, answer: bytes, host: str, *, complete: bool) -> ClassifiedAnswer:
        assert host == HOST
        for word, found in ((b"blocked", BLOCKED), (b"elsewhere", ELSEWHERE), (b"the site", VALID)):
            if word in answer:
                return found
        if not complete:
            return MORE
        return BLOCKED if answer.endswith(b"no more") else VALID


class InPieces(ScriptedStream):
    """What is answered comes in pieces, a second apart, until None: silence, or an Exception, or b"": the end."""

    def __init__(self, script: Script, pieces: tuple[bytes | Exception | None, ...]) -> None:
        super().__init__(script)
        self._pieces = pieces

    def send_nowait(self, data: bytes | memoryview) -> int:
        loop = asyncio.get_running_loop()
        for seconds, piece in enumerate(self._pieces, 1):
            if piece is not None:
                loop.call_later(seconds, self._arrive, piece)
        self.sent += bytes(data)
        return len(data)

    def _arrive(self, item: bytes | Exception) -> None:
        if not self.closed:
            super()._arrive(item)


class Scene:
    """A setup whose registry knows the scripts."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Route] = []
        self.turns: list[str] = []  # the names whose hellos waited for their turn
        self.settings = Settings()
        unused = cast(Any, None)
        self.setup = Setup(
            *(Loaded(self.settings), unused, unused, unused, cast(Any, self), NO_RESOLVER),
            pages=NO_PAGES,
            knowledge=Pages(),
        )  # fmt: skip

    schedule = None

    async def turn(self, name: str) -> None:
        assert not self.sent
        self.turns.append(name)

    @property
    def direct(self) -> ScriptedDirect:
        return ScriptedDirect(lambda: self._script(DIRECT))

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        return ScriptedDialer(self._script(route))

    def _script(self, route: Route) -> Script:
        self.asked.append(route)
        return self.script

    @property
    def sent(self) -> list[bytes]:
        return [stream.sent for stream in self.script.streams]

    def all_closed(self) -> bool:
        return all(stream.closed for stream in self.script.streams)


def flight_of(data: bytes) -> Flight:
    flight = Flight()
    flight.receive_data(data)
    return flight


ANSWERS: dict[str, tuple[bytes | Exception | None, bool]] = {
    "a ServerHello": (SERVER_HELLO, True),
    "an alert": (ALERT, False),  # that is how some block, and how some servers refuse a hello that was cut
    "a reset": (RESET, False),
    "nothing": (None, False),
    "an end": (b"", False),
    "something else": (b"<html>", False),
}


@each_row("name", ANSWERS)
def test_what_answers_a_hello(name: str) -> None:
    answer, ok = ANSWERS[name]

    async def story() -> None:
        scene = Scene(Script(answer=answer))
        assert await gets_answer(scene.setup, FakeOracle(), scene.turn, VISIT, flight_of(HELLO), TOR) is ok
        assert scene.asked == [TOR]
        assert scene.turns == [], "within the relay's connection nobody counts it"
        assert len(scene.sent) == 1
        assert scene.all_closed()

    play(story())


def test_an_answer_that_comes_too_late_is_none() -> None:
    async def story() -> None:
        for after, ok in ((9.0, True), (11.0, False)):
            scene = Scene(Script(answer=SERVER_HELLO, after=after))
            assert await gets_answer(scene.setup, FakeOracle(), scene.turn, VISIT, flight_of(HELLO), DIRECT) is ok
            assert scene.turns == [VISIT.host]
            assert scene.all_closed()

    play(story())


@pytest.fixture
def authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Authority]]:
    """This system trusts the state's root, which people were told to install, and the office's."""
    with (
        Authority("Public", logged=True) as public,
        Authority("State", logged=True, shown=(STATE_ROOT,)) as state,
        Authority("Office") as office,
        Authority("Other", logged=True) as other,
    ):
        (tmp_path / "trust.pem").write_text(public.pem + state.pem + office.pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trust.pem"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        tls._system_context.cache_clear()
        yield {"public": public, "state": state, "office": office, "other": other}
    tls._system_context.cache_clear()


@pytest.mark.parametrize(
    ("whose", "logged", "ok"),
    [
        ("public", True, True), ("state", True, False), ("office", True, False), ("other", True, False),
        ("public", False, True), ("state", False, False), ("office", False, True), ("other", False, False),
    ],
)  # fmt: skip
async def test_only_the_sites_own_certificate_is_an_answer_of_its_own(
    authorities: dict[str, Authority], whose: str, logged: bool, ok: bool
) -> None:
    with contextlib.closing(make_poller(asyncio.get_running_loop())) as poller:
        via = TcpDialer(poller, Resolver(), lambda *_: None)
        async with answering(via, b"", authorities[whose].server()) as dialer:
            setup = replace(
                Scene(Script()).setup, registry=cast(Any, SimpleNamespace(dialer=lambda _: dialer, direct=None))
            )
            assert await gets_own_certificate(setup, ROOTS, no_turn, VISIT, DIRECT, logged=logged) is ok


PAGES: dict[str, tuple[tuple[bytes | Exception | None, ...], bool]] = {
    "the site's": ((OK + b"the site",), True),
    "the site's, in pieces": ((OK, b"", b"the ", b"site"), True),
    "a block page": ((OK + b"blocked",), False),
    "a block page, in pieces": ((OK + b"blo", b"cked"), False),
    "a block page, as its end shows": ((OK + b"no more", None), False),
    "one that leads elsewhere": ((OK + b"elsewhere",), False),
    "one that stops, and shows nothing bad": ((OK + b"what is", None), True),
    "one that stops too late to tell": ((OK, b"w", b"h", b"a", b"t", b" ", b"i", b"s", b" ", b"i", b"t", b"?"), True),
    "one that breaks off, and shows nothing bad": ((OK + b"what is", RESET), True),
    "one that is not HTTP": ((b"\x15\x03\x03\x00\x02\x02\x70",), False),
    "none": ((RESET,), False),
    "none at all": ((None,), False),
}


@each_row("name", PAGES)
def test_what_a_page_is(name: str) -> None:
    pieces, ok = PAGES[name]
    pieces = tuple(piece for piece in pieces if piece != b"")

    async def story() -> None:
        scene = Scene(Script(stream=lambda script: InPieces(script, pieces)))
        assert (await get_page(scene.setup, FakeOracle(), OVER_HTTP, TOR) is not None) is ok
        asked = f"GET / HTTP/1.1\r\nHost: {HOST}:443\r\nConnection: close\r\n\r\n".encode()
        assert scene.sent == [asked]
        assert scene.all_closed()

    play(story())


def test_the_end_of_a_page_is_judged_with_what_came() -> None:
    async def story() -> None:
        scene = Scene(Script(stream=lambda script: InPieces(script, (OK + b"what is", b""))))
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await get_page(scene.setup, FakeOracle(), OVER_HTTP, TOR) is not None
        assert loop.time() - started < 3, "it does not wait for more"

    play(story())


def test_no_more_of_a_page_is_read_than_it_takes() -> None:
    async def story() -> None:
        size = PAGE_LIMIT // 4
        scene = Scene(Script(stream=lambda script: InPieces(script, (OK, *(bytes(size),) * 8))))
        assert await get_page(scene.setup, FakeOracle(), OVER_HTTP, TOR) is not None
        assert asyncio.get_running_loop().time() < 7

    play(story())


@pytest.mark.parametrize(
    ("route", "connects_after_s", "comes"), [(TOR, 14.0, True), (TOR, 31.0, False), (DIRECT, 14.0, False)]
)
def test_a_slow_relay_has_longer_for_a_page_than_direct(route: Route, connects_after_s: float, comes: bool) -> None:
    async def story() -> None:
        scene = Scene(Script(connect=connects_after_s, answer=OK + b"the site"))
        assert (await get_page(scene.setup, FakeOracle(), OVER_HTTP, route) is not None) is comes
        assert scene.all_closed()

    play(story())


def test_another_page_than_the_first_may_be_requested() -> None:
    async def story() -> None:
        scene = Scene(Script(answer=OK + b"the site<title>News of today</title>"))
        request = f"GET /news HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
        page = await get_page(scene.setup, FakeOracle(), OVER_HTTP, TOR, request)
        assert page is not None
        assert (page.status, page.title) == (200, "News of today")
        assert scene.sent == [request]

    play(story())


def test_one_that_is_cut_short_leaves_nothing_open() -> None:
    async def story() -> None:
        scene = Scene(Script(stream=lambda script: InPieces(script, (OK, None))))
        spawn(get_page(scene.setup, FakeOracle(), OVER_HTTP, TOR), name="a page")
        await asyncio.sleep(2.0)
        assert not scene.all_closed()
        await cancel_all()
        assert scene.all_closed()

    play(story())


def test_each_hello_is_new() -> None:
    async def story() -> None:
        scene = Scene(Script(answer=SERVER_HELLO))
        for _ in range(3):
            await gets_answer(scene.setup, FakeOracle(), no_turn, VISIT, flight_of(HELLO), DIRECT)
        assert all(first != second for first, second in pairwise([HELLO, *scene.sent]))

    play(story())


@pytest.mark.parametrize("forged", [True, False])
async def test_somebody_elses_certificate_is_told_from_none(forged: bool) -> None:
    with contextlib.closing(make_poller(asyncio.get_running_loop())) as poller, Authority("Unknown") as unknown:
        via = TcpDialer(poller, Resolver(), lambda *_: None)
        server = answering(via, b"", unknown.server()) if forged else babbling(via, b"")
        async with server as dialer:
            setup = replace(
                Scene(Script()).setup, registry=cast(Any, SimpleNamespace(dialer=lambda _: dialer, direct=None))
            )
            assert await gets_untrusted_certificate(setup, no_turn, VISIT, DIRECT) is forged
