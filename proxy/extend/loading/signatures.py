"""Finds the hooks of an object, and checks that each takes the arguments of its calls.

A misspelt hook would silently never run, and one with other parameters would fail at its first call, perhaps days
later. Both are found when the file is loaded. mitmproxy's hooks and the addon's own functions are not checked, and
names that begin with an underscore are skipped.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from proxy.extend.hooks import HOOKS, Hook

_TYPO_EDITS = 2
"""A function with a hook's parameters counts as a misspelt hook if its name has at most this distance from the hook's.
Here a near name refuses the file, so difflib's ratio, by which `config.suggestions` compares, is not used: by ratio an
addon's own `classify_page(head, body)` would be as near as a typo."""


class Misfit(NamedTuple):
    """A function that is not a valid hook, and the reason in one sentence."""

    function: Callable[..., Any]
    sentence: str


def hooks_of(thing: object) -> tuple[dict[str, Callable[..., Any]], list[Misfit]]:
    """Returns the hooks of an object or module by name, and the functions that are wrong or misspelt hooks."""
    hooks, misfits = {}, []
    for name, function in _functions(thing):
        if name in HOOKS:
            hooks[name] = function
            sentence = _fault(HOOKS[name], function)
        elif isinstance(thing, ModuleType) and function.__module__ != thing.__name__:
            continue  # imported: its name is not the author's choice
        else:
            sentence = _near_miss(name, function)
        if sentence:
            misfits.append(Misfit(function, sentence))
    return hooks, misfits


def declaration(hook: Hook, *, method: bool = True) -> str:
    """Returns a hook's correct declaration: `def plan(self, request, plan)`."""
    return f"def {hook.name}({', '.join((*(('self',) if method else ()), *hook.parameters))})"


def _functions(thing: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yields the callable attributes of an object by name. Properties are not run, and slots may still be empty."""
    for name in dir(thing):
        attribute = None if name.startswith("_") else inspect.getattr_static(thing, name, None)
        if attribute is None or inspect.isdatadescriptor(attribute):
            continue
        function = getattr(thing, name)
        if inspect.isclass(function) or not callable(function):
            continue
        if isinstance(thing, ModuleType) and not isinstance(function, FunctionType):
            continue  # other callables in a module were imported
        yield name, function


def _fault(hook: Hook, function: Callable[..., Any]) -> str:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        return f"{hook.name} must return its answer, and not yield it"
    if inspect.iscoroutinefunction(function) and not hook.may_be_async:
        why = "the client waits for it" if hook.name == "classify" else "signals are learned immediately"
        return f"{hook.name} must not be async: {why}"
    if not _fits(hook, function):
        right = declaration(hook, method=inspect.ismethod(function))
        return f"{hook.name} has the wrong parameters; write `{right}`"
    return ""


def _fits(hook: Hook, function: Callable[..., Any]) -> bool:
    """Whether a function has the hook's parameters in their order. An unused parameter may have any name that begins
    with an underscore, and further parameters may follow if they have defaults."""
    parameters = _parameters(function)
    if parameters is None:
        return False
    try:
        inspect.signature(function).bind(*hook.parameters)
    except TypeError:
        return False
    named = zip(hook.parameters, parameters, strict=False)  # *args takes the others
    return all(parameter == expected or parameter.startswith("_") for expected, parameter in named)


def _parameters(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Returns the names of the positional parameters; None when they are unknown."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, parameter in signature.parameters.items() if parameter.kind in kinds)


def _near_miss(name: str, function: Callable[..., Any]) -> str:
    """Returns a sentence when the function is probably a misspelt hook; else ""."""
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return ""
    parameters = _parameters(function)
    for hook in HOOKS.values():
        # Without parameters to compare, only one edit: an addon may well have its own function `step`.
        edits_max = _TYPO_EDITS if hook.parameters else 1
        if parameters == hook.parameters and _edit_distance(name.lower(), hook.name) <= edits_max:
            return f"{name} is not a hook; did you mean {hook.name}? (If it is your own function, rename it to _{name})"
    return ""


def _edit_distance(one: str, other: str) -> int:
    """Returns the Levenshtein distance: the letters to insert, delete or replace to turn one word into the other."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]
