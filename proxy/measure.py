"""What every route to a site shows, measured on purpose and told step by step.

For `byway why`, which asks thoroughly about one site, and `byway test`, which asks briefly about many. Nothing is sent
that the user's own rules, or a suspicion once held, forbid: such a step is "not tested" and says why. Routes through
relays are visited at the same time as the direct ones; what the steps mean is the business of `detect.verdict`.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

from proxy.config.schema import Settings
from proxy.detect.interception import Finding, Kind, KnownRoots, judge
from proxy.detect.scopes import registrable
from proxy.errors import BywayError, DialError
from proxy.model import (
    DIRECT,
    Action,
    Belief,
    Destination,
    DnsFinding,
    Found,
    IPAddress,
    Part,
    Plan,
    Protocol,
    Route,
    State,
    Step,
    Symptom,
)
from proxy.net.advice import UNADVISED, LookAt
from proxy.net.dialer import Dialer
from proxy.net.oracle import Oracle
from proxy.net.probe import probe
from proxy.net.tasks import spawn
from proxy.net.visit import NOT_ASKED, Evidence, Page, Visitor
from proxy.services import Services, Setup
from proxy.wire import names

DOH = Route(wrap=("doh",))
"""Direct, to an address that a secure resolver gave."""

_RELAY_TIMEOUT_S = 60.0
"""A bound, and no judgement: a relay's own handshakes give up long before."""

_URL_LIMIT = 8192

_OF_THE_OTHER = {Protocol.TLS: frozenset({"hostcase"}), Protocol.HTTP: frozenset({"tlsrec"})}
"""Local means that do nothing to a protocol's flight."""

_CONTROLS = 2
"""Controls that are asked at most: one that does not answer may be blocked itself, two would be chance."""

_TROUBLED = (State.SUSPECT, State.BLOCKED, State.DOWN)

Resolve = Callable[[str], Awaitable[Sequence[IPAddress]]]


