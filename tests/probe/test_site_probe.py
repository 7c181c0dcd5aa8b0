"""One visit over real sockets: what is told of servers that answer oddly."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Destination, MeasurementStep, Protocol, Route, Stage, StepKind, StepResult, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.hello_ledger import HelloTurn, no_turn
from proxy.probe.site_probe import SiteProbe
from proxy.probe.target import ProbeTarget
from tests.lab.authorities import Authority
from tests.support.clock import run as play
from tests.support.late import TLS_LATE_S, stall, stalling
from tests.support.scripted import FakeOracle, Script, ScriptedDialer
from tests.support.streams import listening
from tests.wire.hellos import real

RELAY = Route(("vps",))
SLOW_BYTES_S = DetectTuning().measure_slow_bytes
QUICK = DetectTuning(
    silent_s=0.5, measure_stall_s=0.5, measure_answer_s=1000, measure_bytes=10_000, measure_slow_bytes=1
)
"""No page is slow by this: on a busy machine each may be."""
ALERT = bytes.fromhex("15 03 03 00 02 02 70")  # fatal, unrecognized_name
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@asynccontextmanager
async def answering(*pieces: bytes, then_wait: bool = False) -> AsyncIterator[int]:
    """A server that reads once, says `pieces`, and closes, or waits."""
    forever = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_wait:
            await forever.wait()

    async with listening(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def visited(
    to_relays: TcpDialer, port: int, protocol: Protocol = Protocol.HTTP, *, name: str = "", detect: DetectTuning = QUICK
) -> list[MeasurementStep]:
    steps: list[MeasurementStep] = []
    visitor = SiteProbe(steps.append, detect=detect, tcp_info=TcpInfo())
    place = Destination("127.0.0.1", port)
    if name:
        await visitor.neutral(DIRECT, to_relays, place, name)
    else:
        await visitor.visit(DIRECT, to_relays, place, ProbeTarget("site.test", protocol, port), connect_s=1)
    return steps


def last(steps: list[MeasurementStep]) -> tuple[StepKind, StepResult, Symptom]:
    return steps[-1].kind, steps[-1].result, steps[-1].symptom


@pytest.mark.parametrize(
    ("answer", "symptom"),
    [
        ((ALERT,), Symptom.ALERT),
        ((), Symptom.EOF),
        ((b"HTTP/1.0 400 Bad Request\r\n\r\n",), Symptom.GARBAGE),
    ],
)
@pytest.mark.usefixtures("home")
async def test_hellos_that_are_not_answered_well(
    to_relays: TcpDialer, answer: tuple[bytes, ...], symptom: Symptom
) -> None:
    async with answering(*answer) as port:
        steps = await visited(to_relays, port, Protocol.TLS)
    assert last(steps) == (StepKind.HELLO, StepResult.FAILED, symptom)


async def test_an_alert_is_an_answer_to_a_harmless_name(to_relays: TcpDialer) -> None:
    async with answering(ALERT) as port:
        steps = await visited(to_relays, port, name="example.com")
    assert last(steps) == (StepKind.NEUTRAL, StepResult.OK, Symptom.ALERT)


SERVER_HELLO = b"\x16\x03\x03\x00\x02\x02\x00"
"""The beginning of one."""


@pytest.mark.parametrize(
    ("answer", "result", "symptom", "text"),
    [
        ((SERVER_HELLO,), StepResult.OK, Symptom.NONE, "answered"),
        ((SERVER_HELLO[:3], SERVER_HELLO[3:]), StepResult.OK, Symptom.NONE, "answered"),
        ((ALERT,), StepResult.OK, Symptom.ALERT, "answered with the alert unrecognized name"),
        ((ALERT[:-1] + b"\x2a",), StepResult.OK, Symptom.ALERT, "answered with the alert 42"),
        ((), StepResult.FAILED, Symptom.EOF, "connection closed after the ClientHello"),
        ((SERVER_HELLO[:3],), StepResult.FAILED, Symptom.EOF, "closed after 3 bytes"),
        ((b"HTTP/1.0 400 Bad Request\r\n\r\n",), StepResult.FAILED, Symptom.GARBAGE, "answered b'HTTP/1.0 400 Bad'"),
    ],
)
async def test_a_recorded_hello(
    to_relays: TcpDialer, answer: tuple[bytes, ...], result: StepResult, symptom: Symptom, text: str
) -> None:
    async with answering(*answer) as port:
        (step,) = await sent(to_relays, port)
    assert (step.kind, step.result, step.symptom, step.text) == (StepKind.SHAPE, result, symptom, text)
    assert step.evidence.get("recorded") == 1, "it says so"
    assert step.address == f"127.0.0.1:{port}"


async def test_a_recorded_hello_that_is_not_answered(to_relays: TcpDialer) -> None:
    async with answering(then_wait=True) as port:
        (step,) = await sent(to_relays, port)
    assert (step.result, step.symptom) == (StepResult.FAILED, Symptom.SILENT)


async def test_a_recorded_hello_says_nothing_without_a_connection(to_relays: TcpDialer) -> None:
    async with answering() as port:
        pass
    assert await sent(to_relays, port) == []


async def test_a_recorded_hello_is_made_anew_and_waits_for_its_turn(to_relays: TcpDialer) -> None:
    hello, heard, turns = real("site.test"), list[bytes](), list[str]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))

    async def turn(name: str) -> None:
        assert not heard
        turns.append(name)

    async with listening(serve, "127.0.0.1", 0) as server:
        await sent(to_relays, server.sockets[0].getsockname()[1], hello=hello, turn=turn)
    assert turns == ["site.test"]
    assert len(heard[0]) == len(hello)
    assert heard[0] != hello
    assert heard[0][76:] == hello[76:], "but for its random values"


async def sent(
    to_relays: TcpDialer, port: int, *, hello: bytes | None = None, turn: HelloTurn = no_turn
) -> list[MeasurementStep]:
    """The steps of a recorded hello."""
    steps: list[MeasurementStep] = []
    probe = SiteProbe(steps.append, detect=QUICK, tcp_info=TcpInfo(), hello_turn=turn)
    place = Destination("127.0.0.1", port)
    await probe.other_hello(DIRECT, to_relays, place, "site.test", hello or real("site.test"), connect_s=1)
    return steps


async def test_a_handshake_that_stops_is_frozen(to_relays: TcpDialer) -> None:
    async with answering(b"\x16\x03\x03\x02\x00" + bytes(20), then_wait=True) as port:
        steps = await visited(to_relays, port, Protocol.TLS)
    assert last(steps) == (StepKind.HELLO, StepResult.FAILED, Symptom.FROZEN)
    assert steps[-1].evidence["bytes"] == 25


@pytest.mark.parametrize(
    ("answer", "waits", "found", "symptom"),
    [
        ((HEAD, bytes(9000)), True, StepResult.FAILED, Symptom.FROZEN),  # more was promised, and it stopped
        ((HEAD, bytes(20_000)), True, StepResult.OK, Symptom.NONE),  # as much as is wanted
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",), True, StepResult.OK, Symptom.NONE),
        ((b"HTTP/1.1 200 OK\r\n\r\nok",), False, StepResult.OK, Symptom.NONE),
        ((), True, StepResult.FAILED, Symptom.SILENT),
        ((), False, StepResult.FAILED, Symptom.EOF),
        ((b"220 mail.test ESMTP\r\n",), False, StepResult.FAILED, Symptom.GARBAGE),
        ((b"HTTP/1.1 abc\r\n\r\n",), False, StepResult.FAILED, Symptom.GARBAGE),
        ((b"A" * 70_000,), False, StepResult.FAILED, Symptom.GARBAGE),
    ],
)
@pytest.mark.usefixtures("home")
async def test_pages(
    to_relays: TcpDialer, answer: tuple[bytes, ...], waits: bool, found: StepResult, symptom: Symptom
) -> None:
    async with answering(*answer, then_wait=waits) as port:
        steps = await visited(to_relays, port)
    assert last(steps) == (StepKind.ANSWER, found, symptom)


async def test_what_comes_slowly_and_pauses_is_slow(to_relays: TcpDialer) -> None:
    turns = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(HEAD)
        for _ in range(9):
            writer.write(bytes(1000))
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(turns.wait(), 0.1)
        await turns.wait()

    async with listening(serve, "127.0.0.1", 0) as server:
        detect = replace(QUICK, measure_slow_bytes=SLOW_BYTES_S)
        steps = await visited(to_relays, server.sockets[0].getsockname()[1], detect=detect)
    assert last(steps) == (StepKind.ANSWER, StepResult.OK, Symptom.NONE)
    assert 0 < int(steps[-1].evidence["bytes_per_s"]) < SLOW_BYTES_S


@pytest.mark.parametrize(
    ("route", "opens_s", "after_s", "found"),
    [
        (RELAY, 1.0, 6.9, StepResult.OK),
        (RELAY, 1.0, 7.1, StepResult.FAILED),
        (RELAY, 4.0, 14.9, StepResult.OK),  # half of `give_up_s`, as its round trips are long
        (RELAY, 4.0, 15.1, StepResult.FAILED),
        (DIRECT, 4.0, 7.1, StepResult.FAILED),
    ],
)
def test_a_relay_that_is_slow_to_open_a_path_may_be_slow_to_answer(
    route: Route, opens_s: float, after_s: float, found: StepResult
) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    async def story() -> None:
        steps: list[MeasurementStep] = []
        probe = SiteProbe(steps.append, detect=DetectTuning(), tcp_info=FakeOracle())
        dialer = ScriptedDialer(Script(connect=opens_s, answer=page, after=after_s))
        target = ProbeTarget("site.test", Protocol.HTTP, 80)
        came = await probe.visit(route, dialer, Destination("site.test", 80), target, connect_s=17)
        assert came is (found is StepResult.OK)
        symptom = Symptom.NONE if came else Symptom.SILENT
        assert last(steps) == (StepKind.ANSWER, found, symptom)

    play(story())


DEAD = DialError("refused", stage=Stage.CONNECT, symptom=Symptom.RELAY_DOWN)
REFUSED = DialError("refused", stage=Stage.CONNECT, symptom=Symptom.REFUSED)
NO_PASSWORD = DialError("no password", stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH)


@pytest.mark.parametrize(
    ("route", "back_after_s", "failure", "dialed"),
    [
        (RELAY, 1.5, DEAD, [0.0, 1.0, 2.2]),
        (RELAY, 99.0, DEAD, [0.0, 1.0, 2.2]),
        (RELAY, 1.5, NO_PASSWORD, [0.0]),
        (DIRECT, 1.5, REFUSED, [0.0]),
    ],
)
def test_a_relay_that_cannot_be_reached_may_restart(
    route: Route, back_after_s: float, failure: DialError, dialed: list[float]
) -> None:
    async def story() -> None:
        steps: list[MeasurementStep] = []
        probe = SiteProbe(steps.append, detect=DetectTuning(), tcp_info=FakeOracle())
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        script = Script(connect=lambda now: failure if now < back_after_s else 0.1, answer=answer)
        target = ProbeTarget("site.test", Protocol.HTTP, 80)
        destination = Destination("site.test", 80)
        came = await probe.visit(route, ScriptedDialer(script), destination, target, connect_s=17)
        assert came is (back_after_s < dialed[-1])
        assert script.dialed == pytest.approx(dialed)
        kinds = [step.kind for step in steps]
        assert kinds == ([StepKind.RELAY, StepKind.ANSWER] if came else [steps[-1].kind])
        assert steps[0].symptom is (Symptom.NONE if came else failure.symptom)

    play(story())


async def test_what_a_page_says_of_itself(to_relays: TcpDialer) -> None:
    page = (
        b"HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 49\r\n\r\n"
        b"<html><TITLE lang=en>\n Daily \xff News </TITLE></html>"
    )
    async with answering(page) as port:
        evidence = (await visited(to_relays, port))[-1].evidence
    assert evidence["status"] == 302
    assert evidence["location"] == "http://other.test/"
    assert evidence["title"] == "Daily \ufffd News"


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.TLS])
@pytest.mark.usefixtures("home")
async def test_an_answer_that_came_while_the_loop_was_late_is_in_time(
    to_relays: TcpDialer, public: Authority, protocol: Protocol
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        stall(1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    steps: list[MeasurementStep] = []
    context = stalling(public.server(), TLS_LATE_S) if protocol is Protocol.TLS else None
    async with listening(serve, "127.0.0.1", 0, ssl=context) as server:
        place = Destination("127.0.0.1", server.sockets[0].getsockname()[1])
        visitor = SiteProbe(steps.append, detect=DetectTuning(), tcp_info=TcpInfo(), trust=public.client())
        assert await visitor.visit(
            DIRECT, to_relays, place, ProbeTarget("site.test", protocol, place.port), connect_s=10
        )
    assert last(steps) == (StepKind.ANSWER, StepResult.OK, Symptom.NONE)
