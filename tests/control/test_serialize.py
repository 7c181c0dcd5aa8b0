"""Values as JSON: nothing secret, and a sentence of what to do that fits."""

from __future__ import annotations

import json

import pytest

from proxy.config.schema import AddonConfig, Dns, Listen, Log, RelayConfig, Settings
from proxy.control import serialize
from proxy.control.relay_test import Trial
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source, site_state
from proxy.model import DIRECT, Action, Belief, Plan, Route, State
from tests.support.outcomes import HOME, TOR, delivered, failed, outcome

SECRET = "correct-horse"


def test_a_secret_of_an_addon_is_not_shown() -> None:
    table = AddonConfig(enabled=True, options={"api_key": SECRET, "password": SECRET, "colour": "red"})
    hosts = {"monkey.example": "192.0.2.1"}
    shown = serialize.settings(Settings(addons={"notify": table}, dns=Dns(hosts=hosts)))
    assert SECRET not in json.dumps(shown)
    assert shown["addons"]["notify"] == {"enabled": True, "api_key": "(set)", "password": "(set)", "colour": "red"}
    assert shown["dns"]["hosts"] == hosts


def test_I16_settings_hold_no_secret() -> None:
    relay = RelayConfig(
        name="vps", url=f"https://u:{SECRET}@h:1>socks5h://x:{SECRET}@y:2", password_cmd=f"echo {SECRET}"
    )
    configured = Settings(
        listen=Listen(user="me", password_cmd=f"echo {SECRET}"), relay=(relay,), log=Log(never=("*.x",))
    )
    shown = serialize.settings(configured)
    assert SECRET not in json.dumps(shown)
    assert shown["listen"]["user"] == "me"
    assert shown["listen"]["password_cmd"] == "(set)"
    assert shown["relay"][0]["url"] == "https://u:***@h:1>socks5h://x:***@y:2"
    assert shown["log"]["never"] == ["*.x"]
    assert serialize.settings(Settings())["listen"]["password_cmd"] == ""


def test_I16_errors_hold_no_secret() -> None:
    text = f"relay socks5h://u:{SECRET}@h:1 refused"
    seen = outcome(failed(error=text), error=text)
    trial = Trial("vps", False, False, False, 0.1, "relay_down", text)
    health = RelayHealth(failures=1, last_error=text)
    told = (
        serialize.outcome(seen, HOME),
        serialize.trial(trial),
        serialize.relay(RelayConfig(name="vps", url=f"socks5h://u:{SECRET}@h:1"), health, failing=False),
    )
    assert SECRET not in json.dumps(told)


def test_an_outcome_is_kept_under_the_name_of_its_flight() -> None:
    seen = outcome(delivered(TOR), host="example.org")
    told = serialize.outcome(seen, HOME)
    assert (told["host"], told["winner"], told["network"]) == ("example.org", "tor", HOME)


def test_times_that_are_not_set_are_null() -> None:
    told = serialize.belief(Belief("example.org", HOME))
    assert told["since"] is told["until"] is told["retest_at"] is told["last_good_at"] is None
    assert told["words"] == "not tested"


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
    assert serialize.relay(relay, health, failing=failing)["state"] == state


def test_a_relay_that_fails_has_its_fault_with_what_to_do() -> None:
    noted = NotedFault(RelayFault.CONNECTION_REFUSED, 1.0, 2.0, f"socks5h://u:{SECRET}@h refused")
    relay = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
    assert serialize.relay(relay, RelayHealth(fault=noted), failing=False)["fault"] == {
        "relay": "tor",
        "fault": "connection_refused",
        "text": "connection refused",
        "do": "start the relay, then byway relay test tor",
        "since": 1.0,
        "seen_at": 2.0,
        "error": "socks5h://u:***@h refused",
    }
    assert serialize.relay(relay, RelayHealth(), failing=False)["fault"] is None


def test_a_site_is_called_by_its_last_result_with_what_is_stored_beside_it() -> None:
    held = Belief("h", HOME, State.SUSPECT, "sni_reset", since=1.0, why="reset")
    last = LastResult(SiteStatus.SITE_DOWN, 5.0, Source.MEASUREMENT, "down", "direct: timeout")
    told = serialize.belief(held, site_state(held, last))
    assert (told["words"], told["glyph"], told["cause"], told["found_at"]) == ("site down", "↓", "down", 5.0)
    assert (told["state"], told["stored_words"], told["stored_cause"]) == ("suspect", "likely blocked", "sni_reset")
    assert told["last_result"] == {
        "words": "site down",
        "glyph": "↓",
        "cause": "down",
        "because": "no route reaches it",
        "text": "direct: timeout",
        "at": 5.0,
        "source": "measurement",
    }
    assert serialize.belief(held)["last_result"] is None


BLOCKED = Belief("h", HOME, State.BLOCKED)


@pytest.mark.parametrize(
    ("held", "plan", "relays", "part"),
    [
        (BLOCKED, Plan(Action.BLOCK, (), "r"), ["tor"], 'see "plan"'),
        (BLOCKED, Plan(Action.RELAY, (), "r"), [], "byway relay add"),
        (BLOCKED, Plan(Action.DIRECT, (DIRECT,), "r"), ["tor"], "decides the route"),
        (BLOCKED, Plan(Action.AUTO, (DIRECT,), "r"), [], "byway relay add"),
        (BLOCKED, Plan(Action.AUTO, (DIRECT,), "r"), ["tor"], "byway site set"),
        (BLOCKED, Plan(Action.AUTO, (Route(("tor",)), DIRECT), "r"), ["tor"], "tor opens it"),
        (Belief("h", HOME, State.SUSPECT), Plan(Action.AUTO, (TOR, DIRECT), "r"), ["tor"], "tor opens it"),
        (Belief("h", HOME), Plan(Action.AUTO, (DIRECT, TOR), "r"), ["tor"], "Open it once"),
        (Belief("h", HOME, State.WORKS), Plan(Action.AUTO, (DIRECT, TOR), "r"), ["tor"], "it opens"),
    ],
)
def test_what_to_do_fits(held: Belief, plan: Plan, relays: list[str], part: str) -> None:
    assert part in serialize.policy(held, plan, relays)


@pytest.mark.parametrize("held", [BLOCKED, Belief("h", HOME), Belief("h", HOME, State.WORKS)])
@pytest.mark.parametrize(
    ("status", "part"),
    [
        (SiteStatus.NO_SUCH_NAME, "spelling"),
        (SiteStatus.BAD_CERTIFICATE, "passwords"),
        (SiteStatus.SITE_DOWN, "Wait"),
        (SiteStatus.REFUSES_THIS_ROUTE, "refuses"),
        (SiteStatus.RELAYS_FAIL, "byway relay test"),
        (SiteStatus.NO_NETWORK, "network connection"),
        (SiteStatus.PORTAL, "log in"),
    ],
)
def test_what_to_do_fits_the_word_of_the_moment(held: Belief, status: SiteStatus, part: str) -> None:
    made = Plan(Action.AUTO, (DIRECT, TOR), "r")
    assert part in serialize.policy(held, made, ["tor"], status)
    assert "plan" in serialize.policy(held, Plan(Action.BLOCK, (), "r"), ["tor"], status), "a rule comes first"
