"""Healthy sites over a slow link that loses packets: a minute of real time in a second. `python -m tests.lab.healthy`
takes ten minutes, with the detection's own numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.model import State
from proxy.store.logged import StatusChange
from tests.lab import healthy
from tests.lab.healthy import BLOCKED, BROKEN, Found, main
from tests.lab.links import Link

pytestmark = pytest.mark.waits

HURRIED = (
    "signal_interval_s = 1.0\nepisode_gap_s = 1.0\nretest_suspect_s = 2.0\nretest_jitter = 0.0\nretest_pair_s = 5.0\n"
    "retest_per_hour = 100000\n"
)


@pytest.mark.namespaces
async def test_no_healthy_site_is_called_blocked_and_a_blocked_one_is(folder: Path) -> None:
    found = await healthy.watch(folder, seconds=16, link=Link(0.15, 0.05), people=40, rest_s=0.5, detect=HURRIED)
    assert not found.broken, found.told()
    assert found.pages[True] > healthy.SITES


@pytest.mark.parametrize(
    ("healthy_is", "other_is", "code"),
    [(State.SUSPECT, State.BLOCKED, 0), (State.BLOCKED, State.BLOCKED, BROKEN), (State.SUSPECT, State.SUSPECT, BROKEN)],
)
def test_a_run_says_with_its_exit_code_what_was_believed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], healthy_is: State, other_is: State, code: int
) -> None:
    async def watch(*_: object, **__: object) -> Found:
        rows = (("site1.test", healthy_is), (BLOCKED, other_is))
        return Found(ledger=[StatusChange(0.0, scope, "", "", str(state), "", "") for scope, state in rows])

    monkeypatch.setattr(healthy, "watch", watch)
    assert main([]) == code
    assert "ever called blocked" in capsys.readouterr().out
