"""The store as the session uses it: real files, a real thread, real faults."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import Log
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import UNKNOWN_NETWORK, Action, Belief, Change, Inbound, Override, State, StoredResult
from proxy.store import database, file, queries, rows
from proxy.store import retention as retiring
from proxy.store import store as writer
from proxy.store.file import open_reader
from proxy.store.store import Store
from tests.support.outcomes import HOME, HOST, TOR, delivered, failed, open_uplink, outcome, rescued, works
from tests.support.wal import move_into_file

AT = time.time()
DAY = 86_400.0
Opener = Callable[..., Store]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are tried again at once; nothing else changes."""
    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    monkeypatch.setattr(writer, "BATCH_S", 0.01)
    monkeypatch.setattr(file, "BUSY_S", 0.02)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "byway.sqlite"


@pytest.fixture
def open_at() -> Iterator[Opener]:
    """Opens stores, and closes those that the test left open."""
    opened: list[Store] = []

    def start(path: Path | None, **settings: Any) -> Store:
        store = Store(path, Log(**{"keep_days": 3650, **settings}))
        store.start()
        opened.append(store)
        return store

    yield start
    for store in opened:
        store.close()


def change(scope: str = HOST, *, after: State = State.BLOCKED, until: float = 1e11) -> Change:
    belief = Belief(scope, HOME, after, cause="sni_reset", score=4.0, until=until, last_good="tor", exits=(AT,))
    return Change(AT, scope, HOME, State.SUSPECT, after, "sni_reset", "the evidence", belief)


def hosts(store: Store) -> set[str]:
    return {row.host for row in store.log(limit=10_000)}


def on_disk(folder: Path) -> bytes:
    return b"".join(found.read_bytes() for found in folder.iterdir())


# -- keeping -----------------------------------------------------------------------------------------------------------


