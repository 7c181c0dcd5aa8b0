"""What is said to be wrong with relays, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from proxy.control.answers.problems import Problem
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import Obstacle, RelayObstacle
from proxy.features.relays.problems import present
from proxy.model import Destination, Symptom
from proxy.model.relay_way import RelayWay
from tests.support.control_world import SECRET


def told(
    health: RelayHealth,
    *,
    failing: bool = False,
    obstacles: Mapping[str, RelayObstacle] | None = None,
    network_allows_few: bool = False,
) -> list[Problem]:
    return present(["tor"], lambda _: health, lambda _: failing, obstacles or {}, network_allows_few=network_allows_few)


def broken(fault: RelayFault) -> RelayHealth:
    return RelayHealth(failures=1, fault=NotedFault(fault, 1.0, 2.0, "why"))


@pytest.mark.parametrize(
    ("health", "text", "do"),
    [
        (
            RelayHealth(last_error=f"relay socks5h://u:{SECRET}@h broke off"),
            "Relay tor keeps failing: relay socks5h://u:***@h broke off",
            "byway relay test tor",
        ),
        (
            broken(RelayFault.CREDENTIALS_REFUSED),
            "Relay tor fails: user or password refused.",
            "correct its user and password in config.toml, then byway relay test tor",
        ),
        (
            broken(RelayFault.SILENT),
            "Relay tor fails: no answer.",
            "check that the relay runs, and its scheme and port in config.toml, then byway relay test tor",
        ),
        (
            broken(RelayFault.CONNECTION_REFUSED),
            "Relay tor fails: connection refused.",
            "start the relay, then byway relay test tor",
        ),
    ],
)
def test_what_fails_is_told_with_what_to_do(health: RelayHealth, text: str, do: str) -> None:
    assert [(each.text, each.do) for each in told(health, failing=True)] == [(text, do)]


@pytest.mark.parametrize(
    ("fault", "starts"),
    [
        (RelayFault.SILENT, "try another network"),
        (RelayFault.SOCKS_CUT, "try another network"),
        (RelayFault.PROTOCOL_FILTERED, "use an https relay on that machine or a key"),
        (RelayFault.CREDENTIALS_REFUSED, "correct its user and password"),
    ],
)
def test_where_the_network_allows_few_sites_it_may_filter_the_relay_as_well(fault: RelayFault, starts: str) -> None:
    (problem,) = told(broken(fault), network_allows_few=True)
    assert problem.do.startswith(starts)


def test_what_is_in_the_way_is_told_beside_that() -> None:
    way = RelayWay(Destination("vps.test", 443), "192.0.2.1")
    obstacle = RelayObstacle(Obstacle.SNI_RESET, way, Symptom.RESET, 1.0, replace(way, strategy="tlsrec"))
    text = (
        "Relay tor is blocked by SNI on this network (connection reset after the TLS ClientHello). A fragmented "
        "ClientHello works and is used."
    )
    do = "add another name of its certificate (?sni=NAME) or address (?alt=HOST:PORT), then byway relay test tor"
    assert [(each.text, each.do) for each in told(RelayHealth(worked_at=1.0), obstacles={"tor": obstacle})] == [
        (text, do)
    ]
    both = told(broken(RelayFault.SILENT), obstacles={"tor": obstacle})
    assert [each.text for each in both] == ["Relay tor fails: no answer.", text]


def test_a_fault_alone_is_enough() -> None:
    """It is certain: nothing has to fail often."""
    assert [each.text for each in told(broken(RelayFault.SILENT))] == ["Relay tor fails: no answer."]


def test_where_all_is_well_nothing_is_said() -> None:
    assert told(RelayHealth(last_error="relay tor broke off")) == []


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (RelayFault.CREDENTIALS_REFUSED, ("Enter the password", "relays?row=tor&did=password", True)),
        (RelayFault.CREDENTIALS_IN_CLEAR, ("Send unencrypted", "relays?row=tor&did=allow", True)),
        (RelayFault.SILENT, ("Test again", "relays/test", False)),
    ],
)
def test_each_problem_has_a_button_that_solves_it_or_leads_to_the_question(
    fault: RelayFault, first: tuple[str, str, bool]
) -> None:
    """Nothing is sent unencrypted by the button itself: the page says first who could read it."""
    (problem,) = told(broken(fault), failing=True)
    button = problem.buttons[0]
    assert (button.label, button.path, button.leads) == first
    assert {"relay": "tor", "do": "disable"} in [each.fields for each in problem.buttons]
    assert all(each.path != "relays/allow" for each in problem.buttons)
