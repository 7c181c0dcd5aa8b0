from __future__ import annotations

from proxy.testing import request
from tests.addons.shipped import shipped
from tests.support.rows import each_row


def test_trackers_are_refused_always() -> None:
    addon = shipped("refuse", {"trackers": ["tracker.example"]})
    assert "trackers" in addon.admit(request("http://a.tracker.example/pixel"))
    assert addon.admit(request("nottracker.example")) is None


@each_row(
    ("at", "refused"),
    [
        ("2008-10-07 08:59", False),  # a Tuesday
        ("2008-10-07 09:00", True),
        ("2008-10-07 16:59", True),
        ("2008-10-07 17:00", False),
        ("2008-10-11 12:00", False),  # a Saturday
    ],
)
def test_some_sites_are_refused_during_working_hours(at: str, refused: bool) -> None:
    addon = shipped("refuse", {"sites": ["fun.example"]})
    addon.api.at(at)
    assert (addon.admit(request("www.fun.example")) is not None) is refused
    assert addon.admit(request("work.example")) is None
