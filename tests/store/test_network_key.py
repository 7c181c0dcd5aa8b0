"""The secret that hides which networks were used."""

from __future__ import annotations

from pathlib import Path

from proxy.config.paths import Paths
from proxy.store.network_key import read_network_key


def test_networks_keep_their_ids_in_a_run_that_writes_nothing(tmp_path: Path) -> None:
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path)
    assert len(read_network_key(paths, ephemeral=True)) == 32
    assert not paths.network_key_file.exists()
    key = read_network_key(paths, ephemeral=False)
    assert [read_network_key(paths, ephemeral=ephemeral) for ephemeral in (True, False)] == [key, key]
