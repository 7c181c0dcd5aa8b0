"""The ways to relays: kept, read again, in memory only, and damaged files."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.paths import Paths
from proxy.config.schema import Log
from proxy.model import Destination, NetworkId, Symptom
from proxy.model.relay_way import KnownWay, RelayWay
from proxy.store.relay_ways import WAYS_MAX, RelayWaysFile, place

HOME = NetworkId("home")
VPS = Destination("vps.test", 443)
MAIN = KnownWay(
    HOME, VPS, RelayWay(VPS, "2001:db8::7"), Symptom.FROZEN, 2, 16_384,
    worked_at=1.5, failed_at=2.0, due_at=3.0, avoided_until=4.0, stalled_at=5.0, carried_at=6.0,
)  # fmt: skip
OTHER = KnownWay(HOME, VPS, RelayWay(Destination("2001:db8::8", 8443), "2001:db8::8", "tlsrec"), worked_at=7.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay-ways.json"


def test_ways_survive_a_restart(file: Path) -> None:
    assert RelayWaysFile(file).load() == ()
    RelayWaysFile(file).save([MAIN, OTHER])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert RelayWaysFile(file).load() == [MAIN, OTHER]
    RelayWaysFile(file).save([])
    assert not file.exists()
    assert RelayWaysFile(file).load() == ()


def test_there_are_only_so_many(file: Path) -> None:
    """However long the names: none is read that was cut off."""
    longest = Destination(f"{'x' * 253}", 65_535)
    way = replace(MAIN, relay=longest, way=RelayWay(longest, "2001:db8::7", "tlsrec|split"), failed_at=1e9 / 3)
    RelayWaysFile(file).save([way] * (WAYS_MAX + 1))
    assert RelayWaysFile(file).load() == [way] * WAYS_MAX


def test_where_they_are_kept_may_change(file: Path) -> None:
    kept = RelayWaysFile(file)
    kept.save([MAIN])
    assert not kept.keep_in(file)
    assert kept.keep_in(None)
    assert not file.exists()
    kept.save([MAIN])
    assert not file.exists()
    assert kept.load() == ()
    assert kept.keep_in(file)


def test_nothing_is_written_where_the_user_wants_no_log(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)
    assert place(paths, Log()) == tmp_path / "relay-ways.json"
    assert place(paths, Log(hosts="off")) is None
    assert place(paths, Log(), ephemeral=True) is None


@pytest.mark.parametrize(
    "change",
    [
        {"relay": "vps.test"},
        {"relay": "vps.test:0"},
        {"endpoint": ":443"},
        {"endpoint": "vps.test:https"},
        {"address": None},
        {"network": 1},
        {"strategy": "x" * 300},
        {"symptom": "unheard of"},
        {"failures": "2"},
        {"due_at": float("nan")},
        {"due_at": -1},
    ],
    ids=str,
)
def test_a_damaged_entry_makes_the_file_count_as_none(file: Path, change: dict[str, object]) -> None:
    RelayWaysFile(file).save([MAIN])
    content = json.loads(file.read_text())
    assert RelayWaysFile(file).load() == [MAIN]
    file.write_text(json.dumps([{**content[0], **change}]))
    assert RelayWaysFile(file).load() == ()


@pytest.mark.parametrize("content", ["", "[", "{}", "[1]", "1", '["x"]', "[{}]", "[" * 100_000])
def test_a_damaged_file_counts_as_none(file: Path, content: str) -> None:
    file.write_text(content)
    assert RelayWaysFile(file).load() == ()


def test_a_folder_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    RelayWaysFile(tmp_path / "none" / "relay-ways.json").save([MAIN])
    assert "the ways to relays is not saved" in caplog.text
