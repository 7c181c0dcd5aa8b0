"""Addons as mitmproxy sees them: their hooks of its, and faults that cost nobody else anything.

mitmproxy swallows what an addon raises and logs a trace. Here the fault goes to whoever counts them, with the addon's
name and the hook, and the connection goes on as if the hook had returned nothing.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from mitmproxy import exceptions, hooks

from proxy.intercept.bridge import Faulty, Guest

_ITS_OWN_BUSINESS = (exceptions.AddonHalt, exceptions.OptionsError)
"""Raised to tell mitmproxy something."""


def traverse(guest: Guest) -> Iterator[Guest]:
    """A guest and, when it is a module or object with `addons`, those too."""
    yield guest
    for number, inner in enumerate(getattr(guest.addon, "addons", None) or ()):
        yield from traverse(Guest(f"{guest.name}:{_name(inner)}#{number}", inner, guest.options))


def has_hooks(addon: object) -> bool:
    """Whether mitmproxy would ever call it."""
    return any(callable(getattr(addon, name, None)) for name in hooks.all_hooks)


class Guarded:
    """One addon, for mitmproxy's addon manager."""

    def __init__(self, guest: Guest, faulty: Faulty) -> None:
        self.name = guest.name
        self.guest = guest
        self._faulty = faulty
        self._wrapped: dict[str, Callable[..., Any]] = {}

    def __dir__(self) -> list[str]:
        return dir(self.guest.addon)  # mitmproxy looks there for commands

    def __getattr__(self, name: str) -> Any:
        if name == "addons":  # each is a guest of its own
            raise AttributeError(name)
        found = getattr(self.guest.addon, name)
        if name not in hooks.all_hooks or isinstance(found, types.ModuleType) or not callable(found):
            return found
        if name not in self._wrapped:
            self._wrapped[name] = self._guard(name, found)
        return self._wrapped[name]

    def _guard(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(hook):

            @functools.wraps(hook)
            async def wait(*arguments: Any) -> None:
                try:
                    await hook(*arguments)
                except _ITS_OWN_BUSINESS:
                    raise
                except Exception as error:
                    self._faulty(self.name, name, error)

            return wait

        @functools.wraps(hook)
        def call(*arguments: Any) -> Any:
            try:
                return hook(*arguments)
            except _ITS_OWN_BUSINESS:
                raise
            except (Exception, SystemExit) as error:
                self._faulty(self.name, name, error)
                return None

        return call

    def __repr__(self) -> str:
        return f"<Guarded {self.name}>"


def _name(addon: object) -> str:
    return str(getattr(addon, "name", type(addon).__name__.lower()))
