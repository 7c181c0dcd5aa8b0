"""What is said to be wrong, for each thing that can be, and what to do about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.schema import RelayConfig
from proxy.control import serialize
from proxy.control.problems import StatusSnapshot, problems
from proxy.control.serialize import Document
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import Belief, NetworkState, State
from tests.control.world import SECRET
from tests.support.outcomes import HOME

URL = f"https://u:{SECRET}@h"
TOR = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
PIN = AddonFile("pin", Path("/home/me/addons/pin.py"), shipped=False, enabled=True)


def relay(*, failing: bool = False) -> Document:
    return serialize.relay(TOR, RelayHealth(last_error="relay tor broke off"), failing=failing)


def broken(fault: RelayFault) -> Document:
    return serialize.relay(TOR, RelayHealth(failures=1, fault=NotedFault(fault, 1.0, 2.0, "why")), failing=True)


def site(name: str = "a.example", state: State = State.BLOCKED, cause: str = "sni_reset") -> Document:
    return serialize.belief(Belief(name, HOME, state, cause))


WELL = StatusSnapshot({"dropped_rows": 0}, NetworkState.OK, [relay()], [site()], [AddonState(PIN, running="abc")], "")


@pytest.mark.parametrize(
    ("standing", "text", "do"),
    [
        (
            replace(WELL, live={"config_problem": f"config.toml:3: {URL} is no relay"}),
            "The edited configuration is not in use: config.toml:3: https://u:***@h is no relay",
            "byway config check",
        ),
        (
            replace(WELL, addons=[AddonState(PIN, problems=(f"pin.py:3: at {URL}",))]),
            "Addon pin does not load: pin.py:3: at https://u:***@h.",
            "byway addons list",
        ),
        (
            replace(WELL, addons=[AddonState(PIN, running="abc", problems=("pin.py:3: not valid Python",))]),
            "Addon pin does not load: pin.py:3: not valid Python; the previous version keeps running.",
            "byway addons list",
        ),
        (
            replace(WELL, addons=[AddonState(PIN, is_off=True, faults=3, last_fault=f"pin.py:3: at {URL}")]),
            "Addon pin was disabled after repeated faults: pin.py:3: at https://u:***@h.",
            "edit /home/me/addons/pin.py",
        ),
        (
            replace(WELL, live={"list_problems": "gfw.txt: the list is empty"}),
            "gfw.txt: the list is empty.",
            "byway rule check",
        ),
        (
            replace(WELL, live={"addons_missing": "there is no addon pinn"}),
            "there is no addon pinn",
            "byway addons list",
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
            "byway relay test tor",
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
def test_what_is_wrong_is_told_with_what_to_do(standing: StatusSnapshot, text: str, do: str) -> None:
    assert problems(standing) == [{"text": text, "do": do}]


def test_a_network_in_trouble_is_told_of() -> None:
    (told,) = problems(replace(WELL, network=NetworkState.PORTAL))
    assert "login page" in told["text"]
    assert told["do"]


def test_a_relay_that_fails_is_named_first() -> None:
    standing = replace(
        WELL,
        live={"config_problem": "config.toml:3: wrong", "dropped_rows": 3},
        network=NetworkState.RESTRICTED,
        relays=[relay(), broken(RelayFault.CONNECTION_REFUSED)],
        troubled=[site(cause="interception")],
    )
    first, *others = problems(standing)
    assert first["text"] == "Relay tor fails: connection refused."
    assert first["do"] == "start the relay, then byway relay test tor"
    assert len(others) == 4


@pytest.mark.parametrize(("state", "cause"), [(State.SUSPECT, "refused"), (State.DOWN, "down")])
def test_a_site_that_refuses_or_is_down_is_none_that_is_blocked(state: State, cause: str) -> None:
    assert problems(replace(WELL, relays=[], troubled=[site(state=state, cause=cause)])) == []


def test_where_all_is_well_nothing_is_said() -> None:
    assert problems(WELL) == []