class SharedControls:
    """What asking the controls showed, for all measurements of the next moments: of hundreds of sites that fail, few
    need to ask one. One asks, the others wait for it."""

    def __init__(self) -> None:
        self._locks: defaultdict[Page, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._told: dict[Page, tuple[float, Step]] = {}

    async def ask(self, page: Page, ask: Callable[[], Awaitable[Step]], *, keep_s: float) -> Step:
        """What `ask` finds of a control, or found not longer ago than `keep_s`."""
        async with self._locks[page]:
            now = asyncio.get_running_loop().time()
            asked_at, step = self._told.get(page, (-math.inf, None))
            if step is None or now - asked_at >= keep_s:
                step = await ask()
                self._told[page] = now, step
            return step


async def _always(_destination: Destination) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Means:
    """What is measured with."""

    settings: Settings
    dialer: Callable[[Route], Dialer]
    carries: Callable[[Route, Destination], bool]
    refuses: Callable[[Destination, IPAddress], str | None]
    """Why an address may not be dialed for a destination."""
    refuses_host: Callable[[Destination], str | None]
    """The same of the destination itself, on whatever route."""
    is_private: Callable[[str], bool]
    oracle: Oracle
    may_go_direct: Callable[[Destination], Awaitable[bool]] = _always
    """Whether a control may be asked: rules and addons hold for these too."""
    is_troubled: Callable[[str], bool] = lambda _: False
    """Whether a host is held to be in trouble: that it fails says nothing of any other."""
    look_at: LookAt = UNADVISED.look_at
    """What a plain HTTP answer is."""
    resolve: Resolve | None = None
    """The system's resolver, asked in clear."""
    secure: Resolve | None = None
    compare: Callable[[str], Awaitable[DnsFinding | None]] | None = None
    """What is wrong with what the system's resolver said of a name, after both were asked."""
    finding: Callable[[str], DnsFinding | None] = lambda _: None
    """The same as far as it is known, without asking."""
    trust: ssl.SSLContext | None = None
    """What certificates are held to; None: the system's roots."""
    roots: KnownRoots = field(default_factory=KnownRoots)
    """Those that are known to intercept."""
    controls: SharedControls | None = None
    """Shared by measurements on one network; None: each asks its own."""

    @classmethod
    def of(cls, setup: Setup, services: Services) -> Means:
        return cls(
            settings=setup.settings,
            dialer=setup.registry.dialer,
            carries=setup.registry.carries,
            refuses=_refusing(setup),
            refuses_host=setup.guard.refuse_host,
            is_private=services.is_private,
            may_go_direct=partial(services.may_go_direct, setup),
            is_troubled=_troubled(services),
            oracle=services.oracle,
            look_at=setup.advice.look_at,
            resolve=setup.resolver.resolve,
            secure=setup.resolver.secure,
            compare=setup.resolver.compare,
            finding=setup.resolver.finding,
            roots=services.roots,
        )


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured, and what is known and said of it."""

    page: Page
    plan: Plan
    belief: Belief
    routes: tuple[Route, ...]
    """To be looked at: direct, local means, relays."""
    thorough: bool = True
    """Both address families, a neutral name at the same address, secure DNS beside the system's."""

    @property
    def destination(self) -> Destination:
        return Destination(self.page.host, self.page.port)


def _troubled(services: Services) -> Callable[[str], bool]:
    def is_troubled(host: str) -> bool:
        held = services.beliefs.lookup(host, network=services.network(), now=services.now())
        return held.state in _TROUBLED

    return is_troubled


def _refusing(setup: Setup) -> Callable[[Destination, IPAddress], str | None]:
    """The guard's word, as the direct route has it: a name may lead to a fake address where another proxy on this
    computer gives them."""

    def refuses(destination: Destination, address: IPAddress) -> str | None:
        if destination.address is None and setup.resolver.is_fake(address):
            return None
        return setup.guard.refuse_address(destination, address)

    return refuses


def _said_of(found: Finding) -> tuple[str, Evidence]:
    evidence: dict[str, str | int | float] = {"certificate": str(found.kind)}
    if found.kind is Kind.KNOWN_ROOT:
        evidence["known_root"] = found.fingerprint
    return found.detail, evidence


def measured_routes(settings: Settings) -> tuple[Route, ...]:
    """All that there is to be looked at under these settings: direct, each local means, each relay."""
    local = [Route(wrap=tuple(rung.split("|"))) for rung in settings.auto.ladder]
    return (DIRECT, *local, *(Route((relay.name,)) for relay in settings.relay))


async def measure(means: Means, question: Question) -> AsyncGenerator[Step, None]:
    """The steps, as they come. Whoever leaves early has everything under way closed."""
    steps: asyncio.Queue[Step | None] = asyncio.Queue()
    work = spawn(_Measuring(means, question, steps.put_nowait).run(), name=f"measure {question.page.host}")
    work.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await steps.get()) is not None:
            yield step
        await work  # a fault of ours is the asker's to know
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait((work,))


