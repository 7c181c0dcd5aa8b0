"""Runs one addon's hooks safely: the caller gets an answer of the right type or nothing.

Every exception of a hook is caught, SystemExit and KeyboardInterrupt too. A hook that takes too long is stopped; a slow
one is counted. Each fault is logged once, with the addon's line and no traceback. After FAULTS_MAX faults the addon is
disabled until its file is edited. No caller waits longer than the hook's limit.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from proxy.config.files import shown
from proxy.extend.guard.fail_closed import FailClosed
from proxy.extend.guard.hook_results import WrongAnswer
from proxy.extend.guard.time_limit import (
    BUDGET_S,
    FAULTS_MAX,
    PATIENCE_S,
    BrokenOff,
    TimeLimit,
    cpu_and_waits,
    had_no_cpu,
)
from proxy.extend.hooks import Hook
from proxy.extend.loading.addon import Addon, line_in, line_of
from proxy.model.errors import DialError
from proxy.net.tasks import spawn
from proxy.wire.relay_url import redact

T = TypeVar("T")

Notification = tuple[Hook, Callable[..., Any], tuple[Any, ...]]
"""A queued call: the hook, its function and the arguments."""

log = logging.getLogger(__name__)

QUEUE_MAX = 1000
"""The most queued notifications of one addon; beyond that the oldest is dropped."""

_STAYS_CLOSED = "the request stays blocked, as intended"
_CONSEQUENCES = {"admit": "the request continues", "plan": "the plan is unchanged", "dial": "the relay counts as down"}


class AddonRunner:
    """Runs one version of an addon. `on_disabled` is called once, after FAULTS_MAX faults."""

    def __init__(
        self, addon: Addon, limit: TimeLimit, on_disabled: Callable[[AddonRunner], None] = lambda _: None, *,
        patience_s: float = PATIENCE_S,
    ) -> None:  # fmt: skip
        self.addon = addon
        self.faults = 0
        self.is_off = False
        self.last_fault = ""
        self.dropped = 0
        """Notifications dropped because the addon was too slow."""
        self.calls = 0
        self.slowest_s = 0.0
        self.fail_closed = FailClosed()
        """The sites that the addon blocked or sent to relays. They stay so while the addon fails, and in its next
        version."""
        self._limit = limit
        self._on_disabled = on_disabled
        self._patience_s = patience_s
        self._reported: set[tuple[str, int, str]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._queue: deque[Notification] = deque(maxlen=QUEUE_MAX)
        self._notifying_task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.addon.name

    # -- calling hooks -------------------------------------------------------------------------------------------
    def call_sync(
        self, hook: Hook, function: Callable[..., Any], *args: Any, check: Callable[[Any], T | None]
    ) -> T | None:
        """Returns the answer of a hook that may not be async; None when it had a fault or the addon is disabled."""
        if self.is_off:
            return None
        try:
            answer = self._run_measured(hook, function, lambda: function(*args))
            if inspect.isawaitable(answer):
                _discard(answer)
                raise WrongAnswer("is async, and must answer at once")
            return check(answer)
        except BaseException as error:
            self._fault(hook, function, error)
            return None

    async def call(
        self,
        hook: Hook,
        function: Callable[..., Any],
        *args: Any,
        check: Callable[[Any], T | None],
        fallback: T | None = None,
    ) -> T | None:
        """Returns the answer of a hook; `fallback` when it had a fault, took too long, or the addon is disabled.

        When the caller is cancelled, so is the hook. Raises only DialError and OSError, from a `dial`: a path that
        cannot be opened is not a fault of the addon."""
        if self.is_off and hook.name != "stop":  # `stop` of a disabled addon still closes its resources
            return fallback
        try:
            answer = self._run_measured(hook, function, lambda: function(*args))
        except BaseException as error:
            self._fault_unless_no_path(hook, function, error, fallback)
            return fallback
        try:
            if inspect.isawaitable(answer):
                answer = await self._await_answer(hook, function, answer)
            return check(answer)
        except asyncio.CancelledError:  # the caller is cancelled; the hook's own cancellation arrives as _Failed
            raise
        except BaseException as error:
            own = error.__cause__ if isinstance(error, _Failed) else None
            self._fault_unless_no_path(hook, function, own or error, fallback)
            return fallback if (instead := _substitute(error)) is None else instead

    def notify(self, hook: Hook, function: Callable[..., Any], *args: Any) -> None:
        """Queues a call of a hook. Calls run in order; the caller does not wait."""
        if self.is_off:
            return
        if len(self._queue) == QUEUE_MAX:
            self.dropped += 1
        self._queue.append((hook, function, args))
        if self._notifying_task is None:
            self._notifying_task = spawn(self._notify_all(), name=f"notify addon {self.name}")

    async def _notify_all(self) -> None:
        try:
            while self._queue and not self.is_off:
                hook, function, args = self._queue.popleft()
                await self.call(hook, function, *args, check=lambda _: None)
                await asyncio.sleep(0)  # gives other tasks a turn between two calls
        finally:
            self._notifying_task = None

    async def drain(self, within_s: float) -> None:
        """Waits until the queue is empty, at most `within_s` seconds."""
        if self._notifying_task is not None:
            await asyncio.wait((self._notifying_task,), timeout=within_s)

    # -- tasks of the addon --------------------------------------------------------------------------------------
    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts a task that belongs to the addon. It is cancelled when the addon is unloaded."""
        return self.adopt(spawn(self._run_spawned(work), name=f"task of addon {self.name}"), work)

    def adopt(self, task: asyncio.Task[Any], work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Makes `task`, which runs `work`, belong to the addon. It is cancelled at once if the addon is disabled."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: _discard(work))
        if self.is_off:
            task.cancel()
        return task

    async def run_task(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Runs `work`, for which the addon's code made a task by itself.

        Exceptions reach the code that awaits the task. SystemExit and KeyboardInterrupt, which would end the event
        loop, count as a fault instead."""
        try:
            return await _Stepped(work, lambda step: self._run_measured(_OWN_TASK, None, step))
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            self.on_task_failed(error)
            raise asyncio.CancelledError from None

    def on_task_failed(self, error: BaseException) -> None:
        """Counts a fault in a task or thread that the addon started by itself."""
        self._fault(_OWN_TASK, None, error)

    async def _run_spawned(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await _Stepped(work, lambda step: self._run_measured(_SPAWNED_TASK, None, step))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fault(_SPAWNED_TASK, None, error)
            return None

    def cancel(self) -> None:
        """Disables the addon: cancels its tasks and drops its queue."""
        self.is_off = True
        self._queue.clear()
        for task in (*self._tasks, *((self._notifying_task,) if self._notifying_task else ())):
            task.cancel()

    # -- limits and faults ---------------------------------------------------------------------------------------
    async def _await_answer(self, hook: Hook, function: Callable[..., Any], answer: Awaitable[Any]) -> Any:
        """Awaits an async hook in its own task, so that a hook that ignores its cancellation cannot hold the caller.

        A `dial` has no limit here: the dialer that called it has one. Raises _Failed."""
        work = _catch_all(_Stepped(answer, lambda step: self._run_measured(hook, function, step)))
        task = spawn(work, name=f"{hook.name} of addon {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: _discard(answer))
        try:
            await asyncio.wait((task,), timeout=None if hook.name == "dial" else self._patience_s)
        except asyncio.CancelledError:
            _abandon(task)
            raise
        if not task.done():
            _abandon(task)
            raise _Failed from WrongAnswer(f"answered nothing within {self._patience_s:g} s")
        if task.cancelled():
            raise _Failed from asyncio.CancelledError()
        value, error = task.result()
        if error is not None:
            raise _Failed from error
        return value

    def _run_measured(self, hook: Hook, function: Callable[..., Any] | None, call: Callable[[], T]) -> T:
        """Runs the addon's code under the time limit, and measures it. Raises as the code does."""
        self.calls += 1
        began, started, is_broken_off = cpu_and_waits(), time.perf_counter(), False
        try:
            return self._limit.run(call, f"addon {self.name}: {hook.name}", began)
        except BrokenOff:
            is_broken_off = True
            raise
        finally:
            took_s = time.perf_counter() - started
            if took_s > self.slowest_s:
                self.slowest_s = took_s
            is_long = took_s > BUDGET_S and hook.name not in _MAY_TAKE_TIME
            if is_long and not is_broken_off and not had_no_cpu(began):
                self._slow(hook, function, took_s)

    def _slow(self, hook: Hook, function: Callable[..., Any] | None, took_s: float) -> None:
        where = line_of(function) if function is not None else 0
        took, limit = f"{1000 * took_s:.0f} ms", f"{1000 * BUDGET_S:.0f} ms"
        what = f"{hook.name} took {took}; all connections wait for it; the limit is {limit}"
        self._report(hook.name, where, "slow", what, counts=hook.waited_for)

    def _fault_unless_no_path(
        self, hook: Hook, function: Callable[..., Any], error: BaseException, fallback: object
    ) -> None:
        if hook.name == "dial" and isinstance(error, DialError | OSError):
            raise error
        self._fault(hook, function, error, fallback)

    def _fault(
        self, hook: Hook, function: Callable[..., Any] | None, error: BaseException, fallback: object = None
    ) -> None:
        line = line_in(self.addon.file, error) or (line_of(function) if function is not None else 0)
        is_closed = fallback is not None or _substitute(error) is not None
        consequence = _STAYS_CLOSED if is_closed else _CONSEQUENCES.get(hook.name, "")
        what = "; ".join(filter(None, (f"{hook.name} {self._describe(hook, error)}", consequence)))
        self._report(hook.name, line, type(error).__name__, what, counts=_substitute(error) is None)

    def _describe(self, hook: Hook, error: BaseException) -> str:
        """Returns the fault in words. Texts of exceptions may name sites, so they need -v, except in `start`."""
        if isinstance(error, BrokenOff):
            return f"was stopped after blocking all of Byway for {self._limit.limit_s:g} s"
        if isinstance(error, WrongAnswer):
            return one_line(error)
        kind = type(error).__name__
        text = one_line(error) if hook.name == "start" or log.isEnabledFor(logging.INFO) else ""
        return f"raised {kind}: {text}" if text else f"raised {kind}"

    def _report(self, hook: str, line: int, kind: str, what: str, *, counts: bool = True) -> None:
        if self.is_off:
            return
        at = f"{shown(self.addon.file)}:{line}" if line else shown(self.addon.file)
        if (hook, line, kind) not in self._reported:
            self._reported.add((hook, line, kind))
            self.last_fault = f"{at}: {what}"
            if hook != "start":  # the manager reports it as a problem of the file
                log.warning("%s: addon %s: %s", at, self.name, what)
        self.faults += counts
        if self.faults >= FAULTS_MAX:
            self.cancel()
            log.error("addon %s: disabled after %d faults, until %s is edited", self.name, self.faults,
                      shown(self.addon.file))  # fmt: skip
            self._on_disabled(self)


class _Failed(Exception):
    """An async hook had a fault, which is this exception's cause."""


_SPAWNED_TASK = Hook("api.spawn", (), may_be_async=True, waited_for=False)
_OWN_TASK = Hook("what it runs beside", (), may_be_async=True, waited_for=False)
_MAY_TAKE_TIME = frozenset({"start", "stop"})


def _substitute(error: BaseException) -> Any:
    """Returns the answer that replaces a wrong one, or None. Such a fault is logged but not counted: if the addon were
    disabled, the sites that it blocks would be open."""
    return error.instead if isinstance(error, WrongAnswer) else None


def one_line(error: BaseException) -> str:
    """Returns an exception's text in one line, without passwords; empty when its `__str__` fails."""
    try:
        return redact(" ".join(str(error).split())[:200])
    except BaseException:
        return ""


async def _catch_all(work: Awaitable[T]) -> tuple[T | None, BaseException | None]:
    """Returns the exception instead of raising it: SystemExit in a task would end the event loop."""
    try:
        return await work, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


def _discard(answer: Any) -> None:
    """Closes a coroutine, so that Python does not warn that it was never awaited."""
    if inspect.iscoroutine(answer):
        answer.close()


def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancels a task. If it still finishes, its result is closed."""
    task.add_done_callback(_close_late)
    task.cancel()


def _close_late(task: asyncio.Task[Any]) -> None:
    """Closes the stream of a `dial` that came too late."""
    if not task.cancelled() and task.exception() is None:
        value, _ = task.result()
        if hasattr(value, "abort"):
            value.abort()


class _Stepped:
    """An awaitable whose steps, from one await to the next, are each run by `run`: the time limit is for a step."""

    __slots__ = ("_run", "_work")

    def __init__(self, work: Awaitable[Any], run: Callable[[Callable[[], Any]], Any]) -> None:
        self._work = work
        self._run = run

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        step = partial(next, inner)
        while True:
            try:
                awaited = self._run(step)
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield awaited
            except BaseException as error:
                step = partial(inner.throw, error)
            else:
                step = partial(inner.send, sent)
