"""What a user has of the version 8f95f8b1 is read and kept: configuration with comments, rules, a list, an addon, a
state folder, and a file that `config export` wrote. That version made the files, by visits in an emulated country.

Like that version, Byway refuses a rule that inspects where nothing can (Python 3.11), so nobody there has one."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from proxy.config.mitmproxy_version import unavailable
from proxy.model import Action
from tests.support.byway import Byway as Running
from tests.support.command_line import Byway, Home

MADE = Path(__file__).parent / "fixtures" / "8f95f8b1"
LAYOUT, APPLICATION = 4, 1_652_127_585  # of its log: `PRAGMA user_version` and `application_id`


def written(name: str) -> str:
    """Returns the text of one of the files as a user here has it."""
    lines = (MADE / name).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not unavailable() or not line.endswith(",INSPECT\n"))


def rules_written() -> list[str]:
    lines = (line.split("#")[0].strip() for line in written("config/rules.txt").splitlines())
    return [line for line in lines if line]


def lay_out(config: Path, state: Path) -> None:
    """Puts the files where a user has them."""
    shutil.copytree(MADE / "config", config, dirs_exist_ok=True)
    (config / "rules.txt").write_text(written("config/rules.txt"))
    addon = config / "addons" / "pin.py.txt"  # no code of ours, which is checked
    addon.rename(addon.with_suffix(""))
    state.mkdir(mode=0o700, exist_ok=True)
    (state / "network.key").write_bytes(bytes.fromhex((MADE / "state" / "network.key.hex").read_text()))
    (state / "network.key").chmod(0o600)
    with sqlite3.connect(state / "byway.sqlite") as db:
        db.executescript((MADE / "state" / "byway.sql").read_text("utf-8"))
        db.execute(f"PRAGMA user_version = {LAYOUT}")
        db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.close()
    (state / "byway.sqlite").chmod(0o600)


@pytest.fixture
def kept(home: Home) -> Home:
    lay_out(home.config.parent, home.state)
    return home


def test_the_configuration_and_the_rules_are_read(kept: Home, byway: Byway) -> None:
    done = byway("config", "check", "--json")
    assert done.code == 0, done.err
    rules = byway("rule", "list", "--json").json["rules"]
    assert [rule["text"] for rule in rules] == rules_written()
    assert [relay["name"] for relay in byway("relay", "list", "--json").json["relays"]] == ["vps", "abroad", "hop"]


def test_an_edit_changes_its_line_alone(kept: Home, byway: Byway) -> None:
    """Comments, order and spacing stay."""
    config, rules = kept.config.read_text(), (kept.config.parent / "rules.txt").read_text()
    for words in (
        ("relay", "enable", "abroad"),
        ("relay", "disable", "abroad"),
        ("rule", "add", "DOMAIN,new.example,BLOCK"),
        ("rule", "rm", str(len(rules_written()))),
    ):
        done = byway(*words)
        assert done.code == 0, done.err
    assert kept.config.read_text() == config
    assert (kept.config.parent / "rules.txt").read_text() == rules
    assert byway("config", "set", "log.keep_days", "30").code == 0
    assert kept.config.read_text() == config.replace("keep_days = 3650", "keep_days = 30")


def test_the_log_and_the_overrides_are_there(kept: Home, byway: Byway) -> None:
    rows = byway("log", "--json").json["rows"]
    assert {row["host"] for row in rows} >= {"livejournal.test", "fine.test", "ruled.test", "listed.test", "dead.test"}
    assert {row["winner"] for row in rows} == {"direct", "vps"}
    overrides = {each["scope"]: each["action"] for each in byway("site", "list", "--json").json["overrides"]}
    assert overrides["kept.example"] == Action.RELAY


def test_an_exported_file_is_imported(home: Home, byway: Byway, tmp_path: Path) -> None:
    file = tmp_path / "byway.txt"
    file.write_text(written("exported.txt"))
    done = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert done.code == 0, done.err
    assert home.config.read_text().strip() == (MADE / "config" / "config.toml").read_text().strip()
    assert (home.config.parent / "rules.txt").read_text().strip() == written("config/rules.txt").strip()
    overrides = {each["scope"]: each["action"] for each in byway("site", "list", "--json").json["overrides"]}
    assert overrides["kept.example"] == Action.RELAY


async def test_byway_starts_with_it_and_goes_on(tmp_path: Path) -> None:
    byway = Running(tmp_path)
    lay_out(byway.config.parent, byway.state)
    async with byway:
        status = await byway.read("status")
        assert [relay["name"] for relay in status["relays"]] == ["vps", "abroad", "hop"]
        addons = (await byway.read("addons", "list"))["addons"]
        assert [(each["name"], each["state"]) for each in addons if not each["shipped"]] == [("pin", "runs")]
        assert await byway.stop() == 0
    assert "Traceback" not in byway.said.read_text()
    assert not [path.name for path in byway.state.iterdir() if "corrupt" in path.name]


async def test_a_log_in_a_layout_before_that_version_is_set_aside_and_status_says_so(tmp_path: Path) -> None:
    byway = Running(tmp_path)
    byway.state.mkdir(mode=0o700, exist_ok=True)
    with sqlite3.connect(byway.state / "byway.sqlite") as db:
        db.executescript((Path(__file__).parents[1] / "store" / "layout_3.sql").read_text("utf-8"))
    db.close()
    before = (byway.state / "byway.sqlite").read_bytes()
    async with byway:
        (notice,) = (each for each in (await byway.read("status"))["notices"] if "an early Byway" in each)
        (aside,) = byway.state.glob("byway.sqlite.layout-3-*")
        assert aside.name in notice
        assert aside.read_bytes() == before
        sites = await byway.read("site", "list")
        assert [(each["scope"], each["action"]) for each in sites["overrides"]] == [("bank.example", "RELAY")]
        assert await byway.stop() == 0
    assert aside.name in byway.said.read_text()
