"""Reads the kernel's TCP_INFO about a connection, without privileges, on Linux.

Our kernel retransmits a flight that a censor drops, and it stays unacknowledged; a slow server acknowledges the flight
and is silent. So the wait for a dropped flight can be cut short without hurrying a slow server. A single lost segment
causes one retransmission (tail loss probe included), hence two (`hedge_retransmits`). Fields are read by their offset
in the kernel's `struct tcp_info`, which only grows at its end. Without it `usable` is False, and the race hedges by a
timer.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections import OrderedDict
from typing import Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.model.frozen_dataclass import frozen_dataclass

GIVE_UP_MS = 5000
"""Milliseconds for which the kernel retransmits on an abandoned connection. After a plain close it would retransmit the
ClientHello, with the name in it, for 32 s (measured)."""

# <linux/tcp.h>, offsets in bytes: tcpi_backoff 4 (doublings of tcpi_rto), tcpi_rto 8 (µs), tcpi_unacked 24 (segments),
# tcpi_rtt 68 (µs), tcpi_total_retrans 100 (segments), tcpi_bytes_acked 120 (Linux 4.1).
_FIELDS = struct.Struct("=4xB3xI12xI40xI28xI16xQ")
_TIMES = struct.Struct("=44xI4xI")  # tcpi_last_data_sent, tcpi_last_data_recv (ms ago)
_COUNT = struct.Struct("=I")
_RETRANSMITS_AT = 2  # tcpi_retransmits: timeouts in a row, without an acknowledgement between them
_NOTSENT_AT = 144  # tcpi_notsent_bytes (Linux 4.6)
_SEGMENTS_IN_AT = 152  # tcpi_data_segs_in (Linux 4.6)
_OUT_OF_ORDER_AT = 224  # tcpi_rcv_ooopack (Linux 5.4)
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)  # Linux and macOS
_SIOCOUTQ, _SIOCOUTQNSD = 0x5411, 0x894B  # <linux/sockios.h>: bytes that are unacknowledged or unsent, and unsent
_BUFFER_SIZE = 256  # bytes, more than is needed; the kernel returns as many as its struct has

# For a flow that is under way: tcpi_state 0, tcpi_probes 3, tcpi_rcv_mss 20 (bytes), tcpi_unacked 24
# (segments), tcpi_last_ack_recv 56 (ms ago), tcpi_rtt 68 (µs), tcpi_total_retrans 100 (segments), tcpi_bytes_received
# 128 (Linux 4.1), tcpi_data_segs_in 152 (Linux 4.6).
_CLOSED = 7  # TCP_CLOSE (<net/tcp_states.h>)
_PULSE = struct.Struct("=B2xB16xII28xI8xI28xI24xQ16xI")


@frozen_dataclass
class Snapshot:
    """A connection's counters just before its flight."""

    total_retransmits: int  # segments
    bytes_acked: int
    rtt_s: float = 0.0  # of the SYN; 0: not known


@frozen_dataclass
class Reading:
    """The state of a flight, compared with its snapshot."""

    retransmits: int = 0  # segments sent again
    unacked: int = 0  # segments sent and not acknowledged
    acked: bool = False  # something was sent, and all of it is acknowledged
    rtt_s: float = 0.0
    rto_s: float = 0.0  # the kernel's timeout, as it was before retransmissions doubled it
    out_of_order: int = 0  # segments received behind a lost one, ever


@frozen_dataclass
class FlowSample:
    """Whether a flow that is under way still reaches the other end."""

    probes: int = 0  # keepalive probes in a row without an answer
    retransmits: int = 0  # segments sent again, ever
    unacked: int = 0  # segments sent and not acknowledged
    heard_s: float = 0.0  # since the last acknowledgement came
    segment: int = 0  # bytes of a full segment of the other end
    bytes_in: int = 0
    segments_in: int = 0  # that held data
    rtt_s: float = 0.0  # smoothed, as it was while acknowledgements came
    is_over: bool = False  # the other end reset the connection, or the kernel gave it up


