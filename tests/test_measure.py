"""Whole measurements over real sockets on loopback: an origin, a censor in front of it, and a relay around it."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
import random
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from typing import Any, cast
from unittest.mock import MagicMock

import pytest

from proxy.config.schema import Auto, Detect, Dns, RelayConfig, Settings
from proxy.detect.beliefs import Beliefs
from proxy.detect.interception import KnownRoots, Root
from proxy.detect.verdict import Verdict, judge
from proxy.errors import DialError
from proxy.measure import DOH, Means, Question, SharedControls, measure, measured_routes, page_of
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
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
    Stage,
    State,
    Step,
    Symptom,
)
from proxy.net.advice import VALID, Look
from proxy.net.dialer import Dialer
from proxy.net.oracle import Oracle
from proxy.net.poller import make_poller
from proxy.net.registry import Registry, Relay
from proxy.net.stream import Stream
from proxy.net.tcp import TcpDialer
from proxy.services import Setup
from proxy.wire import certificates
from proxy.wire.flight import Verdict as AnswerVerdict
from tests.support.censor import Behaviour, Censor
from tests.support.origin import Origin
from tests.support.outcomes import HOME, TOR
from tests.support.relay import Relay as RelayServer
from tests.support.services import services

SITE = "site.test"
CUT = Route(wrap=("tlsrec",))
CONTROL = "control.test"
FILTERED = "filtered.test"  # a control that is blocked itself
ORIGIN, CENSOR = "127.0.0.1", "127.0.0.2"
QUICK = Detect(syn_s=2, silent_s=1, dropped_s=0.5, measure_answer_s=2, measure_stall_s=0.5)


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
    finding: DnsFinding | None = None  # of the comparison
    known: DnsFinding | None = None
    secure_address: str = ORIGIN

    @property
    def means(self) -> Means:
        port = self.origin.https_port
        return Means(
            settings=Settings(
                auto=Auto(controls=(f"https://{CONTROL}:{port}/",)),
                relay=(RelayConfig(name="tor", url=f"socks5h://127.0.0.9:{self.relay.port}"),),
                detect=QUICK,
            ),
            dialer=self.registry.dialer,
            carries=self.registry.carries,
            refuses=lambda *_: None,
            refuses_host=lambda _: None,
            is_private=lambda host: host == "private.test",
            oracle=Oracle(),
            resolve=self.resolve,
            secure=self.secure,
            compare=self.compare,
            finding=lambda _: self.known,
            trust=self.origin.authority.client(),
        )

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
    ) -> Question:
        port = self.origin.https_port if protocol is Protocol.TLS else self.origin.http_port
        page = page_of(f"{'https' if protocol is Protocol.TLS else 'http'}://{site}:{port}/bytes/70000")
        planned = {
            Action.AUTO: (DIRECT, TOR),
            Action.RELAY: (TOR,),
            Action.DIRECT: (DIRECT,),
            Action.BLOCK: (),
        }[action]
        belief = replace(Belief(site, UNKNOWN_NETWORK), state=state)
        return Question(page, Plan(action, planned, f"a rule says {action}"), belief, tuple(routes), thorough=thorough)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
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


class _Names:
    """Of the dialer itself, which the control is asked through."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        assert host in (CONTROL, FILTERED)
        return [ipaddress.ip_address(ORIGIN if host == CONTROL else CENSOR)]


async def steps_of(scene: Scene, question: Question, means: Means | None = None) -> list[Step]:
    async with asyncio.timeout(20), aclosing(measure(means or scene.means, question)) as coming:
        return [step async for step in coming]


def judged(steps: Sequence[Step], state: State = State.UNKNOWN) -> Verdict:
    return judge(steps, replace(Belief(SITE, UNKNOWN_NETWORK), state=state), detect=QUICK, relays=["tor"])


def only(steps: Sequence[Step], part: Part, route: Route = DIRECT) -> Step:
    found = [step for step in steps if step.part is part and step.route == route]
    assert len(found) == 1, found
    return found[0]


