"""The running addons, in the order of their names, and the calls of their hooks, except `start` and `stop`.

Callers read a flag first (`decides`, `refines`, …), so that a hook that no addon has costs nothing. Addons receive
read-only values, and `guard` checks their answers. `manager` adds and removes addons.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from proxy.extend.guard import hook_results
from proxy.extend.hooks import HOOKS
from proxy.model import Attempt, Change, Destination, Outcome, Plan, Request, Route, Signal, frozen_evidence
from proxy.model.bounded import Bounded
from proxy.net.dialers.registry import Registry
from proxy.net.stream import Stream

if TYPE_CHECKING:
    from proxy.extend.guard.runner import AddonRunner

log = logging.getLogger(__name__)

Callee: TypeAlias = "tuple[AddonRunner, Callable[..., Any]]"

REFINED_MAX = 1024
"""The most requests whose refined signals are kept until `take_refinements` is called; the oldest is dropped."""

_RETRIES_MAX = 20
"""The most restarts of a decision because addons were reloaded meanwhile."""


class Addons:
    """Calls the hooks of all running addons. Use it on one event loop only."""

    def __init__(self) -> None:
        self._running: dict[str, AddonRunner] = {}
        self._version = 0  # counts changes of the running addons
        self._has_ended = False
        self._callees: dict[str, tuple[Callee, ...]] = dict.fromkeys(HOOKS, ())
        self._deciders: dict[str, tuple[AddonRunner, ...]] = {"admit": (), "plan": ()}  # also disabled ones
        self._refined: Bounded[int, list[str]] = Bounded(REFINED_MAX)  # by id of the request
        self._on_change: list[Callable[[], None]] = []
        self.decides = self.refines = self.classifies = self.handles_unreachable = False
        """Whether an addon has the hook: admit or plan, signal, classify, unreachable."""
        self.wants_attempts = self.wants_outcomes = self.wants_changes = False

    # -- the running addons --------------------------------------------------------------------------------------
    @property
    def running(self) -> tuple[AddonRunner, ...]:
        """The running addons, in the order of their names, without disabled ones."""
        return tuple(runner for runner in self._running.values() if not runner.is_off)

    @property
    def objects(self) -> tuple[tuple[str, object], ...]:
        """The objects of all addons with the addon's name: an object may have hooks of mitmproxy as well."""
        return tuple((runner.name, thing) for runner in self.running for thing in runner.addon.objects)

    @property
    def closing(self) -> str:
        """The first addon that may forbid direct for a site (hooks `admit`, `plan`), in words; empty when there is
        none. A disabled one counts, since its blocks stay in force."""
        deciding = sorted(runner.name for runners in self._deciders.values() for runner in runners)
        return f"addon {deciding[0]}" if deciding else ""

    def get(self, name: str) -> AddonRunner | None:
        """Returns the running addon of that name; a disabled one counts."""
        return self._running.get(name)

    def on_change(self, call: Callable[[], None]) -> None:
        """Registers a function that is called after each change of `objects`."""
        self._on_change.append(call)

    def put(self, runner: AddonRunner) -> None:
        """Adds an addon, or replaces the one of the same name. The blocks of the old version stay until the new one
        decides otherwise."""
        if (before := self._running.get(runner.name)) is not None:
            runner.fail_closed = before.fail_closed
        self._set_running({**self._running, runner.name: runner})

    def remove(self, runner: AddonRunner) -> None:
        """Removes an addon. Does nothing if another version has taken its place."""
        if self._running.get(runner.name) is runner:
            self._set_running({name: other for name, other in self._running.items() if other is not runner})

    def on_disabled(self, runner: AddonRunner) -> None:
        """Stops calling a disabled addon. Its blocks stay until it is edited or removed."""
        if self._running.get(runner.name) is runner:
            self._set_running(self._running)

    def end(self) -> None:
        """Blocks all further decisions: addons are stopped before the last client has left."""
        self._has_ended = True
        self._version += 1

    def _set_running(self, running: dict[str, AddonRunner]) -> None:
        self._version += 1
        self._running = dict(sorted(running.items()))
        self._callees = {
            hook: tuple((g, function) for g in self.running for function in g.addon.hooks.get(hook, ()))
            for hook in HOOKS
        }
        self._deciders = {
            hook: tuple(g for g in self._running.values() if hook in g.addon.hooks) for hook in ("admit", "plan")
        }
        self.decides = any(self._deciders.values())
        self.refines = bool(self._callees["signal"])
        self.classifies = bool(self._callees["classify"])
        self.handles_unreachable = bool(self._callees["unreachable"])
        self.wants_attempts = bool(self._callees["attempt"])
        self.wants_outcomes = bool(self._callees["outcome"])
        self.wants_changes = bool(self._callees["change"])
        for call in self._on_change:
            call()

    # -- deciding ------------------------------------------------------------------------------------------------

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        """Returns the plan after all addons. `host` is the server name, if it became known after the request (SNI);
        `registry` has the relays that a plan may name."""
        named = request.with_host(host)
        for _ in range(_RETRIES_MAX):
            if self._has_ended:
                return replace(plan.block("Byway is ending"), before=plan)
            version = self._version
            made = await self._decide_once(named, plan, registry)
            if version == self._version:
                return made
        return replace(plan.block("addons were edited again and again while this was decided"), before=plan)

    async def _decide_once(self, named: Request, plan: Plan, registry: Registry) -> Plan:
        """Makes one pass over the addons that run now. An addon that is reloaded or disabled meanwhile gives no answer.
        The caller then starts again, because the blocks of that addon must stay."""
        made = plan
        for runner in self._deciders["admit"]:
            made = await _ask_to_admit(runner, named, made, registry)
            if made is not plan:
                return replace(made, before=plan)
        for runner in self._deciders["plan"]:
            made = await _ask_to_plan(runner, named, made, registry)
        return made if made is plan else replace(made, before=plan)

    def refine(self, outcome: Outcome, signal: Signal) -> Signal:
        """Returns the signal with the weight and the cause that addons give it."""
        request = outcome.request.with_host(outcome.host)
        for runner, function in self._callees["signal"]:
            check = partial(hook_results.signal, before=signal)
            answer = runner.call_sync(HOOKS["signal"], function, request, signal, check=check)
            if answer is not None and answer != signal:
                # As in "tls_reset weighs 0 in place of 2, cause ip".
                cause = f", cause {answer.cause}" if answer.cause != signal.cause else ""
                is_reweighed = answer.weight != signal.weight
                weight = f" weighs {answer.weight:g} in place of {signal.weight:g}" if is_reweighed else ""
                self._refined.setdefault(request.id, []).append(f"{runner.name}: {signal.id}{weight}{cause}")
                signal = answer
        return signal

    def take_refinements(self, request_id: int) -> str:
        """Returns the addons' changes to the signals of a request, in words, and forgets them; "" when there are
        none."""
        return "; ".join(self._refined.pop(request_id, ()))

    def classify(self, head: str, body: bytes) -> str | bool | None:
        """Returns the name of a block page, False for the site's own page, None when no addon knows it."""
        for runner, function in self._callees["classify"]:
            answer = runner.call_sync(HOOKS["classify"], function, head, body, check=hook_results.page)
            if answer is not None:
                return f"addon {runner.name}: {answer}" if answer else False
        return None

    async def unreachable(self, request: Request, outcome: Outcome) -> str | None:
        """Returns the URL to redirect to, from the first addon that has one."""
        named = request.with_host(outcome.host)
        for runner, function in self._callees["unreachable"]:
            url = await runner.call(HOOKS["unreachable"], function, named, read_only(outcome), check=hook_results.url)
            if url is not None:
                return url
        return None

    async def dial(self, name: str, route: Route, destination: Destination) -> Stream | None:
        """Opens a path with the `dial` hook of addon `name`. Returns None when there is no such addon or it had a
        fault. The caller closes the stream. Raises DialError and OSError when the addon could not open one."""
        last: AddonRunner | None = None
        while (runner := self._running.get(name)) is not last and runner is not None:
            last = runner  # if the addon was reloaded meanwhile, the loop calls the new version
            for function in runner.addon.hooks.get("dial", ()):
                stream = await runner.call(HOOKS["dial"], function, route, destination, check=hook_results.stream)
                if stream is not None:
                    return stream
        return None

    # -- notifying -----------------------------------------------------------------------------------------------
    def notify_attempt(self, request: Request, attempt: Attempt) -> None:
        self._notify("attempt", request, _read_only_attempt(attempt))

    def notify_outcome(self, outcome: Outcome) -> None:
        self._notify("outcome", read_only(outcome))

    def notify_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.before is not change.after:
                self._notify("change", change)

    def _notify(self, hook: str, *args: object) -> None:
        for runner, function in self._callees[hook]:
            runner.notify(HOOKS[hook], function, *args)


