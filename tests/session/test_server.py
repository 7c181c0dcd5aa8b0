"""Accepting: every client has a session, and a shortage is waited out and hardly spoken of."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.net.loop.accepting import accept_of
from proxy.net.loop.polling_loop import PollingLoop
from proxy.net.poller import READABLE, make_poller
from proxy.net.stream import SocketStream
from proxy.session.server import Server
from tests.support.loops import OWN
from tests.support.sockets import descriptors, public_alone
from tests.support.waiting import until


def congestion_control(sock: socket.SocketType) -> bytes:
    if not hasattr(socket, "TCP_CONGESTION"):
        return b""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


class Sessions:
    """In place of real ones: each says hello, and goes on until its client leaves or it is told to hand it over."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.is_immediate: list[bool] = []
        """Whether each client's socket never blocks, and sends without delay."""
        self.congestion_control: list[bytes] = []
        """Of each client's socket."""
        self.pump = SimpleNamespace(active=0)
        self.fault: Exception | None = None

    def make(self, client: SocketStream, _services: object) -> Any:
        return SimpleNamespace(run=lambda: self._run(client))

    async def _run(self, client: SocketStream) -> None:
        self.peers.append(client.peer)
        sock = client.lowest_socket
        at_once = bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.is_immediate.append(at_once and not os.get_blocking(sock.fileno()))
        self.congestion_control.append(congestion_control(sock))
        try:
            if self.fault is not None:
                raise self.fault
            await client.send(b"hello")
            while await client.receive():
                pass
        except OSError:
            pass
        finally:
            client.close()


class Clients:
    def __init__(self, server: Server, sessions: Sessions, port: int) -> None:
        self.server = server
        self.sessions = sessions
        self.port = port
        self._open: list[socket.socket] = []

    def connect(self, count: int = 1) -> None:
        """Each says something."""
        for _ in range(count):
            self._open.append(sock := socket.create_connection(("127.0.0.1", self.port)))
            sock.send(b"x")

    def fail_to_accept(self, monkeypatch: pytest.MonkeyPatch, *errors: int) -> None:
        """So often, with these; after that it goes on as before."""
        accept, left = self.server._accept_client, list(errors)

        def short() -> tuple[int, Any]:
            if left:
                number = left.pop(0)
                raise OSError(number, os.strerror(number))
            return accept()

        monkeypatch.setattr(self.server, "_accept_client", short)

    def leave(self) -> None:
        while self._open:
            self._open.pop().close()


@pytest.fixture(autouse=True, params=["descriptors", "sockets"])
def accepts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python lets a server accept: descriptors, or no more than sockets."""
    if request.param == "sockets":
        monkeypatch.setattr("proxy.session.server.accept_of", lambda sock: accept_of(public_alone(sock)))


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> Sessions:
    it = Sessions()
    monkeypatch.setattr("proxy.session.server.Session", it.make)
    return it


@pytest.fixture
async def clients(sessions: Sessions) -> AsyncIterator[Clients]:
    poller = make_poller(asyncio.get_running_loop())
    server = Server(poller, cast(Any, sessions), clients_max=10)
    it = Clients(server, sessions, server.listen("127.0.0.1", 0))
    server.serve()
    yield it
    it.leave()
    server.stop_listening()
    await until(lambda: server.sessions == 0)
    poller.close()


async def test_the_tests_of_this_file_run_on_both_loops(request: pytest.FixtureRequest) -> None:
    assert isinstance(asyncio.get_running_loop(), PollingLoop) == (OWN in request.node.name)


def shortages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "not accepting" in record.getMessage()]


async def test_each_client_has_a_session_and_is_counted_until_it_ends(clients: Clients) -> None:
    before = descriptors()
    clients.connect(5)
    await until(lambda: clients.server.sessions == 5)
    assert clients.server.accepted == 5
    assert all(peer.startswith("127.0.0.1:") for peer in clients.sessions.peers)
    assert clients.sessions.is_immediate == [True] * 5
    clients.leave()
    await until(lambda: clients.server.sessions == 0)
    assert descriptors() == before
    assert clients.server.accepted == 5


@pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="this system offers no choice")
async def test_only_what_goes_to_this_computer_itself_is_not_paced(clients: Clients) -> None:
    with socket.socket() as sock:
        default = congestion_control(sock)
    clients.connect()
    await until(lambda: clients.sessions.congestion_control == [b"reno"])
    clients.server.stop_listening()
    clients.port = clients.server.listen("0.0.0.0", 0)
    clients.server.serve()
    clients.connect()
    await until(lambda: clients.sessions.congestion_control == [b"reno", default])


async def test_more_clients_than_one_turn_takes_are_all_accepted(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edge comes once: what a turn leaves over must not wait for another client."""
    monkeypatch.setattr("proxy.session.server._ACCEPTS_A_TURN", 2)
    clients.connect(9)
    await until(lambda: clients.server.sessions == 9)


async def test_a_client_that_is_there_has_its_turn_before_a_new_one(clients: Clients) -> None:
    turns: list[int] = []
    clients.connect()
    asyncio.get_running_loop().call_soon(lambda: turns.append(clients.server.accepted))  # as what an event has woken
    clients.server.ready(READABLE)
    clients.server.ready(READABLE)
    assert clients.server.accepted == 0
    await until(lambda: clients.server.accepted == 1)
    assert turns == [0]


