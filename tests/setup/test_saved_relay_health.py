"""The health of relays in its file: of which network and URLs it is, when it is written, and what is damaged."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.paths import Paths
from proxy.config.schema import Log, RelayConfig
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import Health, KnownHealth
from proxy.setup.saved_relay_health import RelayHealthFile, SavedRelayHealth, known_here, place, saved
from tests.support.outcomes import AWAY, HOME

TOR = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
VPS = RelayConfig(name="vps", url="https://u:secret@vps.test:443")
FAULT = NotedFault(RelayFault.CREDENTIALS_REFUSED, 1e9, 1e9 + 60, "https://u:secret@vps.test refused")
FAILING = KnownHealth(
    "vps", failures=3, last_error=FAULT.error, failed_at=1e9 + 60, open_until=1e9 + 90, fault=FAULT, last_fault=FAULT
)
WORKING = KnownHealth("tor", worked_at=1e9, usual_s=0.5)
CHAIN = KnownHealth("tor>vps", worked_at=1e9 + 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "relay-health.json"


async def write(file: Path, *known: KnownHealth) -> None:
    kept = RelayHealthFile(file)
    kept.save(saved(known, HOME, [TOR, VPS]))
    await kept.written()


def _seen(file: Path) -> int:
    """The mode of the file, which holds no password."""
    assert "secret" not in file.read_text()
    return stat.S_IMODE(file.stat().st_mode)


async def test_what_is_known_comes_back_without_passwords(file: Path) -> None:
    await write(file, FAILING, WORKING, CHAIN)
    assert await asyncio.to_thread(_seen, file) == 0o600
    failing, working, chain = known_here(RelayHealthFile(file).load(), HOME, [TOR, VPS])
    hidden = replace(FAULT, error="https://u:***@vps.test refused")
    assert failing == replace(FAILING, last_error=hidden.error, fault=hidden, last_fault=hidden)
    assert (working, chain) == (WORKING, CHAIN)


async def test_it_says_nothing_on_another_network_or_of_another_relay(file: Path) -> None:
    await write(file, FAILING, WORKING, CHAIN)
    entries = RelayHealthFile(file).load()
    assert known_here(entries, AWAY, [TOR, VPS]) == []
    moved = replace(VPS, url="https://u@other.test:443")
    assert known_here(entries, HOME, [TOR, moved]) == [WORKING]
    assert known_here(entries, HOME, []) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[{}]", b"[[]]", b'[{"relay": 1}]', b"[" * 100_000, b'{"relay": "tor"}', b"null"]
)
def test_a_damaged_file_counts_as_none(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert list(RelayHealthFile(file).load()) == []


@pytest.mark.parametrize(
    "damage",
    [{"failures": -1}, {"worked_at": "x"}, {"fault": {"fault": "no"}}, {"relay": "x" * 500}, {"open_until": 1e99}],
)
def test_a_value_that_none_has_is_not_taken(file: Path, damage: dict[str, object]) -> None:
    asyncio.run(write(file, FAILING))
    (entry,) = json.loads(file.read_text())
    file.write_text(json.dumps([{**entry, **damage}]))
    assert list(RelayHealthFile(file).load()) == []


def test_nothing_is_kept_without_a_log(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)
    assert place(paths, Log()) == tmp_path / "relay-health.json"
    assert place(paths, Log(hosts="off")) is None
    assert place(paths, Log(), ephemeral=True) is None


NOW = time.time()


def kept(health: Health, file: Path) -> SavedRelayHealth:
    return SavedRelayHealth(health, RelayHealthFile(file), network=lambda: HOME, relays=lambda: [TOR])


async def test_a_relay_that_fails_still_fails_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    health = Health(DetectTuning())
    saved = kept(health, file)
    await saved.close()
    assert not file.exists(), "there is nothing to say"
    health.failed("tor", NOW - 60, error="refused", fault=RelayFault.CONNECTION_REFUSED)
    await saved.close()

    again = Health(DetectTuning())
    kept(again, file).restore()
    fault = again.of("tor").fault
    assert fault is not None
    assert (fault.fault, fault.seen_at) == (RelayFault.CONNECTION_REFUSED, NOW - 60), "with its age"
    assert again.of("tor").failures == 1


async def test_what_was_learned_since_the_start_is_newer(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    health = Health(DetectTuning())
    health.failed("tor", NOW - 60, fault=RelayFault.CONNECTION_REFUSED)
    saved = kept(health, file)
    saved.keep_in(None)
    saved.keep_in(file)
    await saved.close()
    again = Health(DetectTuning())
    again.worked("tor", NOW)
    kept(again, file).restore()
    assert again.of("tor").fault is None


async def test_visits_that_go_on_are_not_written_each(tmp_path: Path) -> None:
    file = tmp_path / "health.json"
    health = Health(DetectTuning())
    saved = kept(health, file)
    health.worked("tor", NOW)
    await saved.close()
    file.unlink()
    for second in range(50):
        health.worked("tor", NOW + second)
    await saved.close()
    assert not file.exists()
    health.failed("tor", NOW + 51)
    await saved.close()
    assert file.exists()
