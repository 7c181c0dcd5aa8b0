"""Detects flows that freeze, are throttled or are reset after they delivered.

Some censors let a connection begin and then pass nothing more, or a trickle, or reset it after some bytes. This monitor
polls the byte counters of each tunnel once a second; it never sees the bytes, and the pump is not slower for it. Others
cut each connection some seconds after its handshake: two flows in use that end as late as each other show that. A
stalled flow gets keepalive probes. Unanswered probes count only in seconds in which another flow received bytes, so
that an outage of our own uplink freezes nothing. Without such a flow, the listener may find a witness: a connection
that is probed as well. Where no witness can be requested, a silent relay is given up anyway: it may be the only way
out. What is slow is told by `slow_flows`. `detect` decides what a signal means.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, ClosedBy, Evidence, Route, Symptom
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.kernel.tcp_info import PROBE_EVERY_S, FlowSample, FlowSampler, Keepalive, unacknowledged_bytes
from proxy.net.stream import Stream
from proxy.net.tunnel.pump import TunnelResult
from proxy.net.tunnel.slow_flows import SlowFlows, were_full
from proxy.net.tunnel.watched_flow import (
    ACKNOWLEDGED_MAX,
    HOSTS_MAX,
    HOUR_S,
    SAMPLE_S,
    FlowListener,
    Stall,
    WatchedFlow,
    WatchedTransfer,
    Way,
)

if TYPE_CHECKING:
    from proxy.net.tunnel.witness import Witness

YOUNG_S = 300.0
"""The age in seconds up to which a tunnel is closed when another one to its relay froze. Chromium uses an idle
connection again for as long (net/socket/client_socket_pool.cc); a terminal session is often older."""

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


@frozen_dataclass
class _Cut:
    """A flow in use was cut."""

    at: float
    after_s: float  # since its handshake
    is_outlived: bool = False  # a relay's flow has lasted much longer


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
        self._slow = SlowFlows(tcp_info, settings)
        self._broke_at: Bounded[Way, int] = Bounded(HOSTS_MAX)  # bytes of the last reset
        self._cuts: Bounded[Way, _Cut] = Bounded(HOSTS_MAX)  # the last one
        self._witness: Witness | None = None
        self._witness_end: asyncio.TimerHandle | None = None
        self._asked_in_vain = False  # a witness was asked for, and nothing was received since

    def __len__(self) -> int:
        return len(self._flows)

    def watch(
        self, tunnel: WatchedTransfer, host: str, listener: FlowListener, *, route: Route, stalls_count: bool = False
    ) -> WatchedFlow:
        """Watches a tunnel over `route` until `ended` is called for it. One that goes direct is probed when it stalls;
        a relay's with `stalls_count`."""
        now, counts = self._loop.time(), not route.relays or stalls_count
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
            ended = self._slow.ended
            ended[flow.host] = ended.get(flow.host, 0) + count
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
        if flow.stall is not None and flow.tunnel.upstream.is_shared:  # the connection goes on
            self._stop_keepalive(flow)

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
            and cut_at - before.at < HOUR_S
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
        """The computer slept, or the network changed: forgets earlier observations."""
        self._answered = 0
        self._slow.reset()
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
        self._slow.forget_hosts()
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
        if self._slow.waiting:
            self._slow.report(self._flows, now)

    def _collect(self, now: float) -> tuple[list[tuple[WatchedFlow, int]], list[WatchedFlow]]:
        """Returns the flows that received bytes, with their number, and the flows that stalled or get probes. This loop
        is the whole cost of an idle tunnel."""
        moved, stalled = [], []
        stalled_before, probed_before = now - self._settings.stalled_s, now - self._settings.stalled_again_s
        paused_before = max(stalled_before, now - SAMPLE_S)
        best, best_host, second = self._slow.fastest_ended()
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
        self._slow.fastest.append((best, best_host, second))
        return moved, stalled

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
                and (sample := flow.sample(self._tcp_info)) is not None
                and not sample.unacked
            ):
                flow.report_upload(flow.up)
            return
        flow.listener.on_direct_bytes(within_s)
        self._slow.on_bytes(flow, count, now)

    # -- frozen ----------------------------------------------------------------------------------------------------

    def _on_stall(self, flow: WatchedFlow, now: float, *, others_receive: bool) -> None:
        """Handles a flow that had delivered and receives nothing: starts probes, or reads their result."""
        stall = flow.stall
        if not self._tcp_info.usable:
            self._on_blind_stall(flow, now, others_receive=others_receive)
            return
        if not isinstance(stall, Stall):
            self._start_keepalive(flow, now)
            if not others_receive and isinstance(flow.stall, Stall) and self._is_unanswered(flow.stall, now):
                flow.listener.on_unwitnessed_stall()
            return
        sample = flow.sample(self._tcp_info)
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
                    probing = self._begin_keepalive(flow.tunnel.upstream)
                    flow.stall = BlindStall(now, sock, probing, self._settings.frozen_probes)
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

    def _is_given_up(self, flow: WatchedFlow, stall: Stall, now: float) -> bool:
        """Whether a silent relay cannot be told from an outage, and a new connection is better than more waiting. An
        old connection with small segments waits: it may be a terminal session, which cannot be opened again."""
        return (
            not flow.direct
            and self._witness is None
            and not self._asked_in_vain
            and self._is_unanswered(stall, now)
            # While the kernel sends nothing, received bytes do not count as acknowledgements.
            and min(now - flow.progress_at, stall.sample.heard_s) >= _SILENT_S
            and (now - flow.opened_at <= YOUNG_S or were_full(FlowSample(), stall.sample))
        )

    def _is_unanswered(self, stall: Stall, now: float) -> bool:
        """Whether a stalled flow's peer was silent for `stalled_s`, although data is unacknowledged, or a probe was
        unanswered for a second."""
        sample = stall.sample
        is_probed = sample.probes > 0 and now >= stall.began + SAMPLE_S
        return sample.heard_s >= self._settings.stalled_s and (sample.unacked > 0 or is_probed)

    def _start_keepalive(self, flow: WatchedFlow, now: float) -> None:
        """Starts keepalive probes, the first one at once. Unacknowledged data needs none: the kernel retransmits
        it."""
        flow.probed_at = now
        sample = flow.sample(self._tcp_info)
        if sample is None or not flow.down or flow.tunnel.client_is_slow:
            return
        with contextlib.suppress(OSError):  # closed a moment ago
            flow.stall = stall = Stall(now, self._begin_keepalive(flow.tunnel.upstream), sample)
            self._probe(flow, stall)

    def _begin_keepalive(self, upstream: Stream) -> Keepalive:
        """Starts probes on a connection, or returns those of another stream on it. Raises OSError."""
        if upstream.is_shared:
            for other in self._flows:
                if other.stall is not None and other.tunnel.upstream.lowest_socket is upstream.lowest_socket:
                    return other.stall.keepalive
        return Keepalive.begin(upstream.lowest_socket)

    def _probe(self, flow: WatchedFlow, stall: Stall) -> None:
        """Sends a probe at once, if the flow is still stalled."""
        if flow.stall is stall and not flow.tunnel.over:
            stall.keepalive.probe(flow.tunnel.upstream.lowest_socket)

    def _has_stopped_early(self, flow: WatchedFlow, now: float) -> bool:
        """Whether a flow is young, brought little and is silent for `_EARLY_S`, so that it may have met a limit."""
        if now - flow.opened_at > _EARLY_AGE_S or flow.down >= self._settings.whole_bytes or not self._tcp_info.usable:
            return False
        sample = flow.sample(self._tcp_info)
        return sample is not None and sample.heard_s >= _EARLY_S

    def _freeze(self, flow: WatchedFlow, stall: Stall, now: float) -> None:
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
            and (sample := flow.sample(self._tcp_info)) is not None
            and sample.bytes_in <= bytes_in
            and (
                flow.tunnel.up.moved - flow.answered_up <= ACKNOWLEDGED_MAX
                or self._tcp_info.answered_after(flow.tunnel.upstream.lowest_socket) is not None
            )
        ]

    def _stop_keepalive(self, flow: WatchedFlow) -> None:
        """Stops the probes, and restores the socket's options."""
        stall, flow.stall = flow.stall, None
        if stall is None:
            return
        if flow.tunnel.upstream.is_shared:
            if not any(other.stall is not None and other.stall.keepalive is stall.keepalive for other in self._flows):
                stall.keepalive.end(flow.tunnel.upstream.lowest_socket)
        elif not flow.tunnel.over:
            stall.keepalive.end(flow.tunnel.upstream.lowest_socket)
