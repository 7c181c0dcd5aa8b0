"""Commands that only read work from the files when no Byway runs, and say so."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.config.schema import Log
from proxy.detect.relay_health import Health
from proxy.model import Action, Belief, Change, Override, Stage, State, StoredResult, Symptom
from proxy.model.document import document
from proxy.model.errors import BywayError
from proxy.model.feature import Feature
from proxy.setup.saved_relay_health import RelayHealthFile, saved
from proxy.store.file import open_log
from proxy.store.store import Store
from proxy.terminal import stored
from tests.support.command_line import Byway, Home
from tests.support.outcomes import AWAY, HOME, TOR, failed, outcome, rescued, works

BLOG = "blog.example.net"
SAID = "No Byway is running. This is from its log.\n"


@pytest.fixture
def kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that a Byway has left. The computer is on the same network as then."""
    now = time.time()
    file = Paths.locate({}, config=home.config, state=home.state).store_file
    store = Store(file, Log(hosts="all"))
    store.start()
    store.record(works("fine.example", at=now - 60), network=HOME)
    store.record(rescued(host=BLOG, at=now - 30), network=HOME)
    refused = failed(Symptom.RELAY_AUTH, Stage.RELAY, TOR, error="the relay refused the password")
    store.record(outcome(refused, host="down.example", at=now - 20), network=HOME)
    for network, state in ((HOME, State.BLOCKED), (AWAY, State.SUSPECT)):
        belief = Belief(
            BLOG, network, state, "sni_reset", score=9, since=now - 500, until=now + 9000, last_good="tor",
            why="direct: reset", scored_at=now,
        )  # fmt: skip
        store.believe([Change(now - 500, BLOG, network, State.UNKNOWN, state, "sni_reset", "direct: reset", belief)])
    store.set_override("example.org", Override(Action.RELAY, "tor"))
    assert store.flush()
    store.close()
    home.config.write_text('config_version = 1\n[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n')
    monkeypatch.setattr(stored, "network_here", lambda _: HOME)
    return file


@pytest.mark.uses("traffic")
def test_the_log(byway: Byway, kept: Path) -> None:
    ran = byway("log")
    assert (ran.code, ran.err) == (0, SAID)
    assert [row[2] for row in ran.rows[1:]] == ["fine.example", BLOG, "down.example"]
    assert [row[2] for row in byway("log", "--site", "example.net", "--outcome", "rescued").rows[1:]] == [BLOG]
    assert byway("log", "show", "2", "--json").json["host"] == BLOG
    assert byway("log", "--quiet").err == ""
    assert byway("log", "-f").code == 3  # that needs one


@pytest.mark.uses("sites")
def test_the_sites(byway: Byway, kept: Path) -> None:
    ran = byway("site", "list")
    assert (ran.code, ran.err) == (0, SAID)
    assert [row[0] for row in ran.rows[1:]] == [BLOG, "example.org"]
    assert len(byway("site", "list", "--json").json["sites"]) == 2
    shown = byway("site", "show", f"https://{BLOG}/", "--json").json
    assert shown["belief"]["state"] == "blocked"
    assert [it["network"] for it in shown["elsewhere"]] == [AWAY]
    assert shown["timeline"][0]["state"] in ("blocked", "suspect")
    assert byway("site", "show", "a.example.org", "--json").json["override"]["scope"] == "example.org"
    assert byway("site", "show", "a..b").code == 2


@pytest.mark.uses("sites")
def test_what_last_happened_is_said_as_a_running_byway_says_it(byway: Byway, kept: Path) -> None:
    """As long as it holds, in the list as on its own."""
    now = time.time()
    store = Store(kept, Log(hosts="all"))
    store.start()
    for host, port, status, cause, hours in (
        ("dead.example", 443, "site down", "down", 5),
        ("typo.example", 443, "no such name", "name", 0.5),
        ("old.example", 443, "site down", "down", 25),
        (BLOG, 443, "slow", "frozen", 0.1),
        ("fine.example", 8443, "site down", "down", 2),
    ):
        at = now - hours * 3600
        text, source = "as it was seen", "measurement"
        store.keep_result(StoredResult(HOME, host, port, status, at, source, cause, text, (), "not tested", 0.0, ""))
    assert store.flush()
    store.close()
    rows = [row for row in byway("site", "list", "--json").json["sites"] if row["network"] == HOME]
    listed = {row["site"]: row["words"] for row in rows}
    assert listed == {BLOG: "slow", "dead.example": "site down", "typo.example": "no such name",
                      "fine.example:8443": "site down"}  # fmt: skip
    for host in ("dead.example", "typo.example", BLOG):
        assert byway("site", "show", host, "--json").json["belief"]["words"] == listed[host]
    assert byway("site", "show", "old.example", "--json").json["belief"]["words"] == "not tested"
    assert byway("site", "show", "fine.example", "--json").json["belief"]["port"] == 8443, (
        "nothing else is stored of it"
    )


@pytest.mark.uses("relays", "sites", "traffic")
def test_a_report(byway: Byway, kept: Path) -> None:
    ran = byway("report", BLOG)
    assert ran.code == 0
    assert SAID in ran.err
    assert BLOG in ran.out.replace("\\", "")
    assert len(byway("report", "--json").json["sites"]) == 1