async def _ask_to_admit(runner: AddonRunner, named: Request, plan: Plan, registry: Registry) -> Plan:
    """Returns `plan` when an addon admits the request, and a plan of BLOCK when it refuses."""
    fallback = _fallback_plan(runner, "admit", named, plan, registry)
    for function in runner.addon.hooks["admit"]:
        check = partial(hook_results.refusal, plan=plan, addon=runner.name)
        refused = await runner.call(HOOKS["admit"], function, named, check=check, fallback=fallback)
        if refused is not None:
            return _remember(runner, "admit", named, plan, refused, fallback)
    return _remember(runner, "admit", named, plan, plan, fallback)


async def _ask_to_plan(runner: AddonRunner, named: Request, before: Plan, registry: Registry) -> Plan:
    """Returns the plan of one addon; `before` when it keeps that."""
    made, fallback = before, _fallback_plan(runner, "plan", named, before, registry)
    for function in runner.addon.hooks["plan"]:
        check = partial(hook_results.plan, before=made, registry=registry)
        answer = await runner.call(HOOKS["plan"], function, named, made, check=check, fallback=fallback)
        if answer is not None:
            why = f"addon {runner.name}: {_describe_plan(answer, made)}"
            made = answer if answer is fallback else replace(answer, why=why)
    return _remember(runner, "plan", named, before, made, fallback)


