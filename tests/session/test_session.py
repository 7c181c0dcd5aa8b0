"""One connection from greeting to pump, over a real client socket and scripted paths."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.load import Loaded
from proxy.config.schema import Auto, Limits, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import DIRECT, ClosedBy, Outcome, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.loop.choice import new_loop
from proxy.net.poller import make_poller
from proxy.net.stream import SocketStream
from proxy.net.tunnel.pump import Pump
from proxy.routing.address_guard import Guard
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule_parser import parse_rules
from proxy.session.inbound import InboundHandshake
from proxy.session.inspector import InspectionDecision
from proxy.session.open_connections import OpenConnections
from proxy.session.session import Session
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from tests.support.outcomes import HOME, HOST, TOR
from tests.support.rows import each_row
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedDirect, ScriptedStream
from tests.support.services import NO_PAGES, NO_RESOLVER, services
from tests.support.waiting import until
from tests.wire import hellos

CONNECT = f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n".encode()
HELLO = hellos.by_hand(hellos.sni(HOST.encode()), hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE)

OTHER_HELLO = hellos.by_hand(hellos.sni(HOST.encode()), hellos.SUPPORTED_VERSIONS)


class Registry:
    """Each route's scripts, one for each time that it is dialed; the last one repeats. Direct without one fails."""

    def __init__(self, scripts: dict[Route, list[Script]]) -> None:
        self.relay_names = tuple(str(route) for route in scripts if not route.is_direct)
        self._next: dict[Route, Iterator[Script]] = {
            route: itertools.chain(those, itertools.repeat(those[-1])) for route, those in scripts.items()
        }
        none = DialError("no script", stage=Stage.CONNECT, symptom=Symptom.LOCAL)
        self._next.setdefault(DIRECT, itertools.repeat(Script(connect=none)))

    schedule = None

    @property
    def direct(self) -> ScriptedDirect:
        return ScriptedDirect(lambda: next(self._next[DIRECT]))

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> ScriptedDialer:
        return ScriptedDialer(next(self._next[route]))


class Visit:
    """A client, and the session that serves it until it ends."""

    def __init__(self, client: socket.socket, session_side: socket.socket, outcomes: list[Outcome]) -> None:
        self._client = client
        self._session_side = session_side
        self.outcomes = outcomes
        self.won: list[Outcome] = []  # tunnels to which a route has delivered
        self.programs: dict[str, str | None] = {}  # of clients, as far as they are known
        self.open_connections = OpenConnections()
        self._loop = asyncio.get_running_loop()

    async def says(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._client, data)

    def says_at_once(self, data: bytes) -> None:
        """Says it before the session can run."""
        self._client.send(data)

    async def hears(self) -> bytes:
        return await self._loop.sock_recv(self._client, 65536)

    async def is_read(self) -> None:
        """Returns when the session has taken in all that was said."""
        await until(lambda: not _unread(self._session_side))

    def has_unheard(self) -> bool:
        return _unread(self._client)

    def leaves(self) -> None:
        self._client.close()


class Inspector:
    """Refuses, or stands between and says a hello of its own in place of the client's."""

    def __init__(self, *looks: InspectionDecision) -> None:
        self._looks = list(looks)
        self.asked: list[bool] = []  # whether a flight had come
        self.said: list[bytes] = []
        self.client: SocketStream | None = None
        self.side: socket.socket | None = None

    async def decide(self, outcome: Outcome, flight: Flight | None) -> InspectionDecision:
        self.asked.append(flight is not None)
        return self._looks.pop(0)

    async def intercept(self, client: SocketStream, said: bytes, outcome: Callable[[], Outcome]) -> SocketStream:
        self.said.append(said)
        self.client = client
        self.side, ours = socket.socketpair()
        ours.setblocking(False)
        self.side.send(OTHER_HELLO)
        return SocketStream(ours, client.poller, client.peer)

    def leaves(self) -> None:
        assert self.client is not None
        assert self.side is not None
        self.side.close()
        self.client.close()


