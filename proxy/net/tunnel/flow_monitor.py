"""Detects flows that freeze, are throttled or are reset after they delivered.

Some censors let a connection begin and then pass nothing more, or a trickle, or reset it after some bytes. This monitor
polls the byte counters of each tunnel once a second; it never sees the bytes, and the pump is not slower for it. Others
cut each connection some seconds after its handshake: two flows in use that end as late as each other show that. A
flow that is only slower than those of other hosts is reported once its host rests, to be compared with another route. A
stalled flow gets keepalive probes. Unanswered probes count only in seconds in which another flow received bytes, so
that an outage of our own uplink freezes nothing. Without such a flow, the listener may find a witness: a connection
that is probed as well. Where no witness can be requested, a silent relay is given up anyway: it may be the only way
out. `detect` decides what a signal means.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, NO_EVIDENCE, ClosedBy, Evidence, Route, Symptom
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.kernel.tcp_info import PROBE_EVERY_S, FlowSample, FlowSampler, Keepalive, unacknowledged_bytes
from proxy.net.stream import Stream
from proxy.net.tunnel.pump import TunnelResult

if TYPE_CHECKING:
    from proxy.net.tunnel.blind_stall import BlindStall
    from proxy.net.tunnel.witness import Witness

SAMPLE_S = 1.0

_FULL = 0.5
"""Mean size of the received segments, as a share of a full one, from which the sender is taken to have more to send.
The mean allows for short ends of records and for retransmissions out of a slow queue; a chat's segments are smaller."""

_WITNESSED = 0.3
"""The share of seconds in which another flow must have been faster. It is small because pages come in bursts."""

YOUNG_S = 300.0
"""The age in seconds up to which a tunnel is closed when another one to its relay froze. Chromium uses an idle
connection again for as long (net/socket/client_socket_pool.cc); a terminal session is often older."""

ACKNOWLEDGED_MAX = 40
"""Bytes that a client may send after an answer without a new request. HTTP/2 acknowledges in frames of 9 to 17 bytes
(RFC 9113, sections 6.5, 6.7 and 6.9), which are TLS records of 31 to 39 bytes. A repeated request of a browser is a
record of at least 47 bytes (by hpack)."""

_EARLY_S = 1.25
"""Seconds without a sign of life after which a young flow that brought little is probed at the next poll: 1.25 to
2.25 s after its last bytes, where the polls alone tell that it stalled after 2 to 3 s."""

_EARLY_AGE_S = 30.0
"""Seconds up to which a flow is young for that: a page, and no connection that rests between its messages."""

_DOUBLED_S = 5.0
"""Seconds of a stall in which probes without an answer are sent twice a second, while nothing shows that the network
works: so three of them fall into the two seconds after a control page was requested."""

_ROUND_TRIPS = 2
"""Round trips of silence that a frozen flow needs, beside the seconds of its unanswered probes."""

_HEARD_S = 1.5
"""Seconds for which an answer of a witness shows that the network works: the next probe follows after a second, and its
answer after a round trip."""

_SILENT_S = 7.5
"""Seconds without a byte or an acknowledgement of a relay after which its flow is ended although nothing shows that the
network works: at the eighth poll, so within 10 s. A shorter outage ends nothing. An outage of our own link ends nothing
either, because `reset` is called after it."""

_ONE_EVENT_S = 2.0
"""Seconds within which one event, such as the restart of a server, may cut connections that were opened together."""

_NEVER = float("-inf")
_HOSTS = 4096
_HOUR_S = 3600.0

Way = tuple[str, Route]
"""A host, and the route to it: a local strategy is judged by itself."""


@frozen_dataclass
class FlowSignal:
    kind: Symptom  # FROZEN, THROTTLED, or RESET for an early one
    bytes_down: int
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)
    at: float = 0.0  # on the loop's clock
    route: Route = DIRECT  # of the flow: direct, or a local strategy


class Moved(Protocol):
    """The number of bytes in one direction."""

    @property
    def moved(self) -> int: ...


class WatchedTransfer(Protocol):
    """A tunnel, or a plain HTTP exchange."""

    @property
    def up(self) -> Moved: ...
    @property
    def down(self) -> Moved: ...
    @property
    def upstream(self) -> Stream: ...
    @property
    def client_is_slow(self) -> bool: ...
    @property
    def over(self) -> bool: ...

    def abort(self, why: str) -> None:
        """Ends the transfer with a reset, for this reason."""


