from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct

import pytest

from proxy.net.kernel import tcp_info as kernel
from proxy.net.kernel.tcp_info import (
    GIVE_UP_MS,
    FlowSample,
    Keepalive,
    Reading,
    Snapshot,
    TcpInfo,
    dropped,
    is_closed,
    segments_received,
    unacknowledged,
    unacknowledged_bytes,
)
from tests.support.filters import drop_all, drop_large
from tests.support.sockets import tcp_pair
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="not run: TCP_INFO is Linux")

FLIGHT = b"\x16\x03\x01" + bytes(500)


@pytest.fixture(scope="module")
def tcp_info() -> TcpInfo:
    return TcpInfo()


def test_it_tests_itself(tcp_info: TcpInfo) -> None:
    assert tcp_info.usable


async def test_a_dropped_flight_is_sent_again_and_stays_unacknowledged(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        drop_all(far)
        since = tcp_info.snapshot(near)
        assert since is not None
        near.send(FLIGHT)
        reading = await look_until(tcp_info, near, since)
        assert reading.retransmits >= 2
        assert reading.unacked == 1
        assert not reading.acked
        again = await look_until(tcp_info, near, since, times=4)
        assert again.rto_s == pytest.approx(reading.rto_s, rel=0.1), "by now the kernel waits four times as long"


async def test_only_what_was_sent_again_twice_counts_as_dropped() -> None:
    near, far = tcp_pair()
    with near, far:
        near.send(FLIGHT)
        await until(lambda: unacknowledged(near) == 0)
        assert dropped(near) == 0, "it was answered"
        drop_all(far)
        near.send(FLIGHT)
        assert (unacknowledged(near), dropped(near)) == (1, 0), "it may only be slow"
        await until(lambda: dropped(near) == 1)
    assert dropped(near) == 0  # closed


async def look_until(tcp_info: TcpInfo, sock: socket.socket, since: Snapshot, *, times: int = 2) -> Reading:
    """Until the kernel has sent again what nobody acknowledges."""
    await until(lambda: tcp_info.since(sock, since).retransmits >= times)
    return tcp_info.since(sock, since)


async def test_a_server_that_acknowledges_and_is_silent_is_not_dropped(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        since = tcp_info.snapshot(near)
        assert since is not None
        near.send(FLIGHT)
        await until(lambda: tcp_info.since(near, since).acked)
        reading = tcp_info.since(near, since)
        assert (reading.retransmits, reading.unacked) == (0, 0)


async def test_a_path_that_loses_full_segments_shows_the_short_one_behind_them(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        drop_large(near)
        since = tcp_info.snapshot(near)
        assert since is not None
        near.send(FLIGHT)
        await until(lambda: tcp_info.since(near, since).acked)
        assert tcp_info.since(near, since).out_of_order == 0
        far.send(bytes(4000))
        far.send(b"the end")
        await until(lambda: tcp_info.since(near, since).out_of_order > 0)
        with pytest.raises(BlockingIOError):
            near.recv(1)


async def test_what_comes_behind_a_gap_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = tcp_pair()
    with near, far:
        far.send(b"small")
        await until(lambda: segments_received(near) == (1, 0))
        drop_large(near)
        far.send(bytes(4000))
        far.send(b"the end")
        await until(lambda: segments_received(near) == (2, 1))
        assert segments_received(far) == (0, 0)
        monkeypatch.setattr(kernel, "_info", lambda sock: b"\1" * 224)  # Linux 5.3
        assert segments_received(near) == (0, 0)


async def test_only_what_came_after_the_snapshot_counts(tcp_info: TcpInfo) -> None:
    """A censor may drop only the segment with the name: what was acknowledged before is no comfort."""
    near, far = tcp_pair()
    with near, far:
        near.send(bytes(10_000))
        await until(lambda: tcp_info.since(near, Snapshot(0, 0)).acked)
        drop_all(far)
        since = tcp_info.snapshot(near)
        assert since is not None
        assert since.bytes_acked >= 10_000
        assert not tcp_info.since(near, since).acked  # nothing was sent since
        near.send(FLIGHT)
        assert (await look_until(tcp_info, near, since)).retransmits >= 2


def test_a_socket_that_tells_nothing(tcp_info: TcpInfo) -> None:
    near, far = socket.socketpair()
    with near, far:
        assert tcp_info.snapshot(near) is None
    assert tcp_info.snapshot(near) is None  # closed
    assert tcp_info.since(near, Snapshot(5, 5)) == Reading()
    tcp_info.silence_retransmits(near)


def test_a_kernel_whose_structure_ends_too_early(tcp_info: TcpInfo) -> None:
    class Old(socket.socket):
        def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]  # as an older kernel would answer
            return bytes(104)

    with Old() as old:
        assert tcp_info.snapshot(old) is None


def test_a_structure_without_the_unsent_bytes_is_read(tcp_info: TcpInfo) -> None:
    fields = bytearray(128)
    struct.pack_into("=I", fields, 24, 3)  # tcpi_unacked
    struct.pack_into("=I", fields, 100, 7)  # tcpi_total_retrans
    struct.pack_into("=Q", fields, 120, 1 << 40)  # tcpi_bytes_acked

    class Kernel(socket.socket):
        def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]  # as Linux 4.1 would answer
            return bytes(fields)

    with Kernel() as kernel:
        assert tcp_info.snapshot(kernel) == Snapshot(7, 1 << 40)
        reading = tcp_info.since(kernel, Snapshot(5, 0))
        assert (reading.retransmits, reading.unacked, reading.acked) == (2, 3, False)


@pytest.mark.parametrize(("sent_ms", "received_ms", "after_s"), [(500, 300, 0.2), (300, 300, 0.0), (300, 500, None)])
def test_when_an_answer_came_by_the_kernels_clock(
    tcp_info: TcpInfo, sent_ms: int, received_ms: int, after_s: float | None
) -> None:
    fields = bytearray(128)
    struct.pack_into("=I", fields, 44, sent_ms)  # tcpi_last_data_sent
    struct.pack_into("=I", fields, 52, received_ms)  # tcpi_last_data_recv
    struct.pack_into("=I", fields, 68, 20_000)  # tcpi_rtt

    class Kernel(socket.socket):
        def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]  # as Linux would answer
            return bytes(fields)

    with Kernel() as kernel:
        assert tcp_info.answered_after(kernel) == after_s
        assert tcp_info.snapshot(kernel) == Snapshot(0, 0, 0.02)


