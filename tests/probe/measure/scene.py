"""A site behind a censor, with a control and a relay beside it: what is measured in tests."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

from proxy.config.detect_tuning import DetectTuning
from proxy.config.relays import Relay
from proxy.config.schema import Auto, RelayConfig, Settings
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.verdict import Verdict
from proxy.model import (
    DIRECT,
    DOH,
    UNKNOWN_NETWORK,
    Action,
    Belief,
    DnsFinding,
    IPAddress,
    MeasurementStep,
    Plan,
    Protocol,
    Route,
    Stage,
    State,
    StepKind,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import AddressLookup, TcpDialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.poller import make_poller
from proxy.probe.measure.inputs import MeasurementRequest, ProbeEnvironment
from proxy.probe.measure.measurement import measure
from proxy.probe.target import page_of
from tests.support.censor import Censor
from tests.support.environment import FakeEnvironment
from tests.support.origin import Origin
from tests.support.outcomes import TOR
from tests.support.relay import Relay as RelayServer

SITE = "site.test"
CUT = Route(wrap=("tlsrec",))
CONTROL = "control.test"
FILTERED = "filtered.test"  # a control that is blocked itself
ORIGIN, CENSOR = "127.0.0.1", "127.0.0.2"
QUICK = DetectTuning(syn_s=2, silent_s=1, dropped_s=0.5, measure_answer_s=15, measure_stall_s=0.5, measure_lasts_s=0.1)


@dataclass
class Scene:
    """`SITE` is dialed at the censor; the control and the relay know the origin."""

    origin: Origin
    censor: Censor
    relay: RelayServer
    registry: Registry
    addresses: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # of the system's resolver
    asked_securely: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)  # the names whose hellos waited for their turn
    finding: DnsFinding | None = None  # of the comparison
    known: DnsFinding | None = None
    secure_address: str = ORIGIN

    @property
    def means(self) -> FakeEnvironment:
        port = self.origin.https_port
        return FakeEnvironment(
            settings=Settings(
                auto=Auto(controls=(f"https://{CONTROL}:{port}/",)),
                relay=(RelayConfig(name="tor", url=f"socks5h://127.0.0.9:{self.relay.port}"),),
                detect=QUICK,
            ),
            dialer=self.registry.dialer,
            carries=self.registry.carries,
            refuses=lambda *_: None,
            is_private=lambda host: host == "private.test",
            tcp_info=TcpInfo(),
            resolve=self.resolve,
            secure=self.secure,
            compare=self.compare,
            finding=lambda _: self.known,
            trust=self.origin.authority.client(),
            hello_turn=self.take_turn,
        )

    async def take_turn(self, name: str) -> None:
        self.turns.append(name)

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        found = self.addresses.get(host)
        if not found:
            raise DialError(f"{host} does not resolve", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)
        return [ipaddress.ip_address(address) for address in found]

    async def secure(self, host: str) -> Sequence[IPAddress]:
        self.asked_securely.append(host)
        return [ipaddress.ip_address(self.secure_address)]

    async def compare(self, host: str) -> DnsFinding | None:
        return self.finding

    def question(
        self,
        *,
        site: str = SITE,
        protocol: Protocol = Protocol.TLS,
        action: Action = Action.AUTO,
        routes: Sequence[Route] = (DIRECT, DOH, TOR),
        state: State = State.UNKNOWN,
        thorough: bool = True,
    ) -> MeasurementRequest:
        port = self.origin.https_port if protocol is Protocol.TLS else self.origin.http_port
        page = page_of(f"{'https' if protocol is Protocol.TLS else 'http'}://{site}:{port}/bytes/70000")
        planned = {
            Action.AUTO: (DIRECT, TOR),
            Action.RELAY: (TOR,),
            Action.DIRECT: (DIRECT,),
            Action.BLOCK: (),
        }[action]
        belief = replace(Belief(site, UNKNOWN_NETWORK), state=state)
        return MeasurementRequest(
            page, Plan(action, planned, f"a rule says {action}"), belief, tuple(routes), thorough=thorough
        )


@asynccontextmanager
async def made() -> AsyncIterator[Scene]:
    poller = make_poller(asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        stack.callback(poller.close)
        origin = await stack.enter_async_context(Origin())
        censor = await stack.enter_async_context(Censor(CENSOR, origin.https_port, origin=ORIGIN))
        relay = await stack.enter_async_context(RelayServer({SITE: ORIGIN, "private.test": ORIGIN}))
        names = _Names()
        registry = Registry(
            [Relay.parse("tor", f"socks5h://127.0.0.9:{relay.port}")],
            direct=TcpDialer(poller, names, lambda *_: None),
            to_relays=TcpDialer(poller, names, lambda *_: None),
        )
        yield Scene(origin, censor, relay, registry, {SITE: [CENSOR], "private.test": [CENSOR]})


class _Names(AddressLookup):
    """Of the dialer itself, which the control is asked through."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        assert host in (CONTROL, FILTERED)
        return [ipaddress.ip_address(ORIGIN if host == CONTROL else CENSOR)]


async def steps_of(
    scene: Scene, question: MeasurementRequest, means: ProbeEnvironment | None = None
) -> list[MeasurementStep]:
    async with asyncio.timeout(20), aclosing(measure(means or scene.means, question)) as coming:
        return [step async for step in coming]


def judged(steps: Sequence[MeasurementStep], state: State = State.UNKNOWN) -> Verdict:
    return decide(steps, replace(Belief(SITE, UNKNOWN_NETWORK), state=state), detect=QUICK, relays=["tor"])


def only(steps: Sequence[MeasurementStep], part: StepKind, route: Route = DIRECT) -> MeasurementStep:
    found = [step for step in steps if step.kind is part and step.route == route]
    assert len(found) == 1, found
    return found[0]
