"""The last test of each relay: kept, read again, in memory only, and damaged files."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.paths import Paths
from proxy.config.schema import Log, RelayConfig
from proxy.store.relay_tests import RELAYS_MAX, RelayTest, RelayTests, place, url_hash

URL = "socks5h://127.0.0.1:9050"
TEST = RelayTest("tor", 1000.0, False, 0.5, "connection refused", url_hash(URL))
TOR = RelayConfig(name="tor", url=URL)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay-tests.json"


def test_a_result_survives_a_restart(file: Path) -> None:
    before = os.umask(0)
    try:
        assert RelayTests(file).record([TEST])
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert RelayTests(file).all() == {"tor": TEST}
    assert RelayTests(file).of_all([TOR]) == {"tor": TEST}
    newer = RelayTest("tor", 2000.0, True, 0.1, "", url_hash(URL))
    assert RelayTests(file).record([newer])
    assert RelayTests(file).all() == {"tor": newer}


def test_another_url_is_another_relay_and_another_password_is_not(file: Path) -> None:
    RelayTests(file).record([TEST])
    assert RelayTests(file).of_all([RelayConfig(name="tor", url="socks5h://127.0.0.1:9150")]) == {}
    assert url_hash("https://u:one@h") == url_hash("https://u:two@h") != url_hash("https://v:one@h")


@pytest.mark.parametrize("in_memory", [True, False])
def test_of_two_tests_that_end_at_once_both_are_kept(
    file: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    """Two tabs test a relay each; each result is recorded in a thread."""
    tests, other, reads = RelayTests(None if in_memory else file), threading.Event(), 0
    read_all = RelayTests.all

    def slow(self: RelayTests) -> Mapping[str, RelayTest]:
        nonlocal reads
        reads += 1
        if reads > 1:
            other.set()
        found = dict(read_all(self))
        other.wait(0.3)
        return found

    monkeypatch.setattr(RelayTests, "all", slow)
    both = [TEST, replace(TEST, relay="vps")]
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda test: tests.record([test]), both))
    monkeypatch.undo()
    kept = tests if in_memory else RelayTests(file)
    assert kept.all() == {"tor": TEST, "vps": both[1]}


def test_in_memory_nothing_is_written(tmp_path: Path) -> None:
    tests = RelayTests(None)
    assert tests.record([TEST])
    assert tests.all() == {"tor": TEST}
    assert list(tmp_path.iterdir()) == []


def test_relays_that_are_gone_are_forgotten(file: Path) -> None:
    RelayTests(file).record([TEST])
    assert RelayTests(file).record([], known=["vps"])
    assert RelayTests(file).all() == {}


def test_where_it_is_kept_may_change(file: Path) -> None:
    tests = RelayTests(file)
    tests.record([TEST])
    tests.keep_in(None)
    assert not file.exists()
    assert tests.all() == {"tor": TEST}
    tests.keep_in(file)
    assert RelayTests(file).all() == {"tor": TEST}
    tests.keep_in(file)


def test_the_place(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "c.toml", state=tmp_path)
    assert place(paths, Log()) == tmp_path / "relay-tests.json"
    assert place(paths, Log(), ephemeral=True) is None
    assert place(paths, Log(hosts="off")) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[1]",
        b"[[]]",
        b"[" * 100_000,
        b'[{"relay": "tor"}]',
        b'[{"relay":"t","at":NaN,"ok":true,"elapsed_s":0,"fault":"","url_hash":""}]',
        b'[{"relay":"t","at":1e300,"ok":true,"elapsed_s":0,"fault":"","url_hash":""}]',
        b'[{"relay":"t","at":1,"ok":true,"elapsed_s":"x","fault":"","url_hash":""}]',
        b'[{"relay":"' + b"t" * 300 + b'","at":1,"ok":true,"elapsed_s":0,"fault":"","url_hash":""}]',
    ],
)
def test_a_damaged_file_counts_as_none_and_is_written_again(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert RelayTests(file).all() == {}
    assert RelayTests(file).record([TEST])
    assert RelayTests(file).all() == {"tor": TEST}


def test_it_is_bounded(file: Path) -> None:
    RelayTests(file).record(RelayTest(f"r{number}", float(number), True, 0.0) for number in range(RELAYS_MAX + 10))
    kept = RelayTests(file).all()
    assert len(kept) == RELAYS_MAX
    assert "r0" not in kept


def test_a_disk_that_is_full_costs_the_memory_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tests = RelayTests(tmp_path / "none" / "relay-tests.json")
    assert not tests.record([TEST])
    assert tests.all() == {"tor": TEST}
    assert "are not saved" in caplog.text
