"""When traffic fails as a whole, and what is said of it."""

from __future__ import annotations

from proxy.features.today.traffic import failing_traffic
from proxy.store.queries import FailedVisit
from tests.support.rows import each_row

NOW = 1_700_000_000.0


def visits(count: int, sites: int, *, age_s: float = 60.0) -> list[FailedVisit]:
    return [FailedVisit(NOW - age_s - n, f"site{n % sites}.example") for n in range(count)]


def test_twelve_of_twelve_visits_failed() -> None:
    failing = failing_traffic(visits(12, 12), 0.0, NOW)
    assert failing is not None
    assert (failing.visits, failing.sites, failing.since) == (12, 12, NOW - 71)
    assert failing.text == "Nothing opens: all of the last 12 visits failed, of 12 sites."
    assert "byway doctor" in failing.do


@each_row(
    ("failed", "delivered_at"),
    [
        (visits(12, 2), 0.0),  # two sites that are down, and somebody who reloads
        (visits(4, 4), 0.0),
        (visits(12, 12), NOW - 30),  # something has come through since
        (visits(12, 12, age_s=3600.0), 0.0),
        ([], 0.0),
    ],
)
def test_it_is_not_said_of_less(failed: list[FailedVisit], delivered_at: float) -> None:
    assert failing_traffic(failed, delivered_at, NOW) is None


def test_only_what_failed_since_something_came_through_counts() -> None:
    failing = failing_traffic([*visits(6, 6), *visits(9, 9, age_s=600)], NOW - 300, NOW)
    assert failing is not None
    assert failing.visits == 6
