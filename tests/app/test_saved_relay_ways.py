"""When what is believed of the ways to relays is written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from proxy.app.saved_relay_ways import SavedRelayWays
from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_ways import RelayWays
from proxy.model import Destination, Symptom
from proxy.model.relay_way import RelayWay
from proxy.store.relay_ways import RelayWaysFile
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