class FlowSampler(Protocol):
    """Reads a connection from the kernel: TcpInfo, or a test's double."""

    @property
    def usable(self) -> bool: ...
    def sample(self, sock: socket.SocketType) -> FlowSample | None: ...
    def answered_after(self, sock: socket.SocketType) -> float | None: ...


PROBE_EVERY_S = 1  # the kernel's least

PROBES_MAX = 127
"""Unanswered probes after which the kernel breaks a connection: the largest number that it accepts, so that none is
broken. With a count of 3, a live connection dies in an outage of 3 s (measured)."""


_RETRANSMIT_OFTEN = ((44, 1000 * PROBE_EVERY_S), (16, 1)) if sys.platform in ("linux", "android") else ()
"""Options with their values; the first that the kernel knows is set. TCP_RTO_MAX_MS (Linux 6.15): it retransmits once a
second at least. TCP_THIN_LINEAR_TIMEOUTS: it retransmits up to three segments six times without doubling its timeout,
where the congestion control is not BBR (measured). Other systems have other options of these numbers."""


class Keepalive:
    """Probes on an idle connection, whose result `TcpInfo.sample` reads. While data is unacknowledged, the kernel sends
    no probes; it then retransmits as often, where it can be told to. `end` restores the socket's options."""

    __slots__ = ("_before",)

    def __init__(self, before: tuple[tuple[int, int, int], ...]) -> None:
        self._before = before

    @classmethod
    def begin(cls, sock: socket.SocketType, *, count: int = PROBES_MAX) -> Keepalive:
        """Sends a probe each PROBE_EVERY_S from then on. The kernel breaks the connection after `count` unanswered
        ones. Raises OSError when the connection is closed."""
        options = (*_KEEPALIVE_TIMES, (socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        before = tuple((level, option, sock.getsockopt(level, option)) for level, option in reversed(options))
        for (level, option), name in zip(_KEEPALIVE_TIMES, _KEEPALIVE_NAMES, strict=True):
            sock.setsockopt(level, option, count if name == "TCP_KEEPCNT" else PROBE_EVERY_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _RETRANSMIT_OFTEN:
            with contextlib.suppress(OSError):  # an older kernel
                usual = sock.getsockopt(socket.IPPROTO_TCP, option)
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
                return cls((*before, (socket.IPPROTO_TCP, option, usual)))
        return cls(before)

    def probe(self, sock: socket.SocketType) -> None:
        """Sends a probe at once, and the next one PROBE_EVERY_S later, if nothing was heard for as long: Linux looks
        how long it waits already when the time is set. Harmless when the connection is closed."""
        with contextlib.suppress(OSError):
            if hasattr(socket, "TCP_KEEPIDLE"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_EVERY_S)

    def judge(self, sock: socket.SocketType, count: int) -> None:
        """Has the kernel break the connection at its next probe if the last `count` were unanswered. Harmless when it
        is closed."""
        with contextlib.suppress(OSError):
            if hasattr(socket, "TCP_KEEPCNT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)

    def end(self, sock: socket.SocketType) -> None:
        """Restores the socket's options. Harmless when the connection is closed."""
        with contextlib.suppress(OSError):
            for level, option, value in self._before:
                sock.setsockopt(level, option, value)


_KEEPALIVE_NAMES = tuple(
    name
    for name in ("TCP_KEEPCNT", "TCP_KEEPINTVL", "TCP_KEEPIDLE", "TCP_KEEPALIVE")  # the last is macOS's KEEPIDLE
    if hasattr(socket, name)
)
_KEEPALIVE_TIMES = tuple((socket.IPPROTO_TCP, int(getattr(socket, name))) for name in _KEEPALIVE_NAMES)


class TcpInfo:
    """Reads TCP_INFO. `usable` says whether a self-test on loopback passed; without it, no method may be called. While
    `split_tcp.detected`, the values describe a middlebox on the path and not the site."""

    def __init__(self, settings: DetectTuning | None = None) -> None:
        self.usable = self.self_test()
        self.split_tcp = SplitTcpDetector(settings or DetectTuning())

    def snapshot(self, sock: socket.SocketType) -> Snapshot | None:
        """The counters to compare with, read just before the flight; None where TCP_INFO is not readable."""
        if _TCP_INFO is None:
            return None
        try:
            data = sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BUFFER_SIZE)
        except OSError:
            return None
        if len(data) < _FIELDS.size:
            return None
        _, _, _, rtt_us, total_retransmits, bytes_acked = _FIELDS.unpack_from(data)
        return Snapshot(total_retransmits, bytes_acked, rtt_us / 1e6)

    def since(self, sock: socket.SocketType, snapshot: Snapshot) -> Reading:
        """The state of the bytes that were sent since `snapshot`. An empty Reading for a closed socket, another kind of
        socket, and an older kernel that lacks a field."""
        data = _info(sock)
        if len(data) < _FIELDS.size:
            return Reading()
        unsent, out_of_order = _count(data, _NOTSENT_AT), _count(data, _OUT_OF_ORDER_AT)
        doublings, rto_us, unacked, rtt_us, total_retransmits, bytes_acked = _FIELDS.unpack_from(data)
        return Reading(
            retransmits=total_retransmits - snapshot.total_retransmits,
            unacked=unacked,
            acked=unacked == 0 and unsent == 0 and bytes_acked > snapshot.bytes_acked,
            rtt_s=rtt_us / 1e6,
            rto_s=(rto_us >> doublings) / 1e6,  # before it was doubled
            out_of_order=out_of_order,
        )

    def answered_after(self, sock: socket.SocketType) -> float | None:
        """Returns the seconds from the last byte sent to the last byte received, by the kernel's clock, so that our own
        delays do not count. None when they are not readable, or nothing was received after the last byte sent."""
        data = _info(sock)
        if len(data) < _TIMES.size:
            return None
        sent_ms, received_ms = _TIMES.unpack_from(data)
        return (sent_ms - received_ms) / 1000 if received_ms <= sent_ms else None

    def sample(self, sock: socket.SocketType) -> FlowSample | None:
        """The state of a flow now; None when TCP_INFO is not readable, or the connection is closed."""
        data = _info(sock)
        if len(data) < _PULSE.size:
            return None
        state, probes, segment, unacked, heard_ms, rtt_us, retransmits, bytes_in, segments_in = _PULSE.unpack_from(data)
        heard_s, rtt_s, is_over = heard_ms / 1000, rtt_us / 1e6, state == _CLOSED
        return FlowSample(probes, retransmits, unacked, heard_s, segment, bytes_in, segments_in, rtt_s, is_over)

    def silence_retransmits(self, sock: socket.SocketType) -> None:
        """Bounds how long the kernel retransmits on a connection that is no longer needed. The caller then resets it
        with `Stream.abort`."""
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            with contextlib.suppress(OSError):  # closed already
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GIVE_UP_MS)

    def self_test(self) -> bool:
        """Whether TCP_INFO shows one byte on loopback and its acknowledgement. Takes under a millisecond."""
        try:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                listener.settimeout(1.0)
                with socket.socket() as client:
                    client.settimeout(1.0)
                    client.connect(listener.getsockname())
                    server, _ = listener.accept()
                    with server:
                        if (before := self.snapshot(client)) is None:
                            return False
                        client.sendall(b"?")
                        server.settimeout(1.0)
                        server.recv(1)
                        server.sendall(b"!")  # carries the acknowledgement at the latest
                        client.recv(1)
                        reading = self.since(client, before)
                        return reading.acked and reading.retransmits == 0 and reading.rto_s > 0
        except OSError:  # no loopback, or none that may be used
            return False


def _info(sock: socket.SocketType) -> bytes:
    """The kernel's `struct tcp_info`; empty when there is none for this socket."""
    if _TCP_INFO is None:
        return b""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BUFFER_SIZE)
    except OSError:
        return b""


def _count(data: bytes, at: int) -> int:
    """Returns a field of `struct tcp_info`; 0 from an older kernel that lacks it."""
    return _COUNT.unpack_from(data, at)[0] if len(data) >= at + _COUNT.size else 0


def unacknowledged(sock: socket.SocketType) -> int:
    """Returns the number of segments that were sent and not acknowledged; 0 where TCP_INFO is not readable."""
    data = _info(sock)
    return _PULSE.unpack_from(data)[3] if len(data) >= _PULSE.size else 0


def dropped(sock: socket.SocketType) -> int:
    """Returns the number of segments that are not acknowledged although they were retransmitted twice in a row, which
    is more than a slow peer or one lost segment causes; 0 where TCP_INFO is not readable."""
    data = _info(sock)
    return _PULSE.unpack_from(data)[3] if len(data) >= _PULSE.size and data[_RETRANSMITS_AT] >= 2 else 0


def segments_received(sock: socket.SocketType) -> tuple[int, int]:
    """Returns how many segments with data have come, and how many of them behind one that had not; (0, 0) where that is
    not readable."""
    data = _info(sock)
    if len(data) < _OUT_OF_ORDER_AT + _COUNT.size:
        return 0, 0
    return _count(data, _SEGMENTS_IN_AT), _count(data, _OUT_OF_ORDER_AT)


def unacknowledged_bytes(sock: socket.SocketType) -> int:
    """Returns the number of bytes that were sent and not acknowledged, also where TCP_INFO is not readable; 0 where it
    is not known. What waits for room at a peer that reads slowly was not sent."""
    if not sys.platform.startswith("linux"):
        return 0
    import fcntl  # not on every system

    try:
        waiting, unsent = (fcntl.ioctl(sock.fileno(), request, bytes(4)) for request in (_SIOCOUTQ, _SIOCOUTQNSD))
    except (OSError, ValueError):  # closed by the peer, or here
        return 0
    return int.from_bytes(waiting, sys.byteorder) - int.from_bytes(unsent, sys.byteorder)


def is_closed(sock: socket.SocketType) -> bool:
    """Whether a connection has ended for the kernel: closed here, reset by the peer, or given up."""
    try:
        sock.getpeername()
    except OSError:
        return True
    return False


# -- split TCP ---------------------------------------------------------------------------------------------------------
# A middlebox that terminates TCP on the path (split TCP: a company's proxy, a satellite modem, some filters) also
# acknowledges our bytes, so TCP_INFO then describes the middlebox and not the site. The middlebox is near and sites are
# far: the first bytes of working hosts come many times later than their SYN-ACK. One slow site shows the same; half of
# the latest sites rarely do. The detector sends nothing.


class SplitTcpDetector:
    """Remembers the hosts that last worked over direct TLS, on one network; `reset` when the network changes."""

    __slots__ = ("_detect", "_late", "_late_count", "detected")

    def __init__(self, detect: DetectTuning) -> None:
        self._detect = detect
        # Host → whether its first byte came far too late. No `Bounded`: a value that is dropped is taken off the count.
        self._late: OrderedDict[str, bool] = OrderedDict()
        self._late_count = 0
        self.detected = False
        """Whether a middlebox terminates TCP on the path."""

    def note(self, host: str, syn_s: float, first_byte_s: float) -> None:
        """A host worked: its SYN was answered after `syn_s` (0: not known) and its flight after `first_byte_s`. Once
        enough hosts are known, a middlebox is detected while more than half of them are late (a late median)."""
        if syn_s <= 0:
            return
        detect = self._detect
        late = first_byte_s >= detect.middlebox_least_s and first_byte_s >= detect.middlebox_ratio * syn_s
        before = self._late.pop(host, None)
        self._late[host] = late
        if before is late:
            return
        self._late_count += late - bool(before)
        if len(self._late) > detect.middlebox_hosts:
            self._late_count -= self._late.popitem(last=False)[1]
        count = len(self._late)
        if 2 * count >= detect.middlebox_hosts:
            self.detected = 2 * self._late_count > count

    def reset(self) -> None:
        """The network changed: forgets all hosts, and the result."""
        self.forget_hosts()
        self.detected = False

    def forget_hosts(self) -> None:
        """Forgets all hosts. The result `detected` stands until enough other hosts are known."""
        self._late.clear()
        self._late_count = 0

    def __repr__(self) -> str:
        state = "detected" if self.detected else "not detected"
        return f"<SplitTcpDetector {state}: {self._late_count} of {len(self._late)} late>"
