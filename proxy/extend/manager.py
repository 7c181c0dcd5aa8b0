"""Keeps the running addons in step with their files and with what the configuration says of them.

Each addon stands for itself: an edited one is loaded beside the version that runs, started, put in its place, and only
then is the old one stopped, so that no request goes unasked. A version that does not load changes nothing and is told
with its line. What was tried is remembered, so a file is tried again when it, or its options, have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from proxy.config.files import shown
from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.extend.api import Api, ApiBackend
from proxy.extend.dispatch import Addons
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.task_tracking import TaskTracking
from proxy.extend.guard.time_limit import BrokenOff, TimeLimit
from proxy.extend.hooks import HOOKS
from proxy.extend.loading.addon import Addon, AddonFile
from proxy.extend.loading.loader import find, load, missing
from proxy.model.errors import ConfigError
from proxy.net.tasks import spawn

log = logging.getLogger(__name__)

LOAD_S = 10.0
"""What a file may take to load. It does so in a thread, since libraries may take a second or two to import."""

STOP_S = 2.0
"""What a `stop` may wait for: at the end of Byway all are stopped at once."""

_STOP_LOADING_S = 0.5
"""A file that is broken off while it loads has so long to say where it stood."""

FileStamp = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class AddonState:
    """What is to be known of one addon."""

    file: AddonFile
    running: str = ""
    """The version that runs: `Addon.version`; "" when none does."""
    since: float = 0.0
    hooks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """Why the file as it is now does not run; the version before it may."""
    faults: int = 0
    last_fault: str = ""
    is_off: bool = False
    """Switched off after its faults, until it is edited."""
    slowest_s: float = 0.0
    dropped: int = 0
    """What it was not told, since it did not keep up."""

    @property
    def name(self) -> str:
        return self.file.name


@dataclass(slots=True)
class _LiveAddon:
    """One addon that runs, or ran until it was switched off."""

    runner: AddonRunner
    api: Api
    since: float
    is_stopped: bool = False


class AddonManager:
    """Finds, loads, starts and stops addons. Belongs to one loop."""

    def __init__(
        self,
        addons: Addons,
        user_folder: Path,
        backend: ApiBackend,
        *,
        shipped: Path | None = None,
        limit: TimeLimit | None = None,
        load_s: float = LOAD_S,
    ) -> None:
        """`shipped` is the folder of the shipped addons, for tests."""
        self._addons = addons
        self._folder = user_folder
        self._backend = backend
        self._shipped = shipped
        self._limit = limit if limit is not None else TimeLimit()
        self._load_s = load_s
        self._by_module: WeakValueDictionary[str, AddonRunner] = WeakValueDictionary()  # while anything of it runs
        self._task_tracking = TaskTracking(self._by_module.get)
        self._loaded = Loaded(Settings())
        self._files: tuple[AddonFile, ...] = ()
        self._live: dict[str, _LiveAddon] = {}
        self._attempted: dict[str, FileStamp] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._missing: tuple[str, ...] = ()
        self._seen: FileStamp = ()
        self._glimpsed: FileStamp = ()
        self._lock = asyncio.Lock()
        self._reloading: set[asyncio.Task[None]] = set()

    async def start(self, loaded: Loaded) -> None:
        """Loads and starts all that are on. Raises ConfigError with all problems: what an addon would have kept closed
        must not be open because it does not load."""
        self._loaded = loaded
        self._seen = self._glimpsed = self._fingerprint()
        await self._reload_all()
        problems = [problem for name in sorted(self._problems) for problem in self._problems[name]]
        if problems or self._missing:
            raise ConfigError([*problems, *self._missing])

    def configure(self, loaded: Loaded) -> None:
        """Takes in what an edited configuration says of addons."""
        self._loaded = loaded
        self._seen = self._glimpsed = self._fingerprint()
        self._reload_soon()

    def look(self) -> None:
        """To be called a few times a second: takes in edited files once two looks in a row find the same, since an
        editor empties a file, or takes it away, before it writes the new one."""
        found = self._fingerprint()
        if found == self._glimpsed != self._seen:
            self._seen = found
            self._reload_soon()
        self._glimpsed = found

    def _reload_soon(self) -> None:
        task = spawn(self._reload_all(log_problems=True), name="renew addons")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def close(self) -> None:
        """Stops all."""
        self._addons.end()
        for task in self._reloading:
            task.cancel()
        async with self._lock:
            await asyncio.gather(*(self._unload(live) for live in self._live.values()))
            self._live.clear()
        self._limit.close()
        self._task_tracking.close()

    def states(self) -> tuple[AddonState, ...]:
        """All that were found, by name."""
        return tuple(self._state(file) for file in self._files)

    @property
    def missing(self) -> tuple[str, ...]:
        """A sentence for each `[addons.NAME]` of which there is no file."""
        return self._missing

    def _state(self, file: AddonFile) -> AddonState:
        state = AddonState(file, problems=self._problems.get(file.name, ()))
        live = self._live.get(file.name)
        if live is None:
            return state
        runner = live.runner
        return replace(
            state,
            running="" if runner.is_off else runner.addon.version,
            since=live.since,
            hooks=tuple(runner.addon.hooks),
            faults=runner.faults,
            last_fault=runner.last_fault,
            is_off=runner.is_off,
            slowest_s=runner.slowest_s,
            dropped=runner.dropped,
        )

    # -- in step with the files ------------------------------------------------------------------------------------

    def _fingerprint(self) -> FileStamp:
        try:
            files = self._find()
        except ConfigError as error:
            return error.problems
        return tuple((file, _file_stamp(file.path)) for file in files if file.enabled)

    def _find(self) -> tuple[AddonFile, ...]:
        return find(self._folder, self._loaded.settings.addons, shipped=self._shipped)

    async def _reload_all(self, *, log_problems: bool = False) -> None:
        """One at a time; `log_problems`: what is wrong is logged, for nobody else hears of it."""
        async with self._lock:
            tables = self._loaded.settings.addons
            try:
                self._files = self._find()
            except ConfigError as error:
                if not log_problems:
                    raise
                log.error("%s; keeping the addons as they are", error)
                return
            wanted = {file.name: file for file in self._files if file.enabled}
            for file in wanted.values():
                await self._reload(file, log_problems=log_problems)
            for name in [name for name in (*self._live, *self._problems) if name not in wanted]:
                await self._remove(name)  # after the others: one of them may be the same under another name
            lost = tuple(missing(self._files, tables, self._loaded.place))
            known = {sentence.partition(";")[0] for sentence in self._missing}  # behind it stands what is near
            for sentence in lost:
                if log_problems and sentence.partition(";")[0] not in known:
                    log.warning("%s", sentence)
            self._missing = lost

    async def _reload(self, file: AddonFile, *, log_problems: bool) -> None:
        options = self._options(file.name)
        stamp = (file, _file_stamp(file.path), repr(options))
        if self._attempted.get(file.name) == stamp:
            return
        self._attempted[file.name] = stamp
        try:
            if file.problem:
                raise ConfigError(file.problem)
            live = await self._start_version(await self._load(file, options))
        except ConfigError as error:
            self._problems[file.name] = error.problems
            if log_problems:
                self._log_problems(file.name, error.problems)
            return
        before = self._live.get(file.name)
        self._live[file.name] = live
        self._problems.pop(file.name, None)
        self._addons.put(live.runner)
        if before is not None:
            await self._unload(before)
        if log_problems:
            log.info("addon %s: %s", file.name, "reloaded" if before else "loaded")

    def _log_problems(self, name: str, problems: tuple[str, ...]) -> None:
        for problem in problems:
            log.error("%s", problem)
        live = self._live.get(name)
        goes_on = live is not None and not live.runner.is_off
        log.error("addon %s: %s", name, "keeping the previous version" if goes_on else "not running")

    def _options(self, name: str) -> Mapping[str, Any]:
        table = self._loaded.settings.addons.get(name)
        return (table.model_extra or {}) if table is not None else {}

    async def _remove(self, name: str) -> None:
        """It is gone, or off."""
        self._attempted.pop(name, None)
        self._problems.pop(name, None)
        live = self._live.pop(name, None)
        if live is not None:
            self._addons.remove(live.runner)
            await self._unload(live)
            log.info("addon %s: stopped", name)

    # -- one version -----------------------------------------------------------------------------------------------

    async def _load(self, file: AddonFile, options: Mapping[str, Any]) -> Addon:
        """Raises ConfigError, also for a file that does not come to its end."""
        loading = _Loading(lambda: load(file.path, file.name, options, place=self._loaded.place), shown(file.path))
        addon = await loading.result(self._load_s)
        if addon is not None:
            return addon
        loading.break_off()
        await loading.result(_STOP_LOADING_S)
        raise ConfigError(f"{shown(file.path)}: still loading after {self._load_s:g} s (endless loop?)")

    async def _start_version(self, addon: Addon) -> _LiveAddon:
        """Raises ConfigError when its `start` has a fault."""
        self._limit.start()
        self._task_tracking.start()
        runner = AddonRunner(addon, self._limit, self._on_disabled)
        self._by_module[addon.module.__name__] = runner
        api = Api(addon.name, addon.options, self._backend, runner.spawn)
        live = _LiveAddon(runner, api, time.time())
        for function in addon.hooks.get("start", ()):
            faults = runner.faults
            await runner.call(HOOKS["start"], function, live.api, check=_ignore_answer)
            if runner.faults > faults:
                await self._unload(live, stop=False)
                raise ConfigError(runner.last_fault)
        return live

    async def _unload(self, live: _LiveAddon, *, stop: bool = True) -> None:
        """Stops it and lets it go."""
        if stop:
            await self._stop(live)
        live.runner.cancel()
        live.api.close()
        live.runner.addon.forget()

    async def _stop(self, live: _LiveAddon) -> None:
        """Once."""
        if live.is_stopped:
            return
        live.is_stopped = True
        runner = live.runner
        await runner.drain(STOP_S)
        for function in runner.addon.hooks.get("stop", ()):
            asked = runner.call(HOOKS["stop"], function, check=_ignore_answer)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asked, STOP_S)

    def _on_disabled(self, runner: AddonRunner) -> None:
        """It has had its faults. What it started, such as a command, ends with it."""
        self._addons.on_disabled(runner)
        live = self._live.get(runner.name)
        if live is not None and live.runner is runner:
            spawn(self._stop(live), name=f"stop addon {runner.name}")


class _Loading:
    """A file being loaded, in a thread of its own that Byway's end does not wait for."""

    def __init__(self, call: Callable[[], Addon], what: str) -> None:
        self._call = call
        self._what = what
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Addon] = self._loop.create_future()
        self._is_broken_off = False
        self._thread = threading.Thread(target=self._run, name="load an addon", daemon=True)
        self._thread.start()

    async def result(self, within_s: float) -> Addon | None:
        """None: it is not done yet. Raises ConfigError."""
        await asyncio.wait((self._done,), timeout=within_s)
        return self._done.result() if self._done.done() else None

    def break_off(self) -> None:
        """Raises in the thread, as far as it runs Python."""
        self._is_broken_off = True
        if self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(BrokenOff))

    def _run(self) -> None:
        try:
            addon = self._call()
        except ConfigError as error:
            self._hand_over(partial(self._fail, error))
        except BaseException as error:
            fault = ConfigError(f"{self._what}: {type(error).__name__} while it was loaded")
            self._hand_over(partial(self._fail, fault))
        else:
            self._hand_over(partial(self._succeed, addon))

    def _hand_over(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # Byway has ended meanwhile
            self._loop.call_soon_threadsafe(call)

    def _succeed(self, addon: Addon) -> None:
        if self._is_broken_off or self._done.done():
            addon.forget()
        else:
            self._done.set_result(addon)

    def _fail(self, error: ConfigError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # nobody may be waiting any more


def _ignore_answer(answer: Any) -> None:
    """What `start` and `stop` return does not matter."""


def _file_stamp(file: Path) -> FileStamp | None:
    """What changes when a file does; symbolic links are followed."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
