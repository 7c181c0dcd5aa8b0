"""What is said to be wrong, for each thing that can be, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.schema import ListConfig, RelayConfig
from proxy.control.answers.problems import ProblemJson
from proxy.control.answers.relays import RelayJson
from proxy.control.answers.sites import SiteJson
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import Obstacle, RelayObstacle
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.features.addons.problems import present as of_addons
from proxy.features.rules.list_answers import ListJson
from proxy.features.rules.problems import present as of_lists
from proxy.features.today import problems as today
from proxy.features.today.problems import StatusSnapshot
from proxy.model import Belief, Destination, NetworkState, State, Symptom
from proxy.model.relay_way import RelayWay
from proxy.routing.domain_set import DomainSet
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.matcher import NO_ENTRIES, Matcher
from proxy.store.list_copies import CopyInfo
from tests.support.control_world import SECRET
from tests.support.outcomes import HOME

URL = f"https://u:{SECRET}@h"
TOR = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
PIN = AddonFile("pin", Path("/home/me/addons/pin.py"), shipped=False, enabled=True)


def relay(*, failing: bool = False) -> RelayJson:
    return RelayJson.of(TOR, RelayHealth(last_error="relay tor broke off"), failing=failing)


def broken(fault: RelayFault) -> RelayJson:
    return RelayJson.of(TOR, RelayHealth(failures=1, fault=NotedFault(fault, 1.0, 2.0, "why")), failing=True)


def blocked_by_sni() -> RelayJson:
    way = RelayWay(Destination("vps.test", 443), "192.0.2.1")
    obstacle = RelayObstacle(Obstacle.SNI_RESET, way, Symptom.RESET, 1.0, replace(way, strategy="tlsrec"))
    return RelayJson.of(TOR, RelayHealth(worked_at=1.0), failing=False, obstacle=obstacle)


def site(
    name: str = "a.example", state: State = State.BLOCKED, cause: str = "sni_reset", last_good: str = ""
) -> SiteJson:
    return SiteJson.of(Belief(name, HOME, state, cause, last_good=last_good))


NOW = 1_700_000_000.0
GFW = ListConfig(name="gfw", source="gfw.txt")
FETCHED = ListConfig(name="gfw", source="https://lists.test/gfw.txt", refresh="1d")
COPY = CopyInfo(FETCHED.url, fetched_at=NOW - 86_400, entries=1)
ONE = DomainList(Matcher(DomainSet.of(("a.test",))), source="list gfw", lines_read=1)
ABSENT = DomainList(NO_ENTRIES, source="list gfw", absent="not fetched yet; run `byway list refresh gfw`")


def listed(item: ListConfig, found: DomainList, info: CopyInfo | None = None) -> ListJson:
    return ListJson.of(item, found, info, NOW)


WELL = StatusSnapshot({"dropped_rows": 0}, NetworkState.OK, [relay()], [site()], "", now=NOW)

Standing = StatusSnapshot | list[AddonState] | list[ListJson]


def problems(standing: Standing) -> tuple[ProblemJson, ...]:
    """Those that the feature finds whose state this is."""
    if isinstance(standing, StatusSnapshot):
        return today.present(standing)
    addons = [each for each in standing if isinstance(each, AddonState)]
    return (*of_addons(addons, ""), *of_lists([each for each in standing if isinstance(each, ListJson)], NOW))


@pytest.mark.parametrize(
    ("standing", "text", "do"),
    [
        (
            replace(WELL, live={"config_problem": f"config.toml:3: {URL} is no relay"}),
            "The edited configuration is not in use: config.toml:3: https://u:***@h is no relay",
            "byway config check",
        ),
        (
            [AddonState(PIN, problems=(f"pin.py:3: at {URL}",))],
            "Addon pin does not load: pin.py:3: at https://u:***@h.",
            "byway addons list",
        ),
        (
            [AddonState(PIN, running="abc", problems=("pin.py:3: not valid Python",))],
            "Addon pin does not load: pin.py:3: not valid Python; the previous version keeps running.",
            "byway addons list",
        ),
        (
            [AddonState(PIN, is_off=True, faults=3, last_fault=f"pin.py:3: at {URL}")],
            "Addon pin was disabled after repeated faults: pin.py:3: at https://u:***@h.",
            "edit /home/me/addons/pin.py",
        ),
        (
            [listed(GFW, DomainList(NO_ENTRIES, source="gfw.txt"))],
            "gfw.txt: the list is empty.",
            "byway rule check",
        ),
        (
            replace(WELL, relays=[blocked_by_sni()]),
            "Relay tor is blocked by SNI on this network (connection reset after the TLS ClientHello). A fragmented "
            "ClientHello works and is used.",
            "add another name of its certificate (?sni=NAME) or address (?alt=HOST:PORT), then byway relay test tor",
        ),
        (
            [listed(FETCHED, ABSENT, CopyInfo(FETCHED.url))],
            "list gfw: not fetched yet; run `byway list refresh gfw`.",
            "byway list refresh gfw",
        ),
        (
            [listed(FETCHED, ABSENT, CopyInfo(FETCHED.url, failures=1, error="answered 404"))],
            "list gfw: not fetched yet; run `byway list refresh gfw` (answered 404).",
            "byway list refresh gfw",
        ),
        (
            [listed(FETCHED, ONE, replace(COPY, failures=2, error=f"through tor: {URL} failed"))],
            "List gfw could not be fetched: through tor: https://u:***@h failed; its last good copy, of 1 day ago, "
            "is in use.",
            "byway list refresh gfw",
        ),
        (
            [listed(FETCHED, ONE, replace(COPY, fetched_at=NOW - 3 * 86_400))],
            "List gfw is out of date: its last good copy, of 3 days ago, is in use, and its refresh is 1d.",
            "byway list refresh gfw",
        ),
        (
            [listed(FETCHED, DomainList(NO_ENTRIES, source="list gfw"), COPY)],
            "list gfw: the list is empty.",
            "byway list show gfw",
        ),
        (
            replace(WELL, live={"uninspected": "app.example"}),
            "app.example: a client rejected Byway's certificate; inspection is off for 6 h.",
            "byway ca trust, or remove INSPECT from its rule",
        ),
        (
            replace(WELL, troubled=[site(f"{name}.example", cause="interception") for name in "abcd"]),
            "TLS interception: a.example, b.example, c.example and others. Using relays only.",
            "byway why a.example",
        ),
        (
            replace(WELL, relays=[relay(failing=True)]),
            "Relay tor keeps failing: relay tor broke off",
            "byway relay test tor",
        ),
        (
            replace(WELL, relays=[broken(RelayFault.CREDENTIALS_REFUSED)]),
            "Relay tor fails: user or password refused.",
            "correct its user and password in config.toml, then byway relay test tor",
        ),
        (
            replace(WELL, relays=[broken(RelayFault.SILENT)]),
            "Relay tor fails: no answer.",
            "check that the relay runs, and its scheme and port in config.toml, then byway relay test tor",
        ),
        (
            replace(WELL, relays=[]),
            "1 site is blocked, and there is no relay.",
            "byway relay add URL",
        ),
        (
            replace(WELL, log_trouble="no space left on device"),
            "The log cannot be written: no space left on device",
            "check whether the disk is full",
        ),
        (
            replace(WELL, live={"dropped_rows": 3}),
            "3 log entries were lost.",
            "nothing: new ones are written again",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_what_to_do(standing: Standing, text: str, do: str) -> None:
    assert [(each.text, each.do) for each in problems(standing)] == [(text, do)]


def test_an_addon_that_is_configured_and_not_there_is_told_of() -> None:
    (told,) = of_addons([AddonState(PIN, running="abc")], "there is no addon pinn")
    assert (told.text, told.do) == ("there is no addon pinn", "byway addons list")


def test_a_network_in_trouble_is_told_of() -> None:
    (told,) = problems(replace(WELL, network=NetworkState.PORTAL))
    assert "login page" in told.text
    assert told.do


def test_a_relay_that_fails_is_named_first() -> None:
    standing = replace(
        WELL,
        live={"config_problem": "config.toml:3: wrong", "dropped_rows": 3},
        network=NetworkState.RESTRICTED,
        relays=[relay(), broken(RelayFault.CONNECTION_REFUSED)],
        troubled=[site(cause="interception")],
    )
    first, *others = problems(standing)
    assert first.text == "Relay tor fails: connection refused."
    assert first.do == "start the relay, then byway relay test tor"
    assert len(others) == 4


@pytest.mark.parametrize(("state", "cause"), [(State.SUSPECT, "refused"), (State.DOWN, "down")])
def test_a_site_that_refuses_or_is_down_is_none_that_is_blocked(state: State, cause: str) -> None:
    assert problems(replace(WELL, relays=[], troubled=[site(state=state, cause=cause)])) == ()


def test_where_all_is_well_nothing_is_said() -> None:
    assert problems(WELL) == problems([AddonState(PIN, running="abc")]) == problems([listed(FETCHED, ONE, COPY)]) == ()


@pytest.mark.parametrize(("last_good", "is_problem"), [("direct|tlsrec", False), ("tor", True), ("direct", True)])
def test_what_a_local_strategy_opens_needs_no_relay(last_good: str, is_problem: bool) -> None:
    """And one that only a relay opened, which is no more there, does."""
    found = problems(replace(WELL, relays=[], troubled=[site(last_good=last_good)]))
    assert [problem.do for problem in found] == ["byway relay add URL"] * is_problem
