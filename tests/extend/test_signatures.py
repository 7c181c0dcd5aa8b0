"""Every hook is known by its name and its parameters, as an object's method and as a module's function."""

from __future__ import annotations

import pytest

from proxy.extend.hooks import HOOKS, Hooks
from proxy.extend.signatures import hooks_of, written


def test_an_object_that_has_all_hooks_has_no_misfit() -> None:
    found, misfits = hooks_of(Hooks())
    assert set(found) == set(HOOKS)
    assert misfits == []


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_what_is_shown_as_right_is_right(hook) -> None:  # type: ignore[no-untyped-def]
    space: dict[str, type] = {}
    exec(f"class A:\n    {written(hook)}: ...", space)
    found, misfits = hooks_of(space["A"]())
    assert (list(found), misfits) == ([hook.name], [])


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_letter_left_out_is_noticed(hook) -> None:  # type: ignore[no-untyped-def]
    space: dict[str, type] = {}
    exec(f"class A:\n    {written(hook).replace(f'def {hook.name}', f'def {hook.name[:-1]}')}: ...", space)
    _, misfits = hooks_of(space["A"]())
    assert f"did you mean {hook.name}?" in misfits[0].sentence


def test_an_object_that_answers_to_every_name_has_no_hooks() -> None:
    class Anything:
        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    assert hooks_of(Anything()) == ({}, [])
