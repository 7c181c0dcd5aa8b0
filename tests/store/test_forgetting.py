"""What is forgotten leaves no byte in any file of the state folder; the rest stays."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.paths import Paths, snap_name
from proxy.config.schema import Log
from proxy.model import Action, Belief, Change, Override, State, StoredResult
from proxy.store.forgetting import Forgotten, forget_files
from proxy.store.store import Store
from tests.support.outcomes import AWAY, HOME, rescued

NOW = 2e9
SECRET = "secret.example"
OTHER = "other.example"


def left_in(folder: Path, text: str) -> list[str]:
    """The files that hold these raw bytes."""
    return [path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A log that names two sites: one visited an hour before the other."""
    store = Store(tmp_path / "byway.sqlite", Log(hosts="all"))
    store.start()
    for host, at in ((OTHER, NOW - 3600), (SECRET, NOW), (f"www.{SECRET}", NOW)):
        store.record(rescued(host=host, at=at), network=HOME)
        belief = Belief(host, HOME, State.BLOCKED, since=at, until=at + 1e6)
        store.believe([Change(at, host, HOME, State.UNKNOWN, State.BLOCKED, "sni_reset", f"{host} was reset", belief)])
        store.keep_result(StoredResult(HOME, host, 443, "site down", at, "connection", "down", f"{host} was reset"))
    store.set_override("kept.example", Override(Action.RELAY))
    assert store.flush()
    assert left_in(tmp_path, SECRET)
    return store


def scopes(store: Store) -> set[str]:
    return {str(row.scope) for row in store.changes()}


@pytest.mark.parametrize("what", [Forgotten(SECRET), Forgotten(since=NOW - 60)])
def test_a_host_and_a_time_are_forgotten_and_the_rest_stays(tmp_path: Path, store: Store, what: Forgotten) -> None:
    store.forget(what)
    assert left_in(tmp_path, SECRET) == []
    assert {row.host for row in store.log()} == {OTHER}
    assert scopes(store) == {OTHER}
    store.close()
    assert left_in(tmp_path, SECRET) == []
    again = Store(tmp_path / "byway.sqlite")
    again.start()
    assert [belief.scope for belief in again.load_beliefs()] == [OTHER]
    assert [result.host for result in again.load_results()] == [OTHER]
    again.close()


def test_a_host_is_forgotten_with_its_subdomains_and_no_name_that_only_ends_like_it() -> None:
    what = Forgotten(SECRET)
    hosts = (SECRET, f"www.{SECRET}", f"top{SECRET}", f"{SECRET}.net")
    for is_meant in (what.names, lambda scope: what.covers(scope, NOW, HOME)):
        assert [is_meant(host) for host in hosts] == [True, True, False, False]


def test_what_is_said_of_others_does_not_name_a_forgotten_host(tmp_path: Path, store: Store) -> None:
    """A domain is blocked since two of its hosts were, and so the plan for a third one names them."""
    why = f"www.{SECRET} and shop.site.example fail the same way (sni_reset); status applied to *.site.example"
    belief = Belief("*.site.example", HOME, State.BLOCKED, since=NOW, until=NOW + 1e6, why=why)
    store.believe([Change(NOW, belief.scope, HOME, State.UNKNOWN, State.BLOCKED, "sni_reset", why, belief)])
    visited = rescued(host="third.site.example", at=NOW)
    visited = replace(visited, plan=replace(visited.plan, why=f"AUTO: blocked: {why}"), error=f"no way to {SECRET}")
    store.record(visited, network=HOME)
    longer = f"my-{SECRET} and {SECRET}.net were reset"
    store.keep_result(StoredResult(HOME, "else.example", 443, "site down", NOW, "connection", "down", longer))
    store.flush()
    with contextlib.closing(sqlite3.connect(tmp_path / "byway.sqlite")) as db, db:
        db.execute("UPDATE outcome SET plan = NULL WHERE host = ?", (OTHER,))  # as an early Byway left it
    store.forget(Forgotten(SECRET))
    store.close()
    again = Store(tmp_path / "byway.sqlite", Log(hosts="all"))
    again.start()
    assert [row.why for row in again.log() if row.host == "third.site.example"] == [""]
    assert {belief.scope for belief in again.load_beliefs()} == {"*.site.example", OTHER}
    assert longer in {result.text for result in again.load_results()}, "other names, which have it in the middle"
    again.forget(Forgotten("else.example"))
    again.close()
    assert left_in(tmp_path, SECRET) == []


def test_a_network_is_forgotten_and_the_others_stay(tmp_path: Path, store: Store) -> None:
    store.record(rescued(host="elsewhere.example", at=NOW), network=AWAY)
    belief = Belief("elsewhere.example", AWAY, State.BLOCKED, since=NOW, until=NOW + 1e6)
    store.believe([Change(NOW, "elsewhere.example", AWAY, State.UNKNOWN, State.BLOCKED, "", "reset", belief)])
    store.keep_result(StoredResult(AWAY, "elsewhere.example", 443, "site down", NOW, "connection"))
    store.forget(Forgotten(network=HOME))
    for name in (SECRET, OTHER):
        assert left_in(tmp_path, name) == []
    assert {row.host for row in store.log()} == scopes(store) == {"elsewhere.example"}
    assert [row.delivered for row in store.relay_success(0)] == [1]
    store.close()
    again = Store(tmp_path / "byway.sqlite")
    again.start()
    assert [belief.network for belief in again.load_beliefs()] == [AWAY]
    assert [result.network for result in again.load_results()] == [AWAY]
    again.close()


