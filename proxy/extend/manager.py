"""Loads, starts, reloads and stops addons, as their files and the configuration change.

Each addon is reloaded separately. The edited version is loaded and started beside the running one and takes its place;
then the old one is stopped, so that no request passes without the addon. A version that does not load is reported with
its line, and the old one keeps running. A file is tried again when it or its options have changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from proxy.config.file_watch import FileWatch, file_stamp
from proxy.config.files import shown
from proxy.config.load import Loaded
from proxy.config.schema import Settings
from proxy.extend.dispatch import Addons
from proxy.extend.guard.time_limit import BrokenOff, TimeLimit
from proxy.extend.hooks import HOOKS
from proxy.extend.loading.addon import Addon, AddonFile
from proxy.extend.loading.files import find, missing
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.tasks import spawn

if TYPE_CHECKING:
    from proxy.extend.api import Api, ApiBackend
    from proxy.extend.guard.runner import AddonRunner
    from proxy.extend.guard.task_tracking import TaskTracking

log = logging.getLogger(__name__)

LOAD_S = 10.0
"""Seconds for loading one file, in a thread: importing libraries may take a second or two."""

STOP_S = 2.0
"""Seconds for a `stop` hook. When Byway ends, all addons are stopped at the same time."""

_STOP_LOADING_S = 0.5
"""Seconds of the wait for the line at which loading was interrupted."""

FileStamp = tuple[object, ...]


@frozen_dataclass
class AddonState:
    """The status of one addon, for the control API."""

    file: AddonFile
    running: str = ""
    """`Addon.version` of the running version; "" when none runs."""
    since: float = 0.0
    hooks: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    """The reasons why the current file does not run. An earlier version may still run."""
    faults: int = 0
    last_fault: str = ""
    is_off: bool = False
    """Disabled after FAULTS_MAX faults, until its file is edited."""
    slowest_s: float = 0.0
    dropped: int = 0
    """Notifications dropped because the addon was too slow."""

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def runs(self) -> bool:
        """Whether a version of it runs and has not been stopped."""
        return self.file.enabled and not self.is_off and bool(self.running)


@dataclass(slots=True)
class _LiveAddon:
    """One loaded version of an addon, also while it is disabled after faults."""

    runner: AddonRunner
    api: Api
    since: float
    is_stopped: bool = False


class AddonManager:
    """Finds, loads, starts and stops addons. Use it on one event loop only."""

    def __init__(
        self,
        addons: Addons,
        user_folder: Path,
        backend: ApiBackend,
        *,
        shipped: Path | None = None,
        load_s: float = LOAD_S,
    ) -> None:
        """`shipped` is the folder of the shipped addons, for tests."""
        self._addons = addons
        self._folder = user_folder
        self._backend = backend
        self._shipped = shipped
        self._limit = TimeLimit()
        self._load_s = load_s
        self._by_module: WeakValueDictionary[str, AddonRunner] = WeakValueDictionary()  # while any of its code runs
        self._task_tracking: TaskTracking | None = None  # from the first addon on
        self._loaded = Loaded(Settings())
        self._files: tuple[AddonFile, ...] = ()
        self._live: dict[str, _LiveAddon] = {}
        self._attempted: dict[str, FileStamp] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self.missing: tuple[str, ...] = ()
        """A sentence for each `[addons.NAME]` without a file."""
        self._watch = FileWatch()
        self._lock = asyncio.Lock()
        self._reloading: set[asyncio.Task[None]] = set()

    async def start(self, loaded: Loaded) -> None:
        """Loads and starts every enabled addon.

        Raises ConfigError with all problems: an addon may block sites, and they must not open because it failed."""
        self._loaded = loaded
        self._watch.reset(self._fingerprint())
        await self._reload_all()
        problems = [problem for name in sorted(self._problems) for problem in self._problems[name]]
        if problems or self.missing:
            raise ConfigError([*problems, *self.missing])

    def configure(self, loaded: Loaded) -> None:
        """Applies an edited configuration: reloads, starts and stops addons in the background."""
        self._loaded = loaded
        self._watch.reset(self._fingerprint())
        self._reload_soon()

    def poll_files(self) -> None:
        """Reloads addons whose files were edited. Call it a few times a second."""
        if self._watch.changed(self._fingerprint()):
            self._reload_soon()

    async def settled(self) -> None:
        """Waits until the reloads under way have ended: the addons then match the configuration and files of the moment
        of the call."""
        if self._reloading:
            await asyncio.wait(self._reloading.copy())

    def _reload_soon(self) -> None:
        task = spawn(self._reload_all(log_problems=True), name="reload addons")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def close(self) -> None:
        """Stops all addons; each has STOP_S for its `stop` hook."""
        self._addons.end()
        for task in self._reloading:
            task.cancel()
        async with self._lock:
            await asyncio.gather(*(self._unload(live) for live in self._live.values()))
            self._live.clear()
        self._limit.close()
        if self._task_tracking is not None:
            self._task_tracking.close()

    def states(self) -> tuple[AddonState, ...]:
        """Returns the status of every addon file, by name."""
        return tuple(self._state(file) for file in self._files)

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
            files = find(self._folder, self._loaded.settings.addons, shipped=self._shipped)
        except ConfigError as error:
            return error.problems
        return tuple((file, file_stamp(file.path)) for file in files if file.enabled)

    async def _reload_all(self, *, log_problems: bool = False) -> None:
        """Reloads all addons whose files have changed, one reload at a time.

        Raises ConfigError when the folder cannot be read, unless `log_problems`: then problems go to the log."""
        async with self._lock:
            tables = self._loaded.settings.addons
            try:
                self._files = find(self._folder, tables, shipped=self._shipped)
            except ConfigError as error:
                if not log_problems:
                    raise
                log.error("%s; keeping the addons as they are", error)
                return
            wanted = {file.name: file for file in self._files if file.enabled}
            for file in wanted.values():
                await self._reload(file, log_problems=log_problems)
            for name in [name for name in (*self._live, *self._problems) if name not in wanted]:
                await self._remove(name)  # last: a renamed file is loaded under its new name first
            without_file = tuple(missing(self._files, tables, self._loaded.place))
            reported = {sentence.partition(";")[0] for sentence in self.missing}  # the rest is a suggestion
            for sentence in without_file:
                if log_problems and sentence.partition(";")[0] not in reported:
                    log.warning("%s", sentence)
            self.missing = without_file

    async def _reload(self, file: AddonFile, *, log_problems: bool) -> None:
        table = self._loaded.settings.addons.get(file.name)
        options = table.options if table is not None else {}
        stamp = (file, file_stamp(file.path), repr(options))
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
                for problem in error.problems:
                    log.error("%s", problem)
                goes_on = (earlier := self._live.get(file.name)) is not None and not earlier.runner.is_off
                log.error("addon %s: %s", file.name, "keeping the previous version" if goes_on else "not running")
            return
        before = self._live.get(file.name)
        self._live[file.name] = live
        self._problems.pop(file.name, None)
        self._addons.put(live.runner)
        if before is not None:
            await self._unload(before)
        if log_problems:
            log.info("addon %s: %s", file.name, "reloaded" if before else "loaded")

    async def _remove(self, name: str) -> None:
        """Stops an addon whose file is gone or which was disabled in the configuration."""
        self._attempted.pop(name, None)
        self._problems.pop(name, None)
        live = self._live.pop(name, None)
        if live is not None:
            self._addons.remove(live.runner)
            await self._unload(live)
            log.info("addon %s: stopped", name)

    # -- one version -----------------------------------------------------------------------------------------------

    async def _load(self, file: AddonFile, options: Mapping[str, Any]) -> Addon:
        """Loads one version in a thread. Raises ConfigError, also when that takes longer than the limit."""
        # Imported here, since a run without addons needs neither; in a thread, so that the loop does not stall.
        load = (await asyncio.to_thread(import_module, "proxy.extend.loading.loader")).load
        from proxy.extend.loading.options import prepare

        await asyncio.to_thread(prepare)
        loading = _Loading(lambda: load(file.path, file.name, options, place=self._loaded.place), shown(file.path))
        addon = await loading.result(self._load_s)
        if addon is not None:
            return addon
        loading.break_off()
        await loading.result(_STOP_LOADING_S)
        raise ConfigError(f"{shown(file.path)}: still loading after {self._load_s:g} s (endless loop?)")

    async def _start_version(self, addon: Addon) -> _LiveAddon:
        """Runs `start` of a loaded version. Raises ConfigError when it fails."""
        from proxy.extend.api import Api  # a run without addons needs none of these
        from proxy.extend.guard.runner import AddonRunner
        from proxy.extend.guard.task_tracking import TaskTracking

        self._limit.start()
        if self._task_tracking is None:
            self._task_tracking = TaskTracking(self._by_module.get)
        self._task_tracking.start()
        runner = AddonRunner(addon, self._limit, self._on_disabled)
        self._by_module[addon.module.__name__] = runner
        api = Api(addon.name, addon.options, self._backend, runner.spawn)
        live = _LiveAddon(runner, api, time.time())
        for function in addon.hooks.get("start", ()):
            faults = runner.faults
            await runner.call(HOOKS["start"], function, live.api, check=lambda _: None)
            if runner.faults > faults:
                await self._unload(live, stop=False)
                raise ConfigError(runner.last_fault)
        return live

    async def _unload(self, live: _LiveAddon, *, stop: bool = True) -> None:
        """Stops a version, cancels its tasks and removes its module."""
        if stop:
            await self._stop(live)
        live.runner.cancel()
        live.api.close()
        live.runner.addon.forget()

    async def _stop(self, live: _LiveAddon) -> None:
        """Runs its `stop` hook, after the queued notifications. Does nothing the second time."""
        if live.is_stopped:
            return
        live.is_stopped = True
        runner = live.runner
        await runner.drain(STOP_S)
        for function in runner.addon.hooks.get("stop", ()):
            stopping = runner.call(HOOKS["stop"], function, check=lambda _: None)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping, STOP_S)

    def _on_disabled(self, runner: AddonRunner) -> None:
        """Removes a disabled addon from the calls, and runs its `stop` hook, which may end a command that it
        started."""
        self._addons.on_disabled(runner)
        live = self._live.get(runner.name)
        if live is not None and live.runner is runner:
            spawn(self._stop(live), name=f"stop addon {runner.name}")


class _Loading:
    """A file being loaded in a daemon thread: Byway can end without waiting for it."""

    def __init__(self, call: Callable[[], Addon], what: str) -> None:
        self._call = call
        self._what = what
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[Addon] = self._loop.create_future()
        self._is_broken_off = False
        self._thread = threading.Thread(target=self._run, name="load an addon", daemon=True)
        self._thread.start()

    async def result(self, within_s: float) -> Addon | None:
        """Returns the loaded addon; None when loading takes longer than `within_s`. Raises ConfigError."""
        await asyncio.wait((self._done,), timeout=within_s)
        return self._done.result() if self._done.done() else None

    def break_off(self) -> None:
        """Raises BrokenOff in the thread. Code written in C is not interrupted."""
        self._is_broken_off = True
        if self._thread.ident is not None:
            import ctypes  # half a MiB, and this is rare

            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(BrokenOff))

    def _run(self) -> None:
        try:
            finish = partial(self._succeed, self._call())
        except ConfigError as error:
            finish = partial(self._fail, error)
        except BaseException as error:  # BrokenOff may also arrive outside of the addon's own code
            finish = partial(self._fail, ConfigError(f"{self._what}: {type(error).__name__} while it was loaded"))
        with contextlib.suppress(RuntimeError):  # the loop is closed: Byway has ended meanwhile
            self._loop.call_soon_threadsafe(finish)

    def _succeed(self, addon: Addon) -> None:
        if self._is_broken_off or self._done.done():
            addon.forget()
        else:
            self._done.set_result(addon)

    def _fail(self, error: ConfigError) -> None:
        if not self._done.done():
            self._done.set_exception(error)
            self._done.exception()  # marks it as retrieved: the caller may have given up waiting
