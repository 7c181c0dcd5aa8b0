"""Secure DNS of a real Byway, by HTTP/2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import places
from tests.lab.country import Country

pytestmark = pytest.mark.namespaces


@pytest.mark.parametrize("server", [Country.doh_url, Country.http2_url])
async def test_a_byway_asks_by_http2_a_server_that_speaks_http1_too_and_one_that_does_not(
    country: Country, tmp_path: Path, server: str
) -> None:
    site = country.add_site("blog.test")
    config = country.config(dns='secure = "always"', servers=[server])
    async with country.byway(tmp_path / "byway", config=config) as byway:
        assert (await country.visitor(byway).visit(site.url())).genuine
    asked = [question for question in country.resolver.asked if question.name == site.name]
    assert {(question.over, question.asker) for question in asked} == {("h2", places.CLIENT)}
    assert country.provider_resolver.names() == set()
