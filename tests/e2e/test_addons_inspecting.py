"""The two addons that ship for what a rule INSPECTs, in a real Byway, and curl."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.test_inspection import get, inspecting
from tests.features.inspection.mitm.site import Site
from tests.support.authority import Authority


@pytest.mark.needs("curl")
async def test_tracking_parameters_are_taken_off_and_a_header_is_added(tmp_path: Path) -> None:
    authority, key = Authority(), tmp_path / "key"
    key.write_text("of the API\n")
    config = (
        "[addons.clean_links]\nenabled = true\n[addons.api_header]\nenabled = true\n"
        f'host = "www.inside.test"\nheader = "X-Added"\nfile = "{key}"\n'
    )
    async with (
        Site(authority) as site,
        inspecting(tmp_path, authority, config, addon="pass\n") as byway,
    ):
        assert await get(byway, f"{site.url}/page?utm_source=x&id=1") == (0, b"hello of the API\n")
        other = site.url.replace("www.", "other.")
        assert await get(byway, f"{other}/page?id=2&fbclid=y") == (0, b"hello \n")
        assert [path for _, path in site.asked] == ["/page?id=1", "/page?id=2"]
