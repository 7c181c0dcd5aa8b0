"""A real Byway: a process with its own configuration, state folder and free port.

    async with Byway(tmp_path, config='[[relay]]…', rules="MATCH,AUTO") as byway:
        answer = await fetch("https://blocked.test:8443/", via=byway.proxy, trust=authority.client())
        rows = await byway.read("log")

It is ready when `run.json` exists, which is watched without sleeping. When a test fails, the output of the process is
added to the failure.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import aiohttp
from watchfiles import awatch

from tests.support.forked import Forked, Namespace, fork
from tests.support.terminal import Terminal

_READY_S = 30.0
_STOP_S = 15.0
_COMMAND_S = 30.0
ALLOW = ("127.0.0.0/8:*", "[::1]:*")
"""Exceptions from the address guard: tests use loopback only."""

IMPATIENT = "\n[detect]\nrelay_retry_s = [0.1]\n"
"""For a `config`: a visit tries a relay that fails once more, and not for 15 s. For tests in which that time is not the
point."""

PATIENT = "\n[detect]\nhedge_syn_s = 100\nhedge_relay_s = 100\nhedge_silent_s = 100\n"
"""For a `config`: no route is tried beside one that does not answer yet, only after one that has failed. For tests that
say which route a visit takes: on a busy machine their servers may answer seconds later."""

_NOBODY_ELSE = {"controls": ("BYWAY_AUTO__CONTROLS", "[]"), "servers": ("BYWAY_DNS__SERVERS", "[]")}
"""Settings that Byway gets unless a test's configuration has them, so that it contacts no server of its own accord."""


TYPED = f"{sys.executable} -m proxy"
"""The command that its texts name in place of an installed `byway`."""


_RUN_EACH = Path(__file__).with_name("run_each.py")

Started = asyncio.subprocess.Process | Forked


class NotReady(AssertionError):
    """Byway ended, or did not listen in time."""


