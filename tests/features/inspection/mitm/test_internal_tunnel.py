"""Tunnels that Byway asks of itself, through a whole Byway."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from proxy.features.inspection.internal_tunnel import InnerDialer, make_pair, without_log
from proxy.model import Destination, Inbound, Symptom
from proxy.model.errors import DialError
from proxy.probe.certificate_chain import fetch_chain
from proxy.session.events import TunnelEnded
from tests.features.inspection.mitm.inspecting import Inspecting, inspecting
from tests.support.authority import Authority
from tests.support.origin import Origin
from tests.support.waiting import until

ASK = b"GET / HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n"


def dialer(byway: Inspecting, *, heard: bool = True, ended: list[TunnelEnded] | None = None) -> InnerDialer:
    services = byway._services
    if not heard:
        services = without_log(services, (ended if ended is not None else []).append)
    return InnerDialer(services, byway._poller, Inbound.SOCKS5, "192.0.2.1:4000")


async def test_a_tunnel_is_an_ordinary_one_to_the_log(tmp_path: Path) -> None:
    async with Origin() as origin, inspecting(tmp_path, origin.authority) as byway:
        way = await dialer(byway).open(Destination("plain.test", origin.http_port))
        way.sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(way.sock, ASK)
        assert (await loop.sock_recv(way.sock, 4096)).startswith(b"HTTP/1.1 200")
        assert str(way.outcome().winner) == "direct"
        way.sock.close()
        await until(lambda: len(byway.outcomes) == 1)
        (outcome,) = byway.outcomes
        assert (outcome.request.client, outcome.request.inbound) == ("192.0.2.1:4000", Inbound.SOCKS5)


async def test_one_that_asks_for_ourselves_has_no_line_and_teaches_nothing(tmp_path: Path) -> None:
    """Of a server that hangs up on a hello, which is a sign against a site."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server, inspecting(tmp_path, Authority()) as byway:
        ended: list[TunnelEnded] = []
        destination = Destination("plain.test", server.sockets[0].getsockname()[1])
        for heard in (False, True):
            seen = await fetch_chain(dialer(byway, heard=heard, ended=ended), destination, "plain.test", timeout_s=10)
            assert seen.symptom in (Symptom.EOF, Symptom.RESET)
        await until(lambda: bool(byway.outcomes))
        assert not without_log(byway._services, ended.append).learns
        assert byway._services.learns
        assert len(byway.outcomes) == 1, "of the one that is heard: the control"
        assert byway.outcomes[0].attempts[0].symptom in (Symptom.EOF, Symptom.RESET)


async def test_what_a_rule_forbids_is_not_opened_and_nothing_says_why(tmp_path: Path) -> None:
    async with inspecting(tmp_path, Authority(), rules="DOMAIN,plain.test,BLOCK\n") as byway:
        with pytest.raises(DialError) as failure:
            await dialer(byway).dial(Destination("plain.test", 443))
        assert str(failure.value) == "plain.test:443 could not be reached. For details: `byway why plain.test`"
        await until(lambda: len(byway.outcomes) == 1)
        assert "BLOCK" in byway.outcomes[0].error


async def test_who_gives_up_leaves_nothing_behind(tmp_path: Path) -> None:
    """Before anything was opened."""
    async with inspecting(tmp_path, Authority()) as byway:
        before = len(asyncio.all_tasks())
        loop = asyncio.get_running_loop()
        task = loop.create_task(dialer(byway).dial(Destination("192.0.2.1", 9)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: len(asyncio.all_tasks()) <= before)


def test_both_ends_of_a_pair_are_closed_when_one_cannot_be_used() -> None:
    class Full:
        edge_triggered = True

        def register(self, watched: object, *, writes: bool) -> None:
            raise OSError("no more")

    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="no more"):
        make_pair(Full(), "192.0.2.1:1")  # type: ignore[arg-type]  # all that is asked of it
    assert len(os.listdir("/proc/self/fd")) == open_before
