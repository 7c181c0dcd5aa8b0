"""Sees flows that stop, crawl or break after they delivered: frozen, throttled, early_reset.

Some censors let a connection begin and then let nothing more through, or a trickle, or reset it once they have seen
enough. The pump tells nothing of that, and must not be slowed down: once a second the counters of each tunnel are
looked at, never its bytes. A direct flow that has stalled is asked for a sign of life by keepalive probes. They are
read and not left to kill: unanswered ones count only in seconds in which another direct flow received bytes, so that
no trouble of our own uplink freezes anything. What a finding means, and whether another route does better, is for
`detect`.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from proxy.config.schema import Detect
from proxy.model import NO_EVIDENCE, Evidence, Symptom
from proxy.net.kernel.tcp_info import FlowSample, Keepalive
from proxy.net.tunnel.pump import Tunnel, TunnelResult

T = TypeVar("T")

SAMPLE_S = 1.0

_KEEPALIVE_S = 1  # the kernel's least
_KEEPALIVE_COUNT = 30
"""More than a stalled flow is ever asked: with a count of 3 a live one dies in an outage of 3 s (measured)."""

_FULL = 0.5
"""Segments of a sender that has more to send are full, as a mean of what came: cut ends of records count, and what a
sender sends twice because it waits in a slow queue. A chat's are smaller."""

_WITNESSED = 0.3
"""The share of seconds in which another flow must have been faster: pages come in bursts."""

_HOSTS = 4096
_HOUR_S = 3600.0


class Asks(Protocol):
    """What reads a connection: the Oracle."""

    def sample(self, sock: socket.socket) -> FlowSample | None: ...


@dataclass(frozen=True, slots=True)
class FlowSignal:
    """What was seen of one flow."""

    kind: Symptom  # FROZEN, THROTTLED, or RESET for an early one
    bytes_down: int
    evidence: Evidence = field(default_factory=lambda: NO_EVIDENCE)
    at: float = 0.0  # on the loop's clock


class _Stall:
    """A flow that has stalled and is being asked."""

    __slots__ = ("began", "keepalive", "probes", "retransmits", "sample")

    def __init__(self, began: float, keepalive: Keepalive, pulse: FlowSample) -> None:
        self.began = began
        self.keepalive = keepalive
        self.sample = pulse  # the last one
        self.probes = 0  # unanswered in seconds in which others received
        self.retransmits = 0  # likewise


class WatchedFlow:
    """One tunnel under watch."""

    __slots__ = (
        "_brings", "_fastest", "_found", "_proven", "asked_at", "crawled", "direct", "down", "host",
        "moved_at", "segments", "stall", "tunnel", "up",
    )  # fmt: skip

    def __init__(
        self,
        tunnel: Tunnel,
        host: str,
        found: Callable[[FlowSignal], None],
        proven: Callable[[int, float], None] | None,
        brings: Callable[[float], None] | None,
        *,
        direct: bool,
        now: float,
    ) -> None:
        self.tunnel = tunnel
        self.host = host
        self.direct = direct
        self.down = tunnel.bytes_down
        self.up = tunnel.bytes_up
        self.moved_at = now
        self.asked_at = float("-inf")
        self.stall: _Stall | None = None
        self.crawled: list[int] | None = None  # bytes of each second, while none was empty
        self.segments: FlowSample | None = None  # as of the first of these
        self._found = found
        self._proven = proven
        self._fastest = 0.0  # bytes a second
        self._brings = brings

    def __repr__(self) -> str:
        return f"<WatchedFlow {self.host} {self.tunnel!r}>"

    def find(self, signal: FlowSignal) -> None:
        self._found(signal)

    def bring(self, within_s: float) -> None:
        """Says that bytes came, within the last so many seconds."""
        if self._brings is not None:
            self._brings(within_s)

    def prove(self, count: int, enough: int) -> None:
        """Says that a relay, which has just brought `count` bytes, has carried enough in all; again when it does so
        faster than before."""
        rate = count / SAMPLE_S
        faster, self._fastest = rate > self._fastest, max(rate, self._fastest)
        if self._proven is not None and self.down >= enough and (faster or self.down - count < enough):
            self._proven(self.down, self._fastest)


