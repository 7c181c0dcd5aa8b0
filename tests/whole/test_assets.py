"""The style sheet and the module stay small: they are loaded with the first page."""

from __future__ import annotations

import pytest

from proxy.control.dashboard.rendering import asset


@pytest.mark.parametrize(("name", "limit"), [("dashboard.css", 16 * 1024), ("dashboard.js", 20 * 1024)])
def test_an_asset_is_small(name: str, limit: int) -> None:
    assert 1024 < len(asset(name)) <= limit
