"""A transfer that is watched: what was last seen of it, and who hears of that.

`flow_monitor` looks at each flow once a second, and judges whether it froze or was cut; `slow_flows`, whether it is
slow.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Protocol

from proxy.model import DIRECT, NO_EVIDENCE, Evidence, Route, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.kernel.tcp_info import FlowSample, FlowSampler, Keepalive
from proxy.net.stream import Stream

if TYPE_CHECKING:
    from proxy.net.tunnel.blind_stall import BlindStall

SAMPLE_S = 1.0
"""Seconds between two looks at a flow."""

HOSTS_MAX = 4096
"""Ways of which the last cut, the last reset or the last slow windows are remembered."""

HOUR_S = 3600.0
"""Seconds for which a cut or a slow window is compared with later ones."""

ACKNOWLEDGED_MAX = 40
"""Bytes that a client may send after an answer without a new request. HTTP/2 acknowledges in frames of 9 to 17 bytes
(RFC 9113, sections 6.5, 6.7 and 6.9), which are TLS records of 31 to 39 bytes. A repeated request of a browser is a
record of at least 47 bytes (by hpack)."""

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


class Stall:
    """A stalled flow that gets keepalive probes."""

    __slots__ = ("began", "keepalive", "probes", "retransmits", "sample")

    is_judged = False  # the kernel is not told to break the connection

    def __init__(self, began: float, keepalive: Keepalive, sample: FlowSample) -> None:
        self.began = began
        self.keepalive = keepalive
        self.sample = sample  # the last one
        self.probes = 0  # unanswered, counted in seconds in which others received
        self.retransmits = 0  # such seconds with retransmissions


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
        self.direct = not route.relays  # with or without a local strategy
        self.stalls_count = stalls_count
        self.down = tunnel.down.moved
        self.up = self.answered_up = tunnel.up.moved  # at the last change, and when bytes came down last
        self.opened_at = self.progress_at = now
        self.probed_at = float("-inf")
        self.stall: Stall | BlindStall | None = None
        self.window: list[int] | None = None  # bytes of each second since the last pause
        self.segments: FlowSample | None = None  # at the first of these seconds
        self._fastest = 0.0  # bytes a second
        self._has_taken = False

    def __repr__(self) -> str:
        return f"<WatchedFlow {self.host} {self.tunnel!r}>"

    @property
    def way(self) -> Way:
        return self.host, self.route

    def sample(self, tcp_info: FlowSampler) -> FlowSample | None:
        """Returns what the kernel says of the connection; None if that is not known, or it has ended."""
        return None if self.tunnel.over else tcp_info.sample(self.tunnel.upstream.lowest_socket)

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
