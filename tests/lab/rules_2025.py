"""Rules for the censors of 2025 and later, each with its source.

As in `rules`, a rule joins a match and a deed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from tests.lab import deeds
from tests.lab.censors import Censor, Segment
from tests.lab.conditions import scaled
from tests.lab.deeds import DROP, PASS, Deed, Drop, DropAnswers, DropEach, Page, Refuse, Reset, Verdict
from tests.lab.flows import Flow
from tests.lab.matches import EVERYWHERE, HTTPS, Addresses, ByFirstBytes, BySni, Match, NotAllowed
from tests.lab.messages import ENCRYPTED_CLIENT_HELLO, METHODS, WholeHello, hello, whole_hello
from tests.lab.packets import TCP, Packet
from tests.lab.rules import Residual, When, joined
from tests.lab.views import REMEMBERED, Names, View


@dataclass(frozen=True)
class ByWholeHello(Match):
    """A ClientHello that fits, once all of it was seen, in however many segments and records it comes."""

    fits: Callable[[WholeHello], bool]

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and flow.server_port == HTTPS and flow.isn is not None

    def hits(self, packet: Packet, flow: Flow) -> bool:
        if not packet.outward or not packet.payload or flow.isn is None:
            return False
        segments = flow.marks.setdefault(self, {})
        if segments is None:  # it was read before
            return False
        segments[(packet.seq - flow.isn - 1) % (1 << 32)] = packet.payload
        said = joined(segments)
        found = whole_hello(said)
        if found is not None or len(said) > REMEMBERED:
            flow.marks[self] = None
        return found is not None and self.fits(found)


def OnlyListed(
    how: Literal["drop", "hello", "refused", "eof"],
    by: Literal["name", "address", "both"],
    *,
    names: Iterable[str],
    addresses: Iterable[str],
    exempt: Iterable[str],
) -> When:
    """Lets only these names, addresses, or names at these addresses pass, and all to `exempt`, where the provider and
    hidden relays are: Iran since January 2026 (net4people/bbs#586, #630). The rest is dropped or refused from the SYN
    on, as far as the address tells; "hello" drops it and "eof" closes it once the first bytes have come."""
    deed: Deed = Refuse() if how == "refused" else Page(b"") if how == "eof" else Drop()
    match = NotAllowed(
        Addresses(() if by == "name" else addresses),
        Names() if by == "address" else Names(*names),
        needs_both=by == "both",
        exempt=Addresses(exempt),
        at_hello=how in ("hello", "eof"),
    )
    return When(match, deed)


def EchDrop(*names: str) -> When:
    """Drops a hello with one of these outer names and the extension of ECH: cloudflare-ech.com in Russia, since
    November 2024 (net4people/bbs#417)."""
    outer = Names(*names)
    return When(ByWholeHello(lambda hello: hello.name in outer and ENCRYPTED_CLIENT_HELLO in hello.extensions), Drop())


def Ja4Drop(*fingerprints: str, names: Iterable[str] = ("*",)) -> When:
    """Drops a hello with one of these JA4 fingerprints, in however many pieces it comes, and what follows it, as
    reports of Russia say since 2025 (net4people/bbs#662)."""
    named = Names(*names)
    return When(ByWholeHello(lambda hello: hello.ja4 in fingerprints and hello.name in named), Drop())


@dataclass(frozen=True)
class ByOtherProtocol(Match):
    """A connection to these addresses that begins with neither TLS nor HTTP, as far as the client's first `packets`
    tell, together. What one of them shows to be TLS or HTTP passes."""

    addresses: Addresses
    packets: int = 1

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and flow.server in self.addresses and flow.isn is not None

    def hits(self, packet: Packet, flow: Flow) -> bool:
        if not packet.outward or not packet.payload or flow.isn is None:
            return False
        segments = flow.marks.setdefault(self, {})
        if segments is None:  # it passes
            return False
        segments[(packet.seq - flow.isn - 1) % (1 << 32)] = packet.payload
        if joined(segments).startswith((b"\x16\x03", *METHODS)):
            flow.marks[self] = None
            return False
        return len(segments) >= self.packets


def OnlyTlsAndHttp(*prefixes: str, how: Literal["drop", "reset"] = "drop", packets: int = 1) -> When:
    """Lets TLS and HTTP pass, by the first bytes of a client, and nothing else: Iran since February 2020, by the first
    two packets, of which the first passes (Bock et al., FOCI 2020; net4people/bbs#49). Others look at the first."""
    deed: Deed = Reset(in_path=True) if how == "reset" else Drop()
    return When(ByOtherProtocol(Addresses(prefixes), packets), deed)


def Ja4AnswerDrop(*fingerprints: str) -> When:
    """Lets a hello with one of these JA4 fingerprints pass, and drops what the server answers, as `AnswerDrop` does by
    name."""
    return When(ByWholeHello(lambda hello: hello.ja4 in fingerprints), DropAnswers())


def AnyHelloDrop(*prefixes: str) -> When:
    """Drops each ClientHello to these addresses, and what follows it: TCP alone passes."""
    addresses = Addresses(prefixes)
    return When(ByFirstBytes(addresses, (b"\x16",)), Drop())


_FULL = 1000
"""Bytes of a segment that is as long as a path takes."""


@dataclass(frozen=True)
class ByCutHello(Match):
    """A ClientHello whose name is not whole in the first segment and its first record. One that only is too long for a
    segment is not cut."""

    addresses: Addresses

    def concerns(self, flow: Flow) -> bool:
        is_tls = flow.protocol == TCP and flow.server_port == HTTPS and flow.isn is not None
        return is_tls and flow.server in self.addresses

    def hits(self, packet: Packet, flow: Flow) -> bool:
        is_first = flow.isn is not None and (packet.seq - flow.isn) % (1 << 32) == 1
        if not (packet.outward and is_first and packet.payload.startswith(b"\x16")):
            return False
        first, record = hello(packet.payload, records=False), int.from_bytes(packet.payload[3:5], "big")
        is_cut = len(packet.payload) < _FULL or len(packet.payload) >= 5 + record
        return is_cut and first.name is None and not first.over


def CutHelloPunished(*prefixes: str, seconds: float = scaled(60.0)) -> When:
    """Drops a cut hello, and for a while all that its client sends to that address: reports from China of December 2025
    (net4people/bbs#550), and of Iran, which drops fragments."""
    return When(ByCutHello(Addresses(prefixes or EVERYWHERE)), Drop(), residual=Residual(seconds))


@dataclass(eq=False)
class Once(Match):
    """The first ClientHello of each of these names that comes while the rule is in force."""

    names: Names
    _over: set[str] = field(default_factory=set, repr=False)

    def concerns(self, flow: Flow) -> bool:
        return self._of_name.concerns(flow)

    def hits(self, packet: Packet, flow: Flow) -> bool:
        name = flow.said.records
        if name is None or name in self._over or not self._of_name.hits(packet, flow):
            return False
        self._over.add(name)
        return True

    def __post_init__(self) -> None:
        self._of_name = BySni(self.names)


def ResetOnce(*names: str) -> When:
    """Resets one connection to each name, the next one: a trouble of no censor."""
    return When(Once(Names(*names)), Reset())


@dataclass(frozen=True)
class ByCensor(Match):
    """What a censor of the table stops, until the server answers."""

    censor: Censor
    names: tuple[str, ...]

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and flow.server_port == self.censor.port and flow.isn is not None

    def hits(self, packet: Packet, flow: Flow) -> bool:
        seen: dict[int, Segment] | None = flow.marks.setdefault(self, {})
        if not packet.outward and packet.payload:
            flow.marks[self] = None
        if seen is None or not packet.outward or not packet.payload or flow.isn is None:
            return False
        seen.setdefault((packet.seq - flow.isn - 1) % (1 << 32), Segment(time.monotonic(), packet.payload))
        said = list[Segment]()
        for place in sorted(seen):
            if place != sum(len(segment.data) for segment in said):
                break  # one that came before is missing, or this one was sent again in another size
            said.append(seen[place])
        said = [segment._replace(at=segment.at - said[0].at) for segment in said]
        return bool(said) and any(self.censor.sees(said, name) for name in self.names)


def Unknown(*names: str, censor: Censor, seconds: float) -> When:
    """Resets what a censor of `censors` stops, and for so long all to that address, if it is one with residual
    blocking."""
    residual = Residual(seconds, censor.residual) if censor.residual else None
    return When(ByCensor(censor, names), Reset(), residual=residual)


@dataclass(frozen=True)
class Larger(Match):
    """A packet from these addresses of more than `most` bytes."""

    addresses: Addresses
    most: int

    def concerns(self, flow: Flow) -> bool:
        return flow.server in self.addresses

    def hits(self, packet: Packet, flow: Flow) -> bool:
        return not packet.outward and len(packet.data) > self.most


def MtuHole(*prefixes: str, most: int = 1400) -> When:
    """Drops larger packets of the servers, which never hear of it, as behind a tunnel where "fragmentation needed" is
    filtered (RFC 2923, section 2.1): a trouble of no censor."""
    return When(Larger(Addresses(prefixes), most), DropEach())


@dataclass(eq=False)
class StallOnce(Deed):
    """Drops every further packet of the first flow that has brought `after_bytes`: a stall of Wi-Fi, or of a router
    that has forgotten the flow. It goes with BySni."""

    after_bytes: int
    _held: Flow | None = field(default=None, repr=False)

    def after(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if self._held is None and not packet.outward:
            flow.count_down(packet)
            self._held = flow if flow.down > self.after_bytes else None
        return DROP if flow is self._held else PASS


def WifiStall(*names: str, after_bytes: int = 20_000) -> When:
    """Stops one connection to these names for good, whatever goes over it: a trouble of no censor."""
    return When(BySni(Names(*names)), StallOnce(after_bytes))


def FreezeByName(*names: str, after_bytes: int = 16 * 1024, view: View = View.TCP) -> When:
    """Freezes by a name in one record, where `rules.Freeze` reads it in any number of them."""
    return When(BySni(Names(*names), view), deeds.Freeze(after_bytes))


def AnswerDrop(*names: str, view: View = View.RECORDS) -> When:
    """Lets the ClientHello and all acknowledgements pass, and drops what the server answers: Iran, since June 2025
    (arXiv 2507.14183; net4people/bbs#484, #489)."""
    return When(BySni(Names(*names), view), DropAnswers())


def CutLater(*names: str, after_s: float, how: Literal["reset", "silence"] = "reset") -> When:
    """Cuts connections some seconds after the handshake, as in Iran since January 2026 (net4people/bbs#586)."""
    return When(BySni(Names(*names)), deeds.CutLater(after_s, how))
