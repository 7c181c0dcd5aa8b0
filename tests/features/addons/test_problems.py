"""What is said to be wrong with addons, and what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.features.addons.problems import present
from tests.support.control_world import SECRET

URL = f"https://u:{SECRET}@h"
PIN = AddonFile("pin", Path("/home/me/addons/pin.py"), shipped=False, enabled=True)


@pytest.mark.parametrize(
    ("addon", "text", "do"),
    [
        (
            AddonState(PIN, problems=(f"pin.py:3: at {URL}",)),
            "Addon pin does not load: pin.py:3: at https://u:***@h.",
            "byway addons list",
        ),
        (
            AddonState(PIN, running="abc", problems=("pin.py:3: not valid Python",)),
            "Addon pin does not load: pin.py:3: not valid Python; the previous version keeps running.",
            "byway addons list",
        ),
        (
            AddonState(PIN, is_off=True, faults=3, last_fault=f"pin.py:3: at {URL}"),
            "Addon pin was disabled after repeated faults: pin.py:3: at https://u:***@h.",
            "edit /home/me/addons/pin.py",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(addon: AddonState, text: str, do: str) -> None:
    assert [(each.text, each.do) for each in present([addon], "")] == [(text, do)]


def test_one_that_is_configured_and_not_there_is_told_of() -> None:
    (told,) = present([AddonState(PIN, running="abc")], "there is no addon pinn")
    assert (told.text, told.do) == ("there is no addon pinn", "byway addons list")


def test_where_all_is_well_nothing_is_said() -> None:
    assert present([AddonState(PIN, running="abc")], None) == []