class FlowListener(Protocol):
    """Gets the observations about one tunnel. No method may raise."""

    def on_flow_signal(self, signal: FlowSignal, tunnel: WatchedTransfer) -> None:
        """A flow that goes direct, with or without a local strategy, froze, was throttled or was reset."""

    def on_relay_stalled(self, bytes_down: int, tunnel: WatchedTransfer) -> None:
        """A flow through a relay stopped for good: the relay answers no probe."""

    def on_relay_silent(self, silent_s: float, tunnel: WatchedTransfer) -> None:
        """A flow through a relay received nothing for `silent_s`, the relay answers no probe, and no witness could be
        requested. The relay or the network is gone."""

    def on_way_stalled(self, tunnel: WatchedTransfer) -> None:
        """Another young flow over the same way to the relay stopped for good. This one is idle, and would stop as well
        when it is used again."""

    def on_unwitnessed_stall(self) -> None:
        """A flow has stalled, its peer was silent for `stalled_s`, and no other flow receives: the network may be at
        fault. Called each second until there is a witness."""

    def on_slow(self, bytes_s: float) -> None:
        """A flow over plain direct was much slower than those of other hosts, and its host rests now. `bytes_s` is its
        mean over the last whole window."""

    def on_direct_bytes(self, within_s: float) -> None:
        """A direct flow received bytes within the last `within_s` seconds. Called once a second at most."""

    def on_direct_carried(self, bytes_down: int, lasted_s: float) -> None:
        """A flow over plain direct has ended without a fault after `bytes_down` bytes, which are at least
        `whole_bytes`; the last came `lasted_s` after its handshake."""

    def on_relay_upload(self, bytes_up: int) -> None:
        """A relay took `bytes_up` bytes, at least `proof_bytes`, and the site answered. Called once."""

    def on_relay_bytes(self, bytes_down: int, bytes_s: float, tunnel: WatchedTransfer) -> None:
        """A relay's flow received `bytes_down` bytes in all, at least `proof_bytes`, and `bytes_s` in its best second.
        Called again after a better second."""

    def on_relay_whole(self, bytes_down: int) -> None:
        """A relay's flow has ended with nothing missing, after `bytes_down` bytes: at least half of `proof_bytes`, and
        less than all of them."""

    def on_relay_lasted(self, lasted_s: float) -> None:
        """A relay's flow still receives `lasted_s` after its handshake, `cut_outlived` times as late as a direct flow
        of its host was cut. Called once for each cut."""


class _Stall:
    """A stalled flow that gets keepalive probes."""

    __slots__ = ("began", "keepalive", "probes", "retransmits", "sample")

    is_judged = False  # the kernel is not told to break the connection

    def __init__(self, began: float, keepalive: Keepalive, sample: FlowSample) -> None:
        self.began = began
        self.keepalive = keepalive
        self.sample = sample  # the last one
        self.probes = 0  # unanswered, counted in seconds in which others received
        self.retransmits = 0  # such seconds with retransmissions


@frozen_dataclass
class _Cut:
    """A flow in use was cut."""

    at: float
    after_s: float  # since its handshake
    is_outlived: bool = False  # a relay's flow has lasted much longer


