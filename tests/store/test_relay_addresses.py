"""The addresses of relays: kept, read again, aged, bounded, in memory only, and damaged files."""

from __future__ import annotations

import ipaddress
import json
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.config.paths import Paths, write_private
from proxy.config.schema import Log
from proxy.model import NetworkId
from proxy.store import relay_addresses
from proxy.store.relay_addresses import ENTRIES_MAX, KEEP_S, RelayAddresses, place

HOME, CAFE = NetworkId("home"), NetworkId("cafe")
ONE = (ipaddress.ip_address("192.0.2.7"), ipaddress.ip_address("2001:db8::7"))
TWO = (ipaddress.ip_address("192.0.2.8"),)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay-addresses.json"


def test_an_address_survives_a_restart(file: Path) -> None:
    RelayAddresses(file).remember("vps.test", HOME, ONE, 1000)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert RelayAddresses(file).addresses("vps.test", HOME, 1000) == ONE
    assert RelayAddresses(file).addresses("other.test", HOME, 1000) == ()


def test_this_networks_address_is_preferred_and_another_ones_serves(file: Path) -> None:
    remembered = RelayAddresses(file)
    remembered.remember("vps.test", HOME, ONE, 1000)
    remembered.remember("vps.test", CAFE, TWO, 2000)
    assert remembered.addresses("vps.test", HOME, 3000) == ONE
    assert remembered.addresses("vps.test", NetworkId("train"), 3000) == TWO


def test_an_old_address_is_forgotten(file: Path) -> None:
    remembered = RelayAddresses(file)
    remembered.remember("vps.test", HOME, ONE, 1000)
    assert remembered.addresses("vps.test", HOME, 1000 + KEEP_S) == ONE
    assert remembered.addresses("vps.test", HOME, 1001 + KEEP_S) == ()
    assert remembered.addresses("vps.test", HOME, 999) == ()  # the clock was set back


def test_the_same_again_is_no_news_for_a_day() -> None:
    remembered = RelayAddresses(None)
    assert remembered.is_news("vps.test", HOME, ONE, 1000)
    remembered.remember("vps.test", HOME, ONE, 1000)
    assert not remembered.is_news("vps.test", HOME, ONE[::-1], 1001)
    assert remembered.is_news("vps.test", HOME, TWO, 1001)
    assert remembered.is_news("vps.test", CAFE, ONE, 1001)
    assert remembered.is_news("vps.test", HOME, ONE, 1000 + 86_400)


def test_there_are_only_so_many_and_the_oldest_goes(file: Path) -> None:
    remembered = RelayAddresses(file)
    for number in range(ENTRIES_MAX + 1):
        remembered.remember(f"{number}.test", HOME, ONE, 1000 + number)
    assert remembered.addresses("0.test", HOME, 2000) == ()
    assert remembered.addresses("1.test", HOME, 2000) == ONE
    assert len(json.loads(file.read_text())) == ENTRIES_MAX


def test_where_they_are_kept_may_change(file: Path) -> None:
    remembered = RelayAddresses(file)
    remembered.remember("vps.test", HOME, ONE, 1000)
    remembered.keep_in(None)
    assert not file.exists()
    assert remembered.addresses("vps.test", HOME, 1000) == ONE
    remembered.keep_in(file)
    assert RelayAddresses(file).addresses("vps.test", HOME, 1000) == ONE


def test_of_two_answers_at_once_both_are_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is written in a thread; the first one waits for a slow disk."""
    remembered, second, writes = RelayAddresses(file), threading.Event(), 0

    def write(path: Path, content: str) -> None:
        nonlocal writes
        writes += 1
        if writes == 1:
            second.wait(0.3)
        write_private(path, content)
        second.set()

    monkeypatch.setattr(relay_addresses, "write_private", write)
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda host: remembered.remember(host, HOME, ONE, 1000), ("a.test", "b.test")))
    monkeypatch.undo()
    assert [RelayAddresses(file).addresses(host, HOME, 1000) for host in ("a.test", "b.test")] == [ONE, ONE]


def test_addresses_are_read_while_others_are_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit asks for them in the loop's thread, which must not fail for an answer that comes just then."""
    remembered = RelayAddresses(None)
    remembered.remember("a.test", HOME, ONE, 1000)
    entries = iter(remembered._entries.values())
    remembered.remember("b.test", HOME, ONE, 1000)
    assert [entry.host for entry in entries] == ["a.test"]


def test_nothing_is_written_where_the_user_wants_no_log(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)
    assert place(paths, Log()) == tmp_path / "relay-addresses.json"
    assert place(paths, Log(hosts="off")) is None
    assert place(paths, Log(), ephemeral=True) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[",
        "{}",
        "[1]",
        '[{"host": "a"}]',
        '[{"host": "a", "network": "n", "at": NaN, "addresses": ["192.0.2.7"]}]',
        '[{"host": "a", "network": "n", "at": 1, "addresses": ["vps.test"]}]',
        '[{"host": "a", "network": "n", "at": 1, "addresses": []}]',
        '[{"host": 1, "network": "n", "at": 1, "addresses": ["192.0.2.7"]}]',
    ],
)
def test_a_damaged_file_counts_as_none(file: Path, content: str) -> None:
    file.write_text(content)
    assert RelayAddresses(file).addresses("a", HOME, 1) == ()


def test_a_folder_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    remembered = RelayAddresses(tmp_path / "none" / "relay-addresses.json")
    remembered.remember("vps.test", HOME, ONE, 1000)
    assert "the addresses of relays are not saved" in caplog.text
    assert remembered.addresses("vps.test", HOME, 1000) == ONE
