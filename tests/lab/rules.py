"""The rules of the country: each joins a match and a deed, and they may change while packets flow.

    router.rules.set([SniReset("blocked.test"), AddressDrop("203.0.113.7", share=0.3), Outage(2.0, 0.5)])

Every rule is `When(match, deed)`; the capitalised names are the ways of blocking known to be in use, and the innocent
troubles that look like them. `share` is the share of connections (of queries, for DNS), the same ones for the same
`seed`. Names stand for all names below them too, and `*` for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict, Unpack

from tests.lab import deeds
from tests.lab.conditions import scaled
from tests.lab.deeds import (
    DROP,
    PASS,
    Deed,
    Drop,
    DropEach,
    DropThePacket,
    Forge,
    Refuse,
    Reset,
    Silence,
    Unreachable,
    Verdict,
)
from tests.lab.flows import Flow
from tests.lab.luck import luck
from tests.lab.matches import (
    EVERYWHERE,
    HTTPS,
    Accepting,
    Addresses,
    ByAddress,
    ByFirstBytes,
    ByHost,
    ByQuery,
    BySni,
    Match,
    NotAllowed,
    Opening,
)
from tests.lab.messages import NXDOMAIN
from tests.lab.packets import TCP, Packet
from tests.lab.views import Names, View

_TAINTED = 1024
_ACTS = 4096


class Rule:
    """The router calls it for every packet of the flows that concern it."""

    since = 0.0
    """The time at which it was put in force, by the loop's clock."""

    def put_in_force(self, now: float) -> None:
        self.since = now

    def concerns(self, flow: Flow) -> bool:
        raise NotImplementedError

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Residual:
    """After a strike the rule also strikes the client's new connections to that address and port, whatever they ask
    for."""

    seconds: float
    at: Literal["syn", "flight"] = "flight"  # at their first packet, or at the first with something in it


