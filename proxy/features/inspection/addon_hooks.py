"""Runs an addon's hooks of mitmproxy through the addon's own runner, like its hooks of Byway.

mitmproxy would suppress the errors of an addon and log a traceback. Here a fault, or a hook that takes too long, is
logged once with the addon's line and counted, and the connection goes on as if the hook had returned nothing.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mitmproxy import exceptions, hooks

from proxy.extend.hooks import Hook
from proxy.features.inspection.client_context import AddonHooks

_AT_ONCE = frozenset({"load", "configure", "done"})
"""Hooks that mitmproxy calls synchronously."""


def traverse(addon_hooks: AddonHooks) -> Iterator[AddonHooks]:
    """Yields an object and, if it has a list `addons`, the objects in it, recursively."""
    yield addon_hooks
    for inner in getattr(addon_hooks.addon, "addons", None) or ():
        yield from traverse(AddonHooks(addon_hooks.runner, inner))


def has_hooks(addon: object) -> bool:
    """Whether the object has any hook of mitmproxy."""
    attributes = (getattr(addon, name, None) for name in hooks.all_hooks)
    return any(callable(hook) and not isinstance(hook, types.ModuleType) for hook in attributes)


class GuardedAddon:
    """A proxy for one object of an addon in mitmproxy's addon manager, with the hooks of that object."""

    def __init__(self, addon_hooks: AddonHooks, number: int) -> None:
        self.addon_hooks = addon_hooks
        self.name = f"byway-{addon_hooks.runner.name}-{number}"  # mitmproxy requires unique names
        self._wrapped: dict[str, Callable[..., Any]] = {}

    def __dir__(self) -> list[str]:
        return [name for name in dir(self.addon_hooks.addon) if name != "addons"]  # mitmproxy looks there for commands

    def __getattr__(self, name: str) -> Any:
        if name == "addons":  # `traverse` yields each of them separately
            raise AttributeError(name)
        attribute = getattr(self.addon_hooks.addon, name)
        if name not in hooks.all_hooks or isinstance(attribute, types.ModuleType) or not callable(attribute):
            return attribute
        if name not in self._wrapped:
            hook = Hook(name, (), may_be_async=True, waited_for=False)
            self._wrapped[name] = (
                partial(self._call_sync, hook, attribute) if name in _AT_ONCE else self._async_hook(hook, attribute)
            )
        return self._wrapped[name]

    def _call_sync(self, hook: Hook, function: Callable[..., Any], *arguments: Any) -> None:
        self.addon_hooks.runner.call_sync(hook, function, *arguments, check=_ignore_answer)

    def _async_hook(self, hook: Hook, function: Callable[..., Any]) -> Callable[..., Any]:
        async def wait(*arguments: Any) -> None:
            halt = _Halt(function)
            await self.addon_hooks.runner.call(hook, halt, *arguments, check=_ignore_answer)
            if halt.halted:
                raise exceptions.AddonHalt

        return wait

    def __repr__(self) -> str:
        return f"<GuardedAddon {self.name}>"


class _Halt:
    """A hook whose AddonHalt is caught and remembered: mitmproxy's signal to call no further addon, which is not a
    fault."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__func__ = getattr(function, "__func__", function)  # the runner reads the line of a fault from it
        self._function = function
        self.halted = False

    def __call__(self, *arguments: Any) -> Any:
        try:
            answer = self._function(*arguments)
        except exceptions.AddonHalt:
            self.halted = True
            return None
        return self._awaited(answer) if inspect.isawaitable(answer) else answer

    async def _awaited(self, answer: Any) -> None:
        try:
            await answer
        except exceptions.AddonHalt:
            self.halted = True


def _ignore_answer(answer: Any) -> None:
    """Accepts any return value: mitmproxy uses none of a hook."""