@pytest.mark.uses("relays")
def test_the_relays_as_the_last_byway_knew_them(byway: Byway, home: Home, kept: Path) -> None:
    now = time.time()
    health = Health(DetectTuning())
    refused = failed(Symptom.RELAY_AUTH, Stage.RELAY, TOR, error="the relay refused the password")
    for seen in (rescued(at=now - 30), outcome(refused, at=now - 20)):
        health.learn(seen, seen.at)

    async def save() -> None:
        file = RelayHealthFile(Paths.locate({}, config=home.config, state=home.state).relay_health_file)
        file.save(saved(health.remembered(), HOME, load(home.config).settings.relay))
        await file.written()

    asyncio.run(save())
    ran = byway("relay", "list", "--json")
    assert SAID in ran.err
    (relay,) = ran.json["relays"]
    assert (relay["state"], relay["error"]) == ("failing", "the relay refused the password")
    assert relay["words"] == f"fails: {relay['fault']['text']}"
    assert relay["worked_at"] == pytest.approx(now - 30)


@pytest.mark.uses("relays")
def test_relays_of_which_no_health_was_saved_as_the_log_has_them(
    byway: Byway, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (relay,) = byway("relay", "list", "--json").json["relays"]
    assert (relay["state"], relay["error"]) == ("failed", "the relay refused the password")
    assert relay["worked_at"] == pytest.approx(time.time() - 30, abs=60)
    assert (relay["visits"]["delivered"], relay["visits"]["failed"]) == (1, 1)
    assert relay["last_fault"]["error"] == "the relay refused the password"
    monkeypatch.setattr(stored, "network_here", lambda _: AWAY)
    (relay,) = byway("relay", "list", "--json").json["relays"]
    assert (relay["state"], relay["worked_at"]) == ("untried", None), "another network says nothing of this one"


@pytest.mark.uses("relays", "sites", "traffic")
@pytest.mark.parametrize("words", ["log", "site list", f"site show {BLOG}", "report", "relay list"])
def test_a_broken_configuration_keeps_nobody_from_reading(byway: Byway, home: Home, kept: Path, words: str) -> None:
    home.config.write_text("nonsense")
    assert byway(*words.split()).code == 0


@pytest.mark.uses("sites", "today")
@pytest.mark.parametrize("words", ["why x.example", "status", "test x.example"])
def test_what_needs_a_running_byway_says_so(byway: Byway, kept: Path, words: str) -> None:
    ran = byway(*words.split())
    assert ran.code == 3
    assert "Byway is not running" in ran.err


@pytest.mark.uses("sites", "traffic")
@pytest.mark.parametrize("words", ["log", "site list", "report"])
def test_the_state_of_another_user_is_told_in_a_sentence(
    byway: Byway, kept: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, _: path != kept)
    ran = byway(*words.split())
    assert (ran.code, ran.err) == (4, f"byway: {kept} belongs to another user\n")


@pytest.mark.uses("traffic")
def test_a_damaged_log_is_told_in_a_sentence(byway: Byway, kept: Path) -> None:
    kept.write_bytes(b"SQLite format 3\0" + bytes(4096))
    ran = byway("log")
    assert ran.code == 1
    assert "cannot be read" in ran.err
    assert "Traceback" not in ran.err


def test_a_folder_that_cannot_be_written_can_be_read(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There SQLite can make neither its lock nor its index of the write-ahead log."""

    def refuses(file: Path, *, immutable: bool = False) -> sqlite3.Connection:
        if not immutable:
            raise sqlite3.OperationalError("unable to open database file")
        return open_log(file, immutable=True)

    monkeypatch.setattr(stored, "open_log", refuses)
    with pytest.raises(sqlite3.OperationalError):
        stored._ask(kept, lambda db: db.execute("SELECT 1").fetchone())
    monkeypatch.setattr("os.access", lambda *_: False)
    assert stored._ask(kept, lambda db: db.execute("SELECT count(*) FROM outcome").fetchone()) == (3,)


@pytest.mark.uses("sites", "today", "traffic")
def test_only_what_the_files_hold_is_answered(home: Home, kept: Path, features: Sequence[Feature]) -> None:
    reader = stored.Stored(Paths.locate({}, config=home.config, state=home.state), features)
    assert reader.get("/v1/measurements/x.example")["measurements"] == []
    with pytest.raises(BywayError, match="needs a running Byway"):
        reader.get("/v1/status")
    with pytest.raises(BywayError, match="outcome is one of"):
        reader.get("/v1/log", outcome="odd")


@pytest.mark.uses("relays", "sites", "traffic")
@pytest.mark.parametrize("path", ["sites", f"sites/{BLOG}", "sites/down.example", "log", "relays"])
def test_it_answers_as_a_running_byway_with_the_same_files(
    home: Home, kept: Path, features: Sequence[Feature], path: str
) -> None:
    from tests.support.control_world import World

    reader = stored.Stored(Paths.locate({}, config=home.config, state=home.state), features)
    world = World(settings=reader.settings, store_file=kept, overrides=dict(reader.overrides))
    try:
        world.beliefs, world.health = reader.beliefs, reader.health
        name, _, host = path.partition("/")
        key = f"{name}/{{host}}" if host else name
        answer = next(feature.load(feature.stored[key]) for feature in features if key in feature.stored)
        answered = document(asyncio.run(answer(world.parts, *([host] if host else []))))
    finally:
        world.close()
    assert answered == reader.get(f"/v1/{path}")


@pytest.mark.uses("sites", "traffic")
@pytest.mark.parametrize("words", ["site list", "site show a.example", "report a.example", "log --json"])
def test_a_state_folder_that_is_a_file_is_told_in_a_sentence(byway: Byway, tmp_path: Path, words: str) -> None:
    state = tmp_path / "file"
    state.write_text("")
    ran = byway(*words.split(), "--state", str(state))
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (3, "", 1)