class WatchedFlow:
    __slots__ = (
        "_fastest", "_has_taken", "answered_up", "direct", "down", "host", "listener", "opened_at", "probed_at",
        "progress_at", "route", "segments", "stall", "stalls_count", "tunnel", "up", "window",
    )  # fmt: skip

    def __init__(
        self,
        tunnel: WatchedTransfer,
        host: str,
        listener: FlowListener,
        *,
        route: Route,
        stalls_count: bool,
        now: float,
    ) -> None:
        self.tunnel = tunnel
        self.host = host
        self.listener = listener
        self.route = route
        self.direct = route.is_direct  # with or without a local strategy
        self.stalls_count = stalls_count
        self.down = tunnel.down.moved
        self.up = self.answered_up = tunnel.up.moved  # at the last change, and when bytes came down last
        self.opened_at = self.progress_at = now
        self.probed_at = _NEVER
        self.stall: _Stall | BlindStall | None = None
        self.window: list[int] | None = None  # bytes of each second since the last pause
        self.segments: FlowSample | None = None  # at the first of these seconds
        self._fastest = 0.0  # bytes a second
        self._has_taken = False

    def __repr__(self) -> str:
        return f"<WatchedFlow {self.host} {self.tunnel!r}>"

    @property
    def way(self) -> Way:
        return self.host, self.route

    def report(self, kind: Symptom, evidence: Evidence, now: float) -> None:
        self.listener.on_flow_signal(FlowSignal(kind, self.down, evidence, now, self.route), self.tunnel)

    def report_relay_bytes(self, count: int, enough: int) -> None:
        """Counts `count` more bytes of a relay. Reports once it has carried `enough` in all, and again when it is
        faster than before."""
        rate = count / SAMPLE_S
        faster, self._fastest = rate > self._fastest, max(rate, self._fastest)
        if self.down >= enough and (faster or self.down - count < enough):
            self.listener.on_relay_bytes(self.down, self._fastest, self.tunnel)

    def is_in_use(self, now: float) -> bool:
        """Whether bytes came down within two seconds, or a request has waited for longer than that: one that has just
        left an idle connection may have met its end."""
        since_s = now - self.progress_at
        if self.up == self.answered_up:  # since the last bytes down, of which the poll after them tells
            return since_s <= SAMPLE_S
        return self.up - self.answered_up > ACKNOWLEDGED_MAX and since_s > 2 * SAMPLE_S

    def report_upload(self, count: int) -> None:
        """Reports once that a relay took `count` bytes in all, and that the site answered."""
        if not self._has_taken:
            self._has_taken = True
            self.listener.on_relay_upload(count)


