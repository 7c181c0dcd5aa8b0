"""The addons that run, in the order of their names, and everything that the core asks of them or tells them.

The core looks at a flag before it asks (`decides`, `refines`, …), so that hooks which no addon has cost nothing. What
addons are handed cannot be changed into our state; what they answer was checked by their guard. Which addons run is the
business of `keeper`, which puts them in and takes them out.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from proxy.extend.guard import hook_results
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.hooks import HOOKS
from proxy.model import Attempt, Change, Destination, Outcome, Plan, Request, Route, Signal, frozen_evidence
from proxy.net.dialers.registry import Registry
from proxy.net.stream import Stream

log = logging.getLogger(__name__)

Callee = tuple[AddonRunner, Callable[..., Any]]

REFINED_MAX = 1024
"""Requests of which we remember what became of their signals, until it is asked for."""

_RETRIES_MAX = 20
"""Decisions that are begun anew because addons were edited meanwhile."""


class Addons:
    """Belongs to one loop."""

    def __init__(self) -> None:
        self._running: dict[str, AddonRunner] = {}
        self._version = 0  # how often it has changed who runs
        self._has_ended = False
        self._callees: dict[str, tuple[Callee, ...]] = dict.fromkeys(HOOKS, ())
        self._deciders: dict[str, tuple[AddonRunner, ...]] = {"admit": (), "plan": ()}  # also those switched off
        self._refined: OrderedDict[int, list[str]] = OrderedDict()  # by id of the request
        self._on_change: list[Callable[[], None]] = []
        self.decides = self.refines = self.classifies = self.handles_unreachable = False
        """Whether some addon has a hook that decides, weighs signals, knows pages, or helps the unreachable."""
        self.wants_attempts = self.wants_outcomes = self.wants_changes = False

    # -- who runs --------------------------------------------------------------------------------------------------

    @property
    def running(self) -> tuple[AddonRunner, ...]:
        """In the order of their names, without those that are switched off."""
        return tuple(runner for runner in self._running.values() if not runner.is_off)

    @property
    def objects(self) -> tuple[tuple[str, object], ...]:
        """The objects of all addons, each with its addon's name: they may have hooks of mitmproxy's as well."""
        return tuple((runner.name, thing) for runner in self.running for thing in runner.addon.objects)

    def get(self, name: str) -> AddonRunner | None:
        return self._running.get(name)

    def on_change(self, call: Callable[[], None]) -> None:
        """Has `call` called whenever `objects` has changed."""
        self._on_change.append(call)

    def put(self, runner: AddonRunner) -> None:
        """From now on this one is asked, in place of the one of its name. What that kept closed stays so until this one
        says otherwise."""
        if (before := self._running.get(runner.name)) is not None:
            runner.fail_closed = before.fail_closed
        self._set_running({**self._running, runner.name: runner})

    def remove(self, runner: AddonRunner) -> None:
        """Harmless when another of its name has come in its place."""
        if self._running.get(runner.name) is runner:
            self._set_running({name: other for name, other in self._running.items() if other is not runner})

    def on_disabled(self, runner: AddonRunner) -> None:
        """It is asked nothing any more, and what it kept closed stays so until it is edited or removed."""
        if self._running.get(runner.name) is runner:
            self._set_running(self._running)

    def end(self) -> None:
        """Byway ends: addons are stopped before the last client has gone, and what they close stays closed."""
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
        self.refines = self._has("signal")
        self.classifies = self._has("classify")
        self.handles_unreachable = self._has("unreachable")
        self.wants_attempts = self._has("attempt")
        self.wants_outcomes = self._has("outcome")
        self.wants_changes = self._has("change")
        for call in self._on_change:
            call()

    def _has(self, hook: str) -> bool:
        return bool(self._callees[hook])

    # -- deciding --------------------------------------------------------------------------------------------------

    async def decide(self, request: Request, plan: Plan, registry: Registry, *, host: str = "") -> Plan:
        """What becomes of a plan. `host` is the name by which the request goes on, when that came later than it did;
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
        """By those who ran when it began. One that is edited, or switched off, meanwhile answers nothing any more: then
        it has to be decided anew, for what it kept closed must stay so."""
        made = plan
        for runner in self._deciders["admit"]:
            made = await _ask_to_admit(runner, named, made, registry)
            if made is not plan:
                return replace(made, before=plan)
        for runner in self._deciders["plan"]:
            made = await _ask_to_plan(runner, named, made, registry)
        return made if made is plan else replace(made, before=plan)

    def refine(self, outcome: Outcome, signal: Signal) -> Signal:
        """What a signal weighs, and what it points at."""
        request = outcome.request.with_host(outcome.host)
        for runner, function in self._callees["signal"]:
            check = partial(hook_results.signal, before=signal)
            answer = runner.call_sync(HOOKS["signal"], function, request, signal, check=check)
            if answer is not None and answer != signal:
                self._note_refinement(request.id, f"{runner.name}: {_describe_refinement(signal, answer)}")
                signal = answer
        return signal

    def _note_refinement(self, request_id: int, what: str) -> None:
        self._refined.setdefault(request_id, []).append(what)
        if len(self._refined) > REFINED_MAX:
            self._refined.popitem(last=False)

    def take_refinements(self, request_id: int) -> str:
        """What addons made of a request's signals since this was last asked; "" when nothing."""
        return "; ".join(self._refined.pop(request_id, ()))

    def classify(self, head: str, body: bytes) -> str | bool | None:
        """Whose page it is: the name of a block page, False for the site's own, None when no addon knows."""
        for runner, function in self._callees["classify"]:
            answer = runner.call_sync(HOOKS["classify"], function, head, body, check=hook_results.page)
            if answer is not None:
                return f"addon {runner.name}: {answer}" if answer else False
        return None

    async def unreachable(self, request: Request, outcome: Outcome) -> str | None:
        """Where to go instead."""
        named = request.with_host(outcome.host)
        for runner, function in self._callees["unreachable"]:
            url = await runner.call(HOOKS["unreachable"], function, named, read_only(outcome), check=hook_results.url)
            if url is not None:
                return url
        return None

    async def dial(self, name: str, route: Route, destination: Destination) -> Stream | None:
        """A path that addon `name` opened; None when there is no such addon, or it had a fault. Raises DialError and
        OSError when it could not open one."""
        asked: AddonRunner | None = None
        while (runner := self._running.get(name)) is not asked and runner is not None:
            asked = runner  # again when it was edited meanwhile
            for function in runner.addon.hooks.get("dial", ()):
                stream = await runner.call(HOOKS["dial"], function, route, destination, check=hook_results.stream)
                if stream is not None:
                    return stream
        return None

    # -- telling ---------------------------------------------------------------------------------------------------

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
    """The plan when one addon admits the request, another that refuses it when not."""
    fallback = _fallback_plan(runner, "admit", named, plan, registry)
    for function in runner.addon.hooks["admit"]:
        check = partial(hook_results.refusal, plan=plan, addon=runner.name)
        refused = await runner.call(HOOKS["admit"], function, named, check=check, fallback=fallback)
        if refused is not None:
            return _remember(runner, "admit", named, plan, refused, fallback)
    return _remember(runner, "admit", named, plan, plan, fallback)


