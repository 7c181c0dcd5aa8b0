"""Sites in all situations that users meet, made by events, with the status and the cause of each. Every list, page,
command and report must show the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.detect.beliefs.events import ControlAnswered, DirectDelivered, NetworkLeft
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import DIRECT, DOH, Action, Cause, ClosedBy, ConnectivityResult, Protocol, Stage, Symptom
from tests.support.control_world import World
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome, rescued

REFUSED_RELAY = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), evidence={"relay": "refused"})
CLOSED, UNREACHED = failed(Symptom.REFUSED, Stage.CONNECT), failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR)
UNANSWERED = failed(Symptom.TIMEOUT, Stage.RELAY, TOR)
NO_NAME = failed(Symptom.NO_NAME, Stage.RESOLVE)

Happen = Callable[[World, str], None]


@dataclass(frozen=True)
class Situation:
    """The events of a site, and the status that they lead to. Empty `words`: the site is not listed."""

    host: str
    happen: Happen
    words: str
    cause: str = ""
    is_listed: bool = True


def visits(*outcomes_of: Callable[[str], object]) -> Happen:
    def happen(world: World, host: str) -> None:
        for made in outcomes_of:
            world.see(made(host))  # type: ignore[arg-type]

    return happen


def _measured(status: SiteStatus, cause: Cause, works_by: str = "") -> Happen:
    def happen(world: World, host: str) -> None:
        result = LastResult(status, time.time(), Source.MEASUREMENT, cause, "as it was measured", works_by=works_by)
        world.beliefs.measured(host, result, network=HOME)

    return happen


def _rescue(symptom: Symptom = Symptom.RESET, stage: Stage = Stage.FIRST_BYTE) -> Happen:
    return visits(lambda host: rescued(symptom, stage, host=host, at=time.time()))


def _left(host: str) -> object:
    silent = failed(Symptom.ABANDONED, elapsed=40.0)
    return replace(outcome(silent, host=host, at=time.time()), closed_by=ClosedBy.CLIENT, duration=40.0)


def _forgotten(world: World, host: str) -> None:
    """The site was blocked, a user forgot it, and then it works."""
    world.see(rescued(host=host, at=time.time()))
    world.store.believe(world.beliefs.forget(host))
    world.see(outcome(delivered(), host=host, at=time.time()))


SITUATIONS = (
    Situation("www.works.example", visits(lambda host: outcome(delivered(), host=host, at=time.time())), "works",
              is_listed=False),
    Situation("www.reset.example", _rescue(), "likely blocked", "sni_reset"),
    Situation("www.drop.example", _rescue(Symptom.DROPPED), "likely blocked", "sni_drop"),
    Situation("www.address.example", _rescue(Symptom.TIMEOUT, Stage.CONNECT), "likely blocked", "ip"),
    Situation("www.lies.example", _measured(SiteStatus.BLOCKED, Cause.DNS, "direct|doh"), "blocked", "dns"),
    Situation("www.page.example", _measured(SiteStatus.BLOCKED, Cause.BLOCK_PAGE, "tor"), "blocked", "block_page"),
    Situation("www.tapped.example", _measured(SiteStatus.INTERCEPTED, Cause.INTERCEPTION, "tor"), "intercepted",
              "interception"),
    Situation("www.stalls.example", _measured(SiteStatus.SLOW, Cause.FROZEN, "tor"), "slow", "frozen"),
    Situation("www.dead.example", visits(lambda host: outcome(failed(), UNREACHED, host=host, at=time.time())),
              "site down", "down"),
    Situation("www.alone.example", visits(lambda host: outcome(failed(), host=host, at=time.time())), "does not open",
              "hello_reset"),
    Situation("www.silent.example", visits(_left), "does not open", "hello_silence"),
    Situation("www.typo.example", visits(lambda host: outcome(
        NO_NAME, failed(Symptom.NO_NAME, Stage.RESOLVE, DOH), host=host, at=time.time())), "no such name", "name"),
    Situation("www.expired.example", _measured(SiteStatus.BAD_CERTIFICATE, Cause.EXPIRED), "bad certificate",
              "expired"),
    Situation("www.legal.example", visits(lambda host: outcome(
        replace(delivered(DIRECT), evidence={"status": 451}), host=host, at=time.time(), protocol=Protocol.HTTP,
    ), lambda host: outcome(
        replace(delivered(TOR), evidence={"status": 200}), host=host, at=time.time(), protocol=Protocol.HTTP,
    )), "refuses this route", "refused"),
    Situation("www.waits.example", visits(lambda host: outcome(failed(), UNANSWERED, host=host, at=time.time())),
              "site down", "down"),
    Situation("www.recovered.example", visits(
        lambda host: rescued(host=host, at=time.time()),
        *[lambda host: outcome(delivered(), host=host, at=time.time())] * 2,
        lambda host: outcome(failed(), UNREACHED, host=host, at=time.time()),
    ), "site down", "down"),
    Situation("www.six.example", visits(lambda host: outcome(
        replace(failed(Symptom.TIMEOUT, Stage.CONNECT), address="[2001:db8::1]:443"), delivered(TOR), host=host,
        at=time.time(),
    )), "likely blocked", "ip"),
    Situation("www.ports.example", visits(
        lambda host: rescued(host=host, at=time.time()),
        lambda host: outcome(CLOSED, host=host, at=time.time(), port=8443),
    ), "likely blocked", "sni_reset"),
    Situation("www.forgotten.example", _forgotten, "works", is_listed=False),
    Situation("www.ruled.example", visits(
        lambda host: rescued(host=host, at=time.time()),
        lambda host: outcome(delivered(TOR), host=host, at=time.time(), action=Action.RELAY),
    ), "likely blocked", "sni_reset"),
    Situation("www.alone6.example", visits(lambda host: outcome(failed(Symptom.UNREACHABLE, Stage.CONNECT), host=host,
                                                                at=time.time())), "does not open", "unreached"),
    Situation("www.stuck.example", visits(lambda host: outcome(failed(), REFUSED_RELAY, host=host, at=time.time())),
              "relays fail", "relays"),
)  # fmt: skip


def happen_all(world: World) -> None:
    """Makes all situations on one network, on which another site works direct."""
    world.beliefs.learn(DirectDelivered("uplink.example"), network=HOME, now=time.time())
    for situation in SITUATIONS:
        situation.happen(world, situation.host)


def relay_mended(world: World) -> None:
    world.health.worked("vps", time.time(), elapsed_s=0.5)


def network_changed(world: World) -> None:
    """Changes to another network, and back."""
    world.store.believe(world.beliefs.learn(NetworkLeft(), network=HOME, now=time.time()))
    world.health.clear_faults()


def behind_a_portal(world: World) -> None:
    """Makes a login page answer in place of a control page."""
    found = ControlAnswered("", ConnectivityResult.PORTAL, time.time(), portal="http://portal.example/")
    world.store.believe(world.beliefs.learn(found, network=HOME, now=time.time()))


def measured_again(world: World) -> None:
    for situation in SITUATIONS:
        if situation.cause in ("sni_reset", "sni_drop"):
            _measured(SiteStatus.BLOCKED, Cause(situation.cause), "tor")(world, situation.host)
