"""Which hooks an object has, and whether each is written as it will be called.

A hook that is misspelt would never run and never say so, and one with other parameters would fail at its first call,
perhaps days later. Both are found when the file is loaded. Names of mitmproxy's hooks are none of ours and are left
alone, as is everything else that an addon needs for itself; what begins with an underscore is not looked at.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from proxy.extend.hooks import HOOKS, Hook

_LETTERS_OFF = 2
"""A name that is so near a hook's, with that hook's parameters, was meant to be it."""


class Misfit(NamedTuple):
    """What is wrong with a function: the function, for its line, and a sentence."""

    function: Callable[..., Any]
    sentence: str


def hooks_of(thing: object) -> tuple[dict[str, Callable[..., Any]], list[Misfit]]:
    """The hooks of an object or module by name, and what is wrong with them."""
    found, misfits = {}, []
    for name, function in _functions(thing):
        if name in HOOKS:
            found[name] = function
            sentence = _fault(HOOKS[name], function)
        elif isinstance(thing, ModuleType) and function.__module__ != thing.__name__:
            continue  # imported: its name is somebody else's choice
        else:
            sentence = _near_miss(name, function)
        if sentence:
            misfits.append(Misfit(function, sentence))
    return found, misfits


def declaration(hook: Hook, *, method: bool = True) -> str:
    """How a hook is to be declared: `def plan(self, request, plan)`."""
    return f"def {hook.name}({', '.join((*(('self',) if method else ()), *hook.parameters))})"


def _functions(thing: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What can be called on it, by name. Its properties are not run, and its slots may be empty yet."""
    for name in dir(thing):
        found = None if name.startswith("_") else inspect.getattr_static(thing, name, None)
        if found is None or inspect.isdatadescriptor(found):
            continue
        function = getattr(thing, name)
        if inspect.isclass(function) or not callable(function):
            continue
        if isinstance(thing, ModuleType) and not isinstance(function, FunctionType):
            continue  # in a module stand things of others that were imported
        yield name, function


def _fault(hook: Hook, function: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return f"{hook.name} must return its answer, and not yield it"
    if inspect.iscoroutinefunction(function) and not hook.may_be_async:
        return f"{hook.name} must not be async: {_why_not_async(hook)}"
    if not _fits(hook, function):
        right = declaration(hook, method=inspect.ismethod(function))
        return f"{hook.name} has the wrong parameters; write `{right}`"
    return ""


def _why_not_async(hook: Hook) -> str:
    return "the client waits for it" if hook.name == "classify" else "signals are learned immediately"


def _fits(hook: Hook, function: Callable[..., Any]) -> bool:
    """Whether its parameters are the hook's, in their order. One that it does not need may have any name that begins
    with an underscore; behind them may stand others that have defaults."""
    parameters = _parameters(function)
    if parameters is None:
        return False
    try:
        inspect.signature(function).bind(*hook.parameters)
    except TypeError:
        return False
    named = zip(hook.parameters, parameters, strict=False)  # *args takes whatever is left
    return all(given == asked or given.startswith("_") for asked, given in named)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Names of those that a positional argument fills; None when they cannot be told."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, parameter in signature.parameters.items() if parameter.kind in kinds)


def _near_miss(name: str, function: Callable[..., Any]) -> str:
    """A sentence when the name was probably meant to be a hook's."""
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return ""
    parameters = _parameters(function)
    for hook in HOOKS.values():
        near = _LETTERS_OFF if hook.parameters else 1  # nothing else tells `stop` from a `step` of the addon's own
        if parameters == hook.parameters and _distance(name.lower(), hook.name) <= near:
            return f"{name} is not a hook; did you mean {hook.name}? (If it is your own function, rename it to _{name})"
    return ""


def _distance(one: str, other: str) -> int:
    """How many letters must be put in, left out or changed to come from one to the other (Levenshtein)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
