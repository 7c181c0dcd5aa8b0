"""Addons with mitmproxy's hooks, in a real addon manager of its."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import command, exceptions, hooks, options
from mitmproxy.master import Master
from mitmproxy.proxy.server_hooks import ClientConnectedHook

from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.extend.loading.addon import Addon
from proxy.features.inspection.addon_hooks import GuardedAddon, has_hooks, traverse
from proxy.features.inspection.client_context import AddonHooks


def addon_hooks(*objects: object) -> AddonHooks:
    addon = Addon("test", Path(__file__), "", objects, {}, None, sys.modules[__name__])
    return AddonHooks(AddonRunner(addon, TimeLimit(), patience_s=0.05), objects[0])


def admitted(thing: object) -> GuardedAddon:
    return GuardedAddon(addon_hooks(thing), 1)


@pytest.fixture
async def master() -> Master:
    made = Master(options.Options())
    made._legacy_log_events.uninstall()
    return made


HOOK = ClientConnectedHook(None)  # type: ignore[arg-type]  # whoever it is


async def test_hooks_of_both_kinds_are_called_and_told_what_happened(master: Master) -> None:
    heard = []

    class Both:
        def client_connected(self, client: object) -> None:
            heard.append("sync")

        async def client_disconnected(self, client: object) -> None:
            await asyncio.sleep(0)
            heard.append("async")

    master.addons.add(admitted(Both()))
    await master.addons.trigger_event(HOOK)
    await master.addons.trigger_event(hooks.all_hooks["client_disconnected"](None))
    assert heard == ["sync", "async"]


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("on purpose"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()],
    ids=["error", "exit", "interrupt", "cancel"],
)
async def test_whatever_a_hook_raises_is_a_fault_of_its_addon_and_the_next_one_is_asked(
    master: Master, fault: BaseException
) -> None:
    heard = []

    class Raises:
        def client_connected(self, client: object) -> None:
            raise fault

    class Hears:
        def client_connected(self, client: object) -> None:
            heard.append(client)

    faulty = admitted(Raises())
    master.addons.add(faulty, GuardedAddon(addon_hooks(Hears()), 2))
    await master.addons.trigger_event(HOOK)
    assert heard == [None]
    assert faulty.addon_hooks.runner.faults == 1
    assert f"test_addon_hooks.py:{_line_of('raise fault')}" in faulty.addon_hooks.runner.last_fault


def _line_of(words: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip() == words)


async def test_a_hook_that_never_answers_is_left(master: Master) -> None:
    class Waits:
        async def client_connected(self, client: object) -> None:
            await asyncio.Event().wait()

    waits = admitted(Waits())
    master.addons.add(waits)
    await master.addons.trigger_event(HOOK)
    assert waits.addon_hooks.runner.faults == 1


async def test_an_addon_may_keep_an_event_from_those_behind_it(master: Master) -> None:
    heard = []

    class Halts:
        def client_connected(self, client: object) -> None:
            raise exceptions.AddonHalt

    class HaltsLater:
        async def client_connected(self, client: object) -> None:
            await asyncio.sleep(0)
            raise exceptions.AddonHalt

    class Hears:
        def client_connected(self, client: object) -> None:
            heard.append(client)

    for halts in (Halts(), HaltsLater()):
        first, last = admitted(halts), GuardedAddon(addon_hooks(Hears()), 2)
        master.addons.add(first, last)
        await master.addons.trigger_event(HOOK)
        assert heard == []
        assert first.addon_hooks.runner.faults == 0, "that is no fault"
        master.addons.remove(first)
        await master.addons.trigger_event(HOOK)
        assert heard == [None], "the control"
        master.addons.remove(last)
        heard.clear()


async def test_options_and_commands_are_taken_in(master: Master) -> None:
    done = []

    class Both:
        def load(self, loader: Any) -> None:
            loader.add_option("greeting", str, "hello", "what is said")

        def done(self) -> None:
            done.append("done")

        @command.command("test.double")  # type: ignore[untyped-decorator]  # mitmproxy's
        def double(self, number: int) -> int:
            return 2 * number

    both = admitted(Both())
    master.addons.add(both)
    assert master.options.greeting == "hello"
    assert master.commands.call("test.double", 4) == 8
    master.addons.remove(both)
    assert done == ["done"]


def test_addons_within_an_addon_are_guests_too() -> None:
    class Inner:
        def request(self, flow: object) -> None: ...

    class Outer:
        addons = (Inner(), Inner())

    outer = Outer()
    assert [one.addon for one in traverse(addon_hooks(outer))] == [outer, *outer.addons]
    assert has_hooks(outer.addons[0])
    assert not has_hooks(outer)
    assert not hasattr(admitted(outer), "addons"), "mitmproxy would call them a second time, unguarded"


def test_a_module_that_imports_something_called_as_a_hook_has_no_such_hook() -> None:
    class Imports:
        error = exceptions

    assert not has_hooks(Imports())
    assert admitted(Imports()).error is exceptions