class _Measuring:
    """One measurement under way."""

    def __init__(self, means: Means, question: Question, tell: Callable[[Step], None]) -> None:
        self._means = means
        self._question = question
        self._hand_on = tell
        self._detect = means.settings.detect
        self._visitor = self._visitor_for(self._tell)
        self._answered_neutral: set[str] = set()  # addresses
        self._opened: set[str] = set()  # addresses that a direct connection came to, with their ports
        self._is_odd = False  # what a control would explain, or bear out, though direct delivered
        self._slots = asyncio.Semaphore(self._detect.measure_routes)
        self._controls = [page_of(page) for page in means.settings.auto.controls]

    def _visitor_for(self, tell: Callable[[Step], None]) -> Visitor:
        means = self._means
        return Visitor(
            tell,
            detect=self._detect,
            oracle=means.oracle,
            look_at=means.look_at,
            whose=self._whose,
            is_known=self._is_known,
            trust=means.trust,
        )

    async def _whose(self, dialer: Dialer, destination: Destination, host: str) -> tuple[str, Evidence]:
        """Who made a certificate that is not trusted: asked for once more, to see the whole chain."""
        seen = await probe(dialer, destination, host, timeout_s=self._detect.silent_s, trust=self._means.trust)
        found = judge(seen.chain, host, verified=seen.verified, expired=seen.expired, roots=self._means.roots)
        return _said_of(found)

    def _is_known(self, chain: Sequence[bytes], host: str) -> tuple[str, Evidence] | None:
        """The same of a chain that is trusted, where a root made it that is known to intercept."""
        found = judge(chain, host, verified=True, expired=False, roots=self._means.roots)
        return _said_of(found) if found.kind is Kind.KNOWN_ROOT else None

    def _tell(self, step: Step) -> None:
        if step.route.is_direct and step.part in (Part.HELLO, Part.ANSWER) and step.address:
            self._opened.add(step.address)
        if step.part is Part.RESOLVE and step.failed:
            self._is_odd = True  # is it this name alone?
        if step.route == DIRECT and step.part is Part.ANSWER and step.ok:
            slow = float(step.evidence.get("bytes_per_s", math.inf)) < self._detect.measure_slow_bytes
            self._is_odd |= slow or self._question.page.protocol is Protocol.HTTP
        self._hand_on(step)

    async def run(self) -> None:
        routes = self._question.routes
        if refusal := self._why_nothing():
            for route in routes:
                self._leave_out(route, refusal)
            return
        with contextlib.suppress(TimeoutError):  # what has been told by then is what there is
            async with asyncio.timeout(self._detect.measure_site_s):
                await self._all(routes)

    async def _all(self, routes: Sequence[Route]) -> None:
        self._controls = [page for page in self._controls if await self._may_ask(page)]
        async with asyncio.TaskGroup() as group:
            if local := [route for route in routes if route.is_direct]:
                group.create_task(self._without_relay(local))
            for route in routes:
                if not route.is_direct:
                    group.create_task(self._through(route))

    def _why_nothing(self) -> str:
        """Why nothing at all may be sent there; empty when it may."""
        if self._question.plan.action is Action.BLOCK:
            return f"it is refused here: {self._question.plan.why}"
        if self._means.is_private(self._question.page.host):
            return "`[log] never` names it, so nothing is sent there but what you send"
        return self._means.refuses_host(self._question.destination) or ""

    # -- through relays --------------------------------------------------------------------------------------------

    async def _through(self, route: Route) -> None:
        destination = self._question.destination
        planned = any(planned.relays for planned in self._question.plan.routes)
        if route not in self._question.plan.routes:
            if not self._means.carries(route, destination):
                self._leave_out(route, "it takes addresses alone, and the name may not be resolved for it")
            else:
                self._leave_out(route, self._question.plan.why if not planned else f"not by {self._question.plan.why}")
            return
        async with self._slots:
            await self._visitor.visit(
                route, self._means.dialer(route), destination, self._question.page, connect_s=_RELAY_TIMEOUT_S
            )

    # -- without a relay -------------------------------------------------------------------------------------------

    async def _without_relay(self, routes: Sequence[Route]) -> None:
        if not any(route.is_direct for route in self._question.plan.routes):
            for route in routes:
                self._leave_out(route, f"it goes through relays alone: {self._question.plan.why}")
            return
        plain, secure = await self._addresses()
        reached = [address for address in plain if await self._at(DIRECT, address)] if DIRECT in routes else []
        if DOH in routes:
            reached += await self._by_doh(plain, secure)
        await self._by_means([route for route in routes if route not in (DIRECT, DOH)], (*secure, *plain), reached)
        if not reached or self._is_odd:
            await self._control()

    async def _at(self, route: Route, address: IPAddress) -> bool:
        """One visit at one address; in a thorough measurement a harmless name is said there first, since a censor may
        punish the address for minutes once it has seen the site's."""
        destination = self._question.destination
        if (refusal := self._means.refuses(destination, address)) is not None:
            self._leave_out(route, refusal)
            return False
        place = self._place(address)
        dialer = self._means.dialer(DIRECT)
        page = self._question.page
        if self._question.thorough and page.protocol is Protocol.TLS and not await self._opens(route, dialer, place):
            return False
        return await self._visitor.visit(route, dialer, place, page, connect_s=self._detect.syn_s)

    def _place(self, address: IPAddress) -> Destination:
        """What is dialed for one address: itself, or the name where the address is let past for its sake alone."""
        place = Destination(str(address), self._question.page.port)
        return place if self._means.refuses(place, address) is None else self._question.destination

    async def _opens(self, route: Route, dialer: Dialer, place: Destination) -> bool:
        """Says a harmless name. False: the address could not even be connected, which is told."""
        if not (name := self._neutral_name()):
            return True
        answered = await self._visitor.neutral(route, dialer, place, name, connect_s=self._detect.syn_s)
        if answered:
            self._answered_neutral.add(place.host)
        return answered is not None

    async def _by_doh(self, plain: Sequence[IPAddress], secure: Sequence[IPAddress]) -> list[IPAddress]:
        if not secure:
            self._leave_out(DOH, "no secure resolver gave an address")
            return []
        others = [address for address in secure if address not in plain]
        if not others:
            self._leave_out(DOH, "it leads to the same address")
        return [address for address in others if await self._at(DOH, address)]

    async def _by_means(
        self, routes: Sequence[Route], addresses: Sequence[IPAddress], reached: Sequence[IPAddress]
    ) -> None:
        """The local means, where direct does not do."""
        port = self._question.page.port
        opened = [address for address in addresses if str(Destination(str(address), port)) in self._opened]
        if reached or not opened:
            why = "no address is known" if not addresses else "no address answers, and these means only hide a name"
            for route in routes:
                self._leave_out(route, "direct needs no help" if reached else why)
            return
        addresses = opened
        punished = await self._is_punished(addresses[0]) if routes else False
        for route in routes:
            if punished:
                self._leave_out(route, "the address is closed to us for some minutes, since it was asked for the site")
            elif _OF_THE_OTHER[self._question.page.protocol] & set(route.wrap):
                self._leave_out(route, "it is for another protocol")
            elif self._means.refuses(self._question.destination, addresses[0]) is None:
                await self._by_one(route, addresses[0])

    async def _is_punished(self, address: IPAddress) -> bool:
        """Whether a harmless name that was answered at the address is not any more: what would then fail there says
        nothing of the means by which it is tried."""
        if str(address) not in self._answered_neutral:
            return False
        unheard: list[Step] = []
        place, dialer = self._place(address), self._means.dialer(DIRECT)
        visitor = self._visitor_for(unheard.append)
        return not await visitor.neutral(DIRECT, dialer, place, self._neutral_name(), connect_s=self._detect.syn_s)

    async def _by_one(self, route: Route, address: IPAddress) -> None:
        try:
            dialer = self._means.dialer(route)
        except BywayError as error:
            self._leave_out(route, str(error))
            return
        place = self._place(address)
        await self._visitor.visit(route, dialer, place, self._question.page, connect_s=self._detect.syn_s)

    # -- names -----------------------------------------------------------------------------------------------------

    async def _addresses(self) -> tuple[list[IPAddress], list[IPAddress]]:
        """What the system's resolver and the secure one say: one address of each family. A literal is both."""
        host = self._question.page.host
        literal = self._question.destination.address
        if literal is not None:
            return [literal], []
        why_not = self._why_not_in_clear()
        plain = await self._ask(Part.RESOLVE, DIRECT, self._means.resolve, host, why_not)
        secure = await self._ask(Part.SECURE, DOH, self._means.secure, host, self._why_not_secure(host, plain))
        if why_not:
            plain = secure  # where direct goes now
        elif plain and secure and self._means.compare is not None:
            await self._compare(host)
        return self._chosen(plain), self._chosen(secure)

    async def _ask(self, part: Part, route: Route, resolve: Resolve | None, host: str, why_not: str) -> list[IPAddress]:
        if resolve is None or why_not:
            self._tell(Step(part, route, Found.NOT_TESTED, text=why_not or "there is no such resolver"))
            return []
        began = self._now()
        try:
            found = list(await resolve(host))
        except DialError as error:
            elapsed = round(self._now() - began, 4)
            ended = Found.NOT_TESTED if error.symptom in NOT_ASKED else Found.FAILED
            self._tell(Step(part, route, ended, error.symptom, str(error), "", elapsed, dict(error.evidence)))
            return []
        text = ", ".join(map(str, found[:4])) + (f" and {len(found) - 4} more" if len(found) > 4 else "")
        self._tell(Step(part, route, Found.OK, text=text, elapsed=round(self._now() - began, 4)))
        return found

    async def _compare(self, host: str) -> None:
        assert self._means.compare is not None
        try:
            finding = await self._means.compare(host)
        except DialError:
            return  # the two questions before it have told
        if finding is not None:
            evidence: dict[str, str | int | float] = {"dns": finding.signal}
            self._tell(Step(Part.RESOLVE, DIRECT, Found.FAILED, Symptom.FORGED, finding.detail, evidence=evidence))

    def _why_not_in_clear(self) -> str:
        if self._means.settings.dns.secure == "never":
            return ""  # there is nobody else to ask
        if self._question.belief.keeps_its_name:
            return "a name once suspect is not asked of the system's resolver again"
        if (finding := self._means.finding(self._question.page.host)) is not None:
            return f"the system's resolver lied about it before: {finding.detail}"
        if self._means.settings.dns.secure == "always":
            return '`[dns] secure` is "always", so no name is asked in clear'
        return ""

    def _why_not_secure(self, host: str, plain: Sequence[IPAddress]) -> str:
        if self._means.settings.dns.secure == "never":
            return '`[dns] secure` is "never"'
        local = ("local", "internal", "home.arpa", *self._means.settings.dns.local)
        if "." not in host or any(host == suffix or host.endswith(f".{suffix}") for suffix in local):
            return "a local name is asked of no resolver outside"
        if plain and not self._question.thorough:
            return "the system's resolver gave an address"
        return ""

    def _chosen(self, addresses: Sequence[IPAddress]) -> list[IPAddress]:
        """The first of each family; in a brief measurement the first."""
        first = {address.version: address for address in reversed(addresses)}
        chosen = [address for address in addresses if first.get(address.version) is address]
        return chosen if self._question.thorough else chosen[:1]

    # -- the control -----------------------------------------------------------------------------------------------

    async def _control(self) -> None:
        """Whether other sites are reached direct: without one, a failure says nothing about this one."""
        pages = [page for page in self._controls if not self._is_same_site(page)]
        if not pages:
            text = "`[auto] controls` names no other site that may be asked direct"
            self._tell(Step(Part.CONTROL, DIRECT, Found.NOT_TESTED, text=text))
            return
        random.shuffle(pages)  # no habit
        for page in pages[:_CONTROLS]:
            step = await self._told_by(page)
            self._tell(step)
            if step.ok:
                return

    async def _told_by(self, page: Page) -> Step:
        if self._means.controls is None:
            return await self._ask_control(page)
        keep_s = self._detect.measure_control_s
        return await self._means.controls.ask(page, lambda: self._ask_control(page), keep_s=keep_s)

    async def _ask_control(self, page: Page) -> Step:
        began = self._now()
        steps: list[Step] = []
        place, dialer = Destination(page.host, page.port), self._means.dialer(DIRECT)
        visitor = self._visitor_for(steps.append)
        reached = await visitor.visit(DIRECT, dialer, place, page, connect_s=self._detect.syn_s * 2)
        last = steps[-1]
        text = f"{page.host} answered" if reached else f"{page.host}: {last.text}"
        symptom = Symptom.NONE if reached else last.symptom
        found = Found.OK if reached else Found.FAILED
        elapsed = round(self._now() - began, 4)
        return Step(Part.CONTROL, DIRECT, found, symptom, text, last.address, elapsed, {"host": page.host})

    def _is_same_site(self, page: Page) -> bool:
        return registrable(self._question.page.host) == registrable(page.host)

    async def _may_ask(self, page: Page) -> bool:
        """Whether rules and addons let it go direct, and it is not in trouble itself."""
        means = self._means
        return not means.is_troubled(page.host) and await means.may_go_direct(Destination(page.host, page.port))

    def _neutral_name(self) -> str:
        """A name that nobody minds."""
        others = [page.host for page in self._controls]
        return next((host for host in others if host != self._question.page.host), "")

    def _leave_out(self, route: Route, why: str) -> None:
        part = Part.CONNECT if route.is_direct else Part.RELAY
        self._tell(Step(part, route, Found.NOT_TESTED, Symptom.SKIPPED, why))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def page_of(text: str) -> Page:
    """The page that a URL, or a host with or without a port, names: over TLS unless it says http, or port 80 alone.

    Raises ValueError with a sentence."""
    text = text.strip()
    if len(text) > _URL_LIMIT:
        raise ValueError("that is too long for a host or a URL")
    if "://" not in text:
        bare_ipv6 = text.count(":") > 1 and "[" not in text
        text = f"//[{text}]" if bare_ipv6 else f"//{text}"
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError("that names no host")
    scheme, port = parts.scheme.lower(), parts.port  # the port raises ValueError, with a sentence, beyond 65535
    plain = scheme in ("http", "ws") or (not scheme and port == 80)
    host = names.host(parts.hostname)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    protocol = Protocol.HTTP if plain else Protocol.TLS
    return Page(host, protocol, names.port((80 if plain else 443) if port is None else port), _ascii(target))


def _ascii(target: str) -> str:
    """A request target without a byte that could end its line."""
    safe = (f"%{byte:02X}" if not 0x21 <= byte <= 0x7E else chr(byte) for byte in target.encode("utf-8"))
    return "".join(safe)[:2048]
