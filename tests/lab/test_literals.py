"""Visits to addresses: if the ClientHello has a name, Byway learns the result for the name."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.lab import rules
from tests.lab.country import Country, Running, Site
from tests.lab.sockets import connect
from tests.lab.views import View
from tests.support.waiting import until_read

pytestmark = pytest.mark.namespaces

PATIENCE_S = 20.0


async def visit_address(country: Country, byway: Running, site: Site) -> bytes:
    """Opens the address of a site by SOCKS5, and names the site in the ClientHello (RFC 1928 section 4)."""
    reader, writer = await connect(country.client.socket, byway.proxy)
    try:
        async with asyncio.timeout(PATIENCE_S):
            writer.write(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + ip_address(site.address).packed + b"\x01\xbb")
            assert await reader.readexactly(2) == b"\x05\x00"
            assert (await reader.readexactly(10))[:2] == b"\x05\x00"
            await writer.start_tls(country.visitor().trust, server_hostname=site.name)
            writer.write(f"GET / HTTP/1.1\r\nHost: {site.name}\r\nConnection: close\r\n\r\n".encode())
            return await reader.read(-1)
    finally:
        writer.transport.abort()


async def test_what_happens_to_an_address_is_learned_for_the_name(folder: Path) -> None:
    async with Country(folder) as country, country.byway(folder / "byway") as byway:
        site = country.add_site("blog.test")
        country.rules.set([rules.SniReset(site.name, view=View.RECORDS)])
        assert (await visit_address(country, byway, site)).startswith(b"HTTP/1.1 200 ")

        async def is_learned() -> bool:
            belief = await byway.belief(site.name)
            return (belief["state"], belief["cause"]) == ("suspect", "sni_reset")

        await until_read(is_learned, within_s=PATIENCE_S)
        assert (await byway.belief(site.address))["state"] == "unknown"
        (row,) = await byway.rows(site.name, 1)
        assert row["winner"] == "abroad"