@dataclass(eq=False)
class When(Rule):
    """Does the deed to the traffic that matches."""

    match: Match
    deed: Deed
    share: float = 1.0
    seed: int = 0
    residual: Residual | None = None
    acts: deque[Flow] = field(default_factory=lambda: deque(maxlen=_ACTS), repr=False)  # whom it struck, latest last

    def __post_init__(self) -> None:
        self._luck = luck(self.seed)
        self._tainted: dict[object, float] = {}  # (client, server, port) → until when

    def concerns(self, flow: Flow) -> bool:
        return self.match.concerns(flow)

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        struck = flow.marks.get(self)
        if struck is not None:
            return self.deed.after(packet, flow, now) if struck else PASS
        if not self.match.hits(packet, flow):
            return self._judge_residual(packet, flow, now)
        struck = self.share >= 1.0 or self._luck.random() < self.share
        if self.deed.lasting:
            flow.marks[self] = struck
        return self._strike(packet, flow, now) if struck else PASS

    def _strike(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        self.acts.append(flow)
        if self.residual:
            if len(self._tainted) >= _TAINTED:
                self._tainted.clear()
            self._tainted[_triple(flow)] = now + self.residual.seconds
        return self.deed.begin(packet, flow, now)

    def _judge_residual(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if self.residual is None or not packet.outward or self._tainted.get(_triple(flow), now) <= now:
            return PASS
        if self.residual.at == "flight" and not packet.payload:
            return PASS
        flow.marks[self] = True
        self.acts.append(flow)
        return self.deed.begin(packet, flow, now)


@dataclass(eq=False)
class During(Rule):
    """Applies another rule from `start_s` to `end_s` after this one was put in force. A flow that a deed holds is free
    again afterwards."""

    rule: Rule
    start_s: float
    end_s: float = float("inf")

    def put_in_force(self, now: float) -> None:
        self.since = now
        self.rule.put_in_force(now)

    def concerns(self, flow: Flow) -> bool:
        return self.rule.concerns(flow)

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if self.start_s <= now - self.since < self.end_s:
            return self.rule.judge(packet, flow, now)
        return PASS


@dataclass(eq=False)
class Wiretap(Rule):
    """Keeps what the client says on each connection to an address, byte for byte. Everything passes: it stands before
    the rules that keep packets."""

    address: str
    _said: list[dict[int, bytes]] = field(default_factory=list, repr=False)  # segments by their place, of each flow

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and str(flow.server) == self.address

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        if packet.outward and flow.isn is not None:
            if self not in flow.marks:
                flow.marks[self] = {}
                self._said.append(flow.marks[self])
            if packet.payload:
                flow.marks[self][(packet.seq - flow.isn - 1) % (1 << 32)] = packet.payload
        return PASS

    @property
    def connections(self) -> int:
        return len(self._said)

    @property
    def flights(self) -> list[bytes]:
        """What was said on each connection on which anything was."""
        return [joined(segments) for segments in self._said if segments]


def joined(segments: Mapping[int, bytes]) -> bytes:
    """Returns the bytes of segments, given by their places, in their order; those that were sent again count once."""
    said = b""
    for place in sorted(segments):
        said += segments[place][max(0, len(said) - place) :]
    return said


class RuleSet:
    """The rules in force. A change takes effect with the next packet, for old flows too; a rule that stays continues
    everything that it has begun."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rules: tuple[Rule, ...] = ()
        self._generation = 0

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def set(self, rules: Iterable[Rule | Iterable[Rule]]) -> None:
        """Puts these rules in force and no others, the first one first."""
        flat = tuple(one for rule in rules for one in ((rule,) if isinstance(rule, Rule) else rule))
        for rule in flat:
            if rule not in self._rules:
                rule.put_in_force(self._clock())
        self._rules = flat
        self._generation += 1

    def add(self, *rules: Rule | Iterable[Rule]) -> None:
        self.set((*self._rules, *rules))

    def remove(self, *rules: Rule) -> None:
        self.set(rule for rule in self._rules if rule not in rules)

    def clear(self) -> None:
        self.set(())

    def concerning(self, flow: Flow) -> tuple[Rule, ...]:
        """Returns the rules that may concern the flow."""
        if flow.generation != self._generation:
            flow.rules = tuple(rule for rule in self._rules if rule.concerns(flow))
            flow.generation = self._generation
        return flow.rules

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        """Returns the fate of the packet after all rules, or after the first that keeps it."""
        verdict = PASS
        for rule in flow.rules:
            said = rule.judge(packet, flow, now)
            if said is PASS:
                continue
            verdict = said if verdict is PASS else verdict.and_then(said)
            if not verdict.passes:
                break
        return verdict


class Luck(TypedDict, total=False):
    """The share of connections that a rule affects, and the seed that selects them."""

    share: float
    seed: int


class Counting(TypedDict, total=False):
    """How a censor counts; see deeds.CountHellos."""

    reading: deeds.Reading
    near_s: float
    chain_s: float
    frozen_s: float
    by_prefix: bool


def DnsRace(*names: str, forged: Iterable[str], delay_s: float = 0.0, **luck: Unpack[Luck]) -> When:
    """Sends a forged answer first; the true one comes second."""
    return When(ByQuery(Names(*names)), Forge(tuple(forged), race=True, delay_s=delay_s), **luck)


def DnsReplace(
    *names: str, forged: Iterable[str] = (), resolvers: Iterable[str] | None = None, **luck: Unpack[Luck]
) -> When:
    """Sends only a forged answer; without addresses an empty one."""
    return When(_query(names, resolvers), Forge(tuple(forged)), **luck)


def DnsNxdomain(
    *names: str, rcode: int = NXDOMAIN, resolvers: Iterable[str] | None = None, **luck: Unpack[Luck]
) -> When:
    return When(_query(names, resolvers), Forge(rcode=rcode), **luck)


def DnsDrop(*names: str, resolvers: Iterable[str] | None = None, **luck: Unpack[Luck]) -> When:
    return When(_query(names, resolvers), DropEach(), **luck)


def SniReset(
    *names: str,
    to: Literal["both", "client"] = "both",
    view: View = View.RECORDS,
    in_path: bool = False,
    residual: Residual | None = None,
    **luck: Unpack[Luck],
) -> When:
    return When(BySni(Names(*names), view), Reset(to, in_path), residual=residual, **luck)


def SniDrop(
    *names: str,
    view: View = View.RECORDS,
    whole_flow: bool = True,
    residual: Residual | None = None,
    **luck: Unpack[Luck],
) -> When:
    """Drops in the path, in silence. Without `whole_flow` only the segment that showed the name."""
    return When(BySni(Names(*names), view), Drop() if whole_flow else DropThePacket(), residual=residual, **luck)


def SniAnswer(*names: str, answer: bytes = b"", view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    """Sends the censor's answer in place of the site's, and hangs up; without an answer it only hangs up."""
    return When(BySni(Names(*names), view), deeds.Page(answer), **luck)


def SniSilence(*names: str, view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    """Acknowledges the hello and all that follows, and never answers."""
    return When(BySni(Names(*names), view), Silence(), **luck)


def HttpReset(
    *names: str,
    to: Literal["both", "client"] = "both",
    view: View = View.RECORDS,
    in_path: bool = False,
    **luck: Unpack[Luck],
) -> When:
    return When(ByHost(Names(*names), view), Reset(to, in_path), **luck)


def HttpDrop(*names: str, view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    return When(ByHost(Names(*names), view), Drop(), **luck)


def HttpEof(*names: str, view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    """Hangs up in the place of the site."""
    return When(ByHost(Names(*names), view), deeds.Page(b""), **luck)


def HttpSilence(*names: str, view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    return When(ByHost(Names(*names), view), Silence(), **luck)


def HttpRedirect(*names: str, to: str, view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    """Redirects to the URL `to`."""
    return When(ByHost(Names(*names), view), deeds.redirect(to), **luck)


def HttpPage(*names: str, body: bytes, status: str = "200 OK", view: View = View.RECORDS, **luck: Unpack[Luck]) -> When:
    return When(ByHost(Names(*names), view), deeds.page(body, status=status), **luck)


def AddressDrop(*prefixes: str, ports: Iterable[int] = (), protocol: str | None = None, **luck: Unpack[Luck]) -> When:
    return When(_addresses(prefixes, ports, protocol), Drop(), **luck)


def SocksDrop(*prefixes: str, **luck: Unpack[Luck]) -> When:
    """Drops what begins as SOCKS4 or SOCKS5 does, and all that follows."""
    return When(ByFirstBytes(Addresses(prefixes), (b"\x04", b"\x05")), Drop(), **luck)


def SynReset(*prefixes: str, ports: Iterable[int] = (), **luck: Unpack[Luck]) -> When:
    return When(Opening(_addresses(prefixes, ports, "tcp")), Refuse(), **luck)


def IcmpUnreachable(*prefixes: str, code: str = "prohibited", ports: Iterable[int] = (), **luck: Unpack[Luck]) -> When:
    """`code`: network, host, port or prohibited."""
    return When(_addresses(prefixes, ports, None), Unreachable(code), **luck)


def PortDrop(port: int, *, protocol: str = "tcp", **luck: Unpack[Luck]) -> When:
    return When(_addresses(EVERYWHERE, (port,), protocol), Drop(), **luck)


def UdpDrop(port: int = HTTPS, **luck: Unpack[Luck]) -> When:
    """Drops UDP to a port; by default this is QUIC."""
    return PortDrop(port, protocol="udp", **luck)


def Freeze(*names: str, after_bytes: int = 16 * 1024, addresses: Iterable[str] = (), **luck: Unpack[Luck]) -> When:
    """Freezes by name (SNI) or by address; both at once are two rules."""
    return When(_who(names, addresses), deeds.Freeze(after_bytes), **luck)


def FreezeByCount(
    *prefixes: str,
    packets: int = round(scaled(25)),
    spared: Iterable[str] = (),
    ports: Iterable[int] = (),
    **luck: Unpack[Luck],
) -> When:
    """Freezes by address, whatever the contents and the direction, except for the names that are spared."""
    return When(_addresses(prefixes, ports, "tcp"), deeds.FreezeByCount(packets, Names(*spared)), **luck)


def HelloCount(*names: str, **how: Unpack[Counting]) -> When:
    """Lets nothing pass for a while after more than three ClientHellos of one name to one address at once."""
    return When(BySni(Names(*names)), deeds.CountHellos(**how))


def Throttle(
    *names: str,
    rate: float,
    how: Literal["police", "shape"] = "police",
    each: bool = False,
    addresses: Iterable[str] = (),
    **luck: Unpack[Luck],
) -> When:
    """Limits the rate to the client; `rate` is in bytes per second."""
    return When(_who(names, addresses), deeds.Throttle(rate, how, each), **luck)


def Intercept(
    *prefixes: str, ports: Iterable[int] = (HTTPS,), space: str = "isp", protocol: str = "tcp", **luck: Unpack[Luck]
) -> When:
    """Diverts new connections to a listener in `space`, with IP_TRANSPARENT, on their original port: one that
    intercepts TLS, a portal, a middlebox that terminates TCP, a resolver that answers in the name of all others."""
    return When(Opening(_addresses(prefixes or EVERYWHERE, ports, protocol)), deeds.Divert(space), **luck)


Terminator = Intercept
"""A middlebox that answers SYNs itself: traffic reaches it in the same way, but another listener answers."""


def Outage(start_s: float = 0.0, length_s: float = float("inf")) -> During:
    """Lets nothing pass in this time after the rule was set. Without arguments: until it is taken back."""
    return During(_NoWay(), start_s, start_s + length_s)


def RttRise(delay_s: float, *, at_s: float = 0.0) -> During:
    """Delays every packet by `delay_s`, each way, from `at_s` on."""
    return During(When(_addresses(EVERYWHERE, (), None), deeds.Delay(delay_s)), at_s)


def LateSynAck(delay_s: float, *prefixes: str) -> When:
    """Accepts a connection to these addresses so much later, once: later packets are as fast as ever."""
    return When(Accepting(_addresses(prefixes, (), "tcp")), deeds.DelayThePacket(delay_s))


def Loss(share: float, *, seed: int = 0, addresses: Iterable[str] = EVERYWHERE) -> When:
    return When(_addresses(addresses, (), None), deeds.Lose(share, seed))


def AllowList(*names: str, addresses: Iterable[str] = ()) -> When:
    """Makes a network in which only these addresses can be reached, and at others only these names by TLS and HTTP."""
    return When(NotAllowed(Addresses(addresses), Names(*names)), Drop())


def DohBlock(*names: str, addresses: Iterable[str] = ()) -> list[Rule]:
    """Blocks secure DNS by the servers' addresses, by their names, or both."""
    rules: list[Rule] = []
    if where := tuple(addresses):
        rules.append(AddressDrop(*where, ports=(HTTPS, 853)))
    if names:
        rules.append(When(BySni(Names(*names), ports=(HTTPS, 853)), Drop()))
        rules.append(DnsNxdomain(*names))
    return rules


class _NoWay(Rule):
    """Lets nothing pass, and remembers nothing."""

    def concerns(self, flow: Flow) -> bool:
        return True

    def judge(self, packet: Packet, flow: Flow, now: float) -> Verdict:
        return DROP


def _query(names: Iterable[str], resolvers: Iterable[str] | None) -> ByQuery:
    return ByQuery(Names(*names), None if resolvers is None else Addresses(resolvers))


def _addresses(prefixes: Iterable[str], ports: Iterable[int], protocol: str | None) -> ByAddress:
    return ByAddress(Addresses(prefixes), tuple(ports), protocol)


def _who(names: tuple[str, ...], addresses: Iterable[str]) -> Match:
    where = tuple(addresses)
    if bool(names) == bool(where):
        raise ValueError("either names or addresses")
    return BySni(Names(*names)) if names else _addresses(where, (), None)


def _triple(flow: Flow) -> object:
    return flow.client, flow.server, flow.server_port
