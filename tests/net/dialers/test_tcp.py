from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import resource
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest

from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import AddressLookup, Connecting, TcpDialer, interleaved, symptom_of
from proxy.net.notify import Notify
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from tests.support.rows import each_row
from tests.support.sockets import descriptors
from tests.support.waiting import until


class Names(AddressLookup):
    """A resolver that answers from a script: each name has one answer for each time that it is asked."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {host.replace("_", "."): iter(answer) for host, answer in answers.items()}
        self.asked = 0

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        self.asked += 1
        return [ipaddress.ip_address(text) for text in next(self._answers[host])]


Listen = Callable[..., socket.socket]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Makes listeners: listen("127.0.0.1", port=0, backlog=…)."""
    with contextlib.ExitStack() as stack:

        def make(address: str, port: int = 0, backlog: int | None = None) -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return stack.enter_context(socket.create_server((address, port), family=family, backlog=backlog))

        yield make


@pytest.fixture
def fill(listen: Listen) -> Iterator[Callable[..., int]]:
    """Makes listeners whose accept queue is full: a SYN to them stays unanswered. Linux."""
    with contextlib.ExitStack() as stack:

        def make(address: str, port: int = 0) -> int:
            listener = listen(address, port, backlog=0)
            port = listener.getsockname()[1]
            for _ in range(2):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex((address, port))
            return port

        yield make


@pytest.fixture
async def home() -> AsyncIterator[None]:
    """Whatever happens, no descriptor is left open."""
    before = descriptors()
    yield
    assert descriptors() == before


def anywhere(*_: object) -> None:
    return None


def port_of(listener: socket.socket) -> int:
    port: int = listener.getsockname()[1]
    return port


async def failure(dialer: TcpDialer, destination: Destination) -> tuple[Stage, Symptom, str]:
    async with asyncio.timeout(10):
        with pytest.raises(DialError) as caught:
            await dialer.dial(destination)
    return caught.value.stage, caught.value.symptom, str(caught.value)


@pytest.mark.parametrize(("address", "peer"), [("127.0.0.1", "127.0.0.1:{}"), ("::1", "[::1]:{}")])
async def test_a_literal_is_dialed_as_it_is(poller: Poller, listen: Listen, address: str, peer: str) -> None:
    listener = listen(address)
    dialer = TcpDialer(poller, Names(), anywhere)
    asked_at = asyncio.get_running_loop().time()
    stream = await dialer.dial(Destination(address, port_of(listener)))
    assert asked_at <= stream.syn_at <= asyncio.get_running_loop().time()
    accepted, _ = listener.accept()
    with accepted:
        assert stream.peer == peer.format(port_of(listener))
        assert stream.lowest_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert stream.lowest_socket.gettimeout() == 0
        assert not os.get_blocking(stream.lowest_socket.fileno())
        assert stream.notify is None
        accepted.send(b"hello")
        assert await stream.receive() == b"hello"
    stream.close()


async def test_a_connect_on_this_computer_is_through_at_once(poller: Poller, listen: Listen) -> None:
    """Nothing is waited for, and no edge tells that it can be written to."""
    notify = Notify()
    connecting = TcpDialer(poller, Names(), anywhere).begin(
        Destination("127.0.0.1", port_of(listen("127.0.0.1"))), notify
    )
    assert connecting is not None
    assert connecting.is_through
    stream = connecting.poll()
    assert stream is not None
    told = list[str]()
    stream.notify = lambda: told.append("an edge")
    for _ in range(3):
        await asyncio.sleep(0)
    assert told == []
    stream.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="not run: only Linux can hold back an acknowledgement")
@pytest.mark.parametrize("speaks_at_once", [False, True])
async def test_a_relay_here_wakes_once_for_the_connection_and_its_first_bytes(
    poller: Poller, listen: Listen, speaks_at_once: bool
) -> None:
    listener = listen("127.0.0.1")
    listener.setblocking(False)
    dialer = TcpDialer(poller, Names(), anywhere, speaks_at_once=speaks_at_once)
    stream = await dialer.dial(Destination("127.0.0.1", port_of(listener)))
    with contextlib.ExitStack() as stack:
        if speaks_at_once:
            with pytest.raises(BlockingIOError):
                listener.accept()
        else:
            stack.enter_context(listener.accept()[0])
        await stream.send(b"hello")
        if speaks_at_once:
            accepted = stack.enter_context(listener.accept()[0])
            assert accepted.recv(16) == b"hello"
    stream.close()


