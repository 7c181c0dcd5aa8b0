"""What a measurement is made with, and what it is asked.

Means are what a Setup and the services of a process lend to it, as functions: a test brings its own, and none of them
is more than a measurement needs.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from proxy.config.relays import enabled_relays
from proxy.config.schema import Settings
from proxy.detect.beliefs.belief_table import TROUBLED
from proxy.detect.tls_interception import KnownRoots
from proxy.model import DIRECT, Belief, Destination, DnsFinding, IPAddress, MeasurementStep, Plan, Route, State
from proxy.net.dialers.dialer import Dialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.race.policy import NO_POLICY, AnswerClassifier
from proxy.probe.target import ProbeTarget
from proxy.session.services import Services
from proxy.session.setup import Setup, refusal_by

_TROUBLED = (*TROUBLED, State.DOWN)

Resolve = Callable[[str], Awaitable[Sequence[IPAddress]]]


class SharedControls:
    """What asking the controls showed, for all measurements of the next moments: of hundreds of sites that fail, few
    need to ask one. One asks, the others wait for it."""

    def __init__(self) -> None:
        self._locks: defaultdict[ProbeTarget, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._results: dict[ProbeTarget, tuple[float, MeasurementStep]] = {}

    async def ask(
        self, page: ProbeTarget, ask: Callable[[], Awaitable[MeasurementStep]], *, keep_s: float
    ) -> MeasurementStep:
        """What `ask` finds of a control, or found not longer ago than `keep_s`."""
        async with self._locks[page]:
            now = asyncio.get_running_loop().time()
            asked_at, step = self._results.get(page, (-math.inf, None))
            if step is None or now - asked_at >= keep_s:
                step = await ask()
                self._results[page] = now, step
            return step


async def _always(_destination: Destination) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class ProbeEnvironment:
    """What is measured with."""

    settings: Settings
    dialer: Callable[[Route], Dialer]
    carries: Callable[[Route, Destination], bool]
    refuses: Callable[[Destination, IPAddress], str | None]
    """Why an address may not be dialed for a destination."""
    is_private: Callable[[str], bool]
    tcp_info: TcpInfo
    may_go_direct: Callable[[Destination], Awaitable[bool]] = _always
    """Whether a control may be asked: rules and addons hold for these too."""
    is_troubled: Callable[[str], bool] = lambda _: False
    """Whether a host is held to be in trouble: that it fails says nothing of any other."""
    classifier: AnswerClassifier = NO_POLICY
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
    def of(cls, setup: Setup, services: Services) -> ProbeEnvironment:
        return cls(
            settings=setup.settings,
            dialer=setup.registry.dialer,
            carries=setup.registry.carries,
            refuses=refusal_by(setup.guard, setup.resolver),
            is_private=services.is_private,
            may_go_direct=partial(services.may_go_direct, setup),
            is_troubled=_trouble_check(services),
            tcp_info=services.tcp_info,
            classifier=setup.policy,
            resolve=setup.resolver.resolve,
            secure=setup.resolver.secure,
            compare=setup.resolver.compare,
            finding=setup.resolver.finding,
            roots=services.roots,
        )


@dataclass(frozen=True, slots=True)
class MeasurementRequest:
    """What is to be measured, and what is known and said of it."""

    page: ProbeTarget
    plan: Plan
    belief: Belief
    routes: tuple[Route, ...]
    """To be looked at: direct, local means, relays."""
    thorough: bool = True
    """Both address families, a neutral name at the same address, secure DNS beside the system's."""

    @property
    def destination(self) -> Destination:
        return self.page.destination


def _trouble_check(services: Services) -> Callable[[str], bool]:
    def is_troubled(host: str) -> bool:
        belief = services.beliefs.lookup(host, network=services.network(), now=services.now())
        return belief.state in _TROUBLED

    return is_troubled


def measured_routes(settings: Settings) -> tuple[Route, ...]:
    """All that there is to be looked at under these settings: direct, each local means, each relay."""
    local = [Route(wrap=tuple(rung.split("|"))) for rung in settings.auto.ladder]
    return (DIRECT, *local, *(Route((relay.name,)) for relay in enabled_relays(settings.relay)))
