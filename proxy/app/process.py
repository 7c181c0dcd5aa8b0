"""The process of `byway run`: one for each state folder, controlled by signals, with its messages on standard error.

It starts an App, waits for a signal or `byway stop`, and closes the App. The reason is the exit code. Messages contain
no destination without -v.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from proxy.app.app import App
from proxy.app.parts import Run
from proxy.app.run_options import Ending, RunOptions
from proxy.config.command_name import as_typed, typed_here
from proxy.config.load import Loaded, load
from proxy.config.paths import NotWritable, Paths, check_room, private_folder
from proxy.config.state_lock import StateLock, alone
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.model.feature import Feature, Role, usable
from proxy.net.faults import Faults, place_of
from proxy.net.loop.choice import new_loop
from proxy.net.tasks import spawn
from proxy.setup.freed_memory import return_freed_pages
from proxy.store.list_copies import ListCopies
from proxy.store.subscriptions import with_subscriptions
from proxy.wire.relay_url import redact

log = logging.getLogger("proxy")

_TERMINAL = "/dev/tty"


def run(options: RunOptions, features: Sequence[Feature]) -> int:
    """Runs Byway in the foreground until it is stopped. Returns the exit code. A restart does not return: a new process
    replaces this one."""
    _log_to_stderr(options)
    try:
        paths = Paths.locate(os.environ, config=options.config, state=options.state)
        loaded = load(paths.config_to_read, env=os.environ, flags=options.flags)
        loaded = with_subscriptions(loaded, ListCopies(paths.lists_dir, ephemeral=True))
        options, paths = _with_room(options, paths)
        loop_factory = partial(new_loop, loaded.settings.limits.event_loop)
        with alone(paths) as lock, asyncio.Runner(loop_factory=loop_factory) as runner:
            code, begins_again = runner.run(_live(options, paths, loaded, features, lock))
        if begins_again:
            begin_again()
        return code
    except ConfigError as error:
        for problem in error.problems:
            log.error("%s", redact(problem))
        return 7
    except BywayError as error:
        log.error("%s", redact(str(error)))
        return 1
    except OSError as error:
        log.error("Byway cannot start again: %s", reason_of(error))
        return 1


# -- the end -----------------------------------------------------------------------------------------------------------
# SIGHUP has two meanings. A service manager, or `kill -HUP`, requests a reload. The kernel sends it when the window of
# the terminal was closed: then Byway ends as at Ctrl-C, since the user would not find a Byway without a window.


class LoginTerminal:
    """The terminal that controls this process since its start."""

    def __init__(self) -> None:
        """To be made before SIGHUP has a handler: when `nohup` ignores SIGHUP, the process outlives its terminal."""
        self._was_there = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    def has_gone(self) -> bool:
        """Whether there was a terminal, and its window was closed."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        descriptor = os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:  # ENXIO: no terminal controls this process, or no longer
        return False
    os.close(descriptor)
    return True


def begin_again() -> None:
    """Replaces this process by a new one with the same command line and the same pid, so that it keeps its terminal and
    its service manager. Raises OSError."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # the command line that started it


# -- the run -----------------------------------------------------------------------------------------------------------


def _with_room(options: RunOptions, paths: Paths) -> tuple[RunOptions, Paths]:
    """Creates the state folder and checks that it can be written. If it cannot, the run stores nothing, and has its
    lock and run.json in another folder. Raises BywayError."""
    try:
        private_folder(paths.state_dir)
        check_room(paths.state_dir)
    except NotWritable as error:
        log.warning("%s. Nothing is stored in this run, as with --ephemeral.", error)
        return replace(options, ephemeral=True, not_stored=str(error)), paths.without_state()
    return options, paths


def _remove_left_over(features: Sequence[Feature], paths: Paths) -> None:
    """Removes temporary files of earlier runs that were killed. May take seconds."""
    if (remove := usable(features, Role.LEFT_OVER)) is not None:
        for problem in remove(paths):
            log.warning("%s", problem)


async def _live(
    options: RunOptions, paths: Paths, loaded: Loaded, features: Sequence[Feature], lock: StateLock
) -> tuple[int, bool]:
    """Runs an App until its end. Returns the exit code, and whether to restart."""
    faults = Faults()
    asyncio.get_running_loop().set_exception_handler(partial(_log_fault, faults))
    ending = Ending()
    app = App(Run(options, paths, loaded, features, ending, faults, lock.renew))
    try:
        # All objects so far live as long as the process, so no garbage collection need scan them. The Setup, which is
        # made next, does not: a reload replaces it, and its objects refer to each other. There is no collection before
        # the freeze: it would take a tenth of the start, and free some hundred kilobytes.
        gc.freeze()
        await app.start()
        _on_signals(ending, app)  # before run.json: a program that finds the pid there may send one
        app.announce()
        app.print_greeting()
        return_freed_pages()
        spawn(app.check_features(), name="check the features")
        spawn(asyncio.to_thread(_remove_left_over, features, paths), name="remove temporary profiles")
        await ending.asked.wait()
        if not ending.hurry.is_set():
            await app.drain(ending.hurry)
    finally:
        await app.close()
    return 130 if ending.interrupts > 1 else 0, ending.begins_again


def _on_signals(ending: Ending, app: App) -> None:
    """Installs the signal handlers. SIGINT and SIGTERM drain, and a second one ends Byway at once. SIGHUP reloads, or
    ends Byway when its terminal was closed."""
    loop = asyncio.get_running_loop()

    def on_ctrl_c() -> None:
        if not ending.asked.is_set():
            log.warning("Byway ends; open connections may finish. Ctrl-C again ends at once")
        ending.on_interrupt()

    for name, on_signal in (("SIGINT", on_ctrl_c), ("SIGTERM", ending.on_interrupt)):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends the loop
            loop.add_signal_handler(getattr(signal, name), on_signal)
    if not hasattr(signal, "SIGHUP"):
        return
    terminal = LoginTerminal()

    def on_hangup() -> None:
        if terminal.has_gone():
            ending.stop()
        else:
            spawn(app.reload(), name="reload")

    loop.add_signal_handler(signal.SIGHUP, on_hangup)


def _log_fault(faults: Faults, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Records an internal error, and logs it in one line with its place in the code; an error that repeats is logged
    once. Names of tasks and texts of exceptions may contain destinations, so they need -v. The traceback needs -vv."""
    error = context.get("exception")
    if not faults.note(context):
        log.debug("again: %s: %r", context.get("message", "internal error"), error)
    elif log.isEnabledFor(logging.INFO):
        log.error("%s: %r", context.get("message", "internal error"), error)
    else:
        log.error("internal error: %s", place_of(error) if error is not None else "run with -v for details")
    if error is not None:
        log.debug("traceback:", exc_info=error)


class _Formatter(logging.Formatter):
    """Replaces commands by those that work in this user's shell, and wraps lines to the width of a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        typed = as_typed(text, typed_here()) if "byway " in text else text
        if sys.stderr is None or not sys.stderr.isatty():
            return typed
        from proxy.terminal.lines import fitted  # needed only at a terminal

        return fitted(typed, sys.stderr)


def _log_to_stderr(options: RunOptions) -> None:
    level = logging.WARNING if options.verbose == 0 else logging.INFO if options.verbose == 1 else logging.DEBUG
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.ERROR if options.quiet else level)
    log.propagate = False
