"""What `byway doctor` finds on this computer, without a running Byway."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.paths import Paths
from proxy.features.doctor.local_checks import file_modes


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o640, True), (0o620, True), (0o604, True)])
def test_files_that_others_can_use(tmp_path: Path, mode: int, is_open: bool) -> None:
    """Others are those of the group as well. The repair closes them."""
    tmp_path.chmod(0o700)
    log = tmp_path / "byway.sqlite"
    log.touch()
    log.chmod(mode)
    paths = Paths(tmp_path / "config.toml", False, tmp_path, None)
    found = list(file_modes(paths))
    assert [str(log) in finding.text for finding in found] == [True] * is_open
    for finding in found:
        assert finding.mend is not None
        finding.mend()
    assert not list(file_modes(paths))
