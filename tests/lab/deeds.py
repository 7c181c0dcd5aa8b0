"""The deeds of a censor, or of bad luck: they act on the packets that match a rule.

A deed decides and does nothing itself: it returns a Verdict, which the router carries out. The router calls `begin` for
the packet that the rule's match hit, and `after` for all later packets of the same flow, both ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_network
from typing import Literal

from tests.lab import packets
from tests.lab.conditions import scaled
from tests.lab.flows import Flow
from tests.lab.luck import luck
from tests.lab.messages import question
from tests.lab.packets import FIN, TCP, Packet
from tests.lab.views import Names

ICMP_UNREACHABLE = {4: 3, 6: 1}
"""Type of the error, by IP version (RFC 792, RFC 4443)."""

_PROHIBITED = {4: 13, 6: 1}
_CODES: dict[str, dict[int, int]] = {
    "network": {4: 0, 6: 0},
    "host": {4: 1, 6: 3},
    "port": {4: 3, 6: 4},
    "prohibited": _PROHIBITED,
}
_BURST_S, _MOST_BURST = 0.25, 32_500
"""A policer's bucket: so many seconds of its rate, and so many bytes at most. Where it lets more pass at once, no speed
shows it (docs/detection.md, "Re-tests"). So a row at twice the rate is about the rate alone."""
_LEAST_BURST = 3000  # bytes: two packets
_SHAPED_S = 2.0  # what would wait longer for its turn is dropped


@dataclass(frozen=True, slots=True)
class Injection:
    """A packet that no host sent; the router delivers it to its target address."""

    data: bytes
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of a packet."""

    passes: bool = True
    injected: tuple[Injection, ...] = ()
    delay_s: float = 0.0
    divert: str | None = None  # the space to which it goes instead
    packet: bytes | None = None  # what goes on in its place

    def and_then(self, later: Verdict) -> Verdict:
        """Returns both together: `later` applies to a packet that this verdict let pass."""
        return Verdict(
            later.passes,
            self.injected + later.injected,
            self.delay_s + later.delay_s,
            later.divert or self.divert,
            later.packet or self.packet,
        )


PASS = Verdict()
DROP = Verdict(passes=False)


class Deed:
    """Does nothing."""

    lasting = True
    """Whether the deed applies to the whole flow once it has begun; if not, it treats each packet that matches
    separately."""

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return PASS

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return PASS


class Drop(Deed):
    """Drops the packet, and everything after it in both directions."""

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP


class DropThePacket(Deed):
    """Drops only the packet that showed the name, and every packet that brings the same bytes again."""

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        flow.marks[self] = packet.seq
        return DROP

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        covered = (flow.marks[self] - packet.seq) % (1 << 32) < len(packet.payload)
        return DROP if packet.outward and covered else PASS


class DropAnswers(Deed):
    """Drops all that the server says. The packet itself, and acknowledgements both ways, pass."""

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP if packet.payload and not packet.outward else PASS


class DropEach(Deed):
    """Drops each packet that matches, and no other: for DNS queries."""

    lasting = False

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP


@dataclass(eq=False)
class Reset(Deed):
    """Sends resets to the client, or to both. Beside the path the packet itself goes on; in the path neither it nor any
    later packet does."""

    to: Literal["both", "client"] = "both"
    in_path: bool = False

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if packet.protocol != TCP:
            return DROP
        resets = [Injection(packets.reset_back(packet))]
        if self.to == "both":
            resets.append(Injection(packets.reset_ahead(packet, arrives=not self.in_path)))
        return Verdict(passes=not self.in_path, injected=tuple(resets))

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP if self.in_path else PASS


class Refuse(Deed):
    """Sends a reset to the client for each of its packets, and nothing goes on: a SYN is refused."""

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if not packet.outward or packet.protocol != TCP:
            return DROP
        return Verdict(passes=False, injected=(Injection(packets.reset_back(packet)),))

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.begin(packet, flow, now)


