"""How often a tab is told that something has changed."""

from __future__ import annotations

from proxy.control.dashboard.tab_updates import pause_s


def test_the_pause_follows_what_a_page_costs() -> None:
    """Within 5 s in any case, and once a second when pages are quick."""
    assert pause_s(0.0) == pause_s(0.01) == 1.0
    assert pause_s(0.02) == 2.0
    assert pause_s(0.3) == pause_s(100.0) == 4.0
