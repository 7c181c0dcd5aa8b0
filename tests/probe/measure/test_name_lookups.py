"""Who is asked for a site's name in a measurement, and who is not."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from proxy.config.schema import Dns
from proxy.model import DIRECT, DOH, DnsFinding, IPAddress, SignalId, State, StepKind, StepResult, Symptom
from tests.probe.measure.scene import CENSOR, ORIGIN, SITE, Scene, judged, only, steps_of
from tests.support.censor import Behaviour

OF_DIRECT = (StepKind.HELLO, DIRECT)


async def test_a_name_that_the_system_denies(scene: Scene) -> None:
    scene.addresses.clear()
    steps = await steps_of(scene, scene.question())
    assert only(steps, StepKind.RESOLVE).symptom is Symptom.NO_NAME
    assert only(steps, StepKind.ANSWER, DOH).ok
    assert judged(steps).cause == "dns"


async def test_what_both_resolvers_compared_is_told(scene: Scene) -> None:
    scene.finding = DnsFinding(SignalId.DNS_TWO_ANSWERS, "two answers came", 0.0)
    steps = await steps_of(scene, scene.question())
    forged = next(step for step in steps if step.symptom is Symptom.FORGED)
    assert forged.evidence["dns"] == "dns_two_answers"


async def test_a_suspect_name_is_not_asked_in_clear(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(state=State.SUSPECT))
    assert only(steps, StepKind.RESOLVE).result is StepResult.NOT_TESTED
    assert scene.asked == []
    assert scene.asked_securely == [SITE]
    assert only(steps, StepKind.ANSWER).address.startswith(ORIGIN)  # direct goes there now
    assert only(steps, StepKind.CONNECT, DOH).result is StepResult.NOT_TESTED
    assert judged(steps, State.SUSPECT).status == "works"


async def test_direct_is_where_visits_go_also_while_a_suspect_name_is_not_asked_in_clear(scene: Scene) -> None:
    """Else a measurement would find that the site works, and the next visit would go to the forged address again."""
    scene.finding = DnsFinding(SignalId.DNS_MISMATCH, "other addresses", 0.0)
    await scene.censor.set(Behaviour.RESET, [SITE])

    async def elsewhere(_host: str) -> IPAddress:
        return ipaddress.ip_address(CENSOR)

    steps = await steps_of(scene, scene.question(state=State.SUSPECT), replace(scene.means, elsewhere=elsewhere))
    assert scene.asked == []
    assert only(steps, StepKind.CONNECT, DIRECT).address.startswith(CENSOR)
    assert only(steps, StepKind.ANSWER, DOH).address.startswith(ORIGIN)
    assert judged(steps, State.SUSPECT).status == "blocked"


async def test_nor_is_one_whose_suspicion_has_lapsed(scene: Scene) -> None:
    question = scene.question()
    lapsed = replace(question, belief=replace(question.belief, cause="ip", last_good="tor"))
    assert only(await steps_of(scene, lapsed), StepKind.RESOLVE).result is StepResult.NOT_TESTED
    assert scene.asked == []


async def test_with_no_other_resolver_the_systems_is_asked(scene: Scene) -> None:
    means = replace(scene.means, settings=replace(scene.means.settings, dns=Dns(secure="never")))
    steps = await steps_of(scene, scene.question(state=State.SUSPECT), means)
    assert scene.asked == [SITE]
    assert scene.asked_securely == []
    assert only(steps, StepKind.SECURE, DOH).result is StepResult.NOT_TESTED


async def test_a_resolver_that_lied_is_not_asked_again(scene: Scene) -> None:
    scene.known = DnsFinding(SignalId.DNS_TWO_ANSWERS, "two answers came", 0.0)
    steps = await steps_of(scene, scene.question())
    assert scene.asked == []
    assert "two answers came" in only(steps, StepKind.RESOLVE).text


async def test_an_address_that_both_resolvers_give_is_directs(scene: Scene) -> None:
    """Of two servers of a site, one is broken, and encrypted DNS names the other one first."""
    await scene.censor.set(Behaviour.SILENT, [SITE])
    scene.addresses[SITE] = [CENSOR, ORIGIN]
    steps = await steps_of(scene, scene.question())
    hellos = {step.address.rpartition(":")[0]: step.ok for step in steps if (step.kind, step.route) == OF_DIRECT}
    assert hellos == {CENSOR: False, ORIGIN: True}
    assert only(steps, StepKind.CONNECT, DOH).result is StepResult.NOT_TESTED
    assert judged(steps).status == "works"


async def test_control_an_address_that_only_encrypted_dns_gives_is_not(scene: Scene) -> None:
    await scene.censor.set(Behaviour.SILENT, [SITE])
    steps = await steps_of(scene, scene.question())
    assert only(steps, StepKind.HELLO, DOH).ok
    assert judged(steps).status != "works"
