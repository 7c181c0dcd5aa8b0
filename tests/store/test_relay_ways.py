"""The ways to relays: kept, read again, in memory only, and damaged files."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Sequence
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


def save(file: Path, ways: Sequence[KnownWay]) -> None:
    asyncio.run(saved(RelayWaysFile(file), ways))


async def saved(kept: RelayWaysFile, ways: Sequence[KnownWay]) -> None:
    kept.save(ways)
    await kept.written()


def test_ways_survive_a_restart(file: Path) -> None:
    assert RelayWaysFile(file).load() == ()
    save(file, [MAIN, OTHER])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert RelayWaysFile(file).load() == [MAIN, OTHER]
    save(file, [])
    assert not file.exists()
    assert RelayWaysFile(file).load() == ()


def test_there_are_only_so_many(file: Path) -> None:
    """However long the names: none is read that was cut off."""
    longest = Destination(f"{'x' * 253}", 65_535)
    way = replace(MAIN, relay=longest, way=RelayWay(longest, "2001:db8::7", "tlsrec|split"), failed_at=1e9 / 3)
    save(file, [way] * (WAYS_MAX + 1))
    assert RelayWaysFile(file).load() == [way] * WAYS_MAX


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
    save(file, [MAIN])
    content = json.loads(file.read_text())
    assert RelayWaysFile(file).load() == [MAIN]
    file.write_text(json.dumps([{**content[0], **change}]))
    assert RelayWaysFile(file).load() == ()
