"""Every hook is known by its name and its parameters, as an object's method and as a module's function."""

from __future__ import annotations

from proxy.extend.guard.time_limit import BUDGET_S, LIMIT_S, PATIENCE_S
from proxy.extend.hooks import HOOKS, Hook, Hooks
from proxy.extend.loading.signatures import declaration, hooks_of
from proxy.extend.manager import STOP_S
from tests.support.rows import each_row


def test_an_object_that_has_all_hooks_has_no_misfit() -> None:
    found, misfits = hooks_of(Hooks())
    assert set(found) == set(HOOKS)
    assert misfits == []


@each_row("hook", HOOKS.values(), ids=HOOKS)
def test_what_is_shown_as_right_is_right(hook) -> None:  # type: ignore[no-untyped-def]
    space: dict[str, type] = {}
    exec(f"class A:\n    {declaration(hook)}: ...", space)
    found, misfits = hooks_of(space["A"]())
    assert (list(found), misfits) == ([hook.name], [])


@each_row("hook", HOOKS.values(), ids=HOOKS)
def test_a_letter_left_out_is_noticed(hook) -> None:  # type: ignore[no-untyped-def]
    space: dict[str, type] = {}
    exec(f"class A:\n    {declaration(hook).replace(f'def {hook.name}', f'def {hook.name[:-1]}')}: ...", space)
    _, misfits = hooks_of(space["A"]())
    assert f"did you mean {hook.name}?" in misfits[0].sentence


@each_row("hook", HOOKS.values(), ids=HOOKS)
def test_each_says_how_long_it_may_take(hook: Hook) -> None:
    *_, budget = hook.doc.split("\n\n")
    takes_time = hook.name in ("start", "stop")
    computing = f"{LIMIT_S:g} s of computing at a time" if takes_time else f"{BUDGET_S * 1000:g} ms"
    assert budget.startswith(f"Budget: {computing}")
    assert ("async" in budget) is hook.may_be_async
    if hook.may_be_async and hook.name != "dial":
        assert f"wait for {STOP_S if hook.name == 'stop' else PATIENCE_S:g} s" in budget


def test_an_object_that_answers_to_every_name_has_no_hooks() -> None:
    class Anything:
        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    assert hooks_of(Anything()) == ({}, [])
