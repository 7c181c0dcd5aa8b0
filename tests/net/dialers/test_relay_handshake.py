"""What must hold for a handshake with any relay, whatever it speaks: E1–E20, a lie at each of its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers import relay_handshake
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.http_connect import HttpConnectDialer
from proxy.net.dialers.relay_handshake import PrefixedStream, SendCredentials
from proxy.net.dialers.socks import Socks4Dialer, Socks5Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.poller import Poller
from proxy.net.stream import CHUNK, SocketStream, Stream
from proxy.net.tasks import spawn
from proxy.wire.relay_url import parse
from tests.support.clock import run as play
from tests.support.late import stall
from tests.support.lying import HTTP, SOCKS4, SOCKS5, SOCKS5_AUTH, Lie, LyingRelay, Turn
from tests.support.rows import each_row
from tests.support.scripted import Script, ScriptedStream
from tests.support.sockets import tcp_pair
from tests.support.waiting import until

SITE = Destination("blocked.test", 443)
PASSWORD = "not-for-everyone"


@dataclass(frozen=True)
class Case:
    url: str
    make: Callable[..., Dialer]
    turns: Sequence[Turn]
    free: int = 0  # so many last bytes of the handshake may be anything
    greeted: int = -1  # who closes after so many bytes answers the request in the way of `ssh -D`

    @property
    def size(self) -> int:
        return sum(len(turn.answer) for turn in self.turns)

    def dialer(self, via: Dialer, relay: LyingRelay, timeout_s: float) -> Dialer:
        return self.make(via, parse(self.url.format(port=relay.port)), name="liar", timeout_s=timeout_s)


CASES = {
    "socks5": Case("socks5h://127.0.0.1:{port}", Socks5Dialer, SOCKS5, free=6, greeted=2),
    "socks5 auth": Case(f"socks5h://me:{PASSWORD}@127.0.0.1:{{port}}", Socks5Dialer, SOCKS5_AUTH, free=7, greeted=4),
    "socks4": Case("socks4a://127.0.0.1:{port}", Socks4Dialer, SOCKS4, free=6),
    "http": Case(f"http://me:{PASSWORD}@127.0.0.1:{{port}}", HttpConnectDialer, HTTP),
}
EXPECTED = {
    Lie.CLOSE: {Symptom.RELAY_DOWN},
    Lie.RESET: {Symptom.RELAY_DOWN},
    Lie.HANG: {Symptom.RELAY_DOWN, Symptom.TIMEOUT},
    Lie.DRIP: {Symptom.RELAY_DOWN, Symptom.TIMEOUT},
    Lie.GARBAGE: {Symptom.RELAY_GARBAGE, Symptom.RELAY_AUTH, Symptom.RELAY_REFUSED},
}
SLOW = {Lie.HANG, Lie.DRIP}
NEVER_S = 1000.0


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("lie", EXPECTED, ids=lambda lie: lie.name.lower())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_E1_to_E20_a_lie_at_each_byte_is_a_typed_error(to_relays: TcpDialer, case: Case, lie: Lie) -> None:
    async def try_at(after: int) -> DialError | None:
        async with LyingRelay(case.turns, lie=lie, after=after, pace_s=NEVER_S) as relay:
            try:
                stream = await case.dialer(to_relays, relay, 0.4 if lie in SLOW else 10).dial(SITE)
            except DialError as error:
                return error
            stream.abort()
            return None

    async with asyncio.timeout(30):
        errors = await asyncio.gather(*(try_at(after) for after in range(case.size)))
    for after, error in enumerate(errors):
        if lie is Lie.GARBAGE and after >= case.size - case.free:
            assert error is None  # an address that nobody looks at: the handshake was complete
        elif lie is Lie.DRIP and after == case.size - 1:
            assert error is None  # a last byte that is not late
        else:
            assert error is not None
            closed_on_request = lie is Lie.CLOSE and after == case.greeted
            expected = {Symptom.RELAY_REFUSED} if closed_on_request else EXPECTED[lie]
            assert (error.stage, error.symptom in expected) == (Stage.RELAY, True), (after, error)
            assert str(error).startswith("relay liar")
            assert PASSWORD not in str(error)


@pytest.mark.parametrize("lie", [Lie.NONE, Lie.DRIP], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_an_honest_handshake_goes_through(to_relays: TcpDialer, case: Case, lie: Lie) -> None:
    async with asyncio.timeout(10), LyingRelay(case.turns, lie=lie) as relay:
        stream = await case.dialer(to_relays, relay, 10).dial(SITE)
        assert isinstance(stream, SocketStream)  # so that the kernel may move its bytes
        await stream.send(b"through")
        assert await stream.receive() == b"through"
        stream.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_follows_a_complete_handshake_is_the_tunnels(to_relays: TcpDialer, case: Case) -> None:
    megabyte = bytes(range(256)) * 4096
    async with asyncio.timeout(20), LyingRelay(case.turns, extra=megabyte) as relay:
        stream = await case.dialer(to_relays, relay, 10).dial(SITE)
        received = b""
        while len(received) < len(megabyte):
            received += await stream.receive(10_000)
        assert received == megabyte
        await stream.send(b"and on")
        assert await stream.receive() == b"and on"
        stream.close()


@pytest.mark.parametrize("name", ["socks5", "socks5 auth"])
async def test_an_answer_before_the_question_is_a_lie(to_relays: TcpDialer, name: str) -> None:
    case = CASES[name]
    for number, turn in enumerate(case.turns[:-1]):
        turns = list(case.turns)
        turns[number] = Turn(turn.ask, turn.answer + case.turns[number + 1].answer)
        async with LyingRelay(turns) as relay:
            with pytest.raises(DialError, match="sent data before the request") as caught:
                await case.dialer(to_relays, relay, 10).dial(SITE)
        assert caught.value.symptom is Symptom.RELAY_GARBAGE


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_relay_that_is_not_there_is_down(to_relays: TcpDialer, case: Case) -> None:
    async with LyingRelay(case.turns) as relay:
        pass
    with pytest.raises(DialError, match="relay liar cannot be reached") as caught:
        await case.dialer(to_relays, relay, 10).dial(SITE)
    assert (caught.value.stage, caught.value.symptom) == (Stage.CONNECT, Symptom.RELAY_DOWN)


@pytest.mark.parametrize("symptom", [Symptom.OFFLINE, Symptom.LOCAL, Symptom.RELAY_AUTH])
async def test_what_is_not_the_relays_fault_keeps_its_name(symptom: Symptom) -> None:
    class Broken:
        async def dial(self, destination: Destination) -> Stream:
            raise DialError("no way", stage=Stage.CONNECT, symptom=symptom)

    with pytest.raises(DialError, match="no way") as caught:
        await Socks5Dialer(Broken(), parse("socks5h://192.0.2.1")).dial(SITE)
    assert caught.value.symptom is symptom


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_cancelled_handshake_closes_its_socket(to_relays: TcpDialer, case: Case) -> None:
    async with LyingRelay(case.turns, lie=Lie.HANG) as relay:
        dialing = spawn(case.dialer(to_relays, relay, 10).dial(SITE), name="dial")
        await until(lambda: relay.received != b"")
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing


@pytest.mark.parametrize("name", ["socks5 auth", "http"])
async def test_credentials_go_only_where_they_may(to_relays: TcpDialer, name: str) -> None:
    case = CASES[name]
    async with LyingRelay(case.turns) as relay:
        url = parse(case.url.format(port=relay.port))
        dialer = case.make(to_relays, url, name="liar", send_credentials=SendCredentials.NOWHERE)
        with pytest.raises(DialError, match="unencrypted") as caught:
            await dialer.dial(SITE)
        assert caught.value.symptom is Symptom.RELAY_AUTH
    assert relay.received == b""
    async with LyingRelay(case.turns) as relay:
        url = parse(case.url.format(port=relay.port))
        for allowed in (SendCredentials.ANYWHERE, SendCredentials.TO_LOOPBACK):
            (await case.make(to_relays, url, send_credentials=allowed).dial(SITE)).close()


async def test_loopback_is_what_the_kernel_says_not_the_name(best_poller: Poller) -> None:
    near, far = tcp_pair()
    stream = SocketStream(near, best_poller, "192.0.2.1:1080")
    SendCredentials.TO_LOOPBACK.check(stream)
    stream.close()
    far.close()


async def settled() -> None:
    """Lets the poller tell of what has come."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_prefixed_stream_is_a_stream(best_poller: Poller) -> None:
    near, far = tcp_pair()
    stream = PrefixedStream(SocketStream(near, best_poller, "test:1", connected=True), b"prefix")
    woken = asyncio.Event()
    stream.notify = woken.set
    assert (stream.peer, stream.lowest_socket) == ("test:1", near)
    assert [stream.plain_socket] == [None]  # the kernel does not know of the prefix
    assert (stream.receive_nowait(4), stream.receive_nowait(), stream.receive_nowait()) == (b"pref", b"ix", None)
    assert stream.plain_socket is near
    await settled()  # the first edges
    woken.clear()
    stream.pause_reading()
    far.send(b"more")
    await settled()
    if best_poller.edge_triggered:
        assert not woken.is_set()
    stream.resume_reading()
    async with asyncio.timeout(10):
        while (data := stream.receive_nowait()) is None:
            woken.clear()
            await woken.wait()
        assert data == b"more"
        await stream.send(b"out")
    stream.send_eof()
    assert (far.recv(10), far.recv(10)) == (b"out", b"")
    stream.close()
    far.close()


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_ending_a_prefixed_stream_wakes_who_waits(best_poller: Poller, end: str) -> None:
    near, far = tcp_pair()
    stream = PrefixedStream(SocketStream(near, best_poller, "test:1"), b"x")
    await stream.receive()
    waiting = spawn(stream.receive(), name="receive")
    await asyncio.sleep(0)
    getattr(stream, end)()
    async with asyncio.timeout(10):
        with pytest.raises(OSError, match="Bad file descriptor"):
            await waiting
    far.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_relay_that_answered_while_the_loop_was_late_is_in_time(to_relays: TcpDialer, case: Case) -> None:
    async def ask_late(reader: asyncio.StreamReader) -> bytes:
        asked = await case.turns[-1].ask(reader)
        stall(1000)
        return asked

    async with LyingRelay((*case.turns[:-1], Turn(ask_late, case.turns[-1].answer))) as relay:
        (await case.dialer(to_relays, relay, 60).dial(SITE)).abort()


