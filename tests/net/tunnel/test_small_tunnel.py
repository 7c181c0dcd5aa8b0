"""What one small tunnel costs: a question, an answer of 1 KiB, and both ends close. Calls and system calls are counted,
since a tunnel is mostly these; timings are in tests/bench."""

from __future__ import annotations

import asyncio
import select
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import pytest

import proxy
from proxy.model import ClosedBy
from proxy.net.poller import EpollPoller
from proxy.net.stream import SocketStream
from proxy.net.tunnel.pump import Pump, TunnelResult
from tests.support.programs import require
from tests.support.sockets import tcp_pair
from tests.support.waiting import until

CALLS = 31
"""Python functions of Byway that a small tunnel calls: 15 of the pump, the others of the poller and the streams."""

OF_A_PASS = frozenset(("EpollPoller.wait", "EpollPoller.end_pass", "PollingLoop._run_once", "PollingLoop.call_soon"))
"""Not counted: there are as many as passes of the loop, of which this test makes some for itself."""

TO_CONNECT = {"accept4": 2, "connect": 1, "ioctl": 2, "setsockopt": 2, "socket": 1}
TO_CONNECT |= {"getpeername": 1, "getsockname": 1, "getsockopt": 1}
TO_WATCH = {"epoll_ctl": 2, "epoll_wait": 16, "getpid": 1}  # Python 3.11 asks for its own pid
TO_CARRY = {"recvfrom": 5, "sendto": 2, "shutdown": 1, "close": 2}
SYSTEM_CALLS = TO_CONNECT | TO_WATCH | TO_CARRY
"""At most so many, and no others. A busy machine tells of some events apart, which takes more waits and reads."""

QUESTION = b"GET / HTTP/1.1\r\nHost: origin.example\r\n\r\n"
ANSWER = bytes(1024)
PACKAGE = str(Path(proxy.__file__).parent)


async def test_calls_of_a_small_tunnel() -> None:
    poller = EpollPoller(asyncio.get_running_loop())
    pump = Pump(idle_timeout_s=600, half_open_timeout_s=60)
    # The first starts the timer that all share. A kernel that is late may tell of an answer and of its end apart.
    counted = min([await carry(pump, poller) for _ in range(5)], key=Counter.total)
    poller.close()
    await pump.close(0)
    assert counted.total() <= CALLS, "\n".join(f"{count} {name}" for name, count in counted.most_common())


async def carry(pump: Pump, poller: EpollPoller) -> Counter[str]:
    """Carries one small tunnel. Returns the calls from its start to its end."""
    counted: Counter[str] = Counter()
    ends: list[TunnelResult] = []
    (near_client, client), (near_upstream, server) = tcp_pair(), tcp_pair()
    near, upstream = (SocketStream(sock, poller, "near") for sock in (near_client, near_upstream))
    with client, server:
        await asyncio.sleep(0.01)  # the first edges
        assert (near.receive_nowait(), upstream.receive_nowait()) == (None, None)  # a session has done so

        def count(frame: FrameType, event: str, _: object) -> None:
            name = frame.f_code.co_qualname
            if event == "call" and frame.f_code.co_filename.startswith(PACKAGE) and name not in OF_A_PASS:
                counted[name] += 1

        sys.setprofile(count)
        try:
            pump.start(near, upstream, ends.append)
            client.sendall(QUESTION)
            await readable(server)
            assert server.recv(1024) == QUESTION
            server.sendall(ANSWER)
            server.shutdown(socket.SHUT_WR)
            await readable(client)
            assert client.recv(2048) == ANSWER
            await readable(client)
            assert client.recv(1) == b""
            client.close()
            await until(lambda: bool(ends))
        finally:
            sys.setprofile(None)
    assert ends == [TunnelResult(len(QUESTION), len(ANSWER), ClosedBy.SERVER)]
    return counted


async def readable(sock: socket.socket) -> None:
    await until(lambda: bool(select.select([sock], [], [], 0)[0]))


@pytest.mark.needs("strace")
def test_system_calls_of_a_small_tunnel(tmp_path: Path) -> None:
    """The difference between few tunnels and many: what the relay does once is left out."""
    few, many = (system_calls(tmp_path / f"{count}", count) for count in (5, 25))
    many.subtract(few)
    counted = {name: round(count / 20) for name, count in many.items()}
    assert {name: count for name, count in counted.items() if count > SYSTEM_CALLS.get(name, 0)} == {}


def system_calls(trace: Path, tunnels: int) -> Counter[str]:
    """Carries so many tunnels, one after the other, through a traced relay. Returns its system calls."""
    with socket.create_server(("127.0.0.1", 0)) as origin:
        command = [
            *(require("strace"), "--follow-forks", "--summary-only", "--summary-columns=calls,name", "-o", str(trace)),
            *(sys.executable, "-m", "tests.bench.relays", "pump", str(origin.getsockname()[1])),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            for _ in range(tunnels):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    server, _ = origin.accept()
                    with server:
                        client.sendall(QUESTION)
                        assert server.recv(1024) == QUESTION
                        server.sendall(ANSWER)
                    assert client.recv(2048, socket.MSG_WAITALL) == ANSWER
            assert process.stdin is not None
            process.stdin.close()
    calls: Counter[str] = Counter()
    for line in trace.read_text().splitlines()[2:]:
        count, _, name = line.strip().partition(" ")
        if count.isdigit() and name != "total":
            calls[name] += int(count)
    return calls
