"""One addon at work, behind a guard: whatever its code does, what comes out is an answer of the right kind or nothing.

Everything that a hook raises is caught, SystemExit and KeyboardInterrupt too; what takes too long is broken off, what
takes long is counted. A fault is said once, with the addon's own line and no trace; with three the addon is switched
off until it is edited. Nothing here ever waits for an addon for longer than its hook allows.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

from proxy.config.files import shown
from proxy.extend.guard.fail_closed import FailClosed
from proxy.extend.guard.hook_results import WrongAnswer
from proxy.extend.guard.time_limit import BUDGET_S, FAULTS_MAX, PATIENCE_S, BrokenOff, TimeLimit
from proxy.extend.hooks import Hook
from proxy.extend.loading.addon import Addon, line_in, line_of
from proxy.model.errors import DialError
from proxy.net.tasks import spawn
from proxy.wire.relay_url import redact

if sys.platform == "linux":  # which alone counts by thread
    from resource import RUSAGE_THREAD, getrusage

T = TypeVar("T")

Told = tuple[Hook, Callable[..., Any], tuple[Any, ...]]
"""A hook to be called, when its turn comes, with these arguments."""

log = logging.getLogger(__name__)

QUEUE_MAX = 1000
"""What one addon is still to be told; the oldest is dropped."""

_STAYS_CLOSED = "the request stays blocked, as intended"
_STAYS = {"admit": "the request continues", "plan": "the plan is unchanged", "dial": "the relay counts as down"}


class AddonRunner:
    """One addon. `switched_off` is called once, when it has had its faults."""

    def __init__(
        self, addon: Addon, limit: TimeLimit, switched_off: Callable[[AddonRunner], None] = lambda _: None, *,
        patience_s: float = PATIENCE_S,
    ) -> None:  # fmt: skip
        self.addon = addon
        self.faults = 0
        self.is_off = False
        self.last_fault = ""
        self.dropped = 0
        """What it was not told, since it did not keep up."""
        self.calls = 0
        self.slowest_s = 0.0
        self.kept_closed = FailClosed()
        """What its answers keep closed while it cannot be asked; its next version takes it on."""
        self._limit = limit
        self._switched_off = switched_off
        self._patience_s = patience_s
        self._said: set[tuple[str, int, str]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._untold: deque[Told] = deque(maxlen=QUEUE_MAX)
        self._telling: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return self.addon.name

    # -- asking it -------------------------------------------------------------------------------------------------

    def now(self, hook: Hook, function: Callable[..., Any], *args: Any, check: Callable[[Any], T | None]) -> T | None:
        """What a hook that is never async answers; None when it had a fault."""
        if self.is_off:
            return None
        try:
            answer = self._measured(hook, function, lambda: function(*args))
            if inspect.isawaitable(answer):
                _discard(answer)
                raise WrongAnswer("is async, and must answer at once")
            return check(answer)
        except BaseException as error:
            self._fault(hook, function, error)
            return None

    async def ask(
        self,
        hook: Hook,
        function: Callable[..., Any],
        *args: Any,
        check: Callable[[Any], T | None],
        failing: T | None = None,
    ) -> T | None:
        """What a hook answers; `failing` when it had a fault, took too long, or the addon is off. Whoever is cancelled
        while it waits leaves nothing of the hook behind. Raises DialError and OSError of a `dial`, and nothing else: no
        path is no fault."""
        if self.is_off and hook.name != "stop":  # what it has open is its own to close
            return failing
        try:
            answer = self._measured(hook, function, lambda: function(*args))
        except BaseException as error:
            self._fault_unless_no_path(hook, function, error, failing)
            return failing
        try:
            if inspect.isawaitable(answer):
                answer = await self._awaited(hook, function, answer)
            return check(answer)
        except asyncio.CancelledError:  # whoever asked; the hook's own comes as a _Failed
            raise
        except BaseException as error:
            own = error.__cause__ if isinstance(error, _Failed) else None
            self._fault_unless_no_path(hook, function, own or error, failing)
            return failing if (instead := _instead(error)) is None else instead

    def tell(self, hook: Hook, function: Callable[..., Any], *args: Any) -> None:
        """Has a hook called, later and in order. Nobody waits."""
        if self.is_off:
            return
        if len(self._untold) == QUEUE_MAX:
            self.dropped += 1
        self._untold.append((hook, function, args))
        if self._telling is None:
            self._telling = spawn(self._tell_all(), name=f"tell addon {self.name}")

    async def _tell_all(self) -> None:
        try:
            while self._untold and not self.is_off:
                hook, function, args = self._untold.popleft()
                await self.ask(hook, function, *args, check=_anything)
                await asyncio.sleep(0)  # others have waited as well
        finally:
            self._telling = None

    async def finish(self, within_s: float) -> None:
        """Waits until it has been told everything, for so long at most."""
        if self._telling is not None:
            await asyncio.wait((self._telling,), timeout=within_s)

    # -- its own tasks ---------------------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of the addon's own. It is cancelled when the addon is left."""
        return self.adopt(spawn(self._own(work), name=f"task of addon {self.name}"), work)

    def adopt(self, task: asyncio.Task[Any], work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """From now on a task that runs `work` is the addon's own."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: _discard(work))
        if self.is_off:
            task.cancel()
        return task

    async def watched(self, work: Coroutine[Any, Any, Any]) -> Any:
        """`work`, which its code made a task by itself. What it raises is for whoever awaits it there, but for what
        would end the loop."""
        try:
            return await _Stepped(work, lambda step: self._measured(_BESIDE, None, step))
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            self.failed_beside(error)
            raise asyncio.CancelledError from None

    def failed_beside(self, error: BaseException) -> None:
        """A task or a thread of its code's own had a fault."""
        self._fault(_BESIDE, None, error)

    async def _own(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await _Stepped(work, lambda step: self._measured(_SPAWNED, None, step))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fault(_SPAWNED, None, error)
            return None

    def cancel(self) -> None:
        """Ends what it has under way, and tells it nothing any more."""
        self.is_off = True
        self._untold.clear()
        for task in (*self._tasks, *((self._telling,) if self._telling else ())):
            task.cancel()

    # -- the guard -------------------------------------------------------------------------------------------------

    async def _awaited(self, hook: Hook, function: Callable[..., Any], answer: Awaitable[Any]) -> Any:
        """What an async hook answers, from a task of its own: one that swallows its cancellation is left to itself. For
        a `dial` its dialer keeps the time. Raises _Failed."""
        work = _caught(_Stepped(answer, lambda step: self._measured(hook, function, step)))
        task = spawn(work, name=f"{hook.name} of addon {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: _discard(answer))
        try:
            await asyncio.wait((task,), timeout=None if hook.name == "dial" else self._patience_s)
        except asyncio.CancelledError:
            _give_up(task)
            raise
        if not task.done():
            _give_up(task)
            raise _Failed from WrongAnswer(f"answered nothing within {self._patience_s:g} s")
        if task.cancelled():
            raise _Failed from asyncio.CancelledError()
        value, error = task.result()
        if error is not None:
            raise _Failed from error
        return value

    def _measured(self, hook: Hook, function: Callable[..., Any] | None, call: Callable[[], T]) -> T:
        """Runs its code, under the limit, and notes how long that took. Raises whatever it raises."""
        self.calls += 1
        waits, started, is_broken_off = _waits(), time.perf_counter(), False
        try:
            return self._limit.run(call, f"addon {self.name}: {hook.name}")
        except BrokenOff:
            is_broken_off = True
            raise
        finally:
            took_s = time.perf_counter() - started
            if took_s > self.slowest_s:
                self.slowest_s = took_s
            if took_s > BUDGET_S and not is_broken_off and hook.name not in _MAY_TAKE_TIME:
                self._slow(hook, function, took_s, waits)

    def _slow(self, hook: Hook, function: Callable[..., Any] | None, took_s: float, before: tuple[float, int]) -> None:
        """It counts when it is the hook's doing: on a busy computer it may have been others' turn for so long."""
        cpu_s, waited = (now - then for now, then in zip(_waits(), before, strict=True))
        if cpu_s < BUDGET_S and not waited:
            return
        where = line_of(function) if function is not None else 0
        took, limit = f"{1000 * took_s:.0f} ms", f"{1000 * BUDGET_S:.0f} ms"
        what = f"{hook.name} took {took}; all connections wait for it; the limit is {limit}"
        self._report(hook.name, where, "slow", what, counts=hook.waited_for)

    def _fault_unless_no_path(
        self, hook: Hook, function: Callable[..., Any], error: BaseException, failing: object
    ) -> None:
        if hook.name == "dial" and isinstance(error, DialError | OSError):
            raise error
        self._fault(hook, function, error, failing)

    def _fault(
        self, hook: Hook, function: Callable[..., Any] | None, error: BaseException, failing: object = None
    ) -> None:
        line = line_in(self.addon.file, error) or (line_of(function) if function is not None else 0)
        is_closed = failing is not None or _instead(error) is not None
        stays = _STAYS_CLOSED if is_closed else _STAYS.get(hook.name, "")
        what = "; ".join(filter(None, (f"{hook.name} {self._words(hook, error)}", stays)))
        self._report(hook.name, line, type(error).__name__, what, counts=_instead(error) is None)

    def _words(self, hook: Hook, error: BaseException) -> str:
        """What went wrong. Texts of exceptions may name sites, so they are for -v; `start` has not heard of any yet."""
        if isinstance(error, BrokenOff):
            return f"was stopped after blocking all of Byway for {self._limit.limit_s:g} s"
        if isinstance(error, WrongAnswer):
            return words_of(error)
        kind = type(error).__name__
        text = words_of(error) if hook.name == "start" or log.isEnabledFor(logging.INFO) else ""
        return f"raised {kind}: {text}" if text else f"raised {kind}"

    def _report(self, hook: str, line: int, kind: str, what: str, *, counts: bool = True) -> None:
        if self.is_off:
            return
        at = f"{shown(self.addon.file)}:{line}" if line else shown(self.addon.file)
        if (hook, line, kind) not in self._said:
            self._said.add((hook, line, kind))
            self.last_fault = f"{at}: {what}"
            if hook != "start":  # a fault there is a fault of the file, and told as such
                log.warning("%s: addon %s: %s", at, self.name, what)
        self.faults += counts
        if self.faults >= FAULTS_MAX:
            self.cancel()
            log.error("addon %s: disabled after %d faults, until %s is edited", self.name, self.faults,
                      shown(self.addon.file))  # fmt: skip
            self._switched_off(self)


class _Failed(Exception):
    """An async hook had a fault: its cause."""


_SPAWNED = Hook("api.spawn", (), "", may_be_async=True, waited_for=False)
_BESIDE = Hook("what it runs beside", (), "", may_be_async=True, waited_for=False)
_MAY_TAKE_TIME = frozenset({"start", "stop"})


def _instead(error: BaseException) -> Any:
    """What counts as the answer in place of a wrong one. That is said, and does not count: with the addon switched off,
    what it closes would be open."""
    return error.instead if isinstance(error, WrongAnswer) else None


def words_of(error: BaseException) -> str:
    """An exception's own text in one line, without passwords; making it may fail as well."""
    try:
        return redact(" ".join(str(error).split())[:200])
    except BaseException:
        return ""


def _anything(answer: Any) -> None:
    """What a hook that is only told something returns does not matter."""


def _waits() -> tuple[float, int]:
    """This thread's CPU time, and how often it gave the processor away of its own will: to sleep, or to wait."""
    if sys.platform != "linux":
        return time.perf_counter(), 0  # all of it counts as its own
    return time.thread_time(), getrusage(RUSAGE_THREAD).ru_nvcsw


async def _caught(work: Awaitable[T]) -> tuple[T | None, BaseException | None]:
    """A task that raised SystemExit or KeyboardInterrupt would end the loop."""
    try:
        return await work, None
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return None, error


def _discard(answer: Any) -> None:
    """A coroutine that was never begun says so, unless it is closed; one that has ended does not mind."""
    if inspect.iscoroutine(answer):
        answer.close()


def _give_up(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more; it may be done at this very moment."""
    task.add_done_callback(_close_late)
    task.cancel()


def _close_late(task: asyncio.Task[Any]) -> None:
    """What a hook opened after nobody wanted it any more."""
    if not task.cancelled() and task.exception() is None:
        value, _ = task.result()
        if hasattr(value, "abort"):
            value.abort()


class _Stepped:
    """An awaitable, each step of which is run by `run`."""

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
