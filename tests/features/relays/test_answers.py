"""Relays as answers: a word for each, its fault, and nothing secret."""

from __future__ import annotations

import pytest

from proxy.config.schema import RelayConfig
from proxy.control.answers.relay_faults import RelayFaultJson
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.features.relays.answers import RelayJson, TrialJson
from proxy.probe.relay_trial import Trial

SECRET = "correct-horse"
LEAK = f"relay socks5h://u:{SECRET}@h:1 refused"


def test_I16_errors_hold_no_secret() -> None:
    health = RelayHealth(failures=1, last_error=LEAK)
    relay = RelayJson.of(RelayConfig(name="vps", url=f"socks5h://u:{SECRET}@h:1"), health, failing=False)
    trial = TrialJson.of(Trial("vps", False, False, False, 0.1, "relay_down", LEAK))
    assert SECRET not in repr((relay, trial))
    assert (relay.error, trial.error) == ("relay socks5h://u:***@h:1 refused",) * 2


@pytest.mark.parametrize(
    ("health", "failing", "state"),
    [
        (RelayHealth(), False, "untried"),
        (RelayHealth(worked_at=1.0), False, "works"),
        (RelayHealth(failures=1, worked_at=1.0), False, "failed"),
        (RelayHealth(failures=9), True, "failing"),
        (RelayHealth(failures=1, fault=NotedFault(RelayFault.SILENT, 1.0, 2.0)), False, "failing"),
    ],
)
def test_a_relay_has_a_word_for_how_it_does(health: RelayHealth, failing: bool, state: str) -> None:
    relay = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
    assert RelayJson.of(relay, health, failing=failing).state == state


def test_a_relay_that_fails_has_its_fault_with_what_to_do() -> None:
    noted = NotedFault(RelayFault.CONNECTION_REFUSED, 1.0, 2.0, f"socks5h://u:{SECRET}@h refused")
    relay = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
    assert RelayJson.of(relay, RelayHealth(fault=noted), failing=False).fault == RelayFaultJson(
        relay="tor",
        fault=RelayFault.CONNECTION_REFUSED,
        text="connection refused",
        do="start the relay, then byway relay test tor",
        since=1.0,
        seen_at=2.0,
        error="socks5h://u:***@h refused",
    )
    assert RelayJson.of(relay, RelayHealth(), failing=False).fault is None
    elsewhere = RelayJson.of(relay, RelayHealth(fault=noted), failing=False, network_allows_few=True).fault
    assert elsewhere is not None
    assert elsewhere.do.startswith("try another network"), "which may be to blame itself"
