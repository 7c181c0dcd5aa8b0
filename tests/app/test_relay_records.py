"""What is remembered of relays, when it is written, and what an edit makes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.app.parts import make_known, open_state
from proxy.app.relay_records import RelayRecords, SavedRelayWays
from proxy.config.detect_tuning import DetectTuning
from proxy.config.load import load
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_ways import RelayWays
from proxy.model import Destination, Symptom
from proxy.model.relay_way import RelayWay
from proxy.net.poller import make_poller
from proxy.setup.checked import Parts
from proxy.setup.steps import make
from proxy.store.relay_selection import write_selection
from proxy.store.relay_ways import RelayWaysFile
from tests.app.running import run_in
from tests.support.calls import counting
from tests.support.outcomes import HOME

NOW = time.time()
VPS = Destination("vps.test", 443)
MAIN, OTHER = RelayWay(VPS, "192.0.2.7"), RelayWay(VPS, "192.0.2.8")


def fail(ways: RelayWays, way: RelayWay = MAIN) -> None:
    ways.failed(VPS, way, Symptom.DROPPED, HOME, NOW)


async def test_only_a_change_is_written_and_a_restart_finds_it(tmp_path: Path) -> None:
    file = tmp_path / "ways.json"
    ways = RelayWays(DetectTuning())
    saved = SavedRelayWays(ways, RelayWaysFile(file))
    saved.save()
    await saved.close()
    assert not file.exists(), "there is nothing to say"

    fail(ways)
    await saved.close()
    assert [known.way for known in RelayWaysFile(file).load()] == [MAIN]
    file.unlink()
    await saved.close()
    assert not file.exists(), "nothing has changed since"
    fail(ways, OTHER)
    await saved.close()

    again = RelayWays(DetectTuning())
    SavedRelayWays(again, RelayWaysFile(file))
    assert {known.way for known in again.remembered()} == {MAIN, OTHER}


@pytest.mark.parametrize("stays", [True, False])
async def test_another_file_gets_all_at_once(tmp_path: Path, stays: bool) -> None:
    """`[log] hosts` was set to off and back: nothing has changed, and the file is gone."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    ways = RelayWays(DetectTuning())
    saved = SavedRelayWays(ways, RelayWaysFile(first))
    fail(ways)
    await saved.close()

    saved.keep_in(None)
    await saved.close()
    assert not first.exists()
    saved.keep_in(first if stays else second)
    await saved.close()

    assert (first.exists(), second.exists()) == (stays, not stays)


# -- what follows from an edit -----------------------------------------------------------------------------------------

TOR = '[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'
FAILED = RelayFault.CONNECTION_REFUSED


class Edited:
    """The records of a Byway whose configuration is edited."""

    def __init__(self, folder: Path, config: str) -> None:
        self.run = run_in(folder, config)
        self.kept = open_state(self.run)
        self.known = make_known(self.run, self.kept)
        self.records = RelayRecords(self.run, self.kept, self.known)
        self.poller = make_poller(asyncio.get_running_loop())
        self.take(config)
        self.records.take(self.known.in_use.setup)

    def take(self, config: str) -> None:
        self.run.paths.config_file.write_text(config)
        loaded = load(self.run.paths.config_file, env={})
        self.known.in_use.setup = make(Parts(self.poller, self.run.paths, 8119), loaded, {})

    def edit(self, config: str) -> None:
        self.take(config)
        self.records.take_replaced(self.known.in_use.setup)

    async def close(self) -> None:
        await self.records.close()
        self.kept.store.close()
        self.poller.close()


@asynccontextmanager
async def edited(folder: Path, config: str = "") -> AsyncIterator[Edited]:
    made = Edited(folder, config)
    try:
        yield made
    finally:
        await made.close()


async def test_the_health_of_a_relay_is_forgotten_with_its_url_and_with_it(tmp_path: Path) -> None:
    vps = '[[relay]]\nname = "vps"\nurl = "http://192.0.2.7:3128"\n'
    async with edited(tmp_path, TOR + vps) as byway:
        health = byway.known.health
        for name in ("tor", "vps"):
            health.failed(name, NOW, fault=FAILED)
        byway.edit(TOR + vps)
        assert [health.of(name).failures for name in ("tor", "vps")] == [1, 1]
        byway.edit(TOR + vps.replace("3128", "8080"))
        assert [health.of(name).failures for name in ("tor", "vps")] == [1, 0]
        byway.edit("")
        assert health.of("tor").failures == 0


async def test_the_ways_to_a_relay_are_forgotten_with_it(tmp_path: Path) -> None:
    config = '[[relay]]\nname = "vps"\nurl = "http://vps.test:443?alt=192.0.2.8:443"\n'
    async with edited(tmp_path, config) as byway:
        fail(byway.known.ways)
        byway.edit(f"{config}{TOR}")
        assert [it.way for it in byway.known.ways.remembered()] == [MAIN]
        byway.edit(TOR)
        assert byway.known.ways.remembered() == []


async def test_transfers_are_checked_once_a_relay_has_alternatives(tmp_path: Path) -> None:
    async with edited(tmp_path, TOR) as byway:
        assert byway.records.get_transfer_check() is None
        byway.edit(TOR.replace("9050", "9050?alt=192.0.2.8:443"))
        check = byway.records.get_transfer_check()
        assert check is not None
        byway.edit(TOR)
        assert byway.records.get_transfer_check() is check, "visits may wait for it"
        with counting() as calls:
            byway.records.get_transfer_check()
        assert calls.total() == 0


async def test_the_health_of_relays_is_saved_once_there_is_one_and_the_log_allows_it(tmp_path: Path) -> None:
    async with edited(tmp_path) as byway:
        byway.records.keep_health(byway.known.in_use.setup)
        byway.records.save_health()
        assert byway.records.saved_health is None
        byway.edit(TOR)
        byway.known.health.failed("tor", NOW, fault=FAILED)
        byway.records.save_health()
        await byway.records.close()
        file = byway.run.paths.relay_health_file
        assert "tor" in file.read_text()
        byway.edit(f'[log]\nhosts = "off"\n{TOR}')
        await byway.records.close()
        assert not file.exists()


async def test_a_selection_that_is_lost_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    group = '[[group]]\nname = "all"\nrelays = ["tor"]\npolicy = "select"\n'
    (tmp_path / "state").mkdir(mode=0o700)
    write_selection(tmp_path / "state" / "relay-selection.json", {"all": "gone"})
    async with edited(tmp_path, TOR + group):
        (told,) = caplog.messages
        assert "gone" in told