@asynccontextmanager
async def visit(
    scripts: dict[Route, list[Script]],
    *,
    late_flight_s: float = 3600.0,
    idle_timeout_s: float = 3600.0,
    inspector: Inspector | None = None,
    inspected: bool = False,
    rules_text: str = "MATCH,AUTO,INSPECT",
    detect: DetectTuning | None = None,
) -> AsyncIterator[Visit]:
    """On leaving, the session is waited for: a story must bring it to its end. With an `inspector` a rule says that
    everything is to be inspected."""
    loop = asyncio.get_running_loop()
    settings = Settings(
        auto=Auto(ladder=()),
        detect=detect or DetectTuning(hedge_syn_s=0.01),
        limits=Limits(late_flight_s=late_flight_s, idle_timeout_s=idle_timeout_s),
    )
    registry = Registry(scripts)
    rules = parse_rules(rules_text if inspector else "", source="rules.txt")
    setup = Setup(
        loaded=Loaded(settings),
        inbound=InboundHandshake(settings.limits, None, lambda _host: False),
        guard=Guard((), ()),
        router=Router(rules, {}, [RelayInfo(name) for name in registry.relay_names], settings),
        registry=cast(Any, registry),
        resolver=NO_RESOLVER,
        pages=NO_PAGES,
    )
    outcomes: list[Outcome] = []
    far, near = socket.socketpair()
    client = Visit(far, near, outcomes)
    pump = Pump(idle_timeout_s=3600, half_open_timeout_s=3600)
    shared = services(
        setup=lambda: setup,
        beliefs=Beliefs(settings.detect),
        pump=pump,
        tcp_info=FakeOracle(usable=False),
        network=lambda: HOME,
        now=loop.time,
        record=lambda outcome, _network: outcomes.append(outcome),
        delivered=lambda visit: client.won.append(visit.record.outcome),
        inspector=inspector,
    )
    client.programs, client.open_connections = shared.programs.cached, shared.open_connections
    poller = make_poller(loop)
    far.setblocking(False)
    near.setblocking(False)
    try:
        async with asyncio.timeout(10), asyncio.TaskGroup() as serving:
            served = SocketStream(near, poller, "127.0.0.1:50000")
            serving.create_task(Session(served, shared, inspected=inspected).run())
            yield client
    finally:
        await pump.close(0)
        far.close()
        poller.close()


