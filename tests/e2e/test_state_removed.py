"""The state folder is removed under a running Byway: it is found, asked and told as before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.waiting import until

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("asked_before", [False, True])
async def test_it_goes_on(asked_before: bool, tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    async with Origin() as origin, byway:
        if asked_before:  # the API is served from the first request on
            await byway.read("status")
        shutil.rmtree(byway.state)
        await until(lambda: (byway.state / "run.json").exists())
        assert os.stat(byway.state).st_mode & 0o777 == 0o700
        assert (await byway.read("status"))["listen"] == f"127.0.0.1:{byway.port}"
        await byway.command("site", "set", "blocked.example", "block")
        assert [each["scope"] for each in (await byway.read("site", "list"))["overrides"]] == ["blocked.example"]
        assert (await fetch(f"http://127.0.0.1:{origin.http_port}/", via=byway.proxy)).status == 200
        second = await byway.command("run", "--port", "0", check=False)
        assert second.returncode == 1
        assert f"the Byway with pid {byway.pid} runs" in second.stderr
        assert f"The state folder was removed: {byway.state}. It is made anew" in byway.said.read_text()
    assert not (byway.state / "run.json").exists(), "it is not made anew at the end"


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime folder with a short path: sockets have no long ones."""
    with tempfile.TemporaryDirectory(prefix="byway-") as folder:
        made = Path(folder, "run")
        made.mkdir(mode=0o700)
        yield made


def sockets_in(runtime: Path) -> Sequence[Path]:
    return list(runtime.rglob("*.sock"))


def remove(removed: str, runtime: Path, socket: Path) -> None:
    if runtime / removed == socket.parent / "*.sock":
        socket.unlink()
    else:
        shutil.rmtree(runtime / removed)
        runtime.mkdir(mode=0o700, exist_ok=True)


@pytest.mark.parametrize("removed", [".", "byway", "byway/*.sock"])
async def test_it_is_found_again_where_its_socket_was_removed(removed: str, runtime: Path, tmp_path: Path) -> None:
    """As when the user logs out, while Byway goes on in a tmux, and logs in again."""
    byway = Byway(tmp_path, environment={"XDG_RUNTIME_DIR": str(runtime)})
    async with byway:
        await byway.read("status")
        (socket,) = sockets_in(runtime)
        remove(removed, runtime, socket)
        await until(socket.exists)
        assert (await byway.read("status"))["listen"] == f"127.0.0.1:{byway.port}"
        await byway.command("site", "set", "blocked.example", "block")
        assert "The control socket was removed. It is made anew" in byway.said.read_text()
