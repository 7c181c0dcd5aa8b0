"""A first visit whose addresses are in a prefix that is in trouble: the name is looked up before it is planned."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import (
    DIRECT,
    Action,
    Belief,
    Cause,
    Destination,
    IPAddress,
    NetworkId,
    Plan,
    Stage,
    State,
    Symptom,
)
from proxy.model.errors import DialError
from proxy.session.plan import plan_for
from proxy.session.prefix_lookup import is_looked_up
from tests.session.test_plan import request, setup
from tests.support.clock import run as play
from tests.support.outcomes import AWAY, HOME, TOR, works
from tests.support.services import services

NOW = 1000.0
HOST = "new.example"
INSIDE = ipaddress.ip_address("93.184.216.200")
AUTO = Plan(Action.AUTO, (DIRECT, TOR), "AUTO")
PREFIX = Belief(
    "93.184.216.0/24", HOME, State.SUSPECT, Cause.FROZEN, since=NOW, until=NOW + 3600, last_good="tor", last_good_at=NOW
)
NO_NAME = DialError("no such name", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)


class Names:
    """A resolver that knows what it was asked."""

    def __init__(self, answer: Callable[[], Awaitable[tuple[IPAddress, ...]]] | DialError | None = None) -> None:
        self.asked: list[str] = []
        self.cache: dict[str, tuple[IPAddress, ...]] = {}
        self._answer = answer

    def known(self, host: str) -> tuple[IPAddress, ...]:
        return self.cache.get(host, ())

    def finding(self, host: str) -> None:
        return None

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        self.asked.append(host)
        if isinstance(self._answer, DialError):
            raise self._answer
        self.cache[host] = (INSIDE,) if self._answer is None else await self._answer()
        return self.cache[host]


async def looks(
    names: Names, plan: Plan = AUTO, *, host: str = HOST, known: Belief = PREFIX, network: NetworkId = HOME
) -> bool:
    beliefs = Beliefs(DetectTuning(), [known])
    beliefs.learn(works("works.example", at=NOW), network=HOME, now=NOW)
    shared = services(beliefs=beliefs, now=lambda: NOW, network=lambda: network)
    made = cast(Any, SimpleNamespace(resolver=names, settings=Settings()))
    return await is_looked_up(Destination(host, 443), plan, shared, made, network)


async def test_the_plan_of_a_first_visit_goes_around_a_prefix_that_is_in_trouble() -> None:
    names = Names()
    shared = services(beliefs=Beliefs(DetectTuning(), [PREFIX]), now=lambda: NOW)
    here = replace(setup(), resolver=cast(Any, names))
    plan = await plan_for(request(HOST), shared, here)
    assert plan.routes[0] == DIRECT, "nothing is resolved for a plan alone"
    assert await is_looked_up(Destination(HOST, 443), plan, shared, here, HOME)
    assert (await plan_for(request(HOST), shared, here)).routes[0] == TOR
    assert names.asked == [HOST]


async def test_an_address_that_is_asked_for_itself_is_known() -> None:
    shared = services(beliefs=Beliefs(DetectTuning(), [PREFIX]), now=lambda: NOW)
    assert (await plan_for(request(str(INSIDE)), shared, setup())).routes[0] == TOR
    named = await plan_for(request(str(INSIDE)), shared, setup(), host="named-later.example")
    assert named.routes[0] == TOR


@pytest.mark.parametrize(
    "how",
    [
        {"plan": Plan(Action.RELAY, (TOR,), "a rule")},
        {"plan": Plan(Action.DIRECT, (DIRECT,), "a rule")},
        {"plan": Plan(Action.AUTO, (DIRECT,), "AUTO, and no relay")},
        {"plan": Plan(Action.AUTO, (TOR, DIRECT), "AUTO: suspect")},
        {"plan": Plan(Action.BLOCK, (), "a rule")},
        {"host": str(INSIDE)},
        {"host": "works.example"},
        {"network": AWAY},
    ],
    ids=lambda how: " ".join(map(str, how.values())),
)
async def test_no_name_is_looked_up_for_nothing(how: dict[str, Any]) -> None:
    names = Names()
    assert not await looks(names, **how)
    assert names.asked == []


async def test_what_is_known_is_not_asked_again() -> None:
    names = Names()
    names.cache[HOST] = (INSIDE,)
    assert not await looks(names)
    assert names.asked == []


async def test_a_name_that_does_not_resolve_is_left_to_the_direct_route() -> None:
    assert not await looks(Names(NO_NAME))


def test_a_silent_resolver_holds_nobody_back() -> None:
    async def silence() -> tuple[IPAddress, ...]:
        await asyncio.Event().wait()
        return ()

    async def story() -> float:
        loop = asyncio.get_running_loop()
        assert not await looks(Names(silence))
        return loop.time()

    assert play(story()) == DetectTuning().hedge_syn_s
