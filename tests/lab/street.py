"""A street of sites behind one censor, and a Byway that visits them.

Plans, races, beliefs, re-tests and the search for a local strategy are its own; the sockets are scripted, and the clock
is virtual. Nothing here needs packets.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Literal, cast

from proxy.config.load import Loaded
from proxy.config.schema import Auto, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import DirectDelivered, FlightAnswered, FlightBroken
from proxy.model import (
    DIRECT,
    Attempt,
    CutHellos,
    Destination,
    Inbound,
    IPAddress,
    NetworkId,
    Protocol,
    Request,
    Route,
    Stage,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.net.dialers.evasion import with_strategies
from proxy.net.knowledge import Knowledge
from proxy.net.notify import Notify
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.stream import Stream
from proxy.probe.ladder_search import LadderSearch
from proxy.probe.retest import DirectRetest
from proxy.routing.router import RelayInfo, Router
from proxy.routing.rule_parser import parse_rules
from proxy.routing.strategies import fits
from proxy.session.events import OpenRecord, Unserved
from proxy.session.setup import Setup
from proxy.wire.flight import Flight
from tests.lab import messages
from tests.lab.censors import SEGMENT, Censor, Segment
from tests.support.outcomes import HOME, outcome
from tests.support.scripted import FakeOracle, Script, ScriptedDialer, ScriptedDirect, ScriptedStream
from tests.support.services import NO_PAGES, NO_RESOLVER, Judged, services, visit_of
from tests.wire import hellos

SITES = ("news.livejournal.test", "www.kasparov.test", "api.echo-moscow.test")
"""Three sites of one censor, of different domains and at different addresses."""
WORKING = "healthy.example.org"
CONTROL = "control.test"
_ADDRESSES = {
    name: ipaddress.ip_address(f"198.51.{100 + number}.7") for number, name in enumerate((*SITES, WORKING, CONTROL))
}
_AT = {address: name for name, address in _ADDRESSES.items()}
PUNISHED_S = 170.0
RESET = ConnectionResetError(104, "Connection reset by peer")
REJECTED = b"\x15\x03\x03\x00\x02\x02\x32"
Fault = Literal["", "silent", "reset"]
_ids = itertools.count(1)
_ANSWERS = {Protocol.TLS: b"\x16\x03\x03\x00\x7a\x02", Protocol.HTTP: b"HTTP/1.1 200 OK\r\n\r\n"}


def flight_to(name: str, protocol: Protocol) -> Flight:
    if protocol is Protocol.TLS:
        flight = Flight()
        flight.receive_data(hellos.real(name))
        return flight
    request = f"GET / HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n\r\n".encode()
    return Flight.of_http(request, "GET", bodiless=True)


@dataclass
class Street:
    """Sites behind one censor, and a Byway that visits them."""

    censor: Censor | None
    seed: int = 0
    strict: frozenset[str] = frozenset()  # sites whose server rejects cut records
    auto: Auto = field(default_factory=Auto)
    private: frozenset[str] = frozenset()
    relays: tuple[str, ...] = ("vps",)
    down_relays: DialError | None = None  # how connecting to them fails
    down_direct: DialError | None = None  # how connecting to sites fails, without a strategy
    server: Callable[[str, str], Fault] = lambda name, site: ""  # what a site's server does with a name, but answer
    network: NetworkId = HOME
    struck: list[tuple[str, bool]] = field(default_factory=list)  # whose flows were stopped, and if for residue alone
    hellos: list[tuple[float, str, str]] = field(default_factory=list)  # time of the first bytes, name, route
    added: list[tuple[str, str]] = field(default_factory=list)  # name and strategy of those between visits …
    added_at: list[float] = field(default_factory=list)  # … and when they left
    punished: dict[IPAddress, float] = field(default_factory=dict)  # until when
    setup: Setup = field(init=False)
    _visiting: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        settings = Settings(auto=replace(self.auto, controls=(f"https://{CONTROL}/",)))
        self.tuning = settings.detect
        self.beliefs = Beliefs(settings.detect, rng=random.Random(self.seed))
        self.findings = SharedFindings(self.now)
        router = Router(parse_rules("", source="rules.txt"), {}, tuple(map(RelayInfo, self.relays)), settings)
        unused, here = cast(Any, None), cast(Any, self)
        resolver: Any = SimpleNamespace(**{**vars(NO_RESOLVER), "known": self.known})
        guard: Any = SimpleNamespace(refuse_host=lambda destination: "")
        self.setup = Setup(
            Loaded(settings), unused, guard, router, here, resolver, pages=NO_PAGES, knowledge=_Knows(self)
        )
        made = services(
            setup=lambda: self.setup,
            beliefs=self.beliefs,
            tcp_info=FakeOracle(),
            now=self.now,
            network=lambda: self.network,
            is_private=self.private.__contains__,
            findings=self.findings,
        )
        self.tcp_info = made.tcp_info
        self.search, self.retest = LadderSearch(made, rng=random.Random(self.seed)), DirectRetest(made)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def address(self, to: Destination) -> IPAddress:
        return to.address or self.known(to.host)[0]

    def known(self, name: str) -> tuple[IPAddress, ...]:
        return (_ADDRESSES[name],)

    # -- the registry of its setup

    schedule = None

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> Any:
        if route.relays:
            answer = _ANSWERS[self.censor.protocol if self.censor is not None else Protocol.TLS]
            return ScriptedDialer(Script(connect=self.down_relays or 0.2, answer=answer, after=0.2))
        return with_strategies(_SiteDialer(self, route, avoid_residual=avoid_residual), route.wrap)

    @property
    def direct(self) -> Any:
        return _Direct(self)

    def script(self, destination: Destination, route: Route) -> Script:
        """How a connection to a site goes."""
        address, censor = self.address(destination), self.censor
        if self.down_direct is not None and route.wrap in ((), ("doh",)):
            return Script(connect=self.down_direct)
        if censor is not None and censor.residual == "syn" and self.punished.get(address, 0.0) > self.now():
            self.struck.append((destination.host, True))
            return Script(connect=DialError("reset", stage=Stage.CONNECT, symptom=Symptom.REFUSED))
        return Script(connect=0.05, stream=lambda script: _Watched(self, script, route, address, destination.port))

    # -- a visit

    async def visit(self, name: str) -> Route:
        """Visits a site that opens, and returns the route that won."""
        route = await self.try_visit(name)
        assert route is not None, self.hellos[-5:]
        return route

    async def try_visit(self, name: str, *, beside: str = "other.test") -> Route | None:
        """Visits a site, starts the probes beside it, and returns the route that won, if one did. Another site
        delivers beside it, unless it is empty."""
        censor = self.censor
        protocol, port = (censor.protocol, censor.port) if censor is not None else (Protocol.TLS, 443)
        now = self.now()
        request = Request(next(_ids), Destination(name, port), Inbound.CONNECT, "127.0.0.1:50000")
        about = self.beliefs.about(name, network=HOME, now=now)
        plan = self.setup.router.plan(request, about.belief, relays=self.relays, now=now, rungs=about.rungs)
        race = self.setup.race(request, plan.routes, self.tcp_info, self.findings)
        flight = flight_to(name, protocol)
        self._visiting += 1
        try:
            winner = await race.deliver(flight, lambda: True)
            won = winner.route if winner is not None else None
            made = replace(
                outcome(*race.attempts, winner=won, host=name, at=now, protocol=protocol),
                request=request,
                plan=plan,
                flight_at=now,
            )
            if winner is not None:
                winner.stream.abort()
        finally:
            race.close()
            self._visiting -= 1
        self._deliver(beside)
        self.beliefs.learn(made, network=HOME, now=self.now())
        self._deliver(beside and f"{beside}.org")
        if won is None:
            record = cast(OpenRecord, Judged(made))
            self.search.on_unserved(Unserved(self.setup, record, flight, made))
        elif won != DIRECT:
            rescued = visit_of(self.setup, made, flight)
            self.retest.on_rescued(rescued)
            self.search.on_rescued(rescued)
        return won

    def _deliver(self, other: str) -> None:
        if other:
            self.beliefs.learn(DirectDelivered(other), network=HOME, now=self.now())

    async def visits(self, *names: str, times: int, apart_s: float) -> dict[str, list[Route | None]]:
        """Visits each site so many times. Others are visited in between, at equal times."""
        seen: dict[str, list[Route | None]] = {name: [] for name in names}
        for _ in range(times):
            for name in names:
                began_at = self.now()
                seen[name].append(await self.try_visit(name))
                await asyncio.sleep(max(0.0, began_at + apart_s / len(names) - self.now()))
        return seen

    def sent_over(self, *names: str) -> list[str]:
        """The strategies over which hellos of these names were sent direct, in their order."""
        return ["|".join(Route.parse(route).wrap) for _, name, route in self.hellos if name in names]


class _Knows(Knowledge):
    def __init__(self, street: Street) -> None:
        self._street = street

    def may_help(
        self, route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
    ) -> bool:
        return fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)

    def in_residual_window(self, address: IPAddress) -> bool:
        street = self._street
        return street.beliefs.in_residual_window(address, HOME, street.now())

    def report_broken_flight(self, address: str, host: str) -> None:
        self._street.beliefs.note(FlightBroken(address, host), network=HOME, now=self._street.now())

    def report_answered_flight(self, address: str, host: str) -> None:
        self._street.beliefs.note(FlightAnswered(address, host), network=HOME, now=self._street.now())

    def cut_hellos(self, host: str, addresses: Sequence[str]) -> CutHellos:
        return self._street.beliefs.cut_hellos(host, addresses, network=HOME, now=self._street.now())


class _SiteDialer:
    """Dials a site through the censor with a local strategy."""

    def __init__(self, street: Street, route: Route, *, avoid_residual: bool) -> None:
        self._street, self._route, self._avoid_residual = street, route, avoid_residual

    async def dial(self, destination: Destination) -> Stream:
        street = self._street
        if self._avoid_residual and street.setup.knowledge.in_residual_window(street.address(destination)):
            raise DialError("skipped", stage=Stage.CONNECT, symptom=Symptom.SKIPPED)
        return await ScriptedDialer(street.script(destination, self._route)).dial(destination)


class _Direct:
    """Dials a site through the censor."""

    def __init__(self, street: Street) -> None:
        self._street = street

    def begin(self, destination: Destination, notify: Notify) -> Any:
        return ScriptedDirect(lambda: self._street.script(destination, DIRECT)).begin(destination, notify)


class _Watched(ScriptedStream):
    """A connection to a site, as the censor sees it."""

    def __init__(self, street: Street, script: Script, route: Route, address: IPAddress, port: int) -> None:
        super().__init__(script)
        self.peer = f"{address}:{port}"
        self._street, self._route, self._address = street, route, address
        self._segments: list[Segment] = []
        self._is_over = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        now = self._street.now()
        if self.flight_sent_at is None:
            self.flight_sent_at = now
        self.sent += bytes(data)
        for begin in range(0, len(data), SEGMENT):
            self._segments.append(Segment(now - self.flight_sent_at, bytes(data[begin : begin + SEGMENT])))
            self._pass()
        return len(data)

    def _pass(self) -> None:
        """Lets the censor see the segments so far, and then the server."""
        street, censor = self._street, self._street.censor
        if self._is_over:
            return
        name = _name_in(self.sent)
        if censor is not None:
            is_punished = bool(censor.residual) and street.punished.get(self._address, 0.0) > street.now()
            if is_punished or any(censor.sees(self._segments, site) for site in SITES):
                street.struck.append((name or _AT[self._address], is_punished))
                if censor.residual and not is_punished:
                    street.punished[self._address] = street.now() + PUNISHED_S
                self._end(RESET)
                return
        if name and (fault := street.server(name, _AT[self._address])):
            self._end(None if fault == "silent" else RESET)
        elif name:
            rejects = name in street.strict and len(_records(self.sent)) > 1
            protocol = Protocol.TLS if self.sent[0] == 0x16 else Protocol.HTTP
            self._end(REJECTED if rejects else _ANSWERS[protocol])

    def _end(self, answer: bytes | Exception | None) -> None:
        self._is_over = True
        assert self.flight_sent_at is not None
        name = _name_in(self.sent) or _AT[self._address]  # the censor may not have let it come whole
        street, route = self._street, self._route
        street.hellos.append((self.flight_sent_at, name, str(route)))
        if not street._visiting:
            street.added.append((name, "|".join(route.wrap)))
            street.added_at.append(self.flight_sent_at)
        if answer is None:
            self.script.acknowledged, self.script.retransmits = False, 3
        else:
            asyncio.get_running_loop().call_later(0.05, self._arrive, answer)


def _name_in(data: bytes) -> str:
    """The name in a whole hello or request; empty: it is not whole."""
    if data[:1] == b"\x16":
        whole = messages.whole_hello(data)
        return whole.name or "" if whole is not None else ""
    return messages.host(data) or "" if data.endswith(b"\r\n\r\n") else ""


def _records(data: bytes) -> list[bytes]:
    found = []
    while data:
        end = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[:end])
        data = data[end:]
    return found