async def test_the_hot_path_makes_no_task(poller: Poller, listen: Listen) -> None:
    loop = asyncio.get_running_loop()
    made = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    listener = listen("127.0.0.1")
    names = Names()
    loop.set_task_factory(factory)
    try:
        (await TcpDialer(poller, names, anywhere).dial(Destination("127.0.0.1", port_of(listener)))).close()
    finally:
        loop.set_task_factory(None)
    assert made == []
    assert names.asked == 0


class Answering(AddressLookup):
    """A lookup that needs no task, and is answered when the test says so."""

    def __init__(self) -> None:
        self.answer: Sequence[IPAddress] | DialError | None = None
        self.notify: Callable[[], None] = lambda: None
        self.closed = 0

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        raise AssertionError("it needs a task")

    def begin(self, host: str, notify: Callable[[], None]) -> Answering:
        self.notify = notify
        return self

    def poll(self) -> Sequence[IPAddress] | None:
        if isinstance(self.answer, DialError):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed += 1


async def connected(connecting: Connecting, notify: Notify) -> SocketStream:
    async with asyncio.timeout(10):
        while (stream := connecting.poll()) is None:
            await notify.wait(connecting.next_check_at)
        return stream


@pytest.mark.usefixtures("home")
async def test_a_name_is_looked_up_and_dialed_without_a_task(poller: Poller, listen: Listen) -> None:
    lookup, notify = Answering(), Notify()
    destination = Destination("a.test", port_of(listen("127.0.0.1")))
    dialer = TcpDialer(poller, lookup, anywhere)
    before = asyncio.all_tasks()
    connecting = dialer.begin(destination, notify)
    assert connecting.poll() is None
    assert (connecting.began_at, connecting.unanswered()) == (0.0, "")
    lookup.answer = [ipaddress.ip_address("127.0.0.1")]
    lookup.notify()
    stream = await connected(connecting, notify)
    assert stream.peer == f"127.0.0.1:{destination.port}"
    assert 0 < connecting.began_at <= asyncio.get_running_loop().time()
    assert asyncio.all_tasks() == before
    assert lookup.closed
    stream.close()
    notify.close()


@pytest.mark.usefixtures("home")
async def test_an_answer_that_is_known_at_once_is_dialed_at_once(poller: Poller, listen: Listen) -> None:
    """As from the hosts file, for a name that no other resolver may be asked for: no notification comes."""
    lookup, notify = Answering(), Notify()
    lookup.answer = [ipaddress.ip_address("127.0.0.1")]
    destination = Destination("a.test", port_of(listen("127.0.0.1")))
    stream = await connected(TcpDialer(poller, lookup, anywhere).begin(destination, notify), notify)
    assert stream.peer == f"127.0.0.1:{destination.port}"
    assert lookup.closed
    stream.close()
    lookup.answer = DialError("a.test does not exist", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)
    with pytest.raises(DialError, match=r"a\.test does not exist"):
        TcpDialer(poller, lookup, anywhere).begin(destination, notify)
    notify.close()


@pytest.mark.usefixtures("home")
async def test_what_fails_is_closed(poller: Poller, fill: Callable[..., int]) -> None:
    """A failed dial closes its lookup and every socket, even without a call of `close`."""
    port, lookup, notify = fill("127.0.0.7"), Answering(), Notify()
    destination = Destination("a.test", port)
    dialer = TcpDialer(poller, lookup, anywhere, connect_timeout_s=0.01)
    gone = DialError("a.test does not exist", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)
    for answer, symptom in ((gone, Symptom.NO_NAME), ([ipaddress.ip_address("127.0.0.7")], Symptom.TIMEOUT)):
        lookup.answer, lookup.closed = None, 0
        before = descriptors()
        connecting = dialer.begin(destination, notify)
        lookup.answer = answer
        with pytest.raises(DialError) as caught:
            await connected(connecting, notify)
        assert caught.value.symptom is symptom
        assert lookup.closed == 1
        assert descriptors() == before
    notify.close()


