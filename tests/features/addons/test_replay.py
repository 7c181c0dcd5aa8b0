"""`byway addons replay` over a log of a few rows. A week that a real Byway recorded is in tests/e2e."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.languages.amounts import clock
from proxy.model import DIRECT, Action, Outcome, Plan
from proxy.store.file import open_store, transaction
from proxy.store.rows import Batch
from tests.support.command_line import Byway, Home
from tests.support.outcomes import HOME, TOR, delivered, outcome, works

AUTO = Plan(Action.AUTO, (DIRECT, TOR), "AUTO: nothing is known")
PIN = "def plan(request, plan):\n    return plan.via('tor') if request.destination.host == 'a.example' else None\n"


@pytest.fixture
def draft(tmp_path: Path, home: Home) -> Path:
    """A file of the user's that is no addon of theirs yet."""
    home.config.write_text('[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n')
    file = tmp_path / "pin.py"
    file.write_text(PIN)
    return file


def keep(home: Home, *seen: Outcome, unnamed: int = 0) -> None:
    with contextlib.closing(open_store(home.state / "byway.sqlite").db) as db, transaction(db):
        batch = Batch()
        for number, one in enumerate(seen, 1):
            batch.add_outcome(number, one, HOME)
            batch.count(one, HOME)
        for _ in range(unnamed):
            batch.count(works(at=seen[0].at), HOME)
        batch.write(db)


def visit(host: str, plan: Plan = AUTO, *, ago_s: float = 60.0) -> Outcome:
    attempts = [delivered(plan.routes[0])] if plan.routes else []
    return replace(outcome(*attempts, host=host, at=time.time() - ago_s), plan=plan)


def test_which_decisions_would_change(byway: Byway, home: Home, draft: Path) -> None:
    seen = visit("a.example")
    keep(home, seen, visit("b.example"), visit("a.example", ago_s=9 * 86_400), unnamed=4)
    ran = byway("addons", "replay", str(draft))
    assert ran.code == 0
    assert ran.rows[0] == ["at", "site", "was", "would be"]
    assert [row[1:] for row in ran.rows[1:]] == [["a.example:443", "AUTO direct → tor", "RELAY tor"]]
    assert ran.rows[1][0] == clock(seen.at)
    assert "Replayed 2 connections and 0 signals: 1 routes" in ran.err
    assert "about 4 direct connections" in ran.err
    assert "Client addresses and HTTP paths are not logged" in ran.err
    assert "3 connections and 0 signals: 2 routes" in byway("addons", "replay", str(draft), "--since", "30d").err

    told = byway("addons", "replay", str(draft), "--json").json
    assert (told["version"], told["addon"], told["connections"], told["left_out"]["unnamed"]) == (2, "pin", 2, 4)


def test_other_addons_take_part_and_one_of_that_name_is_replaced(byway: Byway, home: Home, draft: Path) -> None:
    folder = home.config.parent / "addons"
    folder.mkdir(mode=0o700)
    (folder / "pin.py").write_text("raise SystemExit\n")
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "zlast.py").write_text("def plan(request, plan):\n    return plan.inspect()\n")
    keep(home, visit("a.example", replace(AUTO.via("tor").inspect(), before=AUTO)), visit("b.example"))
    told = byway("addons", "replay", str(draft), "--json").json
    assert byway("addons", "replay", "pin").code == 7  # the one that is there
    assert told["with"] == ["zlast"]
    assert [it["host"] for it in told["decisions"]] == ["b.example"]
    assert "addon broken is not included" in told["notes"][0]


def test_what_the_guard_refused_was_never_an_addons_to_decide(byway: Byway, home: Home, draft: Path) -> None:
    from proxy.config.paths import Paths
    from proxy.terminal.offline import make_setup

    guard = make_setup(Paths.locate({}, config=home.config, state=home.state)).guard
    seen = visit("127.0.0.1")
    why = guard.refuse_host(seen.request.destination)
    assert why
    keep(
        home, replace(seen, plan=Plan(Action.BLOCK, (), why)), visit("c.example", Plan(Action.BLOCK, (), "rules.txt:1"))
    )
    draft.write_text("def plan(request, plan):\n    return plan.via('tor')\n")
    told = byway("addons", "replay", str(draft), "--json").json
    assert ([it["host"] for it in told["decisions"]], told["left_out"]["guarded"]) == (["c.example"], 1)


def test_faults_are_told_and_change_nothing(byway: Byway, home: Home, draft: Path) -> None:
    keep(home, *(visit(f"{n}.example") for n in range(5)))
    draft.write_text("def plan(request, plan):\n    1 / 0\n")
    ran = byway("addons", "replay", str(draft))
    assert "Replayed 5 connections and 0 signals: 0 routes" in ran.err
    assert "pin.py:2: addon pin: plan raised ZeroDivisionError" in ran.err
    assert "disabled after 3 faults" in ran.err


def test_without_a_log_that_is_said(byway: Byway, draft: Path) -> None:
    ran = byway("addons", "replay", str(draft))
    assert (ran.code, "no log yet" in ran.err) == (1, True)


def test_a_time_that_is_none_and_a_file_that_there_is_not(byway: Byway, home: Home, draft: Path) -> None:
    keep(home, visit("a.example"))
    assert byway("addons", "replay", str(draft), "--since", "soon").code == 2
    ran = byway("addons", "replay", str(draft.with_name("none.py")))
    assert (ran.code, "no such file" in ran.err) == (7, True)