class Silence(Deed):
    """Acknowledges what the client sends, and lets none of it go on: the site seems to have it, and never answers."""

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if not packet.outward or not (packet.payload or packet.flags & FIN):
            return DROP
        return Verdict(passes=False, injected=(Injection(packets.acknowledge_back(packet)),))

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.begin(packet, flow, now)


@dataclass(eq=False)
class Unreachable(Deed):
    """Sends an ICMP error for everything that the client sends, as if from the host itself."""

    code: str = "prohibited"

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if not packet.outward:
            return DROP
        code = _CODES[self.code][packet.version]
        error = packets.icmp_error(packet, packet.target_bytes, ICMP_UNREACHABLE[packet.version], code)
        return Verdict(passes=False, injected=(Injection(error),))

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.begin(packet, flow, now)


@dataclass(eq=False)
class Page(Deed):
    """Sends an HTTP answer of the censor's in place of the site's: the request goes no further, and the site gets a
    reset."""

    answer: bytes  # status line and all

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if packet.protocol != TCP:
            return DROP
        segments = [Injection(segment) for segment in packets.answer_back(packet, self.answer)]
        return Verdict(passes=False, injected=(*segments, Injection(packets.reset_ahead(packet, arrives=False))))

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if packet.outward and packet.flags & FIN:  # the client closes too: nobody else is there to say yes
            return Verdict(passes=False, injected=(Injection(packets.acknowledge_back(packet)),))
        return DROP