class FlowMonitor:
    """All tunnels that are monitored. Belongs to one loop."""

    def __init__(self, tcp_info: FlowSampler, settings: DetectTuning) -> None:
        self._tcp_info = tcp_info
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._flows: set[WatchedFlow] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._polled_at = self._loop.time()
        self._received = False  # a direct flow received bytes since the last poll
        self._relay_received = False  # a relay's flow received bytes since then
        self._answered = 0  # stalled flows whose peer answered on this network: its routers let probes through
        self._ended: dict[str, int] = {}  # host → bytes of direct tunnels that ended since the last poll
        self._fast: deque[tuple[float, str, float]] = deque(maxlen=self._window)
        """For each second: the bytes of the fastest direct flow, its host, and the bytes of the fastest flow to another
        host."""
        self._slow_windows: Bounded[Way, tuple[float, ...]] = Bounded(_HOSTS)  # when each ended
        self._slow: dict[str, tuple[float, FlowListener]] = {}
        """Hosts with a slow flow that is not reported yet, its bytes a second, and its listener. It is reported when
        the host has no open flow at the latest."""
        self._broke_at: Bounded[Way, int] = Bounded(_HOSTS)  # bytes of the last reset
        self._cuts: Bounded[Way, _Cut] = Bounded(_HOSTS)  # the last one
        self._witness: Witness | None = None
        self._witness_end: asyncio.TimerHandle | None = None
        self._asked_in_vain = False  # a witness was asked for, and nothing was received since

    @property
    def _window(self) -> int:
        return max(1, round(self._settings.throttled_s / SAMPLE_S))

    def __len__(self) -> int:
        return len(self._flows)

    def watch(
        self, tunnel: WatchedTransfer, host: str, listener: FlowListener, *, route: Route, stalls_count: bool = False
    ) -> WatchedFlow:
        """Watches a tunnel over `route` until `ended` is called for it. One that goes direct is probed when it stalls;
        a relay's with `stalls_count`."""
        now, counts = self._loop.time(), route.is_direct or stalls_count
        flow = WatchedFlow(tunnel, host, listener, route=route, stalls_count=counts, now=now)
        self._flows.add(flow)
        if self._timer is None:
            self._timer = self._loop.call_later(SAMPLE_S, self._poll)
            self._polled_at = self._loop.time()
        return flow

    def ended(self, flow: WatchedFlow, result: TunnelResult) -> None:
        """The tunnel ended. A short one may have lived between two polls, so the bytes since the last poll are counted
        here."""
        if flow not in self._flows:
            return
        self._flows.discard(flow)
        count, flow.down = result.bytes_down - flow.down, result.bytes_down
        if flow.direct and count > 0:
            self._received = True
            self._ended[flow.host] = self._ended.get(flow.host, 0) + count
        elif count > 0:
            self._relay_received = True
            flow.report_relay_bytes(count, self._settings.proof_bytes)
        if not flow.direct and self._is_small_and_whole(flow, result, has_rested=not count):
            flow.listener.on_relay_whole(result.bytes_down)
        if flow.stall is not None and flow.stall.is_judged and result.has_timed_out:
            self._on_blind_freeze(flow, self._loop.time())
        if not flow.direct and result.bytes_down and not result.error and result.bytes_up >= self._settings.proof_bytes:
            flow.report_upload(result.bytes_up)
        if flow.route == DIRECT and result.bytes_down >= self._settings.whole_bytes and not result.error:
            last_at = self._loop.time() if count else flow.progress_at
            flow.listener.on_direct_carried(result.bytes_down, last_at - flow.opened_at)
        if flow.direct and result.bytes_down and result.error and result.was_reset:
            now = self._loop.time()
            # A signal if it was early, or after as many bytes as the last reset, or as late.
            again = self._broke_at.pop(flow.way, -1) == result.bytes_down
            self._broke_at[flow.way] = result.bytes_down
            evidence: Evidence = {"again": int(again)}
            if (count > 0 or flow.is_in_use(now)) and self._was_cut_as_late(flow, now):
                evidence["cut_s"] = round(now - flow.opened_at, 1)
            if result.bytes_down <= self._settings.early_reset_bytes or again or "cut_s" in evidence:
                flow.report(Symptom.RESET, evidence, now)

    def _is_small_and_whole(self, flow: WatchedFlow, result: TunnelResult, *, has_rested: bool) -> bool:
        """Whether a relay's flow ended with less than `proof_bytes`, and nothing is missing: the site ended it, or its
        client did as soon as the last bytes had come. A client that ends it later may have waited in vain."""
        enough, stalled_s = self._settings.proof_bytes, self._settings.stalled_s
        if result.error or not enough <= 2 * result.bytes_down < 2 * enough:
            return False
        is_prompt = not has_rested or self._loop.time() - flow.progress_at <= stalled_s
        return result.closed_by is ClosedBy.SERVER or is_prompt

    def _was_cut_as_late(self, flow: WatchedFlow, cut_at: float) -> bool:
        """Notes that a flow in use was cut. Returns whether the one before, within the hour, was cut as late."""
        settings, after_s, before = self._settings, cut_at - flow.opened_at, self._cuts.get(flow.way)
        if not settings.cut_least_s <= after_s <= settings.cut_most_s:
            return False
        if before is not None and abs(cut_at - before.at) < _ONE_EVENT_S:
            return False
        self._cuts[flow.way] = _Cut(cut_at, after_s)
        return (
            before is not None
            and cut_at - before.at < _HOUR_S
            and abs(after_s - before.after_s) <= settings.cut_alike * before.after_s
        )

    def witness_asked(self) -> None:
        """A control page is requested, which answers whenever the network works. Until bytes come, the network may be
        at fault."""
        self._asked_in_vain = True

    def take_witness(self, stream: Stream) -> None:
        """Takes over a direct connection that has delivered. It shows whether the network works while a flow stalls,
        and is closed when another control page may be requested."""
        from proxy.net.tunnel.witness import Witness  # in most runs no flow stalls alone

        self._dismiss_witness()
        self._asked_in_vain = False
        self._witness = Witness(stream, self._tcp_info)
        self._witness_end = self._loop.call_later(self._settings.control_interval_s, self._dismiss_witness)

    def _dismiss_witness(self) -> None:
        if self._witness is not None and self._witness_end is not None:
            self._witness_end.cancel()
            self._witness.close()
            self._witness = self._witness_end = None

    def reset(self) -> None:
        """The computer slept, or the network changed: forgets earlier observations. The speeds of other flows expire by
        themselves before the next signal."""
        self._answered = 0
        self._slow_windows.clear()
        self._slow.clear()
        self._broke_at.clear()
        self._cuts.clear()
        self._dismiss_witness()
        self._asked_in_vain = False
        now = self._loop.time()
        for flow in self._flows:
            self._stop_keepalive(flow)
            flow.progress_at = now
            flow.window = None

    def forget_hosts(self) -> None:
        """Forgets the data about hosts, except those of open tunnels."""
        self._ended.clear()
        self._fast.clear()
        self._slow_windows.clear()
        self._slow.clear()
        self._broke_at.clear()
        self._cuts.clear()

    def close(self) -> None:
        """Stops monitoring, and restores all socket options."""
        if self._timer is not None:
            self._timer.cancel()
        for flow in self._flows:
            self._stop_keepalive(flow)
        self._flows.clear()
        self._dismiss_witness()

    # -- once a second ---------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._timer = self._loop.call_later(SAMPLE_S, self._poll) if self._flows else None
        now = self._loop.time()
        within_s, self._polled_at = now - self._polled_at, now
        moved, stalled = self._collect(now)
        received, self._received = self._received, False
        relay_received, self._relay_received = self._relay_received, False
        self._asked_in_vain = self._asked_in_vain and not (received or relay_received)
        for flow, count in moved:
            self._on_bytes(flow, count, now, within_s)
        if self._witness is not None:
            if stalled and self._witness.is_broken:
                self._dismiss_witness()
            elif stalled:  # also in seconds in which others receive: after a rest, it shows nothing for two
                received = self._witness.ask(_HEARD_S) or received
            else:
                self._witness.rest()
        for flow in stalled:
            # For a relay's flow, bytes from any relay show as well that the network works.
            self._on_stall(flow, now, others_receive=received or (relay_received and not flow.direct))
        if self._slow:
            self._report_slow(now)

    def _collect(self, now: float) -> tuple[list[tuple[WatchedFlow, int]], list[WatchedFlow]]:
        """Returns the flows that received bytes, with their number, and the flows that stalled or get probes. This loop
        is the whole cost of an idle tunnel."""
        moved, stalled = [], []
        stalled_before, probed_before = now - self._settings.stalled_s, now - self._settings.stalled_again_s
        paused_before = max(stalled_before, now - SAMPLE_S)
        best, best_host, second = self._fastest_ended()
        for flow in self._flows:
            count = flow.tunnel.down.moved - flow.down
            if count:
                flow.down += count
                moved.append((flow, count))
                if flow.direct and flow.host == best_host:
                    best = max(best, count)
                elif flow.direct and count > best:
                    best, best_host, second = count, flow.host, best
                elif flow.direct:
                    second = max(second, count)
                else:
                    self._relay_received = True
                continue
            # Throttling by dropped packets causes single seconds without a byte; two in a row are a pause.
            if not flow.window or not flow.window[-1] or flow.tunnel.client_is_slow:
                flow.window = None
            else:
                flow.window.append(0)
            if flow.stall is not None:
                stalled.append(flow)
            elif flow.tunnel.up.moved != flow.up:
                flow.up = flow.tunnel.up.moved
                flow.progress_at = now  # an answer is due
            elif (
                flow.probed_at < flow.progress_at <= paused_before
                and flow.probed_at <= probed_before
                and flow.stalls_count
                and (flow.progress_at <= stalled_before or self._has_stopped_early(flow, now))
            ):
                stalled.append(flow)
        self._received = self._received or best > 0
        self._fast.append((best, best_host, second))
        return moved, stalled

    def _fastest_ended(self) -> tuple[int, str, int]:
        """Returns, for the direct tunnels that ended between two polls: the most bytes of one host, that host, and the
        most bytes of another host. Many pages come in tunnels that live for less than a second."""
        if not self._ended:
            return 0, "", 0
        (best_host, best), *others = sorted(self._ended.items(), key=lambda ended: -ended[1])
        self._ended.clear()
        return best, best_host, others[0][1] if others else 0

    def _on_bytes(self, flow: WatchedFlow, count: int, now: float, within_s: float) -> None:
        flow.progress_at = now
        flow.up = flow.answered_up = flow.tunnel.up.moved
        self._stop_keepalive(flow)
        if not flow.direct:
            flow.report_relay_bytes(count, self._settings.proof_bytes)
            cut, lasted_s = self._cuts.get((flow.host, DIRECT)), now - flow.opened_at
            if cut is not None and not cut.is_outlived and lasted_s >= self._settings.cut_outlived * cut.after_s:
                self._cuts[flow.host, DIRECT] = _Cut(cut.at, cut.after_s, is_outlived=True)
                flow.listener.on_relay_lasted(lasted_s)
            # Uploaded bytes may still be in our kernel's buffers: the relay has them once nothing is unacknowledged.
            if (
                flow.up >= self._settings.proof_bytes
                and (sample := self._sample(flow)) is not None
                and not sample.unacked
            ):
                flow.report_upload(flow.up)
            return
        flow.listener.on_direct_bytes(within_s)
        if flow.tunnel.client_is_slow:  # the client is slow, not the route
            flow.window = None
            return
        if flow.window is None:
            flow.window = []
            flow.segments = self._sample(flow)
        flow.window.append(count)
        if len(flow.window) < self._window:
            return
        rate, flow.window = sum(flow.window) / (len(flow.window) * SAMPLE_S), None
        if rate < max(self._settings.throttled_bytes_s, self._settings.compared_bytes_s):
            self._on_slow_window(flow, rate, now)

    # -- frozen ----------------------------------------------------------------------------------------------------

    def _on_stall(self, flow: WatchedFlow, now: float, *, others_receive: bool) -> None:
        """Handles a flow that had delivered and receives nothing: starts probes, or reads their result."""
        stall = flow.stall
        if not self._tcp_info.usable:
            self._on_blind_stall(flow, now, others_receive=others_receive)
            return
        if not isinstance(stall, _Stall):
            self._start_keepalive(flow, now)
            if not others_receive and isinstance(flow.stall, _Stall) and self._is_unanswered(flow.stall, now):
                flow.listener.on_unwitnessed_stall()
            return
        sample = self._sample(flow)
        if sample is None or flow.tunnel.client_is_slow:
            self._stop_keepalive(flow)
            return
        before, stall.sample = stall.sample, sample
        if not others_receive and self._is_unanswered(stall, now):
            flow.listener.on_unwitnessed_stall()
            if now - stall.began <= _DOUBLED_S:
                self._probe(flow, stall)
                self._loop.call_later(SAMPLE_S / 2, self._probe, flow, stall)
        if sample.heard_s < now - stall.began + SAMPLE_S / 2 and not sample.unacked:
            self._answered += 1
            self._stop_keepalive(flow)
            return
        if others_receive:
            stall.probes += max(0, sample.probes - before.probes)
            # One at most: an outage may begin or end within this second.
            stall.retransmits += bool(sample.unacked) and sample.retransmits > before.retransmits
        # On a long path, the answers to the first probes may still be under way, and one may be lost.
        overdue_s = self._settings.frozen_probes * PROBE_EVERY_S + _ROUND_TRIPS * sample.rtt_s
        if (others_receive and sample.heard_s >= overdue_s) and (
            stall.probes >= self._settings.frozen_probes
            or (sample.unacked and stall.retransmits >= self._settings.frozen_retransmits)
        ):
            self._freeze(flow, stall, now)
        elif not others_receive and self._is_given_up(flow, stall, now):
            self._stop_keepalive(flow)
            flow.listener.on_relay_silent(now - flow.progress_at, flow.tunnel)
        elif now - stall.began >= self._settings.frozen_give_up_s:
            self._stop_keepalive(flow)

    def _on_blind_stall(self, flow: WatchedFlow, now: float, *, others_receive: bool) -> None:
        """The same where TCP_INFO cannot be read. Probes are sent while others receive, or when something is not
        acknowledged: of a flow that is alone and owes nothing, nobody could tell whether they are answered."""
        from proxy.net.tunnel.blind_stall import BlindStall, Finding  # in most runs TCP_INFO can be read

        stall = flow.stall
        if flow.tunnel.over or flow.tunnel.client_is_slow or not flow.down:
            self._stop_keepalive(flow)
            flow.probed_at = now
            return
        sock = flow.tunnel.upstream.lowest_socket
        if not isinstance(stall, BlindStall):
            if others_receive or unacknowledged_bytes(sock):
                flow.probed_at = now
                with contextlib.suppress(OSError):  # closed a moment ago
                    flow.stall = BlindStall(now, sock, self._settings.frozen_probes)
            elif now - flow.progress_at >= self._settings.frozen_give_up_s:
                flow.probed_at = now
            return
        finding = stall.look(sock, others_receive=others_receive)
        if stall.owes and not others_receive:
            flow.listener.on_unwitnessed_stall()
        if finding is Finding.FROZEN:
            self._stop_keepalive(flow)
            self._on_blind_freeze(flow, now, is_unacked=True)
        elif finding is Finding.ANSWERED:
            self._answered += 1
            self._stop_keepalive(flow)
        elif now - stall.began >= self._settings.frozen_give_up_s:
            self._stop_keepalive(flow)

    def _on_blind_freeze(self, flow: WatchedFlow, now: float, *, is_unacked: bool = False) -> None:
        """Reports a flow that froze. When it was last heard is known only where its last bytes were down."""
        evidence: Evidence = {
            "stalled_s": round(now - flow.progress_at, 1),
            "probes": 0 if is_unacked else self._settings.frozen_probes + 1,
            "unacked": int(is_unacked),
            "answered": self._answered,
        }
        if not flow.direct:
            flow.listener.on_relay_stalled(flow.down, flow.tunnel)
            return
        if flow.up == flow.answered_up and self._was_cut_as_late(flow, flow.progress_at):
            evidence["cut_s"] = round(flow.progress_at - flow.opened_at, 1)
        flow.report(Symptom.FROZEN, evidence, now)

    def _is_given_up(self, flow: WatchedFlow, stall: _Stall, now: float) -> bool:
        """Whether a silent relay cannot be told from an outage, and a new connection is better than more waiting. An
        old connection with small segments waits: it may be a terminal session, which cannot be opened again."""
        return (
            not flow.direct
            and self._witness is None
            and not self._asked_in_vain
            and self._is_unanswered(stall, now)
            # While the kernel sends nothing, received bytes do not count as acknowledgements.
            and min(now - flow.progress_at, stall.sample.heard_s) >= _SILENT_S
            and (now - flow.opened_at <= YOUNG_S or _were_full(FlowSample(), stall.sample))
        )

    def _is_unanswered(self, stall: _Stall, now: float) -> bool:
        """Whether a stalled flow's peer was silent for `stalled_s`, although data is unacknowledged, or a probe was
        unanswered for a second."""
        sample = stall.sample
        is_probed = sample.probes > 0 and now >= stall.began + SAMPLE_S
        return sample.heard_s >= self._settings.stalled_s and (sample.unacked > 0 or is_probed)

    def _start_keepalive(self, flow: WatchedFlow, now: float) -> None:
        """Starts keepalive probes, the first one at once. Unacknowledged data needs none: the kernel retransmits
        it."""
        flow.probed_at = now
        sample = self._sample(flow)
        if sample is None or not flow.down or flow.tunnel.client_is_slow:
            return
        with contextlib.suppress(OSError):  # closed a moment ago
            flow.stall = stall = _Stall(now, Keepalive.begin(flow.tunnel.upstream.lowest_socket), sample)
            self._probe(flow, stall)

    def _probe(self, flow: WatchedFlow, stall: _Stall) -> None:
        """Sends a probe at once, if the flow is still stalled."""
        if flow.stall is stall and not flow.tunnel.over:
            stall.keepalive.probe(flow.tunnel.upstream.lowest_socket)

    def _has_stopped_early(self, flow: WatchedFlow, now: float) -> bool:
        """Whether a flow is young, brought little and is silent for `_EARLY_S`, so that it may have met a limit."""
        if now - flow.opened_at > _EARLY_AGE_S or flow.down >= self._settings.whole_bytes or not self._tcp_info.usable:
            return False
        sample = self._sample(flow)
        return sample is not None and sample.heard_s >= _EARLY_S

    def _freeze(self, flow: WatchedFlow, stall: _Stall, now: float) -> None:
        evidence: Evidence = {
            "stalled_s": round(now - flow.progress_at, 1),
            "probes": stall.probes,
            "retransmits": stall.retransmits,
            "unacked": stall.sample.unacked,
            "answered": self._answered,
        }
        self._stop_keepalive(flow)
        heard_at = now - stall.sample.heard_s
        # Known to a second or two, unless it was idle for long.
        is_fresh = stall.began - heard_at <= self._settings.stalled_s + 2 * SAMPLE_S
        if flow.direct and is_fresh and self._was_cut_as_late(flow, heard_at):
            evidence["cut_s"] = round(heard_at - flow.opened_at, 1)
        if flow.direct:
            flow.report(Symptom.FROZEN, evidence, now)
        else:
            idle = self._idle_beside(flow, stall.sample.bytes_in, now)
            flow.listener.on_relay_stalled(flow.down, flow.tunnel)
            for other in idle:
                other.listener.on_way_stalled(other.tunnel)

    def _idle_beside(self, frozen: WatchedFlow, bytes_in: int, now: float) -> list[WatchedFlow]:
        """Returns the tunnels that would freeze like a young one that froze after `bytes_in`: over the same way, as
        young, without more bytes, and idle. A client would use them for its next request, and wait again. A tunnel with
        an open request is left: its answer may be short enough to pass."""
        if now - frozen.opened_at > YOUNG_S or bytes_in >= self._settings.proof_bytes:
            return []
        return [
            flow
            for flow in self._flows
            if flow is not frozen
            and not flow.direct
            and now - flow.opened_at <= YOUNG_S
            and now - flow.progress_at >= self._settings.stalled_s
            and flow.tunnel.upstream.peer == frozen.tunnel.upstream.peer
            and not flow.tunnel.client_is_slow
            and (sample := self._sample(flow)) is not None
            and sample.bytes_in <= bytes_in
            and (
                flow.tunnel.up.moved - flow.answered_up <= ACKNOWLEDGED_MAX
                or self._tcp_info.answered_after(flow.tunnel.upstream.lowest_socket) is not None
            )
        ]

    def _stop_keepalive(self, flow: WatchedFlow) -> None:
        """Stops the probes, and restores the socket's options."""
        stall, flow.stall = flow.stall, None
        if stall is not None and not flow.tunnel.over:
            stall.keepalive.end(flow.tunnel.upstream.lowest_socket)

    def _sample(self, flow: WatchedFlow) -> FlowSample | None:
        return None if flow.tunnel.over else self._tcp_info.sample(flow.tunnel.upstream.lowest_socket)

    # -- throttled -------------------------------------------------------------------------------------------------

    def _on_slow_window(self, flow: WatchedFlow, rate: float, now: float) -> None:
        """Handles a whole slow window, without a pause. It counts if the sender had more to send and another host's
        flow was faster meanwhile. `throttled_times` such windows in an hour are a signal, and so is each further one;
        one that is no crawl has to be compared with another route."""
        before, after = flow.segments, self._sample(flow)
        if before is None or after is None or not _were_full(before, after):
            return
        crawls = rate < self._settings.throttled_bytes_s
        others = [second if host == flow.host else best for best, host, second in self._fast]
        enough = rate * SAMPLE_S * (self._settings.throttled_faster if crawls else self._settings.compared_faster)
        faster = [count for count in others if count >= enough]
        if len(faster) < max(1, _WITNESSED * self._window):
            return
        if not crawls:
            if flow.route == DIRECT:
                self._slow[flow.host] = rate, flow.listener
            return
        earlier = self._slow_windows.pop(flow.way, ())
        times = (*(at for at in earlier if now - at < _HOUR_S), now)[-self._settings.throttled_times :]
        self._slow_windows[flow.way] = times
        if len(times) < self._settings.throttled_times:
            return
        others_bytes_s = round(max(faster) / SAMPLE_S)
        evidence: Evidence = {"bytes_s": round(rate), "others_bytes_s": others_bytes_s, "times": len(times)}
        flow.report(Symptom.THROTTLED, evidence, now)

    def _report_slow(self, now: float) -> None:
        """Reports the slow flows whose host has received nothing for `stalled_s`: a comparison neither takes anything
        from the user's transfers nor is slower for them."""
        rested = now - self._settings.stalled_s
        busy = {flow.host for flow in self._flows if flow.direct and flow.progress_at > rested}
        for host in self._slow.keys() - busy:
            bytes_s, listener = self._slow.pop(host)
            listener.on_slow(bytes_s)


def _were_full(before: FlowSample, after: FlowSample) -> bool:
    """Whether most segments between two samples were full; True where the kernel does not count them."""
    segments = after.segments_in - before.segments_in
    if segments <= 0 or after.segment <= 0:
        return True
    return (after.bytes_in - before.bytes_in) / segments >= _FULL * after.segment