async def test_clients_that_come_while_a_turn_is_due_start_no_other(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each edge would begin turns of its own, and in a burst of clients only new ones were served."""
    monkeypatch.setattr("proxy.session.server._ACCEPTS_A_TURN", 1)
    clients.connect(5)
    for _ in range(4):
        clients.server.ready(READABLE)
    assert clients.server.accepted <= 1
    await until(lambda: clients.server.sessions == 5)


async def test_a_client_that_has_reset_is_no_fault(clients: Clients) -> None:
    clients.connect()
    await until(lambda: clients.server.sessions == 1)
    clients.leave()
    clients.connect()
    await until(lambda: clients.server.accepted == 2)


async def test_what_a_session_raises_is_told_and_costs_no_other(clients: Clients) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    clients.sessions.fault = KeyError("a fault")
    clients.connect()
    await until(lambda: len(told) == 1)
    assert told[0]["message"].startswith("task client 127.0.0.1:")
    assert clients.server.sessions == 0
    clients.sessions.fault = None
    clients.connect()
    await until(lambda: clients.server.sessions == 1)


async def test_K1_clients_beyond_the_limit_wait_and_are_served_when_there_is_room(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    """A tunnel counts as long as the pump has it."""
    clients.sessions.pump.active = 8
    clients.connect(5)
    await until(lambda: bool(shortages(caplog)))
    assert clients.server.sessions == 2
    assert "clients_max" in shortages(caplog)[0]
    clients.sessions.pump.active = 0
    await until(lambda: clients.server.sessions == 5)


async def test_clients_of_our_own_pages_count(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    poller = make_poller(asyncio.get_running_loop())
    adopted = 9
    server = Server(poller, cast(Any, sessions), clients_max=10, adopted=lambda: adopted)
    clients = Clients(server, sessions, server.listen("127.0.0.1", 0))
    server.serve()
    clients.connect(3)
    await until(lambda: bool(shortages(caplog)))
    assert server.sessions == 1
    adopted = 0
    await until(lambda: server.sessions == 3)
    clients.leave()
    server.stop_listening()
    await until(lambda: server.sessions == 0)
    poller.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_K1_a_shortage_of_the_system_is_waited_out_and_said_once_a_second(
    clients: Clients, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr("proxy.session.server._PAUSE_S", 0.001)
    loop = asyncio.get_running_loop()
    now = 0.0
    monkeypatch.setattr(clients.server, "_loop", SimpleNamespace(time=lambda: now, call_later=loop.call_later,
                                                                 call_soon=loop.call_soon))  # fmt: skip
    clients.fail_to_accept(monkeypatch, *[number] * 20)
    clients.connect()
    await until(lambda: clients.server.accepted == 1)
    assert shortages(caplog) == [f"not accepting clients: {os.strerror(number)}"]
    now = 1.0
    clients.fail_to_accept(monkeypatch, *[number] * 20)
    clients.connect()
    await until(lambda: clients.server.accepted == 2)
    assert len(shortages(caplog)) == 2


async def test_a_client_that_left_while_it_waited_does_not_stop_the_next(
    clients: Clients, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients.fail_to_accept(monkeypatch, errno.ECONNABORTED, errno.EPROTO)
    clients.connect()
    await until(lambda: clients.server.accepted == 1)
    assert shortages(caplog) == []


async def test_who_stops_listening_serves_on_and_takes_no_more(clients: Clients) -> None:
    clients.connect()
    await until(lambda: clients.server.sessions == 1)
    clients.server.stop_listening()
    clients.server.stop_listening()  # harmless
    with pytest.raises(ConnectionRefusedError):
        clients.connect()
    assert clients.server.sessions == 1


async def test_who_stops_listening_in_a_pause_stays_stopped(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    clients.sessions.pump.active = 10
    clients.connect()
    await until(lambda: bool(shortages(caplog)))
    clients.server.stop_listening()
    clients.sessions.pump.active = 0
    clients.server.ready(0)
    assert clients.server.accepted == 0


async def test_who_connects_before_it_serves_waits(sessions: Sessions) -> None:
    poller = make_poller(asyncio.get_running_loop())
    server, other = (Server(poller, cast(Any, sessions), clients_max=10) for _ in range(2))
    clients = Clients(server, sessions, server.listen("127.0.0.1", 0))
    others = Clients(other, sessions, other.listen("127.0.0.1", 0))
    clients.connect(3)
    other.serve()
    others.connect()  # later, so the events of those before would have had their turn
    await until(lambda: other.sessions == 1)
    assert server.accepted == 0
    server.serve()
    await until(lambda: server.sessions == 3)
    for it in (clients, others):
        it.leave()
        it.server.stop_listening()
    await until(lambda: server.sessions == other.sessions == 0)
    poller.close()


async def test_G4_an_address_that_is_taken_is_an_error_and_leaves_nothing_open(clients: Clients) -> None:
    poller = make_poller(asyncio.get_running_loop())
    other = Server(poller, cast(Any, clients.sessions), clients_max=1)
    before = descriptors()
    with pytest.raises(OSError, match="in use"):
        other.listen("127.0.0.1", clients.port)
    assert descriptors() == before
    other.stop_listening()
    poller.close()


async def test_it_listens_on_ipv6_too_and_says_where_its_clients_come_from(sessions: Sessions) -> None:
    poller = make_poller(asyncio.get_running_loop())
    server = Server(poller, cast(Any, sessions), clients_max=10)
    port = server.listen("::1", 0)
    server.serve()
    with socket.create_connection(("::1", port)) as client:
        client.send(b"x")
        await until(lambda: server.sessions == 1)
        assert sessions.peers == [f"[::1]:{client.getsockname()[1]}"]
        assert repr(server) == f"<Server fd {server.fileno()} 1 sessions>"
    await until(lambda: server.sessions == 0)
    server.stop_listening()
    assert server.fileno() == -1
    poller.close()
