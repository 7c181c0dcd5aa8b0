"""What is said to be wrong that is of no other feature, and what to do about it."""

from __future__ import annotations

from dataclasses import replace

from proxy.features.today.problems import StatusSnapshot, present
from proxy.model import NetworkState
from tests.support.control_world import SECRET
from tests.support.rows import each_row

URL = f"https://u:{SECRET}@h"
WELL = StatusSnapshot({"dropped_rows": 0}, NetworkState.OK, "")


@each_row(
    ("standing", "text", "do"),
    [
        (
            replace(WELL, live={"config_problem": f"config.toml:3: {URL} is no relay"}),
            "The edited configuration is not in use: config.toml:3: https://u:***@h is no relay",
            "byway config check",
        ),
        (
            replace(WELL, live={"uninspected": "app.example"}),
            "app.example: a client rejected Byway's certificate; inspection is off for 6 h.",
            "byway ca trust, or remove INSPECT from its rule",
        ),
        (
            replace(WELL, clock_s=400 * 86_400),
            "This computer's clock is 400 days ahead, so certificates are refused.",
            "set the clock",
        ),
        (
            replace(WELL, log_trouble="no space left on device"),
            "The log cannot be written: no space left on device",
            "check whether the disk is full",
        ),
        (
            replace(WELL, live={"dropped_rows": 3}),
            "3 log entries were lost.",
            "nothing: new ones are written again",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_to_do(standing: StatusSnapshot, text: str, do: str) -> None:
    assert [(each.text, each.do) for each in present(standing)] == [(text, do)]


def test_a_network_in_trouble_is_told_of() -> None:
    (told,) = present(replace(WELL, network=NetworkState.PORTAL))
    assert "login page" in told.text
    assert told.do


def test_where_all_is_well_nothing_is_said() -> None:
    assert present(WELL) == ()