def _unread(sock: socket.socket) -> bool:
    """Whether something waits in the kernel to be read."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


async def until_sent(script: Script) -> None:
    """The flight has gone out on this path."""
    await until(lambda: any(stream.sent for stream in script.streams))


async def test_a_tunnel_that_was_answered_is_told_of_while_it_is_open() -> None:
    answers = Script(connect=0.0, answer=b"\x16\x03\x03\x00\x7a\x02", after=0.0)
    async with visit({DIRECT: [answers]}) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        assert client.won == []
        await client.says(HELLO)
        assert (await client.hears()).startswith(b"\x16\x03\x03")
        (won,) = client.won
        assert (won.winner, won.host, client.outcomes) == (DIRECT, HOST, [])
        client.leaves()


async def test_the_program_of_a_client_is_forgotten_with_it() -> None:
    """Another program may get the same port."""
    async with visit({DIRECT: [Script(connect=0.0)]}) as client:
        client.programs |= {"127.0.0.1:50000": "curl", "127.0.0.1:50001": "firefox"}
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        assert len(client.programs) == 2
        client.leaves()
    assert client.programs == {"127.0.0.1:50001": "firefox"}


async def test_a_client_that_leaves_on_its_second_path_is_noticed() -> None:
    """The first path died before the flight; the one in its place stays silent, so that nothing else ends the wait."""
    dies, silent = Script(connect=0.0, greeting=b"", after=0.0), Script(connect=0.0)
    async with visit({DIRECT: [dies, silent]}) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await until(lambda: dies.streams[0].closed)
        await client.says(HELLO)
        await until_sent(silent)
        client.leaves()
    (outcome,) = client.outcomes
    assert outcome.closed_by is ClosedBy.CLIENT
    assert silent.streams[0].closed


async def test_a_flight_that_comes_late_and_in_parts_finds_a_new_path() -> None:
    """What rings meanwhile, be it half a ClientHello, is not the end of our patience."""
    dies, answers = Script(connect=0.0, greeting=b"", after=0.0), Script(connect=0.0)
    async with visit({DIRECT: [dies, answers]}) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await until(lambda: dies.streams[0].closed)
        await client.says(HELLO[:40])
        await client.is_read()
        await client.says(HELLO[40:])
        await until_sent(answers)
        assert answers.streams[0].sent == HELLO
        client.leaves()


async def test_a_client_that_leaves_before_it_hears_of_its_path_is_the_one_who_left() -> None:
    def leaves(script: Script) -> ScriptedStream:
        client.leaves()
        return ScriptedStream(script)

    path = Script(connect=0.0, stream=leaves)
    async with visit({DIRECT: [path]}) as client:
        client.says_at_once(CONNECT)
    (outcome,) = client.outcomes
    assert (outcome.closed_by, outcome.error) == (ClosedBy.CLIENT, "the client left before an answer came")
    assert [attempt.symptom for attempt in outcome.attempts] == [Symptom.ABANDONED]
    assert path.streams[0].closed


async def test_the_flight_of_a_client_that_left_behind_it_is_not_sent() -> None:
    """Nothing else would be heard of it: the server here stays silent."""
    silent = Script(connect=0.0)
    async with visit({DIRECT: [silent]}) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        client.says_at_once(HELLO)
        client.leaves()
    (outcome,) = client.outcomes
    assert (outcome.closed_by, silent.streams[0].sent) == (ClosedBy.CLIENT, b"")


async def test_a_flight_that_never_comes_is_not_waited_for_without_end() -> None:
    dies = Script(connect=0.0, greeting=b"", after=0.0)
    async with visit({DIRECT: [dies]}, late_flight_s=0.05) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        assert await client.hears() == b""
    assert len(dies.streams) == 1


async def test_a_client_that_says_nothing_is_not_told_of_as_a_site_that_could_not_be_reached() -> None:
    quiet = Script(connect=0.0)
    async with visit({DIRECT: [quiet]}, idle_timeout_s=0.05) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        assert await client.hears() == b""
    (outcome,) = client.outcomes
    assert (outcome.closed_by, outcome.error) == (
        ClosedBy.IDLE,
        "the client was connected, and sent no request in time",
    )


async def test_a_path_that_dies_before_the_flight_takes_its_race_along() -> None:
    """A direct connect was still under way beside it."""
    slow, dies, answers = Script(connect=3600.0), Script(connect=0.0, greeting=b"", after=0.0), Script(connect=0.0)
    async with visit({DIRECT: [slow], TOR: [dies, answers]}) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await until(lambda: dies.streams[0].closed)
        await client.says(HELLO)
        await until_sent(answers)
        client.leaves()
    assert slow.dialed
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("dial ")])


IMPATIENT = DetectTuning(hedge_syn_s=0.01, relay_retry_s=(0.01,) * 6)


def down() -> DialError:
    return DialError("relay tor cannot be reached", stage=Stage.CONNECT, symptom=Symptom.RELAY_DOWN)


def ends() -> DialError:
    text = "relay tor refused: it closed the connection without a reply"
    return DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED, evidence={"relay": Symptom.EOF})


@pytest.mark.parametrize("first", [down, ends])
async def test_a_client_waits_for_its_tunnel_while_its_relay_restarts(first: Callable[[], DialError]) -> None:
    """Also when it ended on our request, which looks like a refusal."""
    begins, refuses, opens = Script(connect=first()), Script(connect=down()), Script(connect=0.0)
    async with visit({TOR: [begins, refuses, opens]}, detect=IMPATIENT) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        await until_sent(opens)
        client.leaves()
    assert len(begins.dialed) == len(refuses.dialed) == 1


async def test_a_tunnel_for_which_nothing_comes_is_closed_and_the_log_has_the_reason() -> None:
    reset = Script(connect=0.0, answer=ConnectionResetError(), after=0.0)
    async with visit({DIRECT: [reset], TOR: [Script(connect=down())]}, detect=IMPATIENT) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        assert await client.hears() == b""
    (outcome,) = client.outcomes
    assert [str(attempt.route) for attempt in outcome.attempts] == ["direct", *["tor"] * 7]
    assert "direct: reset after the request was sent; tor: relay tor cannot be reached (7 tries)" in outcome.error


async def test_for_a_client_that_left_no_relay_is_tried_again() -> None:
    refuses = Script(connect=down())
    async with visit({TOR: [refuses]}, detect=DetectTuning(relay_retry_s=(0.01, 0.01, 3600))) as client:
        await client.says(CONNECT)
        await until(lambda: bool(refuses.dialed))
        client.leaves()
    (outcome,) = client.outcomes
    assert outcome.closed_by is ClosedBy.CLIENT
    assert len(refuses.dialed) <= 3


@pytest.mark.parametrize("asked", [CONNECT, f"POST http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n".encode()])
async def test_a_path_is_not_opened_for_a_client_that_left(asked: bytes) -> None:
    """A relay may take half a minute, and opens only so many paths at a time."""
    silent = Script(connect=3600.0)
    async with visit({TOR: [silent]}) as client:
        await client.says(asked if asked is CONNECT else asked + b"Content-Length: 2\r\n\r\n")
        await until(lambda: bool(silent.dialed))
        client.leaves()
    (outcome,) = client.outcomes
    assert outcome.closed_by is ClosedBy.CLIENT
    await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("dial ")])


@pytest.mark.parametrize("by", [ClosedBy.CLIENT, ClosedBy.SERVER])
async def test_a_server_that_greeted_has_delivered_whoever_ends_it(by: ClosedBy) -> None:
    """Port scanners and mail checks read a greeting, say nothing, and leave."""
    greets = Script(connect=0.0, greeting=b"220 mail.example ESMTP\r\n", after=0.0)
    async with visit({DIRECT: [greets]}) as client:
        await client.says(b"CONNECT 1.1.1.1:25 HTTP/1.1\r\nHost: 1.1.1.1:25\r\n\r\n")
        heard = b""
        while b"220 " not in heard:  # with the answer or after it: before Python 3.12 the path begins a pass later
            heard += await client.hears()
        if by is ClosedBy.CLIENT:
            client.leaves()
        else:
            greets.streams[0]._arrive(ConnectionResetError())
            assert await client.hears() == b""
    (outcome,) = client.outcomes
    assert (outcome.winner, outcome.closed_by, outcome.error, outcome.bytes_down) == (DIRECT, by, "", 24)
    assert outcome.attempts[0].delivered


@each_row("host", ["1.1.1.1", "mail.example"])
@each_row("loop", [new_loop, asyncio.new_event_loop])
def test_a_greeting_that_is_there_with_the_path_comes_after_connected(
    loop: Callable[[], asyncio.AbstractEventLoop], host: str
) -> None:
    def greets(script: Script) -> ScriptedStream:
        stream = ScriptedStream(script)
        stream.inbox.append(b"220 mail.example ESMTP\r\n")
        return stream

    async def story() -> None:
        async with visit({DIRECT: [Script(connect=0.0, stream=greets)]}) as client:
            await client.says(f"CONNECT {host}:25 HTTP/1.1\r\nHost: {host}:25\r\n\r\n".encode())
            heard = await client.hears()
            while not heard.endswith(b"ESMTP\r\n"):
                heard += await client.hears()
            assert heard == b"HTTP/1.1 200 Connection established\r\n\r\n220 mail.example ESMTP\r\n"
            client.leaves()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())


async def test_a_client_that_leaves_while_it_sends_is_the_one_who_left() -> None:
    """It resets the connection: an interim answer is there that it has not read."""
    continues = Script(connect=0.0, answer=b"HTTP/1.1 100 Continue\r\n\r\n", after=0.0)
    head = f"POST http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with visit({DIRECT: [continues]}) as client:
        await client.says(head.encode())
        await until(client.has_unheard)
        client.leaves()
    (outcome,) = client.outcomes
    assert (outcome.closed_by, outcome.error) == (ClosedBy.CLIENT, "the client left before an answer came")
    assert (outcome.attempts[0].symptom, outcome.bytes_up > 80, outcome.bytes_down) == (Symptom.ABANDONED, True, 25)


async def test_a_body_that_is_none_is_refused_and_the_log_says_why() -> None:
    head = f"POST http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with visit({DIRECT: [Script(connect=0.0)]}) as client:
        await client.says(head.encode() + b"two\r\n")
        assert (await client.hears()).startswith(b"HTTP/1.1 400 ")
        client.leaves()
    (outcome,) = client.outcomes
    assert (outcome.closed_by, outcome.attempts[0].symptom) == (ClosedBy.BYWAY, Symptom.ABANDONED)
    assert "chunk" in outcome.error


class TakesHalf(ScriptedStream):
    """Takes the first half of what is first sent on it, and nothing after that."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        return 0 if self.sent else super().send_nowait(data[: len(data) // 2])


