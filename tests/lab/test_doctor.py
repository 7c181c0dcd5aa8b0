"""`byway doctor` in the country names the fault of its network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab import places
from tests.lab.all_scenarios import BY_NAME
from tests.lab.name_servers import Addresses, Answer, Said
from tests.lab.trials import Stay, stay
from tests.support.at_once import AtOnce

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=6)

_MEASURED_S = 120.0
"""The limit for a network where nothing foreign answers: doctor measures each of three control pages on every route, to
the end of its patience."""


@pytest.mark.parametrize(
    ("name", "step"), [("portal", "portal"), ("resolver-down", "resolver"), ("allow-list", "domestic_only")]
)
@at_once
async def test_the_network_is_named(folder: Path, *, name: str, step: str) -> None:
    async with stay(folder, {BY_NAME[name]: 1}) as (here, _):
        assert step in await found_by_doctor(here, code=6 if step == "portal" else 5)


@pytest.mark.parametrize("lie", [Addresses((places.BOGON,)), Addresses((places.POISON,)), Said.NO_SUCH_NAME])
@at_once
async def test_a_resolver_that_lies_is_named(folder: Path, *, lie: Answer) -> None:
    async with stay(folder, {BY_NAME["healthy"]: 1}) as (here, _):
        here.country.provider.lies.update(dict.fromkeys(places.CONTROLS, lie))
        assert await found_by_doctor(here, code=5) == {"resolver"}


async def found_by_doctor(here: Stay, *, code: int) -> set[str]:
    """Returns the steps with a finding, and checks the exit code."""
    done = await here.byway.command("doctor", "--json", check=False, within_s=_MEASURED_S)
    assert done.returncode == code, done.stdout + done.stderr
    return {found["step"] for found in json.loads(done.stdout)["findings"]}