class FlowMonitor:
    """All tunnels that are watched. Belongs to one loop."""

    def __init__(self, tcp_info: Asks, settings: Detect) -> None:
        self._tcp_info = tcp_info
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._flows: set[WatchedFlow] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = self._loop.time()
        self._received = False  # a direct flow brought bytes since the last sample
        self._answered = 0  # signs of life given on this network: its routers let probes through
        self._ended: dict[str, int] = {}  # host → bytes of direct tunnels that ended since the last sample
        self._fast: deque[tuple[float, str, float]] = deque(maxlen=self._window)
        """Of each second: the fastest direct flow's bytes, its host, and those of the fastest to any other host."""
        self._crawled: OrderedDict[str, tuple[float, ...]] = OrderedDict()  # host → when
        self._broke_at: OrderedDict[str, int] = OrderedDict()  # host → bytes of its last reset

    @property
    def _window(self) -> int:
        return max(1, round(self._settings.throttled_s / SAMPLE_S))

    def __len__(self) -> int:
        return len(self._flows)

    def watch(
        self,
        tunnel: Tunnel,
        host: str,
        found: Callable[[FlowSignal], None],
        *,
        direct: bool,
        proven: Callable[[int, float], None] | None = None,
        brings: Callable[[float], None] | None = None,
    ) -> WatchedFlow:
        """Watches a tunnel until `ended` is called for it. `found` is called for what is seen of a `direct` one;
        `proven`, of a relay's tunnel, when `proof_bytes` have come down, which is what counts a finding, with the bytes
        so far and those of its fastest second, and again with a faster one;
        `brings`, of a direct one, after each second in which bytes came, with how long ago that may be. None of them
        may raise."""
        flow = WatchedFlow(tunnel, host, found, proven, brings, direct=direct, now=self._loop.time())
        self._flows.add(flow)
        if self._timer is None:
            self._timer = self._loop.call_later(SAMPLE_S, self._poll)
            self._looked_at = self._loop.time()
        return flow

    def ended(self, flow: WatchedFlow, carried: TunnelResult) -> None:
        """The tunnel is over: a short one may have lived between two looks."""
        if flow not in self._flows:
            return
        self._flows.discard(flow)
        count, flow.down = carried.bytes_down - flow.down, carried.bytes_down
        if flow.direct and count > 0:
            self._received = True
            self._ended[flow.host] = self._ended.get(flow.host, 0) + count
        elif count > 0:
            flow.prove(count, self._settings.proof_bytes)
        if flow.direct and carried.bytes_down and carried.was_reset:
            self._broke(flow, carried.bytes_down)

    def delivered(self) -> None:
        """A direct connection that is no tunnel brought bytes: the uplink is well."""
        self._received = True

    def reset(self) -> None:
        """We have slept, or are on another network: what was seen says nothing. What others did lately is forgotten by
        itself before anything is found anew."""
        self._answered = 0
        self._crawled.clear()
        self._broke_at.clear()
        now = self._loop.time()
        for flow in self._flows:
            self._let_be(flow)
            flow.moved_at = now
            flow.crawled = None

    def close(self) -> None:
        """Watches nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        for flow in self._flows:
            self._let_be(flow)
        self._flows.clear()

    # -- once a second ---------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._timer = self._loop.call_later(SAMPLE_S, self._poll) if self._flows else None
        now = self._loop.time()
        within_s, self._looked_at = now - self._looked_at, now
        moved, stalled = self._look_at_all(now)
        received, self._received = self._received, False
        for flow, count in moved:
            self._moves(flow, count, now, within_s)
        for flow in stalled:
            self._stands(flow, now, others_receive=received)

    def _look_at_all(self, now: float) -> tuple[list[tuple[WatchedFlow, int]], list[WatchedFlow]]:
        """The flows that brought bytes, with how many, and those that have just stalled or are being asked. All that
        an idle tunnel costs is in this loop."""
        moved, stalled = [], []
        stalled_before, asked_before = now - self._settings.stalled_s, now - self._settings.stalled_again_s
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
                continue
            self._rests(flow)
            if flow.stall is not None:
                stalled.append(flow)
            elif flow.tunnel.up.moved != flow.up:
                flow.up = flow.tunnel.up.moved
                flow.moved_at = now  # an answer is due
            elif flow.asked_at < flow.moved_at <= stalled_before and flow.asked_at <= asked_before and flow.direct:
                stalled.append(flow)
        self._received = self._received or best > 0
        self._fast.append((best, best_host, second))
        return moved, stalled

    def _fastest_ended(self) -> tuple[int, str, int]:
        """Of the direct tunnels that ended between two looks: the most bytes, of which host, and the most of another.
        Pages come in tunnels that live for less than a second."""
        if not self._ended:
            return 0, "", 0
        (best_host, best), *others = sorted(self._ended.items(), key=lambda ended: -ended[1])
        self._ended.clear()
        return best, best_host, others[0][1] if others else 0

    @staticmethod
    def _rests(flow: WatchedFlow) -> None:
        """A second without a byte. Who slows a flow down by dropping makes such ones; two in a row are a pause."""
        if not flow.crawled or not flow.crawled[-1] or flow.tunnel.client_is_slow:
            flow.crawled = None
        else:
            flow.crawled.append(0)

    def _moves(self, flow: WatchedFlow, count: int, now: float, within_s: float) -> None:
        flow.moved_at = now
        flow.up = flow.tunnel.up.moved
        self._let_be(flow)
        if not flow.direct:
            flow.prove(count, self._settings.proof_bytes)
            return
        flow.bring(within_s)
        if flow.tunnel.client_is_slow:  # it is the client who is slow
            flow.crawled = None
            return
        if flow.crawled is None:
            flow.crawled = []
            flow.segments = self._sample(flow)
        flow.crawled.append(count)
        if len(flow.crawled) < self._window:
            return
        rate, flow.crawled = sum(flow.crawled) / (len(flow.crawled) * SAMPLE_S), None
        if rate < self._settings.throttled_bytes_s:
            self._crawls(flow, rate, now)

    # -- frozen ----------------------------------------------------------------------------------------------------

    def _stands(self, flow: WatchedFlow, now: float, *, others_receive: bool) -> None:
        """A flow that delivered brings nothing."""
        stall = flow.stall
        if stall is None:
            self._ask(flow, now)
            return
        pulse = self._sample(flow)
        if pulse is None or flow.tunnel.client_is_slow:
            self._let_be(flow)
            return
        before, stall.sample = stall.sample, pulse
        if pulse.heard_s < now - stall.began and not pulse.unacked:
            self._answered += 1
            self._let_be(flow)
            return
        if others_receive:
            stall.probes += max(0, pulse.probes - before.probes)
            stall.retransmits += max(0, pulse.retransmits - before.retransmits) if pulse.unacked else 0
        if stall.probes >= self._settings.frozen_probes or (
            pulse.unacked and stall.retransmits >= self._settings.frozen_retransmits
        ):
            self._freeze(flow, stall, now)
        elif now - stall.began >= self._settings.frozen_give_up_s:
            self._let_be(flow)

    def _ask(self, flow: WatchedFlow, now: float) -> None:
        """Begins to ask for a sign of life. What is unacknowledged is being asked about already."""
        flow.asked_at = now
        pulse = self._sample(flow)
        if pulse is None or not flow.down or flow.tunnel.client_is_slow:
            return
        sock = flow.tunnel.upstream.lowest_socket
        try:
            keepalive = Keepalive.begin(sock, every_s=_KEEPALIVE_S, count=_KEEPALIVE_COUNT)
        except OSError:  # it ended this moment
            return
        flow.stall = _Stall(now, keepalive, pulse)

    def _freeze(self, flow: WatchedFlow, stall: _Stall, now: float) -> None:
        evidence: Evidence = {
            "stalled_s": round(now - flow.moved_at, 1),
            "probes": stall.probes,
            "retransmits": stall.retransmits,
            "unacked": stall.sample.unacked,
            "answered": self._answered,
        }
        self._let_be(flow)
        flow.find(FlowSignal(Symptom.FROZEN, flow.down, evidence, now))

    def _let_be(self, flow: WatchedFlow) -> None:
        """Asks no more, and puts the connection's options back."""
        stall, flow.stall = flow.stall, None
        if stall is not None and not flow.tunnel.over:
            stall.keepalive.end(flow.tunnel.upstream.lowest_socket)

    def _sample(self, flow: WatchedFlow) -> FlowSample | None:
        return None if flow.tunnel.over else self._tcp_info.sample(flow.tunnel.upstream.lowest_socket)

    # -- throttled -------------------------------------------------------------------------------------------------

    def _crawls(self, flow: WatchedFlow, rate: float, now: float) -> None:
        """A whole window came slowly and without a pause. It counts when the sender had more to send, and another
        host's flow was faster meanwhile. Once there are enough of them in an hour, each more is found too."""
        before, after = flow.segments, self._sample(flow)
        if before is None or after is None or not _were_full(before, after):
            return
        others = [second if host == flow.host else best for best, host, second in self._fast]
        enough = rate * SAMPLE_S * self._settings.throttled_faster
        faster = [count for count in others if count >= enough]
        if len(faster) < max(1, _WITNESSED * self._window):
            return
        earlier = self._crawled.pop(flow.host, ())
        times = (*(at for at in earlier if now - at < _HOUR_S), now)[-self._settings.throttled_times :]
        _keep(self._crawled, flow.host, times)
        if len(times) < self._settings.throttled_times:
            return
        evidence: Evidence = {
            "bytes_s": round(rate),
            "others_bytes_s": round(max(faster) / SAMPLE_S),
            "times": len(times),
        }
        flow.find(FlowSignal(Symptom.THROTTLED, flow.down, evidence, now))

    # -- early_reset -----------------------------------------------------------------------------------------------

    def _broke(self, flow: WatchedFlow, bytes_down: int) -> None:
        """The server's connection broke: early, or again after as many bytes as the last time."""
        again = self._broke_at.pop(flow.host, -1) == bytes_down
        _keep(self._broke_at, flow.host, bytes_down)
        if bytes_down <= self._settings.early_reset_bytes or again:
            evidence: Evidence = {"again": int(again)}
            flow.find(FlowSignal(Symptom.RESET, bytes_down, evidence, self._loop.time()))


def _were_full(before: FlowSample, after: FlowSample) -> bool:
    """Whether what came between was mostly full segments; true where the kernel does not count them."""
    segments = after.segments_in - before.segments_in
    if segments <= 0 or after.segment <= 0:
        return True
    return (after.bytes_in - before.bytes_in) / segments >= _FULL * after.segment


def _keep(table: OrderedDict[str, T], host: str, value: T) -> None:
    table[host] = value
    if len(table) > _HOSTS:
        table.popitem(last=False)