async def test_a_site_that_works(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question())
    assert [step.part for step in steps if step.route == DIRECT] == [
        Part.RESOLVE, Part.NEUTRAL, Part.CONNECT, Part.HELLO, Part.CERTIFICATE, Part.ANSWER,
    ]  # fmt: skip
    answer = only(steps, Part.ANSWER)
    assert answer.evidence["status"] == 200
    assert int(answer.evidence["bytes"]) >= 65_536
    assert only(steps, Part.ANSWER, TOR).ok
    assert only(steps, Part.CERTIFICATE, TOR).ok
    assert not any(step.part is Part.CONTROL for step in steps)
    verdict = judged(steps)
    assert verdict.word.text == "works"
    assert scene.origin.targets(SITE).count("/bytes/70000") == 3  # direct, at the secure address, through the relay


@pytest.mark.parametrize(
    ("behaviour", "symptom", "cause"),
    [
        (Behaviour.RESET, Symptom.RESET, "sni_reset"),
        (Behaviour.EOF, Symptom.EOF, "sni_reset"),
        (Behaviour.GARBAGE, Symptom.GARBAGE, "sni_reset"),
        (Behaviour.SILENT, Symptom.SILENT, "sni_drop"),
    ],
)
async def test_a_name_that_is_not_let_through(scene: Scene, behaviour: Behaviour, symptom: Symptom, cause: str) -> None:
    await scene.censor.set(behaviour, [SITE])
    steps = await steps_of(scene, scene.question())
    hello = only(steps, Part.HELLO)
    assert (hello.found, hello.symptom) == (Found.FAILED, symptom)
    assert only(steps, Part.NEUTRAL).ok
    assert only(steps, Part.ANSWER, TOR).ok
    verdict = judged(steps)
    assert (verdict.word.text, verdict.cause) == ("blocked", cause)
    assert "sni_swap" in {signal.id for signal in verdict.signals}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is acknowledged")
async def test_a_hello_that_is_never_acknowledged(scene: Scene) -> None:
    await scene.censor.set(Behaviour.DROP)
    steps = await steps_of(scene, scene.question(routes=(DIRECT, TOR)))
    assert only(steps, Part.HELLO).symptom is Symptom.DROPPED
    assert int(only(steps, Part.HELLO).evidence["retransmits"]) >= 2
    assert judged(steps).cause == "sni_drop"


@pytest.mark.parametrize("stays", [True, False])
async def test_means_are_not_blamed_for_an_address_that_is_closed(scene: Scene, stays: bool) -> None:
    """A censor that has seen the name answers nobody any more, for a while."""
    await scene.censor.set(Behaviour.RESET, [SITE])
    scene.secure_address = CENSOR
    tried: list[Route] = []

    class Closing:
        """Direct. At its third connection (a harmless name, the site's, a harmless one) the address is closed."""

        dialed = 0

        async def dial(self, destination: Destination) -> Stream:
            self.dialed += 1
            if stays and self.dialed == 3:
                await scene.censor.set(Behaviour.RESET)
            return await scene.registry.dialer(DIRECT).dial(destination)

    closing = Closing()

    def dialer(route: Route) -> Dialer:
        if route.wrap:
            tried.append(route)
        return closing

    steps = await steps_of(scene, scene.question(routes=(DIRECT, CUT)), replace(scene.means, dialer=dialer))
    assert tried == ([] if stays else [CUT])
    assert [step.found for step in steps if step.route == CUT][-1] is (Found.NOT_TESTED if stays else Found.FAILED)


async def test_a_page_that_stops(scene: Scene) -> None:
    question = scene.question(routes=(DIRECT,))
    held = replace(question, page=replace(question.page, target="/hold"))
    steps = await steps_of(scene, held)
    assert only(steps, Part.ANSWER).symptom is Symptom.SILENT


async def test_without_another_route_a_harmless_name_tells(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE])
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)))
    assert only(steps, Part.CONTROL).ok
    assert judged(steps).word.text == "likely blocked"


async def test_no_control_is_asked_that_a_rule_keeps_to_relays(scene: Scene) -> None:
    async def may(place: Destination) -> bool:
        return place.host != CONTROL

    await scene.censor.set(Behaviour.RESET, [SITE])
    means = replace(scene.means, may_go_direct=may)
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, Part.CONTROL).found is Found.NOT_TESTED
    assert not any(step.part is Part.NEUTRAL for step in steps)  # nor is its name said anywhere
    assert CONTROL not in scene.asked