def page(body: bytes, *, status: str = "200 OK", headers: Iterable[str] = ()) -> Page:
    """Returns the deed with a page of the censor's."""
    fields = ("Content-Type: text/html; charset=utf-8", *headers, f"Content-Length: {len(body)}", "Connection: close")
    return Page("\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode() + body)


def redirect(url: str) -> Page:
    return page(b"", status="302 Found", headers=[f"Location: {url}"])


@dataclass(eq=False)
class Forge(Deed):
    """Sends a DNS answer of the censor's. `race`: the query goes on, so that the true answer comes as well, as the
    second unless `delay_s` is long."""

    addresses: tuple[str, ...] = ()
    rcode: int = 0
    race: bool = False
    delay_s: float = 0.0
    lasting = False

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        asked = question(packet.payload)
        assert asked is not None, "forged answers go with ByQuery"
        forged = packets.udp_back(packet, asked.answer(self.addresses, rcode=self.rcode))
        return Verdict(passes=self.race, injected=(Injection(forged, self.delay_s),))


@dataclass(eq=False)
class Freeze(Deed):
    """Drops every further packet of the flow once the server has sent `after_bytes`."""

    after_bytes: int = 16 * 1024

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.after(packet, flow, now)

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if not packet.outward:
            flow.count_down(packet)
        return DROP if flow.down > self.after_bytes else PASS


@dataclass(eq=False)
class FreezeByCount(Deed):
    """Drops every further packet once `packets` of a flow have passed, both ways together, unless the flow named one of
    `spared`."""

    packets: int = 25
    spared: Names = field(default_factory=Names)

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.after(packet, flow, now)

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        flow.marks[self] = passed = flow.marks.get(self, 0) + 1
        named = flow.said.records or flow.said.host
        return DROP if passed > self.packets and named not in self.spared else PASS


@dataclass(eq=False)
class CutLater(Deed):
    """Cuts a flow `after_s` after the server's first answer, by resets to both or in silence. It goes with BySni."""

    after_s: float
    how: Literal["reset", "silence"] = "reset"

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if self not in flow.marks:
            if not packet.outward and packet.payload:
                flow.marks[self] = now + self.after_s
            return PASS
        if now < flow.marks[self]:
            return PASS
        if self.how == "silence":
            return DROP
        return Reset(in_path=True).begin(packet, flow, now)


@dataclass(eq=False)
class Throttle(Deed):
    """Lets at most `rate` bytes per second pass to the client: packets above it are dropped (police) or wait (shape).
    All flows of the rule share the rate, unless `each`."""

    rate: float
    how: Literal["police", "shape"] = "police"
    each: bool = False
    _shared: dict[object, float] = field(default_factory=dict, repr=False)

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.after(packet, flow, now)

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if packet.outward:
            return PASS
        notes = flow.marks if self.each else self._shared
        return (self._police if self.how == "police" else self._shape)(notes, len(packet.data), now)

    def _police(self, notes: dict[object, float], size: int, now: float) -> Verdict:
        """Notes the time at which an empty bucket would have begun to fill up to its present level (GCRA, ITU-T
        I.371)."""
        full_s = max(min(_BURST_S, _MOST_BURST / self.rate), _LEAST_BURST / self.rate)
        since = max(notes.get(self, 0.0), now - full_s)
        if since + size / self.rate > now:
            return DROP
        notes[self] = since + size / self.rate
        return PASS

    def _shape(self, notes: dict[object, float], size: int, now: float) -> Verdict:
        """Notes the time at which the line is free again."""
        begins = max(now, notes.get(self, 0.0))
        if begins - now > _SHAPED_S:
            return DROP
        notes[self] = begins + size / self.rate
        return Verdict(delay_s=notes[self] - now)


@dataclass(eq=False)
class Delay(Deed):
    """Delays everything, each way."""

    delay_s: float

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return Verdict(delay_s=self.delay_s)

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return Verdict(delay_s=self.delay_s)


@dataclass(eq=False)
class DelayThePacket(Deed):
    """Delays each packet that matches, and no other."""

    delay_s: float
    lasting = False

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return Verdict(delay_s=self.delay_s)


@dataclass(eq=False)
class Lose(Deed):
    """Loses each packet with the probability `share`; the same seed loses the same packets."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        self._luck = luck(self.seed)

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP if self._luck.random() < self.share else PASS

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.begin(packet, flow, now)


class Reading(StrEnum):
    """How a censor that counts ClientHellos decides that too many came at once; reports of such a censor fit both."""

    WINDOW = "window"  # within `near_s` of each other
    CHAIN = "chain"  # each within `near_s` of the one before it, in `chain_s`


@dataclass(eq=False)
class CountHellos(Deed):
    """Drops everything between a client and an address for `frozen_s` once the client has sent more than `most`
    ClientHellos of one name there at once. `by_prefix`: the same for all addresses of a /24 or /48. It goes with
    BySni."""

    reading: Reading = Reading.WINDOW
    most: int = 3
    near_s: float = scaled(0.4)
    chain_s: float = scaled(60.0)
    frozen_s: float = scaled(120.0)
    by_prefix: bool = False
    punished: list[tuple[str, float]] = field(default_factory=list, repr=False)
    """The names that caused a freeze, each with its time."""
    _times: dict[object, list[float]] = field(default_factory=dict, repr=False)
    _frozen: dict[object, float] = field(default_factory=dict, repr=False)

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        pair, name = self._pair(flow), flow.said.records or ""
        if self._frozen.get(pair, now) > now:
            return DROP
        times = self._times.setdefault((*pair, name), [])
        if self.reading is Reading.CHAIN:
            keeps = bool(times) and now - times[-1] < self.near_s
            times[:] = [at for at in times if keeps and now - at < self.chain_s]
        else:
            times[:] = [at for at in times if now - at < self.near_s]
        times.append(now)
        if len(times) <= self.most:
            return PASS
        self._frozen[pair] = now + self.frozen_s
        self.punished.append((name, now))
        return DROP

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP if self._frozen.get(self._pair(flow), now) > now else PASS

    def _pair(self, flow: Flow) -> tuple[object, ...]:
        if not self.by_prefix:
            return flow.client, flow.server
        return flow.client, ip_network((flow.server, 24 if flow.server.version == 4 else 48), strict=False)


@dataclass(eq=False)
class Divert(Deed):
    """Sends the flow to another space, which has to take it (`Port.take_all`) and answers in the server's name."""

    space: str

    def begin(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return self.after(packet, flow, now)

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return Verdict(divert=self.space) if packet.outward else PASS
