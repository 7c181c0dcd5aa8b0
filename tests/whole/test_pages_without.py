"""What one feature says, pages and answers of others show where it is, and do without it where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.features.table import FEATURES
from proxy.model.feature import Feature, pages_of
from tests.support.control_world import read
from tests.support.dashboard import dashboard
from tests.support.seeded import BLOCKED, SeededWorld

BESIDE = {"sites": (f"sites/{BLOCKED}",), "rules": (f"rules?url=https://{BLOCKED}/",), "traffic": ("traffic?when=all",)}
"""Pages of a feature that the menu does not have."""

ANSWERS = {
    "today": ("/v1/status",),
    "sites": ("/v1/sites", f"/v1/sites/{BLOCKED}", f"/v1/why?host={BLOCKED}"),
    "traffic": ("/v1/log",),
    "relays": ("/v1/relays",),
    "rules": ("/v1/rules", "/v1/lists", "/v1/lists/own/report"),
}


@pytest.mark.parametrize("gone", [each for each in FEATURES if each.name != "today"], ids=lambda each: each.name)
async def test_each_page_and_answer_of_the_others_is_there(tmp_path: Path, gone: Feature) -> None:
    left = [each for each in FEATURES if each is not gone]
    world = SeededWorld(features=left)
    async with dashboard(world, tmp_path) as pages, pages.signed_in() as browser:
        for feature in left:
            for place in (*(page.path for page in pages_of([feature]).values()), *BESIDE.get(feature.name, ())):
                status, html = await browser.get(browser.base + place)
                assert status == 200, (place, html)
            for path in ANSWERS.get(feature.name, ()):
                await read(pages.api, path)
    world.close()


async def test_a_status_has_what_each_feature_says(tmp_path: Path) -> None:
    names = {"relays": ("relays", "There is no relay"), "sites": ("sites", "")}
    for gone in (None, *names):
        world = SeededWorld(features=[each for each in FEATURES if each.name != gone])
        folder = tmp_path / str(gone)
        folder.mkdir()
        async with dashboard(world, folder) as pages, pages.signed_in() as browser:
            status, home = await read(pages.api, "/v1/status"), await browser.text("")
        world.close()
        assert {name for name, (key, _) in names.items() if not status[key]} == ({gone} if gone else set())
        assert not any(no_more and no_more in home for _, no_more in names.values()), home
        assert bool([it for it in status["problems"] if it["subject"] == "relays"]) is (gone != "relays")