async def test_a_server_that_answers_half_a_head_gets_no_second_request() -> None:
    """What would come next on that connection is, to the server, the rest of the first request."""
    get = f"GET http://{HOST}/%d HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    hasty = Script(connect=0.0, answer=answer, after=0.0, stream=TakesHalf)
    whole = Script(connect=0.0, answer=answer, after=0.0)
    async with visit({DIRECT: [hasty, whole]}) as client:
        for number in (1, 2):
            await client.says((get % number).encode())
            assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        client.leaves()
    assert b"/2" not in hasty.streams[0].sent
    assert hasty.streams[0].closed
    assert whole.streams[0].sent.startswith(b"GET /2 ")


class ServesOnce(ScriptedStream):
    """Breaks when it gets a second request."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.sent:
            asyncio.get_running_loop().call_soon(self._arrive, ConnectionResetError())
        return super().send_nowait(data)


@pytest.mark.parametrize(
    ("method", "fields", "again"),
    [("GET", "", True), ("DELETE", "", False), ("POST", "Content-Length: 0\r\n", False)],
)
async def test_a_request_that_breaks_a_connection_used_before_is_sent_again_if_it_may(
    method: str, fields: str, again: bool
) -> None:
    """Not one that may change something there: the server may have carried it out."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    breaks = Script(connect=0.0, answer=answer, after=0.0, stream=ServesOnce)
    fresh = Script(connect=0.0, answer=answer, after=0.0)
    async with visit({DIRECT: [breaks, fresh]}) as client:
        await client.says(f"GET http://{HOST}/1 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(f"{method} http://{HOST}/2 HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n".encode())
        assert (await client.hears()).startswith(b"HTTP/1.1 200 " if again else b"HTTP/1.1 502 ")
        client.leaves()
    assert f"{method} /2 " in breaks.streams[0].sent.decode()
    assert len(fresh.dialed) == again


async def test_the_next_request_does_not_wait_for_the_judgement_of_the_last_one() -> None:
    """Direct was overtaken, and is judged while the client goes on: both wait at the same time."""
    get = f"GET http://{HOST}/%d HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    silent = [Script(connect=0.0) for _ in range(2)]
    relay = [Script(connect=0.0, answer=answer, after=0.0, stream=AnswersEach) for _ in range(2)]
    quick = DetectTuning(hedge_syn_s=0.01, hedge_blind_s=0.01, hedge_silent_s=0.01, dropped_s=0.1, silent_s=0.2)
    async with visit({DIRECT: silent, TOR: relay}, detect=quick) as client:
        for number in (1, 2):
            await client.says((get % number).encode())
            assert (await client.hears()).endswith(b"\r\n\r\nok")
        await until(lambda: any(outcome.attempts[0].symptom is Symptom.SILENT for outcome in client.outcomes))
        await client.says((get % 3).encode())
        assert (await client.hears()).endswith(b"\r\n\r\nok")
        client.leaves()
    assert silent[0].streams[0].closed


class AnswersEach(ScriptedStream):
    """Answers every request."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        if self.sent:
            assert self.script.answer is not None
            asyncio.get_running_loop().call_later(self.script.after, self._arrive, self.script.answer)
        return super().send_nowait(data)


# -- what is inspected -------------------------------------------------------------------------------------------------


async def test_a_site_that_must_not_be_signed_for_is_refused_before_anybody_is_connected() -> None:
    script, inspector = Script(connect=0.0), Inspector(InspectionDecision(refusal="its certificate is bad"))
    async with visit({DIRECT: [script]}, inspector=inspector) as client:
        await client.says(CONNECT)
        answer = await client.hears()
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"its certificate is bad" in answer
        client.leaves()
    assert not script.streams, "no route was even dialed"
    assert (inspector.asked, client.outcomes[0].error) == ([False], "its certificate is bad")


async def test_an_inspector_that_steps_between_is_the_client_from_then_on() -> None:
    """One line in the log, over the path that was open."""
    script, inspector = (
        Script(connect=0.0),
        Inspector(InspectionDecision(inspect=True), InspectionDecision(inspect=True)),
    )
    async with visit({DIRECT: [script]}, inspector=inspector) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        await until_sent(script)
        assert script.streams[0].sent == OTHER_HELLO
        assert (inspector.said, inspector.asked) == ([HELLO], [False, True])
        inspector.leaves()
    assert len(client.outcomes) == 1
    assert len(script.streams) == 1


async def test_a_flight_that_is_not_to_be_looked_into_goes_on_as_it_is() -> None:
    script, inspector = Script(connect=0.0), Inspector(InspectionDecision(), InspectionDecision())
    async with visit({DIRECT: [script]}, inspector=inspector) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        await until_sent(script)
        assert script.streams[0].sent == HELLO
        client.leaves()
    assert not inspector.said


async def test_a_flight_that_makes_it_known_too_late_ends_the_connection() -> None:
    script, inspector = (
        Script(connect=0.0),
        Inspector(InspectionDecision(inspect=True), InspectionDecision(refusal="the certificate is bad")),
    )
    async with visit({DIRECT: [script]}, inspector=inspector) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        assert await client.hears() == b""
        client.leaves()
    assert not script.streams[0].sent
    assert client.outcomes[0].error == "the certificate is bad"


async def test_what_a_later_rule_does_not_inspect_any_more_goes_on_as_it_is() -> None:
    """The plan is made again on the name that a literal address's flight carries, and that is the one that counts."""
    script, inspector = Script(connect=0.0), Inspector(InspectionDecision(inspect=True))
    rules = f"DOMAIN,{HOST},AUTO\nMATCH,AUTO,INSPECT"
    async with visit({DIRECT: [script]}, inspector=inspector, rules_text=rules) as client:
        await client.says(b"CONNECT 1.1.1.1:443 HTTP/1.1\r\nHost: 1.1.1.1:443\r\n\r\n")
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        await until_sent(script)
        assert script.streams[0].sent == HELLO
        client.leaves()
    assert inspector.asked == [False]


async def test_what_the_inspector_itself_sends_is_not_inspected_again() -> None:
    script, inspector = Script(connect=0.0), Inspector()
    async with visit({DIRECT: [script]}, inspector=inspector, inspected=True) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(HELLO)
        await until_sent(script)
        client.leaves()
    assert not inspector.asked


async def test_a_plain_request_that_must_not_be_inspected_is_told_why() -> None:
    inspector = Inspector(InspectionDecision(refusal="there is no mitmproxy"))
    async with visit({DIRECT: [Script(connect=0.0)]}, inspector=inspector) as client:
        await client.says(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert b"there is no mitmproxy" in await client.hears()
        client.leaves()
    assert client.outcomes[0].error == "there is no mitmproxy"
