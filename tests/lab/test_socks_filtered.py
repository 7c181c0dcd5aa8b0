"""A network lets TCP to a relay open and drops its SOCKS greeting: Byway names the protocol, and the remedy.

The twins are relays whose port is closed or answers nothing, and servers of HTTP and of TLS with a SOCKS URL: Byway
finds no filter.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import places, rules, rules_2025
from tests.lab.country import Country
from tests.lab.name_servers import Addresses
from tests.lab.relays import Manner, Relay
from tests.lab.test_verdicts import DETECT
from tests.lab.views import View
from tests.support.at_once import AtOnce
from tests.support.streams import listening
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=3)

MAY_BE, IS = (f"the SOCKS protocol {word} filtered on this network" for word in ("may be", "is"))
LIMITS = "[limits]\nhandshake_timeout_s = 3\n"
ONLY_TLS_AND_HTTP: dict[str, tuple[rules.Rule, str]] = {
    "dropped": (rules_2025.OnlyTlsAndHttp(places.RELAYS), IS),
    "dropped at the second packet": (rules_2025.OnlyTlsAndHttp(places.RELAYS, packets=2), IS),
    "reset": (rules_2025.OnlyTlsAndHttp(places.RELAYS, how="reset"), MAY_BE),  # a SOCKS server may cut it off, too
}


@pytest.mark.parametrize("is_filtered", [True, False], ids=["filtered", "not there"])
@at_once
async def test_filtered_socks_is_named_in_status_test_and_why(folder: Path, *, is_filtered: bool) -> None:
    async with Country(folder) as country:
        port = places.SOCKS_PORT if is_filtered else 1
        relays = [("abroad", f"socks5h://{places.SOCKS_RELAY}:{port}")]
        detect = f"{DETECT}hedge_relay_s = 1.0\n"
        settings = country.config(detect=detect, relays=relays, extra=LIMITS)
        async with country.byway(folder / "byway", config=settings) as byway:
            site, healthy = country.add_site("reset.test"), country.add_site("healthy.test")
            country.rules.set([rules.SniReset(site.name, view=View.RECORDS), rules.SocksDrop(places.RELAYS)])
            status: dict[str, Any] = {}

            async def is_named() -> bool:
                for each in (site, healthy):
                    await country.visitor(byway).visit(each.url())
                status.update(await byway.read("status"))
                texts = [problem["text"] for problem in status["problems"]]
                return MAY_BE in texts[0] if texts and is_filtered else bool(texts)

            await until_read(is_named, within_s=90.0)
            tested = json.loads((await byway.command("relay", "test", "abroad", "--json", check=False)).stdout)
            why = json.loads((await byway.command("why", site.url(), "--json", check=False)).stdout)
    problem = status["problems"][0]
    said = (problem["text"], *why["verdict"]["relay_faults"].values())
    assert len(said) == 2
    assert [MAY_BE in each for each in said] == [is_filtered] * 2, said
    assert (IS in json.dumps(tested)) is is_filtered, tested
    assert ("use an https relay or a key" in problem["do"]) is is_filtered
    assert ("use an https relay or a key" in why["verdict"]["do"]) is is_filtered, why["verdict"]


@pytest.mark.parametrize("how", ONLY_TLS_AND_HTTP)
@at_once
async def test_where_only_tls_and_http_pass_an_https_relay_at_the_same_machine_works(folder: Path, *, how: str) -> None:
    rule, named = ONLY_TLS_AND_HTTP[how]
    async with Country(folder) as country, beside_socks(country) as url:
        relays = [("socks", f"socks5h://{places.SOCKS_RELAY}:{places.SOCKS_PORT}"), ("https", url)]
        async with country.byway(folder / "byway", config=country.config(relays=relays)) as byway:
            site = country.add_site("reset.test")
            country.rules.set([rules.SniReset(site.name, view=View.RECORDS), rule])
            visits = [await country.visitor(byway).visit(site.url()) for _ in range(4)]
            (problem,) = (await byway.read("status"))["problems"]
            ran = await byway.command("relay", "test", "--json", check=False)
            why = json.loads((await byway.command("why", site.url(), "--json", check=False)).stdout)
    assert [visit.genuine for visit in visits] == [True] * 4
    assert (MAY_BE in problem["text"], "use an https relay or a key" in problem["do"]) == (True, True), problem
    tested = {result["relay"]: result for result in json.loads(ran.stdout)["results"]}
    assert tested["https"]["ok"]
    assert named in tested["socks"]["fault"]
    assert all(way in tested["socks"]["do"] for way in ("use an https relay", " or a key"))
    assert MAY_BE in why["verdict"]["relay_faults"]["socks"]
    assert why["verdict"]["do"] == "Nothing. https opens it."


@contextlib.asynccontextmanager
async def beside_socks(country: Country) -> AsyncIterator[str]:
    """An https relay at the machine of the SOCKS relay. Yields its URL."""
    country.zone.names["vps.test"] = Addresses((places.SOCKS_RELAY,))
    place, secure = (places.SOCKS_RELAY, places.HTTPS_PORT), country.public.server("vps.test")
    async with Relay(country.relay_space.socket, country.zone.truth, place, source=place[0], secure=secure):
        yield f"https://vps.test:{places.HTTPS_PORT}?ca={country.trust_file()}"


async def bad_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server of HTTP, which waits for a whole line."""
    await reader.readuntil(b"\n")
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


@at_once
async def test_what_is_no_filter_is_not_called_one(folder: Path) -> None:
    async with Country(folder) as country:
        web = country.add_site("web.test").address
        country.relay.manner = Manner.DEAF  # the kernel opens, and nobody answers
        relays = {
            "deaf": f"socks5h://{places.SOCKS_RELAY}:{places.SOCKS_PORT}",
            "closed": f"socks5h://{places.SOCKS_RELAY}:1",
            "http": f"socks5h://{places.PUBLIC_RESOLVER}:8080",
            "tls": f"socks5h://{web}:443",
            "https": f"socks5h://{places.HTTPS_RELAY}:{places.HTTPS_PORT}",
        }
        settings = country.config(relays=list(relays.items()), extra=LIMITS)
        server = country.net.create_server((places.PUBLIC_RESOLVER, 8080))
        async with listening(bad_request, sock=server), country.byway(folder / "byway", config=settings) as byway:
            ran = await byway.command("relay", "test", "--json", check=False)
    faults = {result["relay"]: result["fault"] for result in json.loads(ran.stdout)["results"]}
    assert faults.keys() == relays.keys()
    assert [name for name, fault in faults.items() if IS in fault or MAY_BE in fault] == [], faults
    assert (faults["deaf"], faults["closed"]) == ("no answer", "connection refused")
    assert faults["tls"] == faults["https"] == "does not answer in its protocol"
