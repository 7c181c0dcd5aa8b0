"""A missing engine is named in `status`, and by `doctor`, only where a relay is a key."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.paths import Paths
from proxy.config.schema import RelayConfig, Settings
from proxy.features.keys import checks as checks_module
from proxy.features.keys import problems as problems_module
from proxy.features.keys.binary import Binary, NoEngine
from proxy.features.keys.checks import checks
from proxy.features.keys.problems import problems
from tests.support.command_line import Byway, Home

KEY = RelayConfig(name="mine", url="trojan://hunter2@relay.example:443")


def moment(*relays: RelayConfig) -> Any:
    return SimpleNamespace(frame=SimpleNamespace(parts=SimpleNamespace(settings=Settings(relay=relays))))


def missing() -> Binary:
    raise NoEngine("there is none", "install it")


async def test_a_missing_engine_is_a_problem_of_keys_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems_module, "find", missing)
    assert await problems(moment(RelayConfig(name="tor", url="socks5h://127.0.0.1:9050"))) == []
    (problem,) = await problems(moment(KEY))
    assert (problem.subject, problem.text) == ("relays", "Relays that are keys cannot be used: there is none.")
    assert problem.do == "install it"
    monkeypatch.setattr(problems_module, "find", lambda: None)
    assert await problems(moment(KEY)) == []


def test_doctor_says_it_too(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_module, "find", missing)
    call: Any = SimpleNamespace(paths=Paths.locate({}, config=home.config, state=home.state))
    assert list(checks(call)) == []
    home.config.write_text('config_version = 1\n[[relay]]\nname = "mine"\nurl = "trojan://hunter2@relay.example:443"\n')
    (finding,) = checks(call)
    assert (finding.text, finding.do) == ("relays that are keys cannot be used: there is none", "install it")
    assert not finding.prevents_start
