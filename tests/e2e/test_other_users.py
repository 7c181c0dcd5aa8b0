"""Another user of this computer who can write where the configuration lies: what they write is not obeyed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.config.file_owners import _has_other_members
from tests.support.byway import Byway, NotReady
from tests.support.other_users import write_as_another

pytestmark = pytest.mark.slow


async def test_a_command_that_another_user_wrote_into_the_configuration_is_never_run(open_folder: Path) -> None:
    marker = open_folder / "ran"
    byway = Byway(open_folder)
    byway.config.parent.chmod(0o777)
    relay = f'[[relay]]\nname = "vps"\nurl = "socks5h://me@127.0.0.1:1"\npassword_cmd = "touch {marker}"\n'
    write_as_another(byway.config, relay)
    with pytest.raises(NotReady):
        async with byway:
            pass
    assert byway.process is not None
    assert await byway.process.wait() == 7
    assert f"{byway.config}: not used: " in byway.said.read_text()
    assert f"Run: chmod go-w {byway.config.parent}" in byway.said.read_text()
    assert not marker.exists()


async def test_every_command_that_reads_the_configuration_says_the_same(open_folder: Path) -> None:
    byway = Byway(open_folder, rules="MATCH,AUTO\n")
    byway.rules.chmod(0o666)
    said = f"{byway.rules}: not used: other users can write to it. Run: chmod go-w {byway.rules}"
    for words in (["config", "check"], ["rule", "check"], ["rule", "list"], ["rule", "test", "a.example"]):
        done = await byway.command(*words, check=False)
        assert (done.returncode, said in done.stderr) == (7, True), words
    byway.rules.chmod(0o644)
    byway.config.chmod(0o666)
    said = said.replace(str(byway.rules), str(byway.config))
    for words in (["config", "check"], ["config", "show"], ["rule", "check"], ["relay", "test"], ["addons", "list"]):
        done = await byway.command(*words, check=False)
        assert (done.returncode, said in done.stderr) == (7, True), words


async def test_files_of_a_private_group_are_obeyed(open_folder: Path) -> None:
    """umask 002, as systems have it that give each user a group of their own."""
    before = os.umask(0o002)
    try:
        byway = Byway(open_folder, rules="MATCH,AUTO\n")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (byway.config.parent, byway.config)] == [0o775, 0o664]
    checked = await byway.command("config", "check", check=False)
    is_private = not _has_other_members(os.getegid(), os.geteuid())  # it is for root and for most users
    assert checked.returncode == (0 if is_private else 7), checked.stderr