def test_the_extent_of_a_log(tmp_path: Path, store: Store) -> None:
    size, oldest = store.extent()
    assert size >= (tmp_path / "byway.sqlite").stat().st_size > 0
    assert oldest == NOW - 3600
    store.forget(Forgotten())
    assert store.extent()[1] is None


def test_all_is_forgotten_and_settings_stay(tmp_path: Path, store: Store) -> None:
    store.forget(Forgotten())
    for name in (SECRET, OTHER):
        assert left_in(tmp_path, name) == []
    assert store.log() == []
    assert store.route_success(0) == []
    store.close()
    again = Store(tmp_path / "byway.sqlite")
    again.start()
    assert (again.load_beliefs(), again.load_results()) == ([], [])
    assert set(again.load_overrides()) == {"kept.example"}
    again.close()


def test_a_connection_that_was_open_is_not_recorded_when_it_ends(tmp_path: Path, store: Store) -> None:
    """Whatever the clock says: those that begin afterwards may seem to have begun before."""
    store.configure(Log(hosts="decisions"))
    store.leave_out(range(8))
    store.leave_out({9})
    store.forget(Forgotten())
    for number, host in enumerate([SECRET] * 8 + [OTHER, SECRET, OTHER]):
        made = rescued(host=host, at=NOW - number)
        store.record(replace(made, request=replace(made.request, id=number)), network=HOME)
        assert store.count_direct(HOME, number, NOW, 1, 2) is (host == OTHER)
    assert store.flush()
    assert left_in(tmp_path, SECRET) == []
    assert [row.host for row in store.log()] == [OTHER, OTHER]
    assert [row.bytes_up for row in store.route_success(0) if row.route == "direct"] == [2]
    store.close()


def test_the_files_beside_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)

    def fill() -> None:
        for folder in ("surveys", "browser/chromium", "addons/notes"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in (
            "byway.sqlite.corrupt-20260101T000000", "byway.sqlite.corrupt-20260101T000000-wal",
            "byway.sqlite.layout-3-20260101T000000", "surveys/1.jsonl", "browser/chromium/History",
            "addons/notes/a.json",
        ):  # fmt: skip
            (tmp_path / name).write_text(SECRET)
        (tmp_path / "surveys" / "2.jsonl").write_text(OTHER)

    fill()
    deleted = forget_files(paths, Forgotten(SECRET))
    assert deleted == ["logs that were set aside", "interrupted tests"]
    assert sorted(left_in(tmp_path, SECRET)) == ["History", "a.json"]
    assert left_in(tmp_path, OTHER) == ["2.jsonl"]
    assert forget_files(paths, Forgotten(since=1e11)) == []
    fill()
    assert len(forget_files(paths, Forgotten())) == 4
    assert left_in(tmp_path, SECRET) == left_in(tmp_path, OTHER) == []
    assert forget_files(paths, Forgotten()) == []


def test_profiles_and_caches_of_browsers_outside_of_the_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snap reads no hidden folder, and Chromium keeps the cache of a profile among the user's settings elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    state = tmp_path / ".config" / "byway-state"
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=state)
    ours = (
        f"snap/chromium/common/byway/{snap_name(state)}/History",
        ".cache/byway-state/browser/chromium/Default/Cache/1",
    )
    others = (
        "snap/chromium/common/chromium/History", "snap/chromium/common/byway/other/History",
        ".cache/chromium/Default/Cache/1",
    )  # fmt: skip
    for name in ours + others:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(SECRET)
    assert forget_files(paths, Forgotten(SECRET)) == []
    assert forget_files(paths, Forgotten()) == ["the browser profile"]
    assert [name for name in ours + others if (tmp_path / name).exists()] == list(others)


def test_the_ways_to_relays_go_with_all(tmp_path: Path) -> None:
    """They name relays and no visited host, so one host or an hour leaves them."""
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)
    paths.relay_ways_file.write_text("[]")
    for what in (Forgotten(SECRET), Forgotten(since=1.0)):
        assert forget_files(paths, what) == []
    assert forget_files(paths, Forgotten()) == ["what was blocked on the way to relays"]
    assert not paths.relay_ways_file.exists()


def test_what_imports_have_replaced_goes_with_all_and_a_file_of_the_users_stays(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    for name in ("backup-20260101T000000.toml", "backup-20260102T000000.toml", "backup-home.toml", "config.toml"):
        (tmp_path / name).write_text(SECRET)
    for what in (Forgotten(SECRET), Forgotten(since=1.0)):
        assert forget_files(paths, what) == []
    assert forget_files(paths, Forgotten()) == ["configurations kept by earlier imports"]
    assert sorted(left_in(tmp_path, SECRET)) == ["backup-home.toml", "config.toml"]