def with_filtered_control(scene: Scene) -> Means:
    """The first control that is asked is one that the censor resets too."""
    means, port = scene.means, scene.origin.https_port
    controls = (f"https://{FILTERED}:{port}/", f"https://{CONTROL}:{port}/")
    return replace(means, settings=means.settings.model_copy(update={"auto": Auto(controls=controls)}))


async def test_one_control_that_is_blocked_itself_decides_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "shuffle", lambda pages: None)
    await scene.censor.set(Behaviour.RESET, [SITE, FILTERED])
    steps = await steps_of(scene, scene.question(routes=(DIRECT, TOR)), with_filtered_control(scene))
    asked = [(step.evidence["host"], step.found) for step in steps if step.part is Part.CONTROL]
    assert asked == [(FILTERED, Found.FAILED), (CONTROL, Found.OK)]
    verdict = judged(steps)
    assert verdict.control is Found.OK
    assert f"{CONTROL} answered" in " ".join(verdict.reasons)


async def test_a_control_in_trouble_is_not_asked(scene: Scene) -> None:
    await scene.censor.set(Behaviour.RESET, [SITE, FILTERED])
    means = replace(with_filtered_control(scene), is_troubled=lambda host: host == FILTERED)
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, Part.CONTROL).evidence["host"] == CONTROL
    assert only(steps, Part.NEUTRAL).ok  # nor is its name the harmless one


def test_what_is_believed_says_who_is_in_trouble() -> None:
    held = Belief(FILTERED, HOME, State.BLOCKED, "sni_reset", until=math.inf)
    setup = cast(Any, MagicMock(spec=Setup))
    means = Means.of(setup, services(beliefs=Beliefs(Detect(), [held])))
    assert means.is_troubled(FILTERED)
    assert not means.is_troubled(CONTROL)


async def test_an_address_that_refuses(scene: Scene) -> None:
    await scene.censor.set(Behaviour.REFUSE)
    steps = await steps_of(scene, scene.question())
    assert only(steps, Part.CONNECT).symptom is Symptom.REFUSED
    assert judged(steps).cause == "ip"


async def test_a_certificate_of_somebody_else(scene: Scene) -> None:
    means = replace(scene.means, trust=Origin().authority.client())
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    certificate = only(steps, Part.CERTIFICATE)
    assert (certificate.found, certificate.symptom) == (Found.FAILED, Symptom.CERTIFICATE)
    assert certificate.evidence["certificate"] == "untrusted"
    assert "whom this system does not trust" in certificate.text
    assert only(steps, Part.HELLO).ok
    assert not scene.origin.requests  # nothing is said to whom is not trusted


@pytest.mark.parametrize("installed", [False, True])
async def test_a_root_that_is_known_to_intercept(scene: Scene, installed: bool) -> None:
    """Whether the user has been made to trust it or not."""
    root = ssl.PEM_cert_to_DER_cert(scene.origin.authority.pem)
    digest = hashlib.sha256(root).hexdigest()
    known = KnownRoots([Root(digest, digest, "of a test", certificates.public_key(root))])
    trusted = scene.origin.authority if installed else Origin().authority
    means = replace(scene.means, trust=trusted.client(), roots=known)
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, Part.CERTIFICATE).evidence["known_root"] == digest
    verdict = judged(steps)
    assert (verdict.word.text, verdict.cause, verdict.confirmed) == ("blocked", "interception", True)
    assert not scene.origin.requests


async def test_a_name_that_the_system_denies(scene: Scene) -> None:
    scene.addresses.clear()
    steps = await steps_of(scene, scene.question())
    assert only(steps, Part.RESOLVE).symptom is Symptom.NO_NAME
    assert only(steps, Part.ANSWER, DOH).ok
    assert judged(steps).cause == "dns"


async def test_what_both_resolvers_compared_is_told(scene: Scene) -> None:
    scene.finding = DnsFinding("dns_two_answers", "two answers came", 0.0)
    steps = await steps_of(scene, scene.question())
    forged = next(step for step in steps if step.symptom is Symptom.FORGED)
    assert forged.evidence["dns"] == "dns_two_answers"


async def test_an_address_that_is_let_past_for_its_name_is_dialed_by_it(scene: Scene) -> None:
    """As a fake address of another proxy's is."""
    dialed: list[str] = []

    class ByName:
        async def dial(self, destination: Destination) -> Stream:
            dialed.append(destination.host)
            return await scene.registry.dialer(DIRECT).dial(Destination(CENSOR, destination.port))

    means = replace(
        scene.means,
        refuses=lambda destination, _: None if destination.address is None else "no literal",
        dialer=lambda _: ByName(),
    )
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert only(steps, Part.ANSWER).ok
    assert set(dialed) == {SITE}


