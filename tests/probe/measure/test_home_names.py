"""No relay hears a name before the network's own resolver has said whether it is a private one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import pytest

from proxy.model import (
    DIRECT,
    DOH,
    Action,
    DnsFinding,
    IPAddress,
    MeasurementStep,
    Route,
    SignalId,
    Stage,
    StepKind,
    StepResult,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.probe.measure.measurement import measure
from tests.probe.measure.scene import SITE, Scene, judged, only, steps_of
from tests.support.environment import FakeEnvironment
from tests.support.outcomes import TOR
from tests.support.waiting import until


@dataclass
class Network:
    """Both resolvers, and what the relay had heard when each of them answered."""

    scene: Scene
    is_private: bool = True
    is_known_elsewhere: bool = False
    heard: dict[str, list[str]] = field(default_factory=dict)
    is_zone: bool = False

    @property
    def means(self) -> FakeEnvironment:
        return replace(
            self.scene.means,
            resolve=self.resolve,
            secure=self.secure,
            is_local_zone=lambda host: self.is_zone,
            may_be_local_zone=lambda host: self.is_private and not self.is_zone,
        )

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        await self._answer("plain")
        if self.is_private:
            raise DialError(f"{host} is private", stage=Stage.RESOLVE, symptom=Symptom.FORGED)
        return await self.scene.resolve(host)

    async def secure(self, host: str) -> Sequence[IPAddress]:
        if not self.is_private and self.is_known_elsewhere:  # nothing waits for this answer
            await until(lambda: bool(self.scene.relay.asked))
        await self._answer("secure")
        if self.is_known_elsewhere:
            return await self.scene.secure(host)
        self.is_zone = True
        raise DialError(f"{host} does not exist", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)

    async def _answer(self, resolver: str) -> None:
        for _ in range(200):  # in which a relay on loopback would be asked
            await asyncio.sleep(0)
        self.heard[resolver] = [*self.scene.relay.asked]


ROUTES = [(DIRECT, DOH, TOR), (DIRECT, TOR), (TOR,), (Route(wrap=("tlsrec",)), TOR)]


@pytest.mark.parametrize("routes", ROUTES, ids=lambda routes: ",".join(map(str, routes)))
@pytest.mark.parametrize("thorough", [True, False])
async def test_a_name_that_only_this_network_knows(scene: Scene, routes: Sequence[Route], thorough: bool) -> None:
    network = Network(scene)
    steps = await steps_of(scene, scene.question(routes=routes, thorough=thorough), network.means)
    assert network.heard == {"plain": [], "secure": []}
    assert scene.relay.asked == []
    relayed = [step for step in steps if step.route == TOR]
    assert [step.result for step in relayed] == [StepResult.NOT_TESTED]
    assert "local network" in relayed[0].text
    assert not any(step.kind is StepKind.CONTROL for step in steps)
    assert {step.route for step in steps} <= {*routes, DIRECT, DOH}


@pytest.mark.parametrize("routes", ROUTES, ids=lambda routes: ",".join(map(str, routes)))
async def test_a_name_of_the_search_list(scene: Scene, routes: Sequence[Route]) -> None:
    """Its private address counts as right at once."""
    network = Network(scene, is_private=False, is_zone=True)
    await steps_of(scene, scene.question(routes=routes), network.means)
    assert network.heard["plain"] == []
    assert scene.relay.asked == []


@pytest.mark.parametrize("routes", ROUTES, ids=lambda routes: ",".join(map(str, routes)))
@pytest.mark.parametrize("is_private", [True, False])
async def test_the_control_a_name_that_others_know_is_asked_of_relays(
    scene: Scene, routes: Sequence[Route], is_private: bool
) -> None:
    """A private answer is a sign of tampering then. A public one is enough to ask them at once."""
    network = Network(scene, is_private=is_private, is_known_elsewhere=True)
    steps = await steps_of(scene, scene.question(routes=routes), network.means)
    assert network.heard["plain"] == []
    assert only(steps, StepKind.ANSWER, TOR).ok
    assert bool(network.heard["secure"]) is not is_private
    if is_private and DIRECT in routes:
        assert judged(steps).cause == "dns"


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("routes", ROUTES, ids=lambda routes: ",".join(map(str, routes)))
@pytest.mark.parametrize("plain", ["private and allowed", "denied"])
async def test_a_name_that_leads_into_the_home_network_by_encrypted_dns(
    scene: Scene, plain: str, routes: Sequence[Route], thorough: bool
) -> None:
    """The network's resolver gave no address that shows it, as one that protects from DNS rebinding does not."""
    network = Network(scene, is_private=False, is_known_elsewhere=True)
    if plain == "denied":
        scene.addresses.clear()

    async def secure(host: str) -> Sequence[IPAddress]:
        await network._answer("secure")
        network.is_zone = True
        return await scene.secure(host)

    may_be = plain == "private and allowed"
    means = replace(network.means, secure=secure, may_be_local_zone=lambda host: may_be and not network.is_zone)
    steps = await steps_of(scene, scene.question(routes=routes, thorough=thorough), means)
    assert network.heard == {"plain": [], "secure": []}
    assert scene.relay.asked == []
    assert not any(step.kind is StepKind.CONTROL or step.symptom is Symptom.FORGED for step in steps)


async def test_a_name_whose_private_answer_is_known_waits_for_encrypted_dns(scene: Scene) -> None:
    """The system's resolver is not asked again: the finding may be of a moment in which encrypted DNS was silent."""
    network, known = Network(scene), DnsFinding(SignalId.DNS_BOGON, "10.0.0.1 for a public name", 0.0)
    await steps_of(scene, scene.question(), replace(network.means, finding=lambda _: known))
    assert network.heard == {"secure": []}
    assert scene.relay.asked == []


async def test_no_answer_of_the_network_keeps_no_relay_from_being_asked(scene: Scene) -> None:
    scene.addresses.clear()
    steps = await steps_of(scene, scene.question())
    assert only(steps, StepKind.ANSWER, TOR).ok


async def test_a_rule_holds_as_written(scene: Scene) -> None:
    """A relay that it names is asked at once, and no resolver."""
    network = Network(scene)
    steps = await steps_of(scene, scene.question(action=Action.RELAY), network.means)
    assert only(steps, StepKind.ANSWER, TOR).ok
    assert network.heard == {}


async def test_a_measurement_without_direct_tells_of_its_relays_alone(scene: Scene) -> None:
    told: list[MeasurementStep] = []
    async with aclosing(measure(scene.means, scene.question(routes=(TOR,)))) as steps:
        told += [step async for step in steps]
    assert {step.route for step in told} == {TOR}
    assert scene.asked == [SITE]
