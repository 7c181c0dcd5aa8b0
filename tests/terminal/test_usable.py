"""What is said of an action that needs a relay when none is usable: by `site set`, `rule add` and `mode`."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from proxy.detect.relay_faults import RelayFault
from proxy.terminal.usable import relay_warning
from tests.support.command_line import Byway, Home, Running
from tests.support.rows import each_row

DO = "run X"


def relay(name: str, state: str = "untried", *, enabled: bool = True, fault: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "state": state,
        "enabled": enabled,
        "fault": {"text": "refused", "do": DO} if fault else None,
    }


NONE = "No relay is configured, so x does not open. Add one with `byway relay add URL`."


@each_row(
    ("relays", "named", "said"),
    [
        ([], "", NONE),
        ([relay("a")], "", ""),
        ([relay("a", "failed")], "", ""),
        ([relay("a", enabled=False)], "",
         "Relay a is disabled, so x does not open. Use it again with `byway relay enable a`."),
        ([relay("a", enabled=False), relay("b", enabled=False)], "",
         "All of these relays are disabled, so x does not open. Use it again with `byway relay enable a b`."),
        ([relay("a", "failing", fault=True)], "", "Relay a fails (refused), so x does not open. To do: run X"),
        ([relay("a", "failing"), relay("b", "failing")], "",
         "All of these relays fail, so x does not open. To do: `byway relay test`"),
        ([relay("a", "failing", fault=True), relay("b")], "", ""),
        ([relay("a", "failing", fault=True), relay("b")], "a",
         "Relay a fails (refused), so x does not open. To do: run X"),
        ([relay("a", "failing", fault=True), relay("b", enabled=False)], "",
         "Relay a fails (refused), so x does not open. To do: run X"),
        ([relay("a"), relay("b", enabled=False)], "both", ""),
        ([relay("a", enabled=False), relay("c")], "both",
         "Relay a is disabled, so x does not open. Use it again with `byway relay enable a`."),
    ],
)  # fmt: skip
def test_a_warning_names_the_fault_and_what_to_do(relays: list[dict[str, Any]], named: str, said: str) -> None:
    known = {"relays": relays, "groups": [{"name": "both", "relays": ["a", "b"]}]}
    assert relay_warning(known, relay=named, then="x does not open") == said


ACTIONS = [
    (("site", "set", "one.test", "relay"), "one.test does not open"),
    (("site", "set", "one.test", "prefer-relay"), "one.test goes direct"),
    (("rule", "add", "DOMAIN,one.test,RELAY"), "nothing that it matches opens"),
    (("rule", "add", "DOMAIN,one.test,PREFER-RELAY"), "what it matches goes direct"),
    (("mode", "relay"), "no site under AUTO opens"),
]


@pytest.mark.uses("rules", "sites", "today")
@pytest.mark.parametrize(("words", "then"), ACTIONS)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_each_command_warns_without_a_relay(
    byway: Byway, home: Home, words: tuple[str, ...], then: str, as_json: tuple[str, ...]
) -> None:
    ran = byway(*words, *as_json)
    assert ran.code == 0
    assert f"No relay is configured, so {then}. Add one with `byway relay add URL`." in ran.err + ran.out
    home.config.write_text('config_version = 1\n[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n')
    assert "No relay" not in byway(*words, *as_json).err


@pytest.mark.parametrize("words", [("site", "set", "one.test", "direct"), ("site", "set", "one.test", "block")])
def test_an_action_without_relays_has_no_warning(byway: Byway, words: tuple[str, ...]) -> None:
    assert "relay" not in byway(*words).err.replace("`byway site forget", "")


@pytest.mark.uses("relays", "rules", "sites", "today")
@pytest.mark.parametrize(("words", "then"), ACTIONS)
def test_each_command_warns_of_relays_that_fail(
    byway: Byway, running: Running, words: tuple[str, ...], then: str
) -> None:
    world = running.world
    for relay in world.settings.relay:
        fail = partial(world.health.failed, relay.name, time.time(), fault=RelayFault.CREDENTIALS_REFUSED)
        running.do(partial(fail, error="user or password refused"))
    assert f"fail (user or password refused), so {then}. To do: " in byway(*words).err
