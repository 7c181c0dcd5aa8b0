"""Which connections are open, from the first route that is tried to the last byte, and closing one for the user."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pytest

from proxy.model import DIRECT, Action, ClosedBy, Destination, Inbound, Protocol, Request
from proxy.session.inspector import InspectionDecision
from proxy.session.open_connections import ConnectionState, OpenConnection, OpenConnections
from tests.session.test_session import CONNECT, HELLO, Inspector, Visit, visit
from tests.support.outcomes import HOME, HOST, TOR
from tests.support.scripted import Script
from tests.support.waiting import until

ANSWER = b"\x16\x03\x03\x00\x7a\x02"
GET = f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
PART = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"


def only(client: Visit) -> OpenConnection:
    (connection,) = client.open_connections.newest_first()
    return connection


async def open_tunnel(client: Visit) -> None:
    await client.says(CONNECT)
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    await client.says(HELLO)
    assert (await client.hears()).startswith(b"\x16\x03\x03")


async def test_a_tunnel_is_open_until_its_client_leaves() -> None:
    async with visit({DIRECT: [Script(connect=0.0, answer=ANSWER, after=0.0)]}) as client:
        assert [*client.open_connections.newest_first()] == []
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        waits = only(client)
        assert (waits.host, waits.state, waits.route) == (HOST, ConnectionState.CONNECTING, DIRECT)
        await client.says(HELLO)
        assert (await client.hears()).startswith(b"\x16\x03\x03")
        carries = only(client)
        assert (carries.state, carries.route, carries.protocol) == (ConnectionState.OPEN, DIRECT, Protocol.TLS)
        assert (carries.bytes_up, carries.bytes_down) == (len(HELLO), len(ANSWER))
        assert (carries.request.client, carries.network, carries.action) == ("127.0.0.1:50000", HOME, Action.AUTO)
        assert carries.why == "AUTO (no rule matches): direct first"
        await client.says(b"more")
        await until(lambda: only(client).bytes_up == len(HELLO) + 4)
        client.leaves()
    await until(lambda: not client.open_connections.entries)


async def test_a_tunnel_whose_server_has_finished_is_half_closed() -> None:
    answers = Script(connect=0.0, answer=ANSWER, after=0.0)
    async with visit({DIRECT: [answers]}) as client:
        await open_tunnel(client)
        answers.streams[0]._arrive(b"")
        await until(lambda: only(client).state is ConnectionState.HALF_CLOSED)
        client.leaves()
        await until(lambda: not client.open_connections.entries)


async def test_a_tunnel_that_its_server_resets_is_not_open_any_more() -> None:
    answers = Script(connect=0.0, answer=ANSWER, after=0.0)
    async with visit({DIRECT: [answers]}) as client:
        await open_tunnel(client)
        answers.streams[0]._arrive(ConnectionResetError())
        await until(lambda: not client.open_connections.entries)


async def test_the_route_that_is_tried_is_told() -> None:
    async with visit({TOR: [Script(connect=3600.0)]}) as client:
        await client.says(CONNECT)
        await until(lambda: bool(client.open_connections.entries))
        await until(lambda: only(client).route == TOR)
        client.leaves()
    assert not client.open_connections.entries


async def test_the_user_closes_a_tunnel() -> None:
    answers = Script(connect=0.0, answer=ANSWER, after=0.0)
    async with visit({DIRECT: [answers]}) as client:
        await open_tunnel(client)
        number = only(client).request.id
        closed = client.open_connections.close(number)
        assert closed is not None
        assert closed.host == HOST
        assert await client.hears() == b""
        assert client.open_connections.close(number) is None
    (row,) = client.outcomes
    assert (row.closed_by, row.winner, row.error) == (ClosedBy.USER, DIRECT, "")
    assert (row.bytes_up, row.bytes_down) == (len(HELLO), len(ANSWER))
    assert answers.streams[0].closed


@pytest.mark.parametrize("flight", [b"", HELLO])
async def test_the_user_closes_a_connection_that_no_route_has_brought_yet(flight: bytes) -> None:
    silent = Script(connect=0.0)
    async with visit({DIRECT: [silent]}) as client:
        await client.says(CONNECT)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        await client.says(flight)
        if flight:
            await until(lambda: bool(silent.streams[0].sent))
        assert client.open_connections.close(only(client).request.id) is not None
        assert await client.hears() == b""
    (row,) = client.outcomes
    assert (row.closed_by, row.winner) == (ClosedBy.USER, None)
    assert row.error == "the user closed it before an answer came"
    assert [attempt.route for attempt in row.attempts] == [DIRECT]
    assert silent.streams[0].closed
    assert not client.open_connections.entries


async def test_the_user_closes_a_plain_request_whose_answer_is_on_its_way() -> None:
    slow = Script(connect=0.0, answer=PART, after=0.0)
    async with visit({DIRECT: [slow]}) as client:
        await client.says(GET)
        assert (await client.hears()).startswith(b"HTTP/1.1 200 OK")
        asked = only(client)
        assert (asked.state, asked.route, asked.protocol) == (ConnectionState.OPEN, DIRECT, Protocol.HTTP)
        assert asked.bytes_down > 0
        client.open_connections.close(asked.request.id)
        while await client.hears():
            pass
    (row,) = client.outcomes
    assert row.closed_by is ClosedBy.USER
    assert slow.streams[0].closed
    assert not client.open_connections.entries


async def test_a_plain_request_that_was_answered_is_not_open_any_more() -> None:
    whole = Script(connect=0.0, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", after=0.0)
    async with visit({DIRECT: [whole]}) as client:
        await client.says(GET)
        assert (await client.hears()).endswith(b"ok")
        await until(lambda: not client.open_connections.entries)
        assert not whole.streams[0].closed, "it is kept for the next request"
        client.leaves()


async def test_a_session_that_fails_leaves_no_connection_behind() -> None:
    class Broken(Inspector):
        async def decide(self, outcome: object, flight: object) -> InspectionDecision:
            raise RuntimeError("a fault of ours")

    clients: list[Visit] = []

    async def ask() -> None:
        async with visit({DIRECT: [Script(connect=0.0)]}, inspector=Broken()) as client:
            clients.append(client)
            await client.says(CONNECT)
            await client.hears()

    with pytest.raises(ExceptionGroup) as failed:
        await ask()
    assert "a fault of ours" in str(failed.value.exceptions)
    assert not clients[0].open_connections.entries


class Entry:
    def __init__(self, number: int, client: str = "127.0.0.1:50000") -> None:
        request = Request(number, Destination(HOST, 443), Inbound.CONNECT, client)
        self.open_connection = OpenConnection(
            request, HOST, Action.AUTO, "", None, ConnectionState.OPEN, Protocol.TLS, 0, 0, 1000.0, HOME
        )

    def close_for_user(self) -> None:
        pass


class Programs:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def of_all(self, clients: Collection[str]) -> Mapping[str, str | None]:
        self.asked += sorted(clients)
        return dict.fromkeys(clients, "firefox")


async def test_a_program_is_looked_up_once_for_each_connection() -> None:
    connections, programs = OpenConnections(), Programs()
    connections.entries = {1: Entry(1), 2: Entry(2, "127.0.0.1:50001"), 3: Entry(3, "")}
    for _ in range(2):
        found = await connections.programs([*connections.newest_first()], programs)
        assert found == {1: "firefox", 2: "firefox", 3: ""}
    assert programs.asked == ["127.0.0.1:50000", "127.0.0.1:50001"]
    del connections.entries[1], connections.entries[2]
    connections.entries[4] = Entry(4)  # another program may have got the port of the first one
    assert await connections.programs([*connections.newest_first()], programs) == {3: "", 4: "firefox"}
    assert programs.asked[2:] == ["127.0.0.1:50000"]
    shown = [*connections.newest_first()]
    connections.entries.clear()
    assert await connections.programs(shown, programs) == {3: "", 4: "firefox"}, "those that have just ended stay known"


def test_the_newest_come_first() -> None:
    connections = OpenConnections()
    connections.entries = {number: Entry(number) for number in (1, 2, 3)}
    assert [each.request.id for each in connections.newest_first()] == [3, 2, 1]