def test_what_is_recorded_can_be_read_while_it_runs(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    store.record(rescued(host="a.example", at=AT), network=HOME)
    assert store.flush()

    (row,) = store.log()
    assert (row.host, row.winner, row.network) == ("a.example", "tor", HOME)
    assert store.route_success(AT)[0].attempts == 1
    assert store.relay_success(AT)[0].relay == "tor"
    assert (store.dropped_rows, store.waiting_rows, store.trouble, store.notices) == (0, 0, "", ())


def test_a_log_that_is_off_has_nothing_to_do() -> None:
    store = Store(None, Log(hosts="off"))
    store.record(rescued(), network=HOME)
    assert store.waiting_rows == 0
    store.configure(Log(hosts="all"))
    store.record(rescued(), network=HOME)
    assert store.waiting_rows == 1


def test_who_asks_does_not_wait_until_rows_are_gathered(
    path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "BATCH_S", 600.0)
    store = open_at(path)
    for number in range(3):
        store.record(rescued(host=f"site{number}.example", at=AT), network=HOME)
        assert store.flush(20.0)
        assert len(store.log()) == number + 1
    store.record(rescued(host="last.example", at=AT), network=HOME)
    store.close()  # nor when it ends
    assert store.waiting_rows == 0


def test_connections_that_worked_direct_are_one_entry_until_they_are_written(path: Path, open_at: Opener) -> None:
    store = Store(path)
    for _ in range(100):
        store.record(works(at=AT), network=HOME)
    store.record(works(at=AT + 3600), network=HOME)
    assert store.waiting_rows == 2
    store.start()
    assert store.flush()
    assert sum(row.delivered for row in store.route_success(0)) == 101
    assert (store.log(), store.waiting_rows, store.dropped_rows) == ([], 0, 0)
    store.close()


@pytest.mark.parametrize(("hosts", "counted"), [("decisions", True), ("all", False), ("off", False)])
def test_a_connection_is_counted_without_its_outcome_where_the_log_keeps_no_more(
    path: Path, open_at: Opener, hosts: str, counted: bool
) -> None:
    store = open_at(path, hosts=hosts)
    assert store.count_direct(HOME, 1, AT, 10, 20) is counted
    assert store.count_direct(HOME, 1, AT, 1, 2) is counted
    assert store.flush()
    sums = [(row.delivered, row.bytes_up, row.bytes_down) for row in store.route_success(0)]
    assert sums == ([(2, 11, 22)] if counted else [])
    store.close()
    assert store.count_direct(HOME, 1, AT, 1, 2) is False, "then nothing is taken any more"


def test_beliefs_overrides_and_the_log_are_there_after_a_restart(path: Path, open_at: Opener) -> None:
    first = open_at(path)
    beliefs = Beliefs(DetectTuning())
    open_uplink(beliefs, now=AT)
    for seconds in (0, 61):
        first.believe(beliefs.learn(rescued(), network=HOME, now=AT + seconds))
    first.set_override("bank.example", Override(Action.DIRECT))
    first.set_override("blog.example", Override(Action.RELAY, "tor"))
    first.clear_override("blog.example")
    first.record(rescued(at=AT), network=HOME)
    first.close()

    second = open_at(path)
    again = Beliefs(DetectTuning(), second.load_beliefs())

    assert again.lookup(HOST, network=HOME, now=AT + 70) == beliefs.lookup(HOST, network=HOME, now=AT + 70)
    assert again.lookup(HOST, network=HOME, now=AT + 70).state is State.BLOCKED
    assert second.load_overrides() == {"bank.example": Override(Action.DIRECT)}
    assert hosts(second) == {HOST}
    assert [row.after for row in second.changes(HOST)] == ["blocked", "suspect"]


def test_row_numbers_go_on_after_a_restart(path: Path, open_at: Opener) -> None:
    for _ in range(3):
        store = open_at(path)
        store.record(rescued(at=AT), network=HOME)
        store.close()

    assert [row.id for row in open_at(path).log()] == [3, 2, 1]


def test_closing_leaves_one_file_of_mode_0600(path: Path, open_at: Opener) -> None:
    before = os.umask(0)
    try:
        store = open_at(path)
        store.record(rescued(at=AT), network=HOME)
        store.flush()
        modes = {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(before)

    assert modes == {0o600}
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_closing_writes_what_waits_and_then_takes_no_more(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    for number in range(500):
        store.record(rescued(host=f"h{number}.example", at=AT), network=HOME)
    store.close()
    store.record(rescued(at=AT), network=HOME)
    store.believe([change()])
    store.close()

    assert store.dropped_rows == 2
    assert len(hosts(open_at(path))) == 500


def test_a_belief_that_keeps_its_state_is_kept_and_not_told(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    store.believe([replace(change(), before=State.BLOCKED)])
    store.flush()

    assert store.changes() == []
    store.close()
    assert len(open_at(path).load_beliefs()) == 1


def test_a_forgotten_belief_is_gone_from_the_disk(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    store.believe([change(), change("other.example")])
    store.flush()
    store.believe([replace(change(), before=State.BLOCKED, after=State.UNKNOWN, belief=None)])
    store.close()

    assert [belief.scope for belief in open_at(path).load_beliefs()] == ["other.example"]


def test_networks_that_cannot_be_told_apart_are_kept_in_memory_only(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    said = change()
    assert said.belief is not None
    belief = replace(said.belief, network=UNKNOWN_NETWORK)
    store.believe([replace(said, network=UNKNOWN_NETWORK, belief=belief)])
    store.flush()

    assert len(store.changes()) == 1
    store.close()
    assert open_at(path).load_beliefs() == []


# -- whose names are written ---------------------------------------------------------------------------------------


def test_by_default_only_hosts_that_needed_a_decision_are_named(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    store.record(works("quiet.example", at=AT), network=HOME)
    store.record(rescued(host="blocked.example", at=AT), network=HOME)
    store.record(outcome(delivered(), host="ruled.example", action=Action.DIRECT, at=AT), network=HOME)
    store.flush()

    assert hosts(store) == {"blocked.example", "ruled.example"}
    assert store.route_success(AT)[0].delivered == 2  # counted all the same
    assert b"quiet" not in on_disk(path.parent)


def test_all_names_everything(path: Path, open_at: Opener) -> None:
    store = open_at(path, hosts="all")
    store.record(works("quiet.example", at=AT), network=HOME)
    store.flush()

    assert hosts(store) == {"quiet.example"}


def test_off_writes_nothing_but_what_the_user_said(path: Path, open_at: Opener) -> None:
    store = open_at(path, hosts="off")
    store.record(rescued(host="secret.example", at=AT), network=HOME)
    store.believe([change("secret.example")])
    store.set_override("said.example", Override(Action.BLOCK))
    store.flush()

    assert (store.log(), store.changes(), store.route_success(0)) == ([], [], [])
    assert b"secret" not in on_disk(path.parent)
    store.close()
    again = open_at(path, hosts="off")
    assert (again.load_beliefs(), set(again.load_overrides())) == ([], {"said.example"})


def failed_at(host: str, at: float = AT) -> StoredResult:
    return StoredResult(HOME, host, 443, "site down", at, "connection", "down", "direct: reset; tor: refused")


def test_the_last_results_are_known_after_a_restart(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    for result in (failed_at("down.example"), failed_at("gone.example"), failed_at("down.example", AT + 5)):
        store.keep_result(result)
    store.keep_result(replace(failed_at("fine.example"), status="works"))
    store.drop_result(failed_at("gone.example").key)
    store.flush()
    assert b"fine.example" not in on_disk(path.parent)
    with contextlib.closing(open_reader(path)) as reader:
        assert queries.results(reader) == ([failed_at("down.example", AT + 5)], 0), "also of a Byway that is killed"
    store.close()
    again = open_at(path)
    assert again.load_results() == [failed_at("down.example", AT + 5)]
    again.configure(Log(hosts="off"))
    again.keep_result(failed_at("down.example", AT + 9))
    again.close()
    assert open_at(path).load_results() == [], "what may not be stored any more takes what was stored with it"


def test_that_a_blocked_site_opens_is_known_after_a_restart(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    opened = replace(failed_at("opened.example"), status="works")
    store.keep_result(opened, is_troubled=True)
    store.close()
    assert open_at(path).load_results() == [opened]


@pytest.mark.parametrize("mode", ["decisions", "all"])
def test_never_is_never(path: Path, open_at: Opener, mode: str) -> None:
    store = open_at(path, hosts=mode, never=("*.Gov.kz", "secret?.example"))
    for host in ("egov.gov.kz", "gov.kz", "secret1.example"):
        store.record(rescued(host=host, at=AT), network=HOME)
        store.record(replace(rescued(host="192.0.2.1", at=AT), host=host), network=HOME)
        store.believe([change(host)])
        store.keep_result(failed_at(host))
    for host in ("notgov.kz", "secret.example"):
        store.record(rescued(host=host, at=AT), network=HOME)
    store.flush()

    assert hosts(store) == {"notgov.kz", "secret.example"}
    assert store.changes() == []
    assert b"egov" not in on_disk(path.parent)
    assert [store.is_private(host) for host in ("gov.kz", "egov.gov.kz", "notgov.kz")] == [True, True, False]


def test_a_reload_changes_what_is_named(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    store.configure(Log(hosts="all", never=("b.example",)))
    for host in ("a.example", "b.example"):
        store.record(works(host, at=AT), network=HOME)
    store.flush()

    assert hosts(store) == {"a.example"}


def test_our_own_re_tests_are_not_in_the_log(path: Path, open_at: Opener) -> None:
    store = open_at(path, hosts="all")
    store.record(outcome(failed(), delivered(TOR), inbound=Inbound.RETEST, at=AT), network=HOME)
    store.flush()

    assert (store.log(), store.route_success(0)) == ([], [])


# -- in memory -----------------------------------------------------------------------------------------------------


def test_ephemeral_writes_nothing_and_can_be_asked(
    tmp_path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_at(None)
    store.record(rescued(at=AT), network=HOME)
    store.believe([change()])
    store.set_override("x.example", Override(Action.BLOCK))
    assert store.flush()

    assert hosts(store) == {HOST}
    assert len(store.changes(HOST)) == 1
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_a_log_in_memory_is_bounded(open_at: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MEMORY_ROWS", 100)
    store = open_at(None)
    for number in range(1000):
        store.record(rescued(host=f"h{number}.example", at=AT), network=HOME)
    store.flush()

    assert {f"h{number}.example" for number in range(901, 1000)} <= hosts(store)
    assert len(hosts(store)) <= 100
    assert store.read(lambda db: db.execute("SELECT count(*) FROM attempt").fetchone()[0]) <= 200


# -- faults --------------------------------------------------------------------------------------------------------


def test_H1_a_killed_process_loses_a_quarter_of_a_second_at_most(path: Path) -> None:
    """Rows come back without a hole, whatever the moment. A loaded machine may add to the loss, never the design: so
    the least of several is what is held to the limit."""
    losses = []
    for _ in range(5):
        for found in path.parent.iterdir():
            found.unlink()
        said = _kill_after(path, lines=100)
        store = Store(path, Log(hosts="all"))
        store.start()
        numbers = sorted(int(row.host[1:].split(".")[0]) for row in store.log(limit=10_000))
        whole = store.read(lambda db: db.execute("PRAGMA integrity_check").fetchone())
        store.close()
        assert (store.notices, whole) == ((), ("ok",))
        assert numbers == list(range(1, len(numbers) + 1))
        last_kept = next((at for number, at in reversed(said) if number <= len(numbers)), said[0][1])
        losses.append(said[-1][1] - last_kept)

    assert min(losses) <= 0.25


def _kill_after(path: Path, *, lines: int) -> list[tuple[int, float]]:
    """Starts a recorder, kills it after so many of its lines, and returns what it had said: (number, time)."""
    command = [sys.executable, "-m", "tests.store.recorder", "endless", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.readlines()
    return [(int(number), float(at)) for number, at in (line.split() for line in said if line.endswith("\n"))]


def test_H2_a_full_disk_is_waited_out(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.recorder", "starved", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    waiting, recovered, end = done.stdout.splitlines()
    assert waiting.startswith("waiting ")
    assert recovered == "recovered"
    assert end == "dropped 0, trouble ''"
    assert "Traceback" not in done.stderr
    with contextlib.closing(open_reader(path)) as db:
        assert db.execute("SELECT count(*) FROM outcome").fetchone() == (3000,)


def test_H2_what_waits_is_bounded_and_what_is_lost_is_counted(
    tmp_path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUEUE_ROWS", 100)
    folder = tmp_path / "later"
    store = open_at(folder / "byway.sqlite")
    assert store.trouble
    for number in range(100_000):
        store.record(rescued(host=f"h{number}.example", at=AT), network=HOME)
        if store.dropped_rows:
            break
    store.believe([change()])  # matters more, and still finds room
    dropped = store.dropped_rows
    waiting = store.waiting_rows

    folder.mkdir()

    assert store.flush()
    assert dropped == store.dropped_rows == 1
    assert len(hosts(store)) == waiting - 1
    assert len(store.changes()) == 1
    assert store.trouble == ""


def test_H3_a_locked_file_is_waited_out(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    store.record(rescued(host="before.example", at=AT), network=HOME)
    store.flush()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.record(rescued(host="during.example", at=AT), network=HOME)
        for _ in range(100):
            assert not store.flush(0.1)
            if store.trouble:
                break
        assert "locked" in store.trouble
        assert hosts(store) == {"before.example"}  # reading goes on
        other.execute("ROLLBACK")

    assert store.flush()
    assert hosts(store) == {"before.example", "during.example"}
    assert (store.trouble, store.dropped_rows) == ("", 0)


def test_H4_a_damaged_file_is_set_aside_with_a_notice(path: Path, open_at: Opener) -> None:
    path.write_bytes(b"")
    store = open_at(path)
    store.record(rescued(at=AT), network=HOME)
    store.flush()

    assert len(store.notices) == 1
    assert "It was renamed to byway.sqlite.corrupt-" in store.notices[0]
    assert hosts(store) == {HOST}


def test_H4_damage_found_while_running_costs_the_past_not_the_present(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    for number in range(200):
        store.record(rescued(host=f"h{number}.example", at=AT), network=HOME)
    store.believe([change()])
    store.set_override("said.example", Override(Action.BLOCK))
    store.flush()
    move_into_file(path)
    with path.open("r+b") as damaged:  # under its feet, all but the header page
        damaged.seek(4096)
        damaged.write(random.Random(1).randbytes(path.stat().st_size - 4096))

    store.record(rescued(host="after.example", at=AT), network=HOME)

    assert store.flush()
    assert hosts(store) == {"after.example"}
    assert len(store.notices) == 1
    store.close()
    again = open_at(path)
    assert [belief.scope for belief in again.load_beliefs()] == [HOST]
    assert set(again.load_overrides()) == {"said.example"}


@pytest.mark.parametrize("seed", range(20))
def test_H4_random_flips_never_stop_it(path: Path, open_at: Opener, seed: int) -> None:
    first = open_at(path)
    for number in range(60):
        first.record(rescued(host=f"h{number}.example", at=AT), network=HOME)
        first.believe([change(f"h{number}.example")])
    first.close()
    rng = random.Random(seed)
    damaged = bytearray(path.read_bytes())
    for _ in range(rng.choice([1, 10, 200])):
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
    path.write_bytes(damaged)

    store = open_at(path)
    Beliefs(DetectTuning(), store.load_beliefs()).lookup("h1.example", network=HOME, now=AT)
    store.record(rescued(host="after.example", at=AT + DAY), network=HOME)

    assert store.flush()
    store.log()


def test_H4_rows_that_make_no_sense_are_left_out_and_said(path: Path, open_at: Opener) -> None:
    first = open_at(path)
    first.believe([change("a.example"), change("b.example")])
    first.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE belief SET state = 'blockee' WHERE scope = 'a.example'")
        db.commit()

    store = open_at(path)

    assert [belief.scope for belief in store.load_beliefs()] == ["b.example"]
    assert store.notices == ("Unreadable rows in the log: 1. They were left out.",)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_H6_a_file_that_goes_under_us_is_begun_anew(path: Path, open_at: Opener, how: str) -> None:
    store = open_at(path)
    store.record(rescued(host="before.example", at=AT), network=HOME)
    store.believe([change()])
    store.set_override("said.example", Override(Action.BLOCK))
    store.flush()
    path.unlink()
    if how == "replaced":
        path.write_bytes(b"something else")

    store.record(rescued(host="after.example", at=AT), network=HOME)

    assert store.flush()
    assert hosts(store) == {"after.example"}
    store.close()
    again = open_at(path)
    assert [belief.scope for belief in again.load_beliefs()] == [HOST]
    assert set(again.load_overrides()) == {"said.example"}


def test_one_row_that_cannot_be_kept_costs_no_other(path: Path, open_at: Opener) -> None:
    store = open_at(path)
    for number in range(120):
        store.record(rescued(host=f"h{number}.example", at=AT), network=HOME)
    store.record(replace(rescued(host="huge.example", at=AT), bytes_up=2**70), network=HOME)
    store.record(rescued(host="nan.example", at=float("nan")), network=HOME)
    store.record(rescued(host="last.example", at=AT), network=HOME)

    assert store.flush()
    assert hosts(store) == {*(f"h{number}.example" for number in range(120)), "last.example"}
    assert store.dropped_rows == 2


def test_a_log_that_cannot_be_read_is_an_empty_one_and_says_why(tmp_path: Path, open_at: Opener) -> None:
    store = open_at(tmp_path / "nowhere" / "byway.sqlite")

    assert (store.log(), store.changes(), store.route_success(0)) == ([], [], [])
    assert store.trouble == "No such file or directory"
    assert (store.load_beliefs(), store.load_overrides()) == ([], {})


@pytest.mark.parametrize("name", ["SQLITE_IOERR_READ", "SQLITE_IOERR_SHORT_READ", "SQLITE_CORRUPT", "SQLITE_NOTADB"])
def test_H4_a_file_that_the_disk_cannot_read_is_set_aside(
    path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    store = open_at(path)
    store.record(rescued(host="before.example", at=AT), network=HOME)
    store.set_override("said.example", Override(Action.BLOCK))
    store.flush()
    bad = path.stat().st_ino
    real = open_reader

    def read_bad_sector(at: Path) -> sqlite3.Connection:
        if at.stat().st_ino == bad:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = getattr(sqlite3, name)
            raise error
        return real(at)

    monkeypatch.setattr(database, "open_reader", read_bad_sector)

    assert store.log() == []
    assert len(store.notices) == 1
    assert len(list(path.parent.glob("*.corrupt-*"))) >= 1
    store.close()
    assert set(open_at(path).load_overrides()) == {"said.example"}


def test_H4_a_bad_sector_that_writing_meets_costs_the_past_alone(
    path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_at(path)
    store.set_override("said.example", Override(Action.BLOCK))
    store.believe([change()])
    store.flush()
    real, faults = rows.Batch.write, [sqlite3.SQLITE_IOERR_READ]

    def write(batch: rows.Batch, db: sqlite3.Connection) -> None:
        if faults:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = faults.pop()
            raise error
        real(batch, db)

    monkeypatch.setattr(rows.Batch, "write", write)
    store.record(rescued(host="after.example", at=AT), network=HOME)

    assert store.flush()
    assert hosts(store) == {"after.example"}
    assert (len(store.notices), store.trouble, store.dropped_rows) == (1, "", 0)
    store.close()
    again = open_at(path)
    assert set(again.load_overrides()) == {"said.example"}
    assert [belief.scope for belief in again.load_beliefs()] == [HOST]


def test_asking_for_another_outcome_is_the_askers_mistake(path: Path, open_at: Opener) -> None:
    with pytest.raises(ValueError, match="rescued"):
        open_at(path).log(outcome="odd")


def test_a_store_that_was_never_started_can_be_closed(path: Path) -> None:
    Store(path).close()

    assert not path.exists()


# -- retention -----------------------------------------------------------------------------------------------------


def retire_now(store: Store) -> None:
    """Does the hourly housekeeping, as often as it takes."""
    while store._remove_old_rows():  # a test of what the thread does each hour
        pass


def test_H9_old_rows_go_a_few_at_a_time_and_leave_no_trace(
    path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiring, "ROWS_AT_ONCE", 50)
    store = open_at(path, keep_days=14)
    now = store._clock.now()
    retire_now(store)
    for number in range(230):
        store.record(rescued(host=f"old{number}.example", at=now - 15 * DAY), network=HOME)
    store.record(rescued(host="young.example", at=now - 13 * DAY), network=HOME)
    store.believe([replace(change("old.example", until=now - 11 * DAY), at=now - 15 * DAY)])
    store.believe([replace(change("young.example", until=now + DAY), at=now - 13 * DAY)])
    store.flush()
    assert len(hosts(store)) == 231

    retire_now(store)

    assert hosts(store) == {"young.example"}
    assert {row.scope for row in store.changes()} == {"young.example"}
    assert sum(row.attempts for row in store.route_success(0)) == 2
    assert store.read(lambda db: db.execute("SELECT count(*) FROM attempt").fetchone()) == (2,)
    assert b"old" not in on_disk(path.parent)
    store.close()
    assert [belief.scope for belief in open_at(path).load_beliefs()] == ["young.example"]


def test_old_rows_go_at_the_start(path: Path, open_at: Opener) -> None:
    first = open_at(path)
    first.record(rescued(host="old.example", at=AT - 15 * DAY), network=HOME)
    first.flush()
    assert hosts(first) == {"old.example"}
    first.close()

    second = open_at(path, keep_days=14)
    second.record(rescued(host="new.example", at=second._clock.now()), network=HOME)
    second.flush()
    retire_now(second)

    assert hosts(second) == {"new.example"}


def test_F87_H7_a_wall_clock_that_jumps_does_not_retire_the_log(
    path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_at(path, keep_days=14)
    store.record(rescued(host="today.example", at=store._clock.now()), network=HOME)
    store.flush()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 10 * 365 * DAY)

    retire_now(store)

    assert hosts(store) == {"today.example"}


def test_readers_and_the_writer_do_not_wait_for_each_other(path: Path, open_at: Opener) -> None:
    store = open_at(path, hosts="all")
    faults: list[Exception] = []

    def read() -> None:
        try:
            for _ in range(30):
                store.log(limit=50)
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2000):
        store.record(works(f"h{number}.example", at=AT), network=HOME)
    for thread in threads:
        thread.join()

    assert store.flush()
    assert (faults, store.dropped_rows) == ([], 0)
    assert len(hosts(store)) == 2000


def test_a_fault_of_the_writer_costs_its_entries_and_the_next_are_written(
    path: Path, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_at(path, hosts="all")
    broken = threading.Event()
    broken.set()
    write = Store._write_batch

    def fails(self: Store, db: sqlite3.Connection) -> None:
        if broken.is_set():
            raise IndexError("planted")
        write(self, db)

    monkeypatch.setattr(Store, "_write_batch", fails)
    store.record(rescued(host="one.example", at=AT), network=HOME)
    assert store.flush(), "there is nothing left to wait for"
    assert store.dropped_rows == 1
    assert store.notices == ("A fault of Byway (IndexError) lost log entries: 1. Please report it.",)
    broken.clear()
    store.record(rescued(host="two.example", at=AT), network=HOME)
    assert store.flush()
    assert store.read(lambda db: db.execute("SELECT host FROM outcome").fetchall()) == [("two.example",)]
