"""A state folder that cannot be written: Byway says so in one sentence, keeps nothing, serves, and commands find it.

The folders are real: a small tmpfs that is full or mounted read-only, in a mount namespace of the test's own, and a
folder in which this user may not write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.model import Action, Override
from proxy.store.file import open_store, transaction
from proxy.store.rows import Batch
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.needs("unshare"), pytest.mark.slow]

HOSTS = '[dns.hosts]\n"one.test" = "127.0.0.1"\n'
_MOUNT = 'mount -t tmpfs -o size=64k,mode=0700 tmpfs "$1" && {then} && shift && exec "$@"'
_AS_ROOT = ("unshare", "-Urm", "--", "sh", "-c")

PLACES: Mapping[str, tuple[str, Sequence[str]]] = {
    "full": ("no space left on device", (*_AS_ROOT, _MOUNT.format(then=":"), "sh")),
    "read-only": (
        "read-only file system",
        (*_AS_ROOT, 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"', "sh"),
    ),
    "not ours to write": (
        "permission denied",
        ("unshare", "-U", "--map-user=1000", "--map-group=1000", "--", "sh", "-c", 'shift && exec "$@"', "sh"),
    ),
}
"""What is said, and the words before a command, whose first argument is the state folder."""


_PATIENCE_S = 60.0


@pytest.fixture
def short() -> Iterator[Path]:
    """For sockets, in place of /tmp: who is called 1000 in a namespace is not who is called so out here."""
    with tempfile.TemporaryDirectory(prefix="byway-") as folder:
        yield Path(folder)


@dataclass
class Unwritable:
    """A Byway whose state folder cannot be written."""

    entering: tuple[str, ...]
    config: Path
    state: Path
    said: Path
    environment: Mapping[str, str]

    async def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = await asyncio.create_subprocess_exec(
            *self.entering,
            *(sys.executable, "-P", "-m", "proxy", *words, "--config", str(self.config), "--state", str(self.state)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
        )
        out, err = await asyncio.wait_for(process.communicate(), _PATIENCE_S)
        return subprocess.CompletedProcess(words, process.returncode or 0, out.decode(), err.decode())

    def is_ready(self) -> bool:
        return "Byway listens on" in self.said.read_text()


@contextlib.asynccontextmanager
async def running(folder: Path, short: Path, name: str, rules: str) -> AsyncIterator[Unwritable]:
    """Ends it by SIGTERM, and its exit code has to be 0. `short` is a folder whose path leaves room for a socket's."""
    config, state, said = folder / "config" / "config.toml", folder / "state", folder / "byway.txt"
    config.parent.mkdir()
    config.write_text(f"config_version = 1\n[auto]\ncontrols = []\n[dns]\nservers = []\n{HOSTS}")
    config.with_name("rules.txt").write_text(rules)
    if name == "not ours to write":
        state.parent.joinpath("locked").mkdir(mode=0o500)
        state = state.parent / "locked" / "state"
    else:
        state.mkdir(mode=0o700)
        with closing(open_store(state / "byway.sqlite").db) as db, transaction(db):
            Batch(overrides={"blocked.test": Override(Action.BLOCK)}).write(db)
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BYWAY_") and not k.lower().endswith("_proxy")}
    environment = {**kept, "XDG_RUNTIME_DIR": str(runtime), "HOME": str(folder), "NO_COLOR": "1", "TMPDIR": str(short)}
    _, entering = PLACES[name]
    it = Unwritable((*entering, str(state)), config, state, said, environment)
    with said.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *it.entering,
            *(sys.executable, "-P", "-m", "proxy", "run", "--port", "0", "--allow", "127.0.0.0/8:*"),
            *("--config", str(config), "--state", str(state)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
        )
    try:
        await until(lambda: it.is_ready() or process.returncode is not None, within_s=_PATIENCE_S)
        assert process.returncode is None, said.read_text()
        yield it
        process.terminate()
        assert await asyncio.wait_for(process.wait(), _PATIENCE_S) == 0
    except BaseException as failure:
        failure.add_note(said.read_text())
        raise
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("name", PLACES)
async def test_H2_a_state_folder_that_cannot_be_written_is_said_and_nothing_is_kept(
    tmp_path: Path, short: Path, name: str
) -> None:
    reason, _ = PLACES[name]
    async with Origin() as origin, running(tmp_path, short, name, "MATCH,AUTO\n") as byway:
        (warning,) = [line for line in byway.said.read_text().splitlines() if "stored" in line]
        assert reason in warning
        assert "Nothing is stored in this run, as with --ephemeral." in warning
        status = await byway.command("status", "--json")
        assert status.returncode == 0, status.stderr
        told = json.loads(status.stdout)
        assert reason in told["problems"][0]["text"]
        port = int(told["listen"].rpartition(":")[2])
        answer = await fetch(f"http://one.test:{origin.http_port}/", via=("127.0.0.1", port))
        assert answer.status == 200
        done = await byway.command("site", "set", "other.test", "block")
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in byway.said.read_text()
    assert [line for line in byway.said.read_text().splitlines() if "stored" in line] == [warning]
    assert not (tmp_path / "runtime" / "byway").exists() or not list((tmp_path / "runtime" / "byway").rglob("*.json"))


async def test_H2_what_was_set_for_a_site_still_holds_on_a_read_only_disk(tmp_path: Path, short: Path) -> None:
    async with Origin() as origin, running(tmp_path, short, "read-only", "MATCH,AUTO\n") as byway:
        told = json.loads((await byway.command("status", "--json")).stdout)
        port = int(told["listen"].rpartition(":")[2])
        answer = await fetch(f"http://blocked.test:{origin.http_port}/", via=("127.0.0.1", port))
        assert answer.status == 403
        assert origin.requests == []


@pytest.mark.parametrize("name", PLACES)
async def test_G9_a_second_one_for_the_same_folder_is_refused(tmp_path: Path, short: Path, name: str) -> None:
    async with running(tmp_path, short, name, "MATCH,AUTO\n") as byway:
        second = await byway.command("run", "--port", "0")
        assert second.returncode == 1
        assert "To end it: `" in second.stderr
        assert "Traceback" not in second.stderr
