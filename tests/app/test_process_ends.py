"""How a run ends: by a command, by a second interrupt, and when the window of its terminal is closed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from proxy.app.run_options import Ending
from proxy.config.state_lock import is_locked
from tests.support.byway import TYPED, Byway
from tests.support.waiting import until, until_read

pytestmark = pytest.mark.waits

RUN = ("run", "--port", "0")


def test_a_second_interrupt_hurries_and_a_restart_that_is_interrupted_is_an_end() -> None:
    ending = Ending()
    ending.stop(restart=True)
    assert (ending.asked.is_set(), ending.hurry.is_set(), ending.begins_again) == (True, False, True)
    ending.on_interrupt()
    assert (ending.hurry.is_set(), ending.begins_again) == (True, False)
    once = Ending()
    once.on_interrupt()
    assert (once.asked.is_set(), once.hurry.is_set()) == (True, False)


# -- the terminal is gone ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.uses("today")
@pytest.mark.parametrize("shell", ["", '"$@"; true', 'exec "$@"'], ids=["alone", "by a shell", "by make"])
async def test_closing_the_window_ends_it_and_the_next_one_starts(tmp_path: Path, shell: str) -> None:
    byway = Byway(tmp_path)
    with byway.at_terminal(*RUN, columns=80, controls=True, shell=shell) as terminal:
        await terminal.until("listens")
        assert is_locked(byway.state / "lock")
        terminal.close_window()
        await until(lambda: not is_locked(byway.state / "lock"))
        assert not (byway.state / "run.json").exists()
    async with byway:
        assert (await byway.read("status"))["pid"] == byway.pid


@pytest.mark.slow
@pytest.mark.uses("rules", "today")
async def test_a_hangup_signal_at_a_terminal_that_is_there_reloads(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    with byway.at_terminal(*RUN, columns=80, controls=True) as terminal:
        await terminal.until("listens")
        before = await byway.read("rule", "list")
        byway.rules.write_text("DOMAIN,one.test,BLOCK\n")
        terminal.process.send_signal(signal.SIGHUP)

        async def reloaded() -> bool:
            return bool((await byway.read("rule", "list"))["rules"])

        await until_read(reloaded)
        assert before["rules"] == []
        assert terminal.process.poll() is None
        await byway.command("stop")
        assert await terminal.ends() == 0


@pytest.mark.slow
@pytest.mark.uses("today")
async def test_what_nohup_started_outlives_its_window(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    with byway.at_terminal(*RUN, columns=80, controls=True, shell="trap '' HUP; \"$@\" > /dev/null 2>&1") as terminal:

        async def runs() -> bool:
            return (await byway.command("status", check=False)).returncode == 0

        await until_read(runs)
        terminal.close_window()
        assert await runs()
        await byway.command("stop")


# -- by a command ------------------------------------------------------------------------------------------------------


@pytest.mark.uses("today")
async def test_stop_ends_it_and_frees_its_port_and_folder(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        assert byway.process is not None
        ran = await byway.command("stop")
        assert ran.stdout == f"Byway (process {byway.pid}) has stopped. Port {byway.port} is free.\n"
        assert not is_locked(byway.state / "lock")
        assert await byway.process.wait() == 0
        again = await byway.command("stop", check=False)
        assert (again.returncode, again.stdout) == (3, "")
        await byway.start()
        assert json.loads((await byway.command("stop", "--now", "--json")).stdout)["stopped"] is True


@pytest.mark.slow
async def test_no_process_that_has_the_written_pid_is_touched(tmp_path: Path) -> None:
    """A Byway that was killed left its run.json, and its pid is another program's by now: this one's, say."""
    byway = Byway(tmp_path)
    async with byway:
        await byway.kill()
    left = json.loads((byway.state / "run.json").read_text())
    (byway.state / "run.json").write_text(json.dumps({**left, "pid": os.getpid()}))
    for command in ("stop", "restart"):
        assert (await byway.command(command, check=False)).returncode == 3


@pytest.mark.slow
async def test_the_refusal_of_a_second_one_names_the_command_that_ends_the_first(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        ran = await byway.command(*RUN, check=False)
        assert ran.returncode == 1
        assert f"the Byway with pid {byway.pid} runs on port {byway.port}" in ran.stderr
        assert f"To end it: `{TYPED} stop`." in ran.stderr


@pytest.mark.slow
@pytest.mark.uses("today")
async def test_restart_keeps_the_process_and_its_terminal_and_reads_what_needs_a_restart(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    with byway.at_terminal(*RUN, columns=80, controls=True) as terminal:
        await terminal.until("listens")
        pid = (await byway.read("status"))["pid"]
        byway.config.write_text('config_version = 1\n[listen]\naddress = "127.0.0.3"\n')
        ran = await byway.command("restart")
        assert "has restarted. It listens on 127.0.0.3:" in ran.stdout
        assert (await byway.read("status"))["pid"] == pid
        assert terminal.process.poll() is None
        await terminal.until("listens on 127.0.0.3:")
        terminal.close_window()
        await until(lambda: not is_locked(byway.state / "lock"))


@pytest.mark.slow
@pytest.mark.uses("today", "addons")
@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("rules.txt", "NONSENSE\n", "rules.txt:1"),
        ("addons/mine.py", "def plan(:\n", "mine.py:1"),
        (
            "config.toml",
            '[[relay]]\nname = "vps"\nurl = "https://me@127.0.0.1:1"\npassword_cmd = "false"\n',
            "[[relay]] vps: its password command failed",
        ),
    ],
    ids=["rules", "an addon", "a password command"],
)
async def test_a_restart_with_what_prevents_a_start_stops_nothing(
    tmp_path: Path, file: str, text: str, problem: str
) -> None:
    async with Byway(tmp_path) as byway:
        before = (await byway.read("status"))["live"]["started_at"]
        edited = byway.config.parent / file
        edited.parent.mkdir(mode=0o700, exist_ok=True)
        edited.write_text(text)
        ran = await byway.command("restart", check=False)
        assert ran.returncode == 7
        assert problem in ran.stderr
        assert (await byway.read("status"))["live"]["started_at"] == before