async def _ask_to_plan(runner: AddonRunner, named: Request, before: Plan, registry: Registry) -> Plan:
    """What one addon makes of a plan."""
    made, fallback = before, _fallback_plan(runner, "plan", named, before, registry)
    for function in runner.addon.hooks["plan"]:
        check = partial(hook_results.plan, before=made, registry=registry)
        answer = await runner.call(HOOKS["plan"], function, named, made, check=check, fallback=fallback)
        if answer is not None:
            made = (
                answer
                if answer is fallback
                else replace(answer, why=f"addon {runner.name}: {_describe_plan(answer, made)}")
            )
    return _remember(runner, "plan", named, before, made, fallback)


def _fallback_plan(runner: AddonRunner, hook: str, named: Request, before: Plan, registry: Registry) -> Plan | None:
    """What becomes of a plan when the addon cannot be asked: what it last kept closed stays so."""
    kept = runner.fail_closed.find(hook, named.destination.host)
    if kept is None:
        return None
    return hook_results.closed(kept, before, registry, f"{kept.why}; that holds while the addon cannot be asked")


def _remember(runner: AddonRunner, hook: str, named: Request, before: Plan, made: Plan, fallback: Plan | None) -> Plan:
    """`made`, which the addon answered unless it is `fallback`."""
    if made is not fallback:
        runner.fail_closed.note(hook, named.destination, None if made is before else made)
    return made


def read_only(outcome: Outcome) -> Outcome:
    """The same value, of which nothing can be written to."""
    return replace(outcome, attempts=tuple(map(_read_only_attempt, outcome.attempts)))


def _read_only_attempt(attempt: Attempt) -> Attempt:
    return replace(attempt, evidence=frozen_evidence(attempt.evidence))


def _describe_plan(answer: Plan, before: Plan) -> str:
    """What an addon made of a plan, and of which."""
    if answer.why != before.why:
        return answer.why
    routes = ", ".join(map(str, answer.routes))
    what = f"{answer.action}{f' by {routes}' if routes else ''}"
    if answer.intercept != before.intercept:
        what += f", {'inspected' if answer.intercept else 'not inspected'}"
    return f"{what}; it was {before.why}"


def _describe_refinement(before: Signal, after: Signal) -> str:
    """`tls_reset weighs 0 in place of 2, cause ip`."""
    cause = f", cause {after.cause}" if after.cause != before.cause else ""
    weight = f" weighs {after.weight:g} in place of {before.weight:g}" if after.weight != before.weight else ""
    return f"{before.id}{weight}{cause}"
