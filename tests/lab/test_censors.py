"""Unknown censors: which local strategies pass each, and how many visits the search needs to find one.

A person visits three sites of one censor in turn (`street`).
"""

from __future__ import annotations

import asyncio

import pytest

from proxy.config.schema import DEFAULT_LADDER
from proxy.model import Protocol
from proxy.net.tasks import cancel_all
from proxy.routing.strategies import searched_strategies
from tests.lab.censors import CENSORS, PASSED_BY, Censor, sent
from tests.lab.street import CONTROL, PUNISHED_S, SITES, WORKING, Street, flight_to
from tests.support.clock import run

APART_S, QUICK_S = 240.0, 10.0
"""The time between two visits to a site: with residual blocking, and without."""
VISITS = 6

BY_NAME = {censor.name: censor for censor in CENSORS}


# -- as a table --------------------------------------------------------------------------------------------------------


def rungs_of(protocol: Protocol) -> list[str]:
    return ["|".join(route.wrap) for route in searched_strategies(DEFAULT_LADDER, protocol)]


@pytest.mark.parametrize("censor", BY_NAME.values(), ids=BY_NAME)
def test_what_passes_whom(censor: Censor) -> None:
    for name in SITES:
        data = flight_to(name, censor.protocol).data
        assert censor.sees(sent((), data), name), "plain direct"
        assert not any(censor.sees(sent((), data)[:number], "other.test") for number in (1, 2)), "another name"
        passed = {rung for rung in rungs_of(censor.protocol) if not _is_stopped(censor, rung, data, name)}
        assert passed == PASSED_BY[censor.name], name


def _is_stopped(censor: Censor, rung: str, data: bytes, name: str) -> bool:
    segments = sent(rung.split("|"), data)
    return any(censor.sees(segments[:number], name) for number in range(1, len(segments) + 1))


def test_there_are_twelve_and_four_punish() -> None:
    assert len(BY_NAME) == 12
    assert [censor.residual for censor in CENSORS].count("") == 8
    assert {rung for passed in PASSED_BY.values() for rung in passed} >= set(rungs_of(Protocol.TLS)) - {"tlsrec"}


# -- the acceptance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("censor", BY_NAME.values(), ids=BY_NAME)
@pytest.mark.parametrize("seed", range(3))
def test_a_strategy_that_passes_is_found_within_six_visits(censor: Censor, seed: int) -> None:
    """Three sites of one censor are visited, each so often; between them they may be searched six times an hour."""

    async def story() -> None:
        street = Street(censor, seed)
        await street.visits(WORKING, *SITES, times=VISITS, apart_s=APART_S if censor.residual else QUICK_S)
        await asyncio.sleep(PUNISHED_S + 30.0)  # the last trial of a plain hello may be punished
        for name in SITES:
            route = await street.visit(name)
            assert str(route) in {f"direct|{rung}" for rung in PASSED_BY[censor.name]}, (name, street.hellos)
        assert WORKING not in {name for name, _ in street.struck}
        into_windows = [name for name, is_residue in street.struck if is_residue]
        assert len(into_windows) == bool(censor.residual), "nothing but the question whether there are any"
        assert not set(into_windows) & set(SITES)
        assert set(street.sent_over(WORKING)) == {""}, "nothing is tried with a site that works"
        await cancel_all()

    run(story())


@pytest.mark.parametrize("censor", BY_NAME.values(), ids=BY_NAME)
@pytest.mark.parametrize("seed", range(3))
def test_without_a_relay_it_is_in_use_after_six_visits(censor: Censor, seed: int) -> None:
    async def story() -> None:
        street = Street(censor, seed, relays=())
        await street.visits(WORKING, *SITES, times=VISITS, apart_s=APART_S if censor.residual else QUICK_S)
        await asyncio.sleep(PUNISHED_S + 30.0)
        for name in SITES:
            route = await street.visit(name)
            assert str(route) in {f"direct|{rung}" for rung in PASSED_BY[censor.name]}, (name, street.hellos)
        assert WORKING not in {name for name, _ in street.struck}
        assert set(street.sent_over(WORKING)) == {""}, "nothing is tried with a site that works"
        tried = [name for name, strategy in street.added if strategy and name in SITES]
        assert len(tried) <= 6 * 3, "searches of three strategies, by the hour"
        await cancel_all()

    run(story())


@pytest.mark.parametrize("relays", [("vps",), ()], ids=["relay", "alone"])
def test_on_a_healthy_network_nothing_is_tried(relays: tuple[str, ...]) -> None:
    async def story() -> None:
        street = Street(None, relays=relays)
        await street.visits(WORKING, *SITES, times=20, apart_s=APART_S)
        assert street.added == []
        assert set(street.sent_over(WORKING, *SITES, CONTROL)) == {""}
        assert len(street.hellos) == 80, "the visits alone"

    run(story())
