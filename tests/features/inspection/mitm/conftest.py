"""For tests of a client inside an inspected tunnel: one Byway for a module, before the origin that the module's own
fixture `site` starts. An origin notes in `heard` what has reached it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.authority import Authority

if TYPE_CHECKING:
    from tests.features.inspection.mitm.inspecting import Inspecting


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def authority() -> Authority:
    return Authority()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def byway(tmp_path_factory: pytest.TempPathFactory, authority: Authority, site: Any) -> AsyncIterator[Inspecting]:
    from tests.features.inspection.mitm.inspecting import inspecting  # it needs mitmproxy, which not every Python has

    async with inspecting(tmp_path_factory.mktemp("inspecting"), authority) as it:
        yield it


@pytest.fixture
def origin(site: Any) -> Any:
    """The site, which has heard nothing yet."""
    site.heard.clear()
    return site
