"""Finds flows that are slower than those of other hosts: a censor may let only a trickle pass.

The bytes of a flow are added up over windows of `throttled_s` without a pause. Several windows of a crawl
(`throttled_bytes_s`) in an hour are a signal. A flow that is faster than that, and only slower than others, is reported
once its host rests, to be compared with another route.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from proxy.config.detect_tuning import DetectTuning
from proxy.model import DIRECT, Evidence, Symptom
from proxy.model.bounded import Bounded
from proxy.net.kernel.tcp_info import FlowSample, FlowSampler
from proxy.net.tunnel.watched_flow import HOSTS_MAX, HOUR_S, SAMPLE_S, FlowListener, WatchedFlow, Way

_FULL = 0.5
"""Mean size of the received segments, as a share of a full one, from which the sender is taken to have more to send.
The mean allows for short ends of records and for retransmissions out of a slow queue; a chat's segments are smaller."""

_WITNESSED = 0.3
"""The share of seconds in which another flow must have been faster. It is small because pages come in bursts."""


class SlowFlows:
    """The speeds of the direct flows of the last window, and the slow ones among them."""

    def __init__(self, tcp_info: FlowSampler, settings: DetectTuning) -> None:
        self._tcp_info = tcp_info
        self._settings = settings
        self.ended: dict[str, int] = {}
        """Host → bytes of direct tunnels that ended since the last poll. The monitor adds them itself, which costs no
        call."""
        self.fastest: deque[tuple[float, str, float]] = deque(maxlen=self._window)
        """For each second: the bytes of the fastest direct flow, its host, and the bytes of the fastest flow to another
        host."""
        self._windows: Bounded[Way, tuple[float, ...]] = Bounded(HOSTS_MAX)  # when each slow one ended
        self.waiting: dict[str, tuple[float, FlowListener]] = {}
        """Hosts with a slow flow that is not reported yet, its bytes a second, and its listener. It is reported when
        the host has no open flow at the latest."""

    @property
    def _window(self) -> int:
        return max(1, round(self._settings.throttled_s / SAMPLE_S))

    def reset(self) -> None:
        """The computer slept, or the network changed. The speeds of other flows expire by themselves before the next
        signal."""
        self._windows.clear()
        self.waiting.clear()

    def forget_hosts(self) -> None:
        self.ended.clear()
        self.fastest.clear()
        self.reset()

    def fastest_ended(self) -> tuple[int, str, int]:
        """Returns, for the direct tunnels that ended between two polls: the most bytes of one host, that host, and the
        most bytes of another host. Many pages come in tunnels that live for less than a second."""
        if not self.ended:
            return 0, "", 0
        (best_host, best), *others = sorted(self.ended.items(), key=lambda ended: -ended[1])
        self.ended.clear()
        return best, best_host, others[0][1] if others else 0

    def on_bytes(self, flow: WatchedFlow, count: int, now: float) -> None:
        """A direct flow received `count` bytes in a second."""
        if flow.tunnel.client_is_slow:  # the client is slow, not the route
            flow.window = None
            return
        if flow.window is None:
            flow.window = []
            flow.segments = flow.sample(self._tcp_info)
        flow.window.append(count)
        if len(flow.window) < self._window:
            return
        rate, flow.window = sum(flow.window) / (len(flow.window) * SAMPLE_S), None
        if rate < max(self._settings.throttled_bytes_s, self._settings.compared_bytes_s):
            self._on_slow_window(flow, rate, now)

    def _on_slow_window(self, flow: WatchedFlow, rate: float, now: float) -> None:
        """Handles a whole slow window, without a pause. It counts if the sender had more to send and another host's
        flow was faster meanwhile. `throttled_times` such windows in an hour are a signal, and so is each further one;
        one that is no crawl has to be compared with another route."""
        before, after = flow.segments, flow.sample(self._tcp_info)
        if before is None or after is None or not were_full(before, after):
            return
        crawls = rate < self._settings.throttled_bytes_s
        others = [second if host == flow.host else best for best, host, second in self.fastest]
        enough = rate * SAMPLE_S * (self._settings.throttled_faster if crawls else self._settings.compared_faster)
        faster = [count for count in others if count >= enough]
        if len(faster) < max(1, _WITNESSED * self._window):
            return
        if not crawls:
            if flow.route == DIRECT:
                self.waiting[flow.host] = rate, flow.listener
            return
        earlier = self._windows.pop(flow.way, ())
        times = (*(at for at in earlier if now - at < HOUR_S), now)[-self._settings.throttled_times :]
        self._windows[flow.way] = times
        if len(times) < self._settings.throttled_times:
            return
        others_bytes_s = round(max(faster) / SAMPLE_S)
        evidence: Evidence = {"bytes_s": round(rate), "others_bytes_s": others_bytes_s, "times": len(times)}
        flow.report(Symptom.THROTTLED, evidence, now)

    def report(self, flows: Iterable[WatchedFlow], now: float) -> None:
        """Reports the slow flows whose host has received nothing for `stalled_s`: a comparison neither takes anything
        from the user's transfers nor is slower for them."""
        rested = now - self._settings.stalled_s
        busy = {flow.host for flow in flows if flow.direct and flow.progress_at > rested}
        for host in self.waiting.keys() - busy:
            bytes_s, listener = self.waiting.pop(host)
            listener.on_slow(bytes_s)


def were_full(before: FlowSample, after: FlowSample) -> bool:
    """Whether most segments between two samples were full; True where the kernel does not count them."""
    segments = after.segments_in - before.segments_in
    if segments <= 0 or after.segment <= 0:
        return True
    return (after.bytes_in - before.bytes_in) / segments >= _FULL * after.segment
