"""A list says of a site what its own page says, at any age of what is known."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.control.site_states import SiteStates
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_health import Health
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Belief, Cause, NetworkId, State
from tests.support.control_world import World
from tests.support.outcomes import AWAY, HOME, down, open_uplink, works
from tests.support.rows import each_row

HOST, SIBLING = "www.example.org", "blog.example.org"
NOW = 1_790_000_000.0
KNOWN_S = 86_400.0


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def states(beliefs: Beliefs, now: float, network: NetworkId = HOME) -> SiteStates:
    return SiteStates(beliefs, network, {}, now)


def listed(at: SiteStates) -> dict[str, list[tuple[str, float]]]:
    """The words and beginnings of each site that is listed, which should be one."""
    found: dict[str, list[tuple[str, float]]] = {}
    for domain in at.beliefs.domains(at.network):
        for subject in at.subjects_of(domain[0], *at.beliefs.of_domain(domain, now=at.now)):
            for site in at.rows(subject):
                found.setdefault(site.name_and_port, []).append((site.state.status, site.state.since))
    return found


def one(at: SiteStates, host: str) -> tuple[str, float]:
    state = at.host(host).state
    return state.status, state.since


def blocked(scope: str = HOST, network: NetworkId = HOME, **changed: object) -> Belief:
    held = Belief(scope, network, State.BLOCKED, Cause.SNI_RESET, score=4.0, since=NOW, began=NOW, until=NOW + 9e5)
    return replace(held, **changed)  # type: ignore[arg-type]


@each_row("age_s", [0.0, 3_599.0, 3_601.0, 5 * 3_600.0, KNOWN_S, KNOWN_S + 1])
@each_row(
    "result",
    [
        LastResult(SiteStatus.SITE_DOWN, NOW, Source.CONNECTION, Cause.DOWN),
        LastResult(SiteStatus.BLOCKED, NOW, Source.MEASUREMENT, Cause.DNS),
        LastResult(SiteStatus.NO_SUCH_NAME, NOW, Source.CONNECTION, Cause.NO_SUCH_NAME),
        LastResult(SiteStatus.NOT_REACHABLE, NOW, Source.CONNECTION),
    ],
    ids=lambda result: str(result.status),
)
def test_a_result_is_listed_for_as_long_as_the_page_of_its_site_says_it(age_s: float, result: LastResult) -> None:
    beliefs = Beliefs(DetectTuning())
    beliefs.measured(HOST, result, network=HOME)
    at = states(beliefs, NOW + age_s)
    said = one(at, HOST)
    assert said[0] == (result.status if age_s <= KNOWN_S else SiteStatus.NOT_TESTED)
    assert listed(at) == ({HOST: [said]} if at.host(HOST).is_trouble else {})


@pytest.mark.parametrize("age_s", [60.0, 3_601.0])
def test_a_port_is_listed_for_as_long_as_the_page_of_its_site_shows_it(age_s: float) -> None:
    beliefs = Beliefs(DetectTuning())
    beliefs.measured(HOST, LastResult(SiteStatus.SITE_DOWN, NOW, Source.CONNECTION, port=8443), network=HOME)
    beliefs.learn(works(HOST), network=HOME, now=NOW)
    at = states(beliefs, NOW + age_s)
    (port,) = at.ports(HOST)
    assert listed(at) == {f"{HOST}:8443": [(port.state.status, port.state.since)]}


def test_a_site_that_recovered_and_is_down_stands_in_the_list_once() -> None:
    recovered = replace(blocked(), state=State.WORKS, cause=Cause.NONE, since=NOW - 600)
    beliefs = Beliefs(DetectTuning(), [recovered])
    open_uplink(beliefs, now=NOW)
    beliefs.learn(down(host=HOST), network=HOME, now=NOW)
    assert beliefs.lookup(HOST, network=HOME, now=NOW).state is State.DOWN, "the control: two beliefs about one host"
    at = states(beliefs, NOW + 1)
    assert listed(at) == {HOST: [one(at, HOST)]}
    assert one(at, HOST)[0] == "site down"


def test_a_host_that_its_domain_speaks_for_is_listed_as_its_page_says() -> None:
    recovered = replace(blocked(), state=State.WORKS, cause=Cause.NONE, since=NOW - 600)
    beliefs = Beliefs(DetectTuning(), [recovered, blocked("*.example.org")])
    beliefs.learn(works("other.test"), network=HOME, now=NOW)
    at = states(beliefs, NOW + 1)
    # After a start the domain is not aggregated until it is looked up: whichever speaks, the list says the same.
    assert listed(at)[HOST] == [one(at, HOST)]


REFUSED = LastResult(SiteStatus.SITE_DOWN, NOW, Source.CONNECTION, Cause.DOWN, relays=("tor",))
FAILED = LastResult(SiteStatus.RELAYS_FAIL, NOW, Source.CONNECTION, Cause.RELAYS_FAIL)


@pytest.mark.parametrize(("result", "word"), [(REFUSED, "site down"), (FAILED, "not tested")], ids=["down", "mended"])
def test_a_word_does_not_change_while_nothing_happens(result: LastResult, word: str) -> None:
    """The relay delivered another site a minute after the visit. That is as true five hours later."""
    beliefs, health = Beliefs(DetectTuning()), Health(DetectTuning())
    beliefs.measured(HOST, result, network=HOME)
    health.worked("tor", NOW + 60, elapsed_s=0.1)
    for hours in (0.1, 0.9, 1.1, 5):
        at = SiteStates(beliefs, HOME, health.delivering(["tor"]), NOW + hours * 3600)
        assert at.host(HOST).state.status == word
    health.failed("tor", NOW + 6 * 3600)
    assert health.delivering(["tor"]) == {}


def test_another_network_has_what_is_stored() -> None:
    beliefs = Beliefs(DetectTuning(), [blocked(network=AWAY)])
    beliefs.measured(HOST, LastResult(SiteStatus.SITE_DOWN, NOW, Source.CONNECTION), network=HOME)
    at = states(beliefs, NOW)
    assert sorted(listed(at)[HOST]) == [("blocked", NOW), ("site down", NOW)]
    assert [site.state.status for site in at.elsewhere(HOST)] == ["blocked"]
    assert [site.stored.network for site in at.elsewhere(SIBLING)] == []


async def test_the_reader_gives_what_is_known_of_now(world: World) -> None:
    from proxy.control.site_reader import SiteReader

    now = time.time()
    world.beliefs.measured(HOST, LastResult(SiteStatus.SITE_DOWN, now - 7_200, Source.CONNECTION), network=HOME)
    reader = SiteReader(world.parts)
    (site,) = await reader.known(now)
    assert site == reader.states(now).host(HOST)
