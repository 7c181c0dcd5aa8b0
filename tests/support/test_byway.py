from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.byway import Byway


@pytest.mark.uses("today")
async def test_a_command_that_fails_fails_the_test(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    with pytest.raises(AssertionError, match="exit 3"):
        await byway.command("status")
    assert (await byway.command("status", check=False)).returncode == 3


@pytest.mark.uses("today")
async def test_so_does_one_of_several_in_one_process(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    with pytest.raises(AssertionError, match="exit 3"):
        await byway.commands(["--version"], ["status"])
    version, status = await byway.commands(["--version"], ["status"], check=False)
    assert (version.returncode, status.returncode) == (0, 3)
    assert version.stdout.startswith("byway ")