async def test_a_suspect_name_is_not_asked_in_clear(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(state=State.SUSPECT))
    assert only(steps, Part.RESOLVE).found is Found.NOT_TESTED
    assert scene.asked == []
    assert scene.asked_securely == [SITE]
    assert only(steps, Part.ANSWER).address.startswith(ORIGIN)  # direct goes there now
    assert only(steps, Part.CONNECT, DOH).found is Found.NOT_TESTED
    assert judged(steps, State.SUSPECT).word.text == "works"


async def test_nor_is_one_whose_suspicion_has_lapsed(scene: Scene) -> None:
    question = scene.question()
    lapsed = replace(question, belief=replace(question.belief, cause="ip", last_good="tor"))
    assert only(await steps_of(scene, lapsed), Part.RESOLVE).found is Found.NOT_TESTED
    assert scene.asked == []


async def test_with_no_other_resolver_the_systems_is_asked(scene: Scene) -> None:
    means = replace(scene.means, settings=scene.means.settings.model_copy(update={"dns": Dns(secure="never")}))
    steps = await steps_of(scene, scene.question(state=State.SUSPECT), means)
    assert scene.asked == [SITE]
    assert scene.asked_securely == []
    assert only(steps, Part.SECURE, DOH).found is Found.NOT_TESTED


async def test_a_resolver_that_lied_is_not_asked_again(scene: Scene) -> None:
    scene.known = DnsFinding("dns_two_answers", "two answers came", 0.0)
    steps = await steps_of(scene, scene.question())
    assert scene.asked == []
    assert "two answers came" in only(steps, Part.RESOLVE).text


