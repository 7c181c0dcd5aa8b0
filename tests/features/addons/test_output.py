"""What a check and a replay say to a person. The commands have tests of their own."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.features.addons.output import hooks_in_short, show_checked, show_replayed
from proxy.terminal.command import Flags, Invocation
from proxy.terminal.output import Output

CALL = Invocation(Flags(), Output(plain=True))
NOTHING = dict.fromkeys(("unnamed", "older", "senseless", "guarded", "signals", "cut"), 0)


def replayed(**more: Any) -> dict[str, Any]:
    told = {"decisions": [], "weighings": [], "connections": 3, "signals": 1, "faults": [], "notes": []}
    return {**told, "left_out": NOTHING, **more}


def test_of_hooks_those_that_do_something_are_named() -> None:
    assert hooks_in_short({"hooks": ["start", "plan"], "inspects": ["request"]}) == "plan mitmproxy:request"


def test_one_without_a_hook_is_pointed_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_checked(CALL, [{"name": "pin", "hooks": [], "inspects": [], "options": [], "file": "/pin.py"}])
    assert "/pin.py: has no hook" in capsys.readouterr().err
    show_checked(CALL, [])
    assert "No addon is enabled." in capsys.readouterr().err


def test_plans_and_weights_are_put_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    at = {"at": 0.0, "host": "a.example", "port": 443}
    plan = {"action": "RELAY", "routes": ["tor", "vps"], "intercept": True}
    weighing = {**at, "was": [], "would_be": ["pin: tls_reset weighs 0 in place of 2"]}
    show_replayed(CALL, replayed(decisions=[{**at, "was": plan, "would_be": plan}], weighings=[weighing]))
    rows = [line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [
        ["a.example:443", "RELAY tor → vps INSPECT", "RELAY tor → vps INSPECT"],
        ["a.example:443", "unchanged", "pin: tls_reset weighs 0 in place of 2"],
    ]


def test_what_could_not_be_replayed_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    show_replayed(CALL, replayed(left_out={**NOTHING, "unnamed": 1234, "cut": True}))
    said = capsys.readouterr().err
    assert "about 1,234 direct connections" in said
    assert "the oldest connections" in said
    assert "damaged" not in said
