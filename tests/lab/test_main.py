"""A person's walk through the country, command by command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.__main__ import HELP, Walk
from tests.lab.country import Country

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]


async def test_a_walk(tmp_path: Path) -> None:
    said: list[str] = []
    async with Country(tmp_path) as country, country.byway(tmp_path / "byway") as byway:
        walk = Walk(country, byway, said.append)

        async def after(line: str) -> str:
            said.clear()
            assert await walk.do(line)
            return "\n".join(said)

        assert "healthy.test says hello" in await after("visit https://healthy.test/")
        assert "dns   healthy.test" in await after("seen")
        assert "works" in await after("belief healthy.test")
        assert "no scenario is called nonsense" in await after("set nonsense")
        assert "https://sni-reset-tcp.test/" in await after("set sni-reset-tcp http-page")
        assert "* sni-reset-tcp" in await after("list")
        assert "200" in await after("direct healthy.test")
        assert "sni-reset-tcp.test says hello" in await after("visit https://sni-reset-tcp.test/")
        assert await after("lift")
        assert "* " not in await after("list")
        assert await after("fly") == "fly is no command; `help` lists them"
        assert await after("visit") == HELP
        assert await after("") == HELP
        assert not await walk.do("quit")


async def test_a_shell_is_at_the_persons_computer(tmp_path: Path) -> None:
    async with Country(tmp_path) as country, country.byway(tmp_path / "byway") as byway:
        seen = tmp_path / "seen"
        await Walk(country, byway).do(f"shell cp /etc/resolv.conf {seen}")
        assert "192.0.2.53" in seen.read_text()
