"""The table of sites and routes: its order, its bounds and its conclusion."""

from __future__ import annotations

from proxy.features.sites.route_matrix import ROUTES_MAX, SITES_MAX, route_matrix
from proxy.store.route_queries import SiteRoute


def test_nothing_has_failed() -> None:
    assert route_matrix([]) is None


def test_one_site() -> None:
    table = route_matrix([SiteRoute("blog.example", "direct", 0, 1), SiteRoute("blog.example", "tor", 1, 0)])
    assert table is not None
    assert table.routes == ["direct", "tor"]
    ((host, cells),) = table.rows
    assert host == "blog.example"
    assert [(cell.kind, cell.text) for cell in cells] == [("failed", "0 of 1"), ("relay", "1 of 1")]
    assert table.conclusion == "Some route failed for 1 site; direct opened 0 of them. tor opened 1 of 1."


def test_a_route_that_was_not_tried() -> None:
    table = route_matrix(
        [
            SiteRoute("a.example", "direct", 0, 2),
            SiteRoute("a.example", "direct|tlsrec", 3, 1),
            SiteRoute("b.example", "direct", 1, 1),
        ]
    )
    assert table is not None
    assert [[cell.kind for cell in cells] for _, cells in table.rows] == [["failed", "strategy"], ["direct", ""]]
    assert "direct opened 1 of them" in table.conclusion


def test_of_very_many_the_most_visited_are_shown() -> None:
    seen = [
        SiteRoute(f"site{site}.example", f"relay{route}", site, 1)
        for site in range(SITES_MAX * 4)
        for route in range(ROUTES_MAX * 2)
    ]
    table = route_matrix(seen)
    assert table is not None
    assert len(table.rows) == SITES_MAX
    assert len(table.routes) == ROUTES_MAX
    assert table.rows[0][0] == f"site{SITES_MAX * 4 - 1}.example"
    assert f"{SITES_MAX * 4} sites" in table.conclusion
