"""The table of all pages has each path that a feature answers, and a contact sheet has a page in all its looks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.languages.language import Language
from proxy.model.feature import Feature, pages_of
from tests.e2e.dashboard_pictures import LOOKS, take_sheets
from tests.e2e.every_page import DASHBOARD, NO_PAGES


def test_every_path_of_a_feature_is_in_the_table(features: Sequence[Feature]) -> None:
    found = [route for it in features for page in it.pages for name in page.routes for route in it.load(name)]
    patterns = {route.path: re.sub(r"{\w+}", "[^/]+", route.path) for route in found if route.method == "GET"}
    asked = [path.partition("?")[0] for path in DASHBOARD.values()]
    shown = {path for path, pattern in patterns.items() if any(re.fullmatch(pattern, one) for one in asked)}
    assert patterns.keys() - shown == NO_PAGES
    assert pages_of(features).keys() <= DASHBOARD.keys()


@pytest.mark.needs("chromium")
@pytest.mark.slow
def test_a_contact_sheet_has_a_page_in_all_its_looks(tmp_path: Path) -> None:
    asyncio.run(take_sheets(tmp_path, only=["help"], languages=[Language.PERSIAN]))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == len(LOOKS) + 2
    assert {"help-fa-360-dark.png", "help-fa-1920-light.png", "sheet-help-fa.png", "index.html"} <= {*names}
    assert all(path.stat().st_size > 10_000 for path in tmp_path.glob("*.png"))
