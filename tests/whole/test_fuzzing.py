"""A thousand requests that fit the API document, and that do not: no server error, and no undocumented answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.features.addons.answers import AddonsAnswer
from proxy.features.addons.endpoints import AddonEndpoints
from tests.support.control_world import World
from tests.support.documented import Documented
from tests.whole.fuzzing import fuzz, make_world, serving

pytestmark = pytest.mark.slow

CASES = 1000


@pytest.fixture
def world() -> Iterator[World]:
    world = make_world()
    yield world
    world.close()


async def test_no_request_gets_a_server_error_or_an_undocumented_answer(world: World, documented: Documented) -> None:
    async with serving(world) as server:
        fuzzed = await fuzz(server, cases=40, seed=1)
    assert fuzzed.ok, fuzzed.text
    assert fuzzed.cases >= CASES, fuzzed.text
    assert documented.judged >= CASES


@pytest.mark.parametrize("fault", ["a server error", "an undocumented answer"])
async def test_a_fault_is_found(
    world: World, documented: Documented, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    async def broken(_: AddonEndpoints) -> AddonsAnswer:
        if fault == "a server error":
            raise ZeroDivisionError
        return AddonsAnswer(("pin",))  # type: ignore[arg-type]

    monkeypatch.setattr(AddonEndpoints, "addons", broken)
    async with serving(world) as server:
        fuzzed = await fuzz(server, cases=1, seed=1, path="/v1/addons")
    assert not fuzzed.ok
    assert "GET /v1/addons" in fuzzed.text
    documented.problems.clear()  # it has found the undocumented answer as well