@pytest.mark.usefixtures("home")
async def test_ipv6_goes_first_and_the_next_when_it_fails(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as four:
        names = Names(both_test=[["127.0.0.1", "::1"]] * 2)
        dialer = TcpDialer(poller, names, anywhere, stagger_s=60)
        destination = Destination("both.test", port_of(four))
        stream = await dialer.dial(destination)  # ::1 refuses: at once the next
        assert stream.peer == f"127.0.0.1:{port_of(four)}"
        stream.close()
        with socket.create_server(("::1", port_of(four)), family=socket.AF_INET6):
            stream = await dialer.dial(destination)
            assert stream.peer == f"[::1]:{port_of(four)}"
            stream.close()


async def test_D9_an_address_that_hangs_is_overtaken(poller: Poller, listen: Listen, fill: Callable[..., int]) -> None:
    port = fill("127.0.0.7")
    listen("127.0.0.8", port)
    before = descriptors()
    names = Names(slow_test=[["127.0.0.7", "127.0.0.8"]])
    stream = await TcpDialer(poller, names, anywhere, stagger_s=0.01).dial(Destination("slow.test", port))
    assert stream.peer == f"127.0.0.8:{port}"
    assert descriptors() == before + 1  # the one that hung is closed
    stream.close()


async def test_an_unanswered_syn_is_a_timeout(poller: Poller, fill: Callable[..., int]) -> None:
    port = fill("127.0.0.7")
    before = descriptors()
    names = Names(gone_test=[["127.0.0.7", "127.0.0.7"]])
    dialer = TcpDialer(poller, names, anywhere, connect_timeout_s=0.05, stagger_s=0.01)
    for host in ("127.0.0.7", "gone.test"):
        stage, symptom, text = await failure(dialer, Destination(host, port))
        assert (stage, symptom) == (Stage.CONNECT, Symptom.TIMEOUT)
        assert "127.0.0.7" in text
    assert descriptors() == before


async def test_a_cancelled_dial_closes_its_sockets(poller: Poller, fill: Callable[..., int]) -> None:
    port = fill("127.0.0.7")
    before = descriptors()
    dialer = TcpDialer(poller, Names(), anywhere)
    dialing = spawn(dialer.dial(Destination("127.0.0.7", port)), name="dial")
    await until(lambda: descriptors() == before + 1)
    dialing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialing
    assert descriptors() == before


@pytest.mark.usefixtures("home")
async def test_refused(poller: Poller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = port_of(listener)
    dialer = TcpDialer(poller, Names(gone_test=[["::1", "127.0.0.1"]]), anywhere)
    stage, symptom, text = await failure(dialer, Destination("gone.test", port))
    assert (stage, symptom) == (Stage.CONNECT, Symptom.REFUSED)
    assert f"[::1]:{port}" in text
    assert f"127.0.0.1:{port}: Connection refused" in text
    literal = Destination("127.0.0.1", port)
    assert await failure(dialer, literal) == (Stage.CONNECT, Symptom.REFUSED, f"{literal}: Connection refused")


async def test_the_addresses_that_failed_alike_are_evidence(poller: Poller, fill: Callable[..., int]) -> None:
    port = fill("127.0.0.7")
    names = Names(gone_test=[["127.0.0.9", "::1"]], silent_test=[["127.0.0.9", "127.0.0.7"]])
    dialer = TcpDialer(poller, names, anywhere, connect_timeout_s=0.2, stagger_s=0.01)

    async def evidence_of(host: str) -> object:
        with pytest.raises(DialError) as caught:
            await dialer.dial(Destination(host, port))
        return caught.value.evidence

    assert await evidence_of("gone.test") == {"addresses": "::1 127.0.0.9"}
    assert await evidence_of("127.0.0.7") == {"addresses": "127.0.0.7"}
    # what refuses is no sign of what is silent, and the other way round
    assert await evidence_of("silent.test") == {"addresses": "127.0.0.9"}


async def test_what_a_dial_tries_is_told_while_it_does(poller: Poller, fill: Callable[..., int]) -> None:
    port = fill("127.0.0.7")
    notify, asked_at = Notify(), asyncio.get_running_loop().time()
    dialer = TcpDialer(poller, Names(silent_test=[["127.0.0.9", "127.0.0.7"]]), anywhere)
    connecting = dialer.begin(Destination("silent.test", port), notify)
    assert connecting.poll() is None
    async with asyncio.timeout(10):
        while connecting.unanswered() != "127.0.0.9 127.0.0.7":
            await notify.wait(connecting.next_check_at)
            assert connecting.poll() is None
    assert asked_at <= connecting.began_at <= asyncio.get_running_loop().time()
    connecting.close()
    notify.close()


@pytest.mark.usefixtures("home")
async def test_our_own_shortage_is_told_as_such(poller: Poller) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = os.dup(0)
    os.close(spare)  # the next descriptor there would be
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
    try:
        stage, symptom, _ = await failure(TcpDialer(poller, Names(), anywhere), Destination("127.0.0.1", 9))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (stage, symptom) == (Stage.CONNECT, Symptom.LOCAL)


@pytest.mark.usefixtures("home")
async def test_B7_only_checked_addresses_are_dialed(poller: Poller) -> None:
    """A name with a good and a bad address (rebinding): the good one is dialed, and the bad one never."""

    def guard(_: Destination, address: IPAddress) -> str | None:
        return f"{address} is loopback" if str(address) == "127.0.0.1" else None

    with socket.create_server(("127.0.0.1", 0)) as bad:
        bad.setblocking(False)
        with socket.create_server(("127.0.0.9", port_of(bad))):
            names = Names(evil_test=[["127.0.0.1", "127.0.0.9"], ["127.0.0.1"]])  # flips between two queries
            dialer = TcpDialer(poller, names, guard)
            stream = await dialer.dial(Destination("evil.test", port_of(bad)))
            assert stream.peer == f"127.0.0.9:{port_of(bad)}"
            assert names.asked == 1
            stream.close()
            for host in ("evil.test", "127.0.0.1"):
                _, symptom, text = await failure(dialer, Destination(host, port_of(bad)))
                assert (symptom, text) == (Symptom.FORBIDDEN, "127.0.0.1 is loopback")
        with pytest.raises(BlockingIOError):
            bad.accept()


async def test_somebody_else_may_choose_among_the_allowed_addresses(poller: Poller, listen: Listen) -> None:
    listener = listen("127.0.0.3")
    port = port_of(listener)
    offered: list[list[str]] = []

    def choose(destination: Destination, addresses: Sequence[IPAddress]) -> Sequence[IPAddress]:
        offered.append([str(address) for address in addresses])
        return [address for address in addresses if str(address) == "127.0.0.3"]

    def refuse(destination: Destination, address: IPAddress) -> str | None:
        return "not that one" if str(address) == "127.0.0.2" else None

    names = Names(a_test=[["127.0.0.1", "127.0.0.2", "127.0.0.3"]] * 2)
    plain = TcpDialer(poller, names, refuse)
    stream = await plain.choosing(choose).dial(Destination("a.test", port))
    assert stream.peer == f"127.0.0.3:{port}"
    stream.close()
    assert offered == [["127.0.0.1", "127.0.0.3"]]

    (await plain.dial(Destination("a.test", port))).close()
    assert len(offered) == 1, "the dialer that it was made from is as before"


async def test_what_the_resolver_says_is_passed_on(poller: Poller) -> None:
    class Silent(AddressLookup):
        async def resolve(self, host: str) -> Sequence[IPAddress]:
            raise DialError(f"{host} does not resolve", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)

    stage, symptom, _ = await failure(TcpDialer(poller, Silent(), anywhere), Destination("a.test", 80))
    assert (stage, symptom) == (Stage.RESOLVE, Symptom.NO_NAME)


def test_families_take_turns() -> None:
    def addresses(text: str) -> list[IPAddress]:
        return [ipaddress.ip_address(item) for item in text.split()]

    given = addresses("192.0.2.1 192.0.2.2 2001:db8::1 192.0.2.3 2001:db8::2")
    assert interleaved(given) == addresses("2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2 192.0.2.3")
    assert interleaved(addresses("::1")) == addresses("::1")
    assert interleaved([]) == []


@each_row(
    ("code", "symptom"),
    [
        (errno.ECONNREFUSED, Symptom.REFUSED),
        (errno.ECONNRESET, Symptom.REFUSED),
        (errno.EHOSTUNREACH, Symptom.UNREACHABLE),
        (errno.ENETUNREACH, Symptom.OFFLINE),
        (errno.ENETDOWN, Symptom.OFFLINE),
        (errno.ETIMEDOUT, Symptom.TIMEOUT),
        (errno.EMFILE, Symptom.LOCAL),
        (errno.ENFILE, Symptom.LOCAL),
        (errno.EADDRNOTAVAIL, Symptom.LOCAL),
        (errno.ENOBUFS, Symptom.LOCAL),
        (errno.EPERM, Symptom.LOCAL),
    ],
)
def test_K3_each_errno_has_its_meaning(code: int, symptom: Symptom) -> None:
    assert symptom_of(OSError(code, os.strerror(code))) is symptom


def test_F80_a_router_on_the_way_that_knows_no_network_is_not_this_machine_offline() -> None:
    """Linux makes one errno of both: of a missing route of our own, and of ICMP's "net unreachable"."""
    unreachable = OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
    assert symptom_of(unreachable, on_the_way=True) is Symptom.UNREACHABLE
    assert symptom_of(OSError(errno.ENETDOWN, "down"), on_the_way=True) is Symptom.OFFLINE
    assert symptom_of(OSError(errno.ECONNREFUSED, "no"), on_the_way=True) is Symptom.REFUSED


def test_a_fault_without_a_number_is_ours() -> None:
    assert symptom_of(OSError("strange")) is Symptom.LOCAL
