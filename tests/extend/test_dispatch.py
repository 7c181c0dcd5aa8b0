"""The running set: asked in the order of names, each seeing what the one before made; nothing is handed out to write
to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.relays import Relay
from proxy.extend.dispatch import REFINED_MAX, Addons, read_only
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.model import Action, Change, Destination, NetworkId, Plan, Request, Route, Signal, SignalId, State
from proxy.net.dialers.registry import Registry
from tests.extend.making import PLAN, made, outcome, request
from tests.support.waiting import until

NOBODY: Any = None
REGISTRY = Registry(
    [Relay.parse("tor", "127.0.0.1:9050"), Relay.parse("vps", "127.0.0.1:1080")], direct=NOBODY, to_relays=NOBODY
)
SIGNAL = Signal(SignalId.TLS_RESET, 2.0, "sni_reset", 5.0)


class Running(Addons):
    def __init__(self, folder: Path, limit: TimeLimit) -> None:
        super().__init__()
        self._folder = folder
        self._limit = limit

    def add(self, name: str, text: str) -> AddonRunner:
        runner = AddonRunner(made(self._folder, text, name), self._limit, self.on_disabled)
        self.put(runner)
        return runner


@pytest.fixture
def addons(tmp_path: Path) -> Iterator[Running]:
    limit = TimeLimit()
    limit.start()
    yield Running(tmp_path / "addons", limit)
    limit.close()


def test_without_addons_nobody_is_asked() -> None:
    addons = Addons()
    flags = (addons.decides, addons.refines, addons.classifies, addons.handles_unreachable)
    assert not any((*flags, addons.wants_attempts, addons.wants_outcomes, addons.wants_changes))
    assert addons.objects == ()


async def test_the_order_is_that_of_the_names(addons: Running) -> None:
    addons.add("b", "def plan(request, plan):\n    return plan.block('b after ' + plan.why)\n")
    addons.add("a", "def plan(request, plan):\n    return plan.via('tor')\n")
    assert addons.decides
    decided = await addons.decide(request(), PLAN, REGISTRY)
    assert decided.action is Action.BLOCK
    assert decided.why == "addon b: b after addon a: RELAY by tor; it was AUTO"
    assert decided.before == PLAN


def test_an_addon_that_decides_may_close_a_site(addons: Running) -> None:
    """Which one, and whether at all, is known only once it is asked."""
    addons.add("a", "def attempt(request, attempt): ...\ndef dial(route, destination): ...\n")
    assert addons.closing == ""
    planner = addons.add("c", "def plan(request, plan): ...\n")
    assert addons.closing == "addon c"
    addons.add("b", "def admit(request): ...\n")
    assert addons.closing == "addon b"
    addons.remove(planner)
    changes = [0]
    addons.on_change(lambda: changes.append(1))
    addons.add("b", "def outcome(outcome): ...\n")
    assert addons.closing == ""
    assert changes == [0, 1]


async def test_a_plan_that_nobody_changes_is_the_same(addons: Running) -> None:
    addons.add("a", "def plan(request, plan): ...\n")
    assert await addons.decide(request(), PLAN, REGISTRY) is PLAN


async def test_who_refuses_is_asked_first(addons: Running) -> None:
    addons.add("a", "def plan(request, plan):\n    return plan.direct()\n")
    addons.add("b", "def admit(request):\n    return 'no ' + request.destination.host\n")
    decided = await addons.decide(request("1.2.3.4"), PLAN, REGISTRY, host="site.test")
    assert (decided.action, decided.routes, decided.why) == (Action.BLOCK, (), "addon b: no site.test")
    assert decided.before == PLAN


async def test_whether_it_is_inspected_is_said(addons: Running) -> None:
    addons.add("a", "def plan(request, plan):\n    return plan.inspect()\n")
    decided = await addons.decide(request(), PLAN, REGISTRY)
    assert decided.intercept
    assert decided.why == "addon a: AUTO by direct, tor, inspected; it was AUTO"


async def test_of_a_faulty_one_the_plan_of_the_others_is_left(addons: Running) -> None:
    addons.add("a", "def plan(request, plan):\n    return plan.via('tor')\n")
    faulty = addons.add("b", "def plan(request, plan):\n    return plan.prefer('nobody')\n")
    addons.add("c", "def plan(request, plan):\n    assert plan.action == 'RELAY'\n")
    for _ in range(3):
        decided = await addons.decide(request(), PLAN, REGISTRY)
        assert decided.routes == (Route(("tor",)),)
    assert faulty.is_off
    assert [runner.name for runner in addons.running] == ["a", "c"]


PINS = "def plan(request, plan):\n    return plan.via('tor') if request.destination.host == 'site.test' else None\n"
FAILS = "def plan(request, plan):\n    raise KeyError\n"
TOR = (Route(("tor",)),)


async def test_what_an_addon_keeps_closed_stays_so_while_it_fails_and_when_it_is_switched_off(addons: Running) -> None:
    thrice = "asked = []\n" + PINS.replace("    return", "    asked.append(1)\n    1 / (len(asked) < 3)\n    return")
    addons.add("a", thrice)
    for host in ("site.test", "other.test"):
        await addons.decide(request(host), PLAN, REGISTRY)
    for _ in range(4):
        decided = await addons.decide(request(), PLAN, REGISTRY)
        assert (decided.action, decided.routes, decided.before) == (Action.RELAY, TOR, PLAN)
        assert decided.why == "addon a: RELAY by tor; it was AUTO; that holds while the addon cannot be asked"
        assert await addons.decide(request("other.test"), PLAN, REGISTRY) == PLAN
    assert addons.running == ()
    assert addons.decides


async def test_an_edit_that_fails_opens_nothing_and_a_good_answer_does(addons: Running) -> None:
    addons.add("a", PINS)
    await addons.decide(request(), PLAN, REGISTRY)
    addons.add("a", FAILS)
    assert (await addons.decide(request(), PLAN, REGISTRY)).routes == TOR
    addons.add("a", "def plan(request, plan): ...\n")
    assert await addons.decide(request(), PLAN, REGISTRY) == PLAN
    addons.add("a", FAILS)
    assert await addons.decide(request(), PLAN, REGISTRY) == PLAN


async def test_whoever_removes_an_addon_opens_what_it_kept_closed(addons: Running) -> None:
    pin = addons.add("a", PINS)
    await addons.decide(request(), PLAN, REGISTRY)
    addons.remove(pin)
    addons.add("a", FAILS)
    assert await addons.decide(request(), PLAN, REGISTRY) == PLAN


async def test_a_refusal_holds_while_the_addon_fails(addons: Running) -> None:
    addons.add("a", "def admit(request):\n    return 'no'\n")
    await addons.decide(request(), PLAN, REGISTRY)
    addons.add("a", "def admit(request):\n    raise KeyError\n")
    decided = await addons.decide(request(), PLAN, REGISTRY)
    assert (decided.action, decided.routes) == (Action.BLOCK, ())
    assert decided.why == "addon a: no; that holds while the addon cannot be asked"
    assert await addons.decide(request("www.site.test"), PLAN, REGISTRY) == PLAN


async def test_a_plan_of_relay_without_a_relay_is_closed_and_the_addon_stays_on(addons: Running) -> None:
    """Else removing a relay from the configuration would expose what an addon sends through it."""
    runner = addons.add("a", "def plan(request, plan):\n    return plan.via('nobody')\n")
    for _ in range(5):
        decided = await addons.decide(request(), PLAN, REGISTRY)
        assert (decided.action, decided.routes) == (Action.RELAY, ())
        assert "addon a: returned a plan that cannot be used: there is no relay" in decided.why
    assert runner.faults == 0
    assert "there is no relay" in runner.last_fault
    assert runner.last_fault.endswith("the request stays blocked, as intended")


async def test_of_relays_those_that_there_are_are_gone(addons: Running) -> None:
    addons.add("a", "def plan(request, plan):\n    return plan.via('nobody', 'vps')\n")
    assert (await addons.decide(request(), PLAN, REGISTRY)).routes == (Route(("vps",)),)


async def test_what_was_closed_before_keeps_its_relays(addons: Running) -> None:
    """An answer without a relay closes no more than the rule does, so it is a fault like others."""
    addons.add("a", PINS)
    faulty = addons.add("b", "def plan(request, plan):\n    return plan.via('nobody')\n")
    assert (await addons.decide(request(), PLAN, REGISTRY)).routes == TOR
    assert faulty.faults == 1


async def test_at_the_end_nothing_goes_on_unasked(addons: Running) -> None:
    addons.add("a", PINS)
    addons.end()
    decided = await addons.decide(request(), PLAN, REGISTRY)
    assert (decided.action, decided.why) == (Action.BLOCK, "Byway is ending")


def test_signals_are_weighed_and_it_can_be_asked_by_whom(addons: Running) -> None:
    addons.add("a", "import dataclasses\ndef signal(request, signal):\n"
               "    return dataclasses.replace(signal, weight=0, cause='ip')\n")  # fmt: skip
    addons.add("b", "def signal(request, signal):\n    assert request.destination.host == 'site.test'\n")
    seen = replace(outcome(), request=request("1.2.3.4"))
    assert addons.refine(seen, SIGNAL) == replace(SIGNAL, weight=0.0, cause="ip")
    assert addons.take_refinements(seen.request.id) == "a: tls_reset weighs 0 in place of 2, cause ip"
    assert addons.take_refinements(seen.request.id) == ""
    for _ in range(REFINED_MAX + 5):
        addons.refine(outcome(), SIGNAL)
    assert len(addons._refined) == REFINED_MAX


def test_the_first_who_knows_a_page_decides(addons: Running) -> None:
    addons.add("a", "def classify(head, body): ...\n")
    addons.add("b", "def classify(head, body):\n    return False if body else 'empty'\n")
    assert addons.classify("HTTP/1.1 200 OK\n", b"x") is False
    assert addons.classify("HTTP/1.1 200 OK\n", b"") == "addon b: empty"


async def test_what_is_told_cannot_be_written_to(addons: Running) -> None:
    addons.add("a", "heard = []\ndef outcome(outcome):\n    heard.append(outcome)\n")
    seen = outcome()
    addons.notify_outcome(seen)
    module = addons.running[0].addon.module
    await until(lambda: bool(module.heard))
    assert module.heard == [seen]
    with pytest.raises(TypeError):
        module.heard[0].attempts[0].evidence["status"] = 1
    assert read_only(seen) == seen


async def test_only_what_changed_is_told_as_a_change(addons: Running) -> None:
    addons.add("a", "heard = []\ndef change(change):\n    heard.append(change)\n")
    home = NetworkId("home")
    change = Change(1.0, "a.test", home, State.UNKNOWN, State.SUSPECT, "ip", "why", None)
    addons.notify_changes([replace(change, before=State.SUSPECT), change])
    module = addons.running[0].addon.module
    await until(lambda: bool(module.heard))
    assert module.heard == [change]


async def test_a_path_is_asked_of_the_addon_that_was_named(addons: Running) -> None:
    addons.add("a", "asked = []\ndef dial(route, destination):\n    asked.append(destination)\n")
    there = Destination("site.test", 443)
    assert await addons.dial("a", Route(("own",)), there) is None
    assert await addons.dial("b", Route(("own",)), there) is None
    assert addons.running[0].addon.module.asked == [there]


def test_objects_can_be_followed(addons: Running) -> None:
    seen: list[tuple[str, ...]] = []
    addons.on_change(lambda: seen.append(tuple(f"{name} {type(thing).__name__}" for name, thing in addons.objects)))
    one = addons.add("b", "class B: ...\nclass C: ...\naddons = [B(), C()]\n")
    addons.add("a", "x = 1\n")
    two = addons.add("b", "class D: ...\naddons = [D()]\n")
    addons.remove(one)
    addons.remove(two)
    assert seen == [("b B", "b C"), ("a module", "b B", "b C"), ("a module", "b D"), ("a module",)]
    assert addons.get("b") is None


def test_a_request_is_seen_by_its_name() -> None:
    asked = request("1.2.3.4")
    assert asked.with_host("") is asked
    assert asked.with_host("site.test").destination == Destination("site.test", 443)


async def test_a_decision_that_an_edit_breaks_off_is_made_anew(addons: Running) -> None:
    waiting = "import asyncio\nasync def plan(request, plan):\n    await asyncio.Event().wait()\n"
    addons.add("a", waiting)
    addons.add("b", "def plan(request, plan):\n    return plan.via('tor')\n")
    old = addons.running
    deciding = asyncio.ensure_future(addons.decide(request(), PLAN, REGISTRY))  # noqa: TID251
    await until(lambda: old[0].calls > 1)
    addons.add("b", "def plan(request, plan):\n    return plan.via('vps')\n")
    old[1].cancel()
    addons.add("a", "def plan(request, plan): ...\n")
    old[0].cancel()
    assert (await deciding).routes == (Route(("vps",)),), "neither lost, nor by a version that is gone"


async def test_what_is_edited_without_end_is_refused(addons: Running) -> None:
    class Restless(Running):
        async def _decide_once(self, named: Request, plan: Plan, registry: Registry) -> Plan:
            self.add("a", "x = 1\n")
            return plan

    restless = Restless(addons._folder, addons._limit)
    decided = await restless.decide(request(), PLAN, REGISTRY)
    assert (decided.action, decided.routes) == (Action.BLOCK, ())


async def test_a_path_is_asked_of_the_new_version_when_the_old_is_left(addons: Running) -> None:
    old = addons.add("a", "import asyncio\nasync def dial(route, destination):\n    await asyncio.Event().wait()\n")
    dialing = asyncio.ensure_future(addons.dial("a", Route(("own",)), Destination("site.test", 443)))  # noqa: TID251
    await until(lambda: old.calls > 1)
    addons.add("a", "def dial(route, destination):\n    raise ConnectionRefusedError\n")
    old.cancel()
    with pytest.raises(ConnectionRefusedError):
        await dialing
