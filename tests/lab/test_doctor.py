"""`byway doctor` in the country: what is the matter with its network is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.scenarios import BY_NAME
from tests.lab.trials import stay

pytestmark = pytest.mark.namespaces

_MEASURED_S = 120.0
"""Where nothing foreign answers, each of three control pages is measured on every route, to the end of its patience."""


@pytest.mark.parametrize(
    ("name", "step"), [("portal", "portal"), ("resolver-down", "resolver"), ("allow-list", "domestic_only")]
)
async def test_the_network_is_named(folder: Path, name: str, step: str) -> None:
    async with stay(folder, {BY_NAME[name]: 1}) as (here, _):
        done = await here.byway.command("doctor", "--json", check=False, within_s=_MEASURED_S)
    assert step in {found["step"] for found in json.loads(done.stdout)["findings"]}, done.stdout
    assert done.returncode == (6 if step == "portal" else 5)