class RelayThatAsksBack:
    """The way to a relay in memory, which answers a request when `answer` has returned, and not at all when that
    raised."""

    def __init__(self, answer: Callable[[], Awaitable[object]]) -> None:
        self.answer = answer
        self.asked = 0

    async def dial(self, _: Destination) -> Stream:
        return PathThatAsksBack(self)


class PathThatAsksBack(ScriptedStream):
    def __init__(self, relay: RelayThatAsksBack) -> None:
        super().__init__(Script())
        self._relay = relay

    def receive_nowait(self, limit: int = CHUNK) -> bytes | None:
        if self.closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        return super().receive_nowait(limit)

    def send_nowait(self, data: bytes | memoryview) -> int:
        if len(data) == len(b"\x05\x01\x00"):
            asyncio.get_running_loop().call_soon(self._arrive, SOCKS5[0].answer)
        else:
            self._relay.asked += 1
            spawn(self._reply(), name="reply")
        return len(data)

    async def _reply(self) -> None:
        with contextlib.suppress(DialError):
            await self._relay.answer()
            self._arrive(SOCKS5[-1].answer)

    def abort(self) -> None:
        super().abort()
        self._wake(receiver=True, sender=True)


@pytest.mark.parametrize("chains", [1, 5])
def test_a_relay_that_leads_back_is_recognised_and_rests(chains: int) -> None:
    """As two programs do that are each other's relay. It went on until no descriptor was left."""
    elsewhere = Destination("elsewhere.test", 443)

    async def story() -> None:
        async def ask_back() -> None:
            if leads_back:
                (await dialer.dial(SITE)).close()

        leads_back, relay = True, RelayThatAsksBack(ask_back)
        dialer = Socks5Dialer(relay, parse("socks5h://127.0.0.1"), name="vps", timeout_s=8)
        for ended in await asyncio.gather(*(dialer.dial(SITE) for _ in range(chains)), return_exceptions=True):
            assert isinstance(ended, DialError)
            assert (ended.symptom, ended.stage) == (Symptom.RELAY_LOOP, Stage.RELAY)
            assert str(ended).startswith("relay vps leads back here")
        asked = relay.asked
        rounds = relay_handshake.LOOP_ROUNDS + 5
        assert relay_handshake.LOOP_REQUESTS <= asked <= relay_handshake.LOOP_REQUESTS + rounds * chains
        with pytest.raises(DialError, match="leads back"):
            await dialer.dial(elsewhere)
        assert relay.asked == asked, "it rests"
        leads_back = False
        await asyncio.sleep(relay_handshake.LOOP_REST_S)
        (await dialer.dial(elsewhere)).close()
        (await dialer.dial(SITE)).close()

    play(story())


CHANCE = random.Random(1)


@each_row(
    ("crowd", "pause_s"),
    [(512, lambda: 0.0), (512, lambda: CHANCE.expovariate(200.0)), (160, lambda: 0.1), (160, lambda: 0.02)],
    ids=["all at once", "by chance", "ten a second", "fifty a second"],
)
def test_a_relay_that_is_slow_for_a_crowd_does_not_lead_back(crowd: int, pause_s: Callable[[], float]) -> None:
    """As Tor while it builds its circuits: it answers none for some seconds, and far more than LOOP_REQUESTS wait. Who
    comes meanwhile comes by chance, or by a clock, as a program that checks a site."""

    async def story() -> None:
        is_open = asyncio.Event()
        dialer = Socks5Dialer(RelayThatAsksBack(is_open.wait), parse("socks5h://127.0.0.1"), timeout_s=15)

        async def visit() -> None:
            (await dialer.dial(SITE)).close()

        async with asyncio.TaskGroup() as visits:
            for number in range(crowd):
                visits.create_task(visit())
                if number > relay_handshake.LOOP_REQUESTS:
                    await asyncio.sleep(pause_s())
            await asyncio.sleep(1.5)
            is_open.set()

    play(story())