class Byway:
    """`byway run`, and the commands for it. `folder` holds the configuration, the state and the output."""

    def __init__(
        self,
        folder: Path,
        *,
        config: str = "",
        rules: str | None = None,
        allow: Sequence[str] = ALLOW,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        namespaces: Sequence[Namespace] = (),
        forked: bool | None = None,
    ) -> None:
        """`prefix` are words before a command that run it elsewhere; where that is in other namespaces, and no more,
        they are given as well. If it is not `forked`, it is a Python of its own: for tests of its memory, or of its
        start, and by itself where the environment alters its Python. One that is `forked` all the same imports
        what is of Byway itself, by its own PYTHONPATH."""
        self.config = folder / "config" / "config.toml"
        self.rules = self.config.with_name("rules.txt")
        self.state = folder / "state"
        self.said = folder / "byway.txt"  # standard output and error, of every start
        self.port = 0
        self.process: Started | None = None
        self._session: aiohttp.ClientSession | None = None
        self._arguments = (*(word for entry in allow for word in ("--allow", entry)), *arguments)
        alone = dict(told for key, told in _NOBODY_ELSE.items() if f"\n{key} =" not in config)
        home = folder / "home"  # a command such as `byway ca remove` looks into browsers' folders there
        home.mkdir(parents=True, exist_ok=True)
        self._environment = {**_clean_environment(), "HOME": str(home), **alone, **(environment or {})}
        self._prefix, self._namespaces = tuple(prefix), namespaces
        its_own = any(name.startswith("PYTHON") for name in environment or ()) or bool(prefix and not namespaces)
        self._forked = sys.platform == "linux" and (not its_own if forked is None else forked)
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.config.write_text(f"config_version = 1\n{config}")
        if rules is not None:
            self.rules.write_text(rules)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if self.process is not None and self.process.returncode is None:
                await self.stop()
        finally:
            await self._hang_up()
            if error is not None:
                error.add_note(self.report())

    @property
    def entering(self) -> tuple[str, ...]:
        """The words before a command that runs it in the same place as this Byway."""
        return self._prefix

    @property
    def proxy(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Starts it and returns when it listens. May be called again after it has ended: the state stays."""
        run_file = self.state / "run.json"
        run_file.unlink(missing_ok=True)  # one that a kill left behind says nothing about the new process
        with self.said.open("ab") as said:
            self.process = await self._begun("run", "--port", "0", *self._files(), *self._arguments, out=said, err=said)
        try:
            self.port = int((await self._ready(self.process, run_file))["port"])
        except BaseException as failure:
            failure.add_note(self.report())
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            raise

    async def _begun(self, *arguments: str, out: IO[bytes], err: IO[bytes], program: Path | None = None) -> Started:
        if self._forked:
            given = arguments, self._environment, self._namespaces
            return fork(*given, stdout=out.fileno(), stderr=err.fileno(), program=program)
        started = [str(program)] if program else ["-m", "proxy"]
        return await asyncio.create_subprocess_exec(
            *(*self._prefix, sys.executable, "-P", *started, *arguments),
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=self._environment,
        )  # fmt: skip

    async def _ready(self, process: Started, run_file: Path) -> dict[str, Any]:
        ended = asyncio.Event()

        async def wait() -> None:
            await process.wait()
            ended.set()

        async with asyncio.timeout(_READY_S), asyncio.TaskGroup() as watching:
            waiter = watching.create_task(wait())
            async for _ in awatch(
                self.state, stop_event=ended, yield_on_timeout=True, rust_timeout=100, debounce=40, step=10
            ):
                if (found := _read(run_file)) is not None:
                    waiter.cancel()
                    return found
        raise NotReady(f"byway ended with exit code {process.returncode} before it listened")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends it a signal, and returns the exit code. Raises NotReady if it had to be killed."""
        assert self.process is not None
        await self._hang_up()
        self.process.send_signal(how)
        try:
            return await asyncio.wait_for(self.process.wait(), _STOP_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise NotReady(f"byway did not end within {_STOP_S:g} s of {how.name}") from None

    async def _hang_up(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def kill(self) -> None:
        """Kills it."""
        await self.stop(signal.SIGKILL)

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    async def command(
        self, *arguments: str, check: bool = True, within_s: float = _COMMAND_S
    ) -> subprocess.CompletedProcess[str]:
        """Runs a `byway` command for this Byway. With `check`, any exit code but 0 fails the test."""
        begin = partial(self._begun, *self._files(), *arguments)
        return _checked(await _completed(begin, arguments, within_s), check=check)

    async def commands(
        self, *commands: Sequence[str], check: bool = True, within_s: float = _COMMAND_S
    ) -> list[subprocess.CompletedProcess[str]]:
        """Runs `byway` commands one after the other, in one process, which imports Byway once."""
        given = json.dumps([[*self._files(), *words] for words in commands])
        begin = partial(self._begun, given, program=_RUN_EACH)
        whole = _checked(await _completed(begin, ("…",), within_s), check=True)
        return [
            _checked(subprocess.CompletedProcess(words, code, out, err), check=check)
            for words, code, out, err in json.loads(whole.stdout)
        ]

    def at_terminal(self, *arguments: str, columns: int, controls: bool = False, shell: str = "") -> Terminal:
        """Returns a `byway` command for this Byway at a terminal without colors, in UTC. `shell` is a script that
        starts it as `"$@"`."""
        environment = {**self._environment, "NO_COLOR": "1", "TERM": "xterm", "TZ": "UTC"}
        started_by = ("/bin/sh", "-c", shell, "sh") if shell else ()
        return Terminal([*started_by, *self._command_line(*arguments)], environment, columns=columns, controls=controls)

    def _command_line(self, *arguments: str) -> list[str]:
        return [*self._prefix, sys.executable, "-P", "-m", "proxy", *self._files(), *arguments]

    def _files(self) -> tuple[str, ...]:
        return ("--config", str(self.config), "--state", str(self.state))

    async def read(self, *arguments: str) -> Any:
        """Returns the document that a command prints with --json."""
        return json.loads((await self.command(*arguments, "--json")).stdout)

    def run_file(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.state / "run.json").read_text())
        return found

    def api(self) -> aiohttp.ClientSession:
        """Returns a session with the control API. The caller closes it."""
        connector = aiohttp.UnixConnector(str(self.run_file()["socket"]))
        return aiohttp.ClientSession("http://byway", connector=connector)

    async def ask(self, path: str, **query: str) -> Any:
        """GET of the control API, without a process for each question."""
        if self._session is None:
            self._session = self.api()
        async with self._session.get(path, params=query) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    def report(self) -> str:
        """Returns its output, for a failure."""
        text = self.said.read_text(errors="replace") if self.said.exists() else ""
        return f"byway said:\n{text[-8000:] or '(nothing)'}"


async def _completed(
    begin: Callable[..., Awaitable[Started]], words: Sequence[str], within_s: float
) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = await begin(out=out, err=err)
        try:
            code = await asyncio.wait_for(process.wait(), within_s)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess([*words], code, out.read().decode(), err.read().decode())


def _checked(done: subprocess.CompletedProcess[str], *, check: bool) -> subprocess.CompletedProcess[str]:
    assert not check or done.returncode == 0, f"byway {' '.join(done.args)}: exit {done.returncode}\n{done.stderr}"
    return done


def _read(run_file: Path) -> dict[str, Any] | None:
    """Returns the content of run.json; None: it does not exist or is not complete."""
    try:
        found: dict[str, Any] = json.loads(run_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _clean_environment() -> dict[str, str]:
    """Returns the environment without variables that change Byway or a client: settings, proxies, and a desktop for
    windows."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("BYWAY_") and not k.lower().endswith("_proxy")}
    kept = {name: value for name, value in kept.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    # No session bus: `byway system on` must not change the desktop of whoever runs the tests.
    return {**kept, "DBUS_SESSION_BUS_ADDRESS": "disabled:", "NO_COLOR": "1", "COLUMNS": "120"}