@pytest.mark.parametrize(
    ("look", "word", "cause"),
    [
        (Look(AnswerVerdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": "kz-1"}), "blocked", "block_page"),
        (Look(AnswerVerdict.VALID, Symptom.ELSEWHERE, same_as="blocked.test"), "likely blocked", "block_page"),
    ],
)
async def test_plain_answers_are_looked_at(scene: Scene, look: Look, word: str, cause: str) -> None:
    seen: list[Look] = [look]
    async with Censor(CENSOR, scene.origin.http_port, origin=ORIGIN):
        means = replace(scene.means, look_at=lambda *_: seen.pop() if seen else VALID)
        question = scene.question(protocol=Protocol.HTTP, routes=(DIRECT,))
        steps = await steps_of(scene, question, means)
        steps += await steps_of(scene, scene.question(protocol=Protocol.HTTP, routes=(TOR,)))
    verdict = judged(steps)
    assert (verdict.word.text, verdict.cause) == (word, cause)


async def test_under_a_relay_rule_nothing_goes_elsewhere(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(action=Action.RELAY))
    assert scene.asked == scene.asked_securely == []
    assert scene.censor.connections == 0
    assert {request.peer for request in scene.origin.requests} == {"127.0.0.9"}
    assert all(step.found is Found.NOT_TESTED for step in steps if step.route.is_direct)
    assert judged(steps).word.text == "not tested"


async def test_under_a_direct_rule_no_relay_hears_of_it(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(action=Action.DIRECT))
    assert scene.relay.connections == 0
    assert only(steps, Part.RELAY, TOR).found is Found.NOT_TESTED


@pytest.mark.parametrize(("site", "action"), [("private.test", Action.AUTO), (SITE, Action.BLOCK)])
async def test_what_may_not_be_asked_is_not_tested(scene: Scene, site: str, action: Action) -> None:
    steps = await steps_of(scene, scene.question(site=site, action=action))
    assert {step.found for step in steps} == {Found.NOT_TESTED}
    assert scene.asked == scene.asked_securely == []
    assert scene.relay.connections == scene.censor.connections == 0
    verdict = judged(steps)
    assert verdict.word.text == "not tested"
    assert not verdict.anomaly


async def test_a_brief_measurement_makes_one_visit_a_route(scene: Scene) -> None:
    steps = await steps_of(scene, scene.question(thorough=False))
    assert not any(step.part is Part.NEUTRAL for step in steps)
    assert scene.asked_securely == []
    assert len(scene.origin.requests) == 2


async def test_plain_http(scene: Scene) -> None:
    async with Censor(CENSOR, scene.origin.http_port, origin=ORIGIN) as censor:
        await censor.set(Behaviour.RESET, [SITE])
        steps = await steps_of(scene, scene.question(protocol=Protocol.HTTP))
    answer = only(steps, Part.ANSWER)
    assert (answer.found, answer.symptom) == (Found.FAILED, Symptom.RESET)
    assert only(steps, Part.ANSWER, TOR).ok
    assert judged(steps).cause == "http_host"


async def test_who_leaves_early_leaves_nothing_behind(scene: Scene) -> None:
    class Never:
        cancelled = False

        async def dial(self, destination: Destination) -> Stream:
            try:
                await asyncio.Event().wait()
            finally:
                self.cancelled = True
            raise AssertionError

    never = Never()
    coming = measure(replace(scene.means, dialer=lambda _: never), scene.question(routes=(DIRECT,), thorough=False))
    async with asyncio.timeout(10):
        assert (await anext(coming)).part is Part.RESOLVE
        await asyncio.sleep(0)
        await coming.aclose()
    assert never.cancelled
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("measure ")]


async def test_a_measurement_takes_no_longer_than_it_may(scene: Scene) -> None:
    await scene.censor.set(Behaviour.SILENT, [SITE])
    detect = QUICK.model_copy(update={"measure_site_s": 0.3})
    means = replace(scene.means, settings=scene.means.settings.model_copy(update={"detect": detect}))
    steps = await steps_of(scene, scene.question(routes=(DIRECT,)), means)
    assert not any(step.part is Part.HELLO for step in steps)  # what had come by then is told


async def test_few_ask_a_control() -> None:
    asked = 0

    async def ask() -> Step:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return Step(Part.CONTROL, DIRECT, Found.OK, text=str(asked))

    shared, page, other = SharedControls(), page_of(CONTROL), page_of(FILTERED)
    steps = await asyncio.gather(*(shared.ask(page, ask, keep_s=60) for _ in range(5)))
    assert {step.text for step in steps} == {"1"}
    assert (await shared.ask(page, ask, keep_s=0)).text == "2"
    assert (await shared.ask(other, ask, keep_s=60)).text == "3"  # what one said is no word of another


@pytest.mark.parametrize(
    ("text", "host", "protocol", "port", "target"),
    [
        ("site.test", "site.test", Protocol.TLS, 443, "/"),
        ("site.test:8443", "site.test", Protocol.TLS, 8443, "/"),
        ("site.test:80", "site.test", Protocol.HTTP, 80, "/"),
        ("http://Site.test/a?b=c#d", "site.test", Protocol.HTTP, 80, "/a?b=c"),
        ("https://site.test:80/", "site.test", Protocol.TLS, 80, "/"),
        ("2001:db8::1", "2001:db8::1", Protocol.TLS, 443, "/"),
        ("https://[2001:db8::1]:8443/x", "2001:db8::1", Protocol.TLS, 8443, "/x"),
        ("https://site.test/\u00e4 b", "site.test", Protocol.TLS, 443, "/%C3%A4%20b"),
        ("https://user:pw@site.test/", "site.test", Protocol.TLS, 443, "/"),
    ],
)
def test_pages(text: str, host: str, protocol: Protocol, port: int, target: str) -> None:
    page = page_of(text)
    assert (page.host, page.protocol, page.port, page.target) == (host, protocol, port, target)


@pytest.mark.parametrize("text", ["", "http://", "a..b", "https://site.test:99999/", "x" * 9000])
def test_what_is_no_page(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        page_of(text)


def test_all_routes_are_looked_at() -> None:
    settings = Settings(relay=(RelayConfig(name="tor", url="socks5h://127.0.0.1:9050"),))
    assert measured_routes(settings)[:2] == (DIRECT, DOH)
    assert measured_routes(settings)[-1] == TOR


def test_a_request_is_one_line_whatever_is_asked() -> None:
    page = page_of("http://site.test:8080/a\u2028b")
    assert page.request().startswith(b"GET /a%E2%80%A8b HTTP/1.1\r\nHost: site.test:8080\r\n")
    assert Destination(page.host, page.port) == Destination("site.test", 8080)