def _fallback_plan(runner: AddonRunner, hook: str, named: Request, before: Plan, registry: Registry) -> Plan | None:
    """Returns the plan to use if the addon fails: its last BLOCK or RELAY for the host; None when there is none."""
    remembered = runner.fail_closed.find(hook, named.destination.host)
    if remembered is None:
        return None
    why = f"{remembered.why}; that holds while the addon cannot be asked"
    return hook_results.closed(remembered, before, registry, why)


def _remember(runner: AddonRunner, hook: str, named: Request, before: Plan, made: Plan, fallback: Plan | None) -> Plan:
    """Remembers an answer that blocks or relays, and returns it. A fallback is no answer and is not remembered."""
    if made is not fallback:
        runner.fail_closed.note(hook, named.destination, None if made is before else made)
    return made


def read_only(outcome: Outcome) -> Outcome:
    """Returns a copy for addons in which nothing can be changed."""
    return replace(outcome, attempts=tuple(map(_read_only_attempt, outcome.attempts)))


def _read_only_attempt(attempt: Attempt) -> Attempt:
    return replace(attempt, evidence=frozen_evidence(attempt.evidence))


def _describe_plan(answer: Plan, before: Plan) -> str:
    """Describes an addon's change of a plan."""
    if answer.why != before.why:
        return answer.why
    routes = ", ".join(map(str, answer.routes))
    what = f"{answer.action}{f' by {routes}' if routes else ''}"
    if answer.intercept != before.intercept:
        what += f", {'inspected' if answer.intercept else 'not inspected'}"
    return f"{what}; it was {before.why}"
