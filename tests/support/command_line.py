"""A control server with simple parts in its own thread, and the commands that use it, run in this process."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer import Typer
from typer.main import get_command

from proxy.control.server import ControlServer
from proxy.model.feature import Feature
from proxy.terminal.output import Output
from tests.support.control_world import World
from tests.support.documented import watch
from tests.support.waiting import GIVEN_UP_S


@dataclass(frozen=True)
class Ran:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """Returns the tab-separated lines."""
        return [line.split("\t") for line in self.out.splitlines()]


Byway = Callable[..., Ran]

_tree = functools.cache(get_command)
"""typer makes all commands anew at each call of a Typer."""


@dataclass
class Home:
    """A user's folders."""

    config: Path
    state: Path

    @property
    def flags(self) -> list[str]:
        return ["--config", str(self.config), "--state", str(self.state)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    home = Home(tmp_path / "config" / "config.toml", tmp_path / "state")
    home.config.parent.mkdir()
    home.state.mkdir(mode=0o700)
    home.config.write_text("config_version = 1\n")
    return home


@pytest.fixture
def byway(home: Home, commands: Typer, own_log: None, capsys: pytest.CaptureFixture[str]) -> Byway:
    """Runs `byway …` with these folders."""
    tree = _tree(commands)

    def run(*words: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            tree([*home.flags, *words], prog_name="byway")
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run at a terminal of 80 columns."""
    monkeypatch.setattr(Output, "fancy", property(lambda out: not out.plain and not out.as_json))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")


@dataclass
class Running:
    """A world whose control server runs while the fixture exists."""

    world: World
    loop: asyncio.AbstractEventLoop

    def see(self, *outcomes: Any) -> None:
        """Passes outcomes to the world in its own thread."""
        self.do(lambda: self.world.see(*outcomes))

    def do(self, change: Callable[[], object]) -> None:
        """Changes the world in its own thread."""
        done = threading.Event()

        def then() -> None:
            change()
            done.set()

        self.loop.call_soon_threadsafe(then)
        assert done.wait(GIVEN_UP_S)


@pytest.fixture
def make_world(home: Home, features: Sequence[Feature]) -> Callable[[], World]:
    """Makes the world that `running` serves; a module may define its own."""
    return lambda: World(path=home.config, features=features)


@pytest.fixture
def running(home: Home, make_world: Callable[[], World], monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A Byway as commands see it. Its API gives only answers that docs/openapi.json describes."""
    documented = watch(monkeypatch)
    ready, stop = threading.Event(), asyncio.Event()
    made: list[Running] = []

    async def serve() -> None:
        world = make_world()
        server = ControlServer(lambda: world.parts, home.state / "c.sock", "unused", port=8119)
        await server.start()
        (home.state / "run.json").write_text(json.dumps({**server.address, "pid": 1, "port": 8119}))
        made.append(Running(world, asyncio.get_running_loop()))
        ready.set()
        await stop.wait()
        await server.close()
        world.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(GIVEN_UP_S)
    yield made[0]
    made[0].loop.call_soon_threadsafe(stop.set)
    thread.join(GIVEN_UP_S)
    assert not thread.is_alive()
    assert not documented.problems, f"{documented.problems}; next: python -m tests.whole.openapi"
