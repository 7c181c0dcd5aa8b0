from __future__ import annotations

from proxy.testing import plan, request
from tests.addons.shipped import shipped
from tests.support.rows import each_row

EVENING = {"sites": ["example.org"], "relay": "vps", "from_hour": 19, "to_hour": 23}


@each_row(
    ("hours", "at", "pinned"),
    [
        ((19, 23), "18:59", False),
        ((19, 23), "19:00", True),
        ((19, 23), "22:59", True),
        ((19, 23), "23:00", False),
        ((22, 6), "23:30", True),
        ((22, 6), "05:59", True),
        ((22, 6), "06:00", False),
        ((0, 24), "00:00", True),
    ],
)
def test_a_site_is_pinned_at_certain_hours(hours: tuple[int, int], at: str, pinned: bool) -> None:
    addon = shipped("by_the_clock", {**EVENING, "from_hour": hours[0], "to_hour": hours[1]})
    addon.api.at(f"2008-10-07 {at}")
    assert addon.plan(request("blog.example.org"), plan()) == (plan().via("vps") if pinned else None)


def test_others_and_other_networks_are_left_alone() -> None:
    addon = shipped("by_the_clock", {"sites": ["example.org"], "relay": "vps", "networks": ["home"]})
    assert addon.plan(request("example.org"), plan()) == plan().via("vps")
    assert addon.plan(request("notexample.org"), plan()) is None
    addon.api.on("office")
    assert addon.plan(request("example.org"), plan()) is None


def test_without_a_relay_it_does_nothing() -> None:
    assert shipped("by_the_clock").plan(request(), plan()) is None
