from __future__ import annotations

from proxy.features.sites.opened_by import opened_by
from proxy.store.site_queries import RouteTime


def test_the_fastest_route_comes_first_and_those_that_never_delivered_last() -> None:
    times = [
        *(RouteTime("vps", delivered=True, seconds=seconds) for seconds in (0.1, 0.2, 0.3, 9.0)),
        *(RouteTime("direct|split", delivered=True, seconds=0.05) for _ in range(3)),
        RouteTime("vps", delivered=False, seconds=5.0),
        *(RouteTime("direct", delivered=False, seconds=0.01) for _ in range(9)),
    ]
    found = opened_by(times)
    assert found is not None
    assert [(bar.route, bar.kind, bar.median_s, bar.delivered, bar.attempts) for bar in found.bars] == [
        ("direct|split", "strategy", 0.05, 3, 3),
        ("vps", "relay", 0.3, 4, 5),
        ("direct", "failed", None, 0, 9),
    ]
    assert found.marks == (0.0, 0.25, 0.5)
    split, vps, direct = found.bars
    assert (split.width, vps.width, direct.width) == (10.0, 60.0, 0.0)
    assert (vps.low, vps.high) == (20.0, 100.0), "a slow visit reaches beyond the axis, and ends there"


def test_a_very_fast_route_has_a_bar_that_can_be_seen() -> None:
    found = opened_by(
        [RouteTime("direct", delivered=True, seconds=0.0), RouteTime("vps", delivered=True, seconds=300.0)]
    )
    assert found is not None
    assert [bar.width for bar in found.bars] == [1.0, 100.0]
    assert found.marks[-1] == 60.0


def test_without_a_visit_nothing_is_drawn() -> None:
    assert opened_by([]) is None