async def test_the_times_of_a_real_connection(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        snapshot = tcp_info.snapshot(near)
        assert snapshot is not None
        assert snapshot.rtt_s > 0
        near.send(FLIGHT)
        far.send(b"!")
        await until(lambda: tcp_info.answered_after(near) is not None)
    assert tcp_info.answered_after(near) is None  # closed


def test_it_is_not_usable_without_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no sockets here")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert not TcpInfo().usable


def test_what_is_given_up_is_not_resent_for_long(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        tcp_info.silence_retransmits(near)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == GIVE_UP_MS


# -- a flow that is under way ------------------------------------------------------------------------------------------


def options(sock: socket.socket) -> list[int]:
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    times = [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
    return [sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *times]


async def test_probes_that_nobody_answers_are_counted(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        before = options(near)
        drop_all(far)
        keepalive = Keepalive.begin(near, count=30)
        assert options(near) == [1, 1, 1, 30]
        await until(lambda: sampled(tcp_info, near).probes >= 1)
        assert sampled(tcp_info, near).heard_s >= 1
        keepalive.end(near)
        assert options(near) == before


async def test_while_probes_are_due_the_kernel_retransmits_once_a_second(tcp_info: TcpInfo) -> None:
    """Its timeout is not doubled beyond that, or not at all on a kernel before Linux 6.15."""
    near, far = tcp_pair()
    other, silent = tcp_pair()
    with near, far, other, silent:
        for sock in (near, other):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")  # with BBR, older kernels cannot do it
        before = retransmission_options(near)
        keepalive = Keepalive.begin(near)
        for sock, peer in ((near, far), (other, silent)):
            drop_all(peer)
            sock.send(FLIGHT)
        await until(lambda: sampled(tcp_info, near).retransmits >= 5)
        assert timeout_us(near) <= 1_000_000
        keepalive.end(near)
        assert retransmission_options(near) == before
        await until(lambda: sampled(tcp_info, other).retransmits >= 4)
        assert timeout_us(other) > 1_000_000, "that of a connection without probes is"


def timeout_us(sock: socket.socket) -> int:
    """Returns tcpi_rto."""
    (timeout,) = struct.unpack_from("=I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 12), 8)
    return int(timeout)


def retransmission_options(sock: socket.socket) -> list[int]:
    """Returns TCP_THIN_LINEAR_TIMEOUTS, and TCP_RTO_MAX_MS where the kernel knows it (<linux/tcp.h>)."""
    values = [sock.getsockopt(socket.IPPROTO_TCP, 16)]
    with contextlib.suppress(OSError):  # Linux before 6.15
        values.append(sock.getsockopt(socket.IPPROTO_TCP, 44))
    return values


async def test_a_probe_can_be_sent_before_it_is_due(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    other, silent = tcp_pair()
    with near, far, other, silent:
        drop_all(far)
        drop_all(silent)
        await until(lambda: min(sampled(tcp_info, sock).heard_s for sock in (near, other)) >= 1.1)
        keepalive, _ = Keepalive.begin(near), Keepalive.begin(other)
        for number in (1, 2):
            keepalive.probe(near)
            await until(lambda number=number: sampled(tcp_info, near).probes >= number)  # type: ignore[misc]
        assert sampled(tcp_info, other).probes == 0, "its first one is due after a second"
    keepalive.probe(near)  # closed: harmless


async def test_a_probe_that_is_answered_is_heard(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        await until(lambda: sampled(tcp_info, near).heard_s >= 0.5)
        Keepalive.begin(near, count=30)
        await until(lambda: sampled(tcp_info, near).heard_s < 0.5)
        assert sampled(tcp_info, near).probes == 0


async def test_what_came_is_counted(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        far.send(bytes(3000))
        far.send(bytes(500))
        await until(lambda: sampled(tcp_info, near).bytes_in == 3500)
        found = sampled(tcp_info, near)
        assert 2 <= found.segments_in <= 2 + sampled(tcp_info, far).retransmits
        assert found.segment > 0
        assert 0 < found.rtt_s < 1
        drop_all(far)
        near.send(b"?")
        await until(lambda: sampled(tcp_info, near).retransmits >= 1)
        assert sampled(tcp_info, near).unacked == 1


async def test_who_was_reset_while_idle_is_over(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near:
        assert not sampled(tcp_info, near).is_over
        far.close()
        assert not sampled(tcp_info, near).is_over, "its kernel still answers"
        near.send(b"?")  # nobody takes it, as nobody takes a probe once the other kernel has forgotten the connection
        await until(lambda: sampled(tcp_info, near).is_over)


async def test_bytes_that_nobody_acknowledges_are_counted_without_tcp_info(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    with near, far:
        near.send(bytes(500))
        await until(lambda: unacknowledged_bytes(near) == 0)
        near.setblocking(False)
        while len(select.select([], [near], [], 0.2)[1]):  # until the peer, which reads nothing, has no room
            near.send(bytes(1 << 20))
        await until(lambda: sampled(tcp_info, near).unacked == 0)
        assert unacknowledged_bytes(near) == 0, "what waits for room was not sent"
    near, far = tcp_pair()
    with near, far:
        drop_all(far)
        near.send(bytes(500))
        assert unacknowledged_bytes(near) == 500
    assert unacknowledged_bytes(near) == 0


async def test_the_kernel_judges_probes_that_it_has_sent(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    other, answers = tcp_pair()
    with near, far, other, answers:
        drop_all(far)
        probed = [(sock, Keepalive.begin(sock)) for sock in (near, other)]
        await until(lambda: sampled(tcp_info, near).probes >= 2)
        for sock, keepalive in probed:
            keepalive.judge(sock, 2)
        assert not is_closed(near)
        await until(lambda: is_closed(near))
        assert not is_closed(other)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
    probed[0][1].judge(near, 2)  # closed: harmless


def sampled(tcp_info: TcpInfo, sock: socket.socket) -> FlowSample:
    found = tcp_info.sample(sock)
    assert found is not None
    return found


def test_a_closed_connection_has_no_pulse_and_cannot_be_asked(tcp_info: TcpInfo) -> None:
    near, far = tcp_pair()
    keepalive = Keepalive.begin(near, count=3)
    near.close()
    far.close()
    assert tcp_info.sample(near) is None
    keepalive.end(near)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Keepalive.begin(near, count=3)
