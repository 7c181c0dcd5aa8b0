"""Real clients that open whole pages of which a part is blocked.

Some clients, browsers among them, each load a page with 30 pictures over three hosts. One host is reset by a censor
that sees its name, and the client is to notice nothing. They run on this machine, and reach Byway at the computer in
the country through its door. All visits happen at once, in one event loop, before the first test; the tests look at
what was seen.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import socks

from tests.lab import places, rules, visitors
from tests.lab.country import NO_HEDGE, RELAY, Country
from tests.lab.links import PERFECT
from tests.lab.test_rescue import AT_ONCE, settings
from tests.lab.visitors import Visit, Visitor
from tests.support import programs

pytestmark = [pytest.mark.namespaces, pytest.mark.alone, pytest.mark.slow]

PICTURES = 30
PATIENT = f"{AT_ONCE}{NO_HEDGE}"
LIMITS = "[limits]\nresolve_timeout_s = 60\nconnect_timeout_s = 60\n"
"""What is blocked is reset here. Many clients at once, browsers among them, share the processors with the origin and
its name server, and a part that comes late for that must not be fetched by the relay too."""


@dataclass(frozen=True)
class Guest:
    """A client with three hosts of its own, so that each meets the block for the first time."""

    id: str
    scheme: str
    visit: Visitor
    program: str = ""

    @property
    def hosts(self) -> tuple[str, str, str]:
        return f"page-{self.id}.test", f"more-{self.id}.test", self.blocked

    @property
    def blocked(self) -> str:
        return f"blocked-{self.id}.test"


GUESTS = [
    Guest("curl-http", "https", partial(visitors.curl, scheme="http"), "curl"),
    Guest("curl-socks5h", "http", partial(visitors.curl, scheme="socks5h"), "curl"),
    Guest("pysocks-http", "https", partial(visitors.with_pysocks, kind=socks.HTTP)),
    Guest("pysocks-socks5", "https", partial(visitors.with_pysocks, kind=socks.SOCKS5)),
    Guest("pysocks-socks4a", "http", partial(visitors.with_pysocks, kind=socks.SOCKS4)),
    Guest("aiohttp-plain", "http", visitors.with_aiohttp),
    Guest("aiohttp-tls", "https", visitors.with_aiohttp),
    Guest("requests-http", "http", partial(visitors.with_requests, scheme="http")),
    Guest("requests-socks5h", "https", partial(visitors.with_requests, scheme="socks5h")),
    Guest("chromium-http-plain", "http", partial(visitors.chromium, scheme="http"), "chromium"),
    Guest("chromium-http-tls", "https", partial(visitors.chromium, scheme="http"), "chromium"),
    Guest("chromium-socks5-plain", "http", partial(visitors.chromium, scheme="socks5"), "chromium"),
    Guest("chromium-socks5-tls", "https", partial(visitors.chromium, scheme="socks5"), "chromium"),
]


@dataclass(frozen=True)
class Visited:
    """What one guest got, and what was seen of it elsewhere."""

    got: int
    parts: Mapping[str, list[str]]  # by host, what it was asked for
    peers: Mapping[str, set[str]]  # by host, from where
    was_struck: bool
    belief: Mapping[str, Any]


async def visit_all(folder: Path, guests: Sequence[Guest]) -> dict[str, Visited | Exception]:
    async with Country(folder, link=PERFECT) as country:
        for guest in GUESTS:
            for host in guest.hosts:
                country.add_site(host)
        blocked = [guest.blocked for guest in GUESTS]
        censors = rules.SniReset(*blocked, in_path=True), rules.HttpReset(*blocked, in_path=True)
        country.rules.set(censors)

        async def visit(guest: Guest) -> Visited | Exception:
            own = folder / guest.id
            own.mkdir()
            page = f"{guest.scheme}://{guest.hosts[0]}/page/{PICTURES}?hosts={','.join(guest.hosts)}"
            try:
                got = await guest.visit(Visit(page, byway.proxy, country.trust_file(), own))
                asked = {host: [one for one in country.origins.asked if one.host == host] for host in guest.hosts}
                return Visited(
                    got,
                    {host: sorted(r.target for r in asked[host] if r.target.startswith("/part/")) for host in asked},
                    {host: set(country.origins.peers(host)) for host in asked},
                    guest.blocked in {flow.said.records or flow.said.host for rule in censors for flow in rule.acts},
                    await byway.belief(guest.blocked),
                )
            except Exception as error:
                error.add_note(byway.report())
                return error

        config = f"{settings(country, PATIENT)}{LIMITS}"
        async with country.byway(folder / "byway", config=config) as byway, byway.door():
            return dict(zip((guest.id for guest in guests), await asyncio.gather(*map(visit, guests)), strict=True))


Tell = Callable[[Guest], Visited]


@pytest.fixture(scope="module")
def tell() -> Tell:
    able = [guest for guest in GUESTS if not guest.program or programs.find(guest.program)]
    with tempfile.TemporaryDirectory(prefix="byway-pages-", ignore_cleanup_errors=True) as folder:
        visits = asyncio.run(visit_all(Path(folder), able))

    def tell(guest: Guest) -> Visited:
        visited = visits[guest.id]
        if isinstance(visited, Exception):
            raise visited
        return visited

    return tell


EACH = pytest.mark.parametrize(
    "guest",
    [
        pytest.param(guest, id=guest.id, marks=[pytest.mark.needs(guest.program)] if guest.program else [])
        for guest in GUESTS
    ],
)


@EACH
def test_a_page_that_is_blocked_in_part_arrives_whole(guest: Guest, tell: Tell) -> None:
    visited = tell(guest)
    assert visited.got == PICTURES
    for place, host in enumerate(guest.hosts):
        assert visited.parts[host] == sorted(f"/part/{number}" for number in range(place, PICTURES, len(guest.hosts)))


@EACH
def test_only_the_blocked_part_went_through_the_relay(guest: Guest, tell: Tell) -> None:
    """The control: the censor struck, and what it struck came by the relay and all else direct."""
    visited = tell(guest)
    assert visited.was_struck, visited.belief
    for host in guest.hosts:
        assert visited.peers[host] == {places.SOCKS_RELAY if host == guest.blocked else places.CLIENT}
    assert (visited.belief["state"], visited.belief["last_good"]) == ("suspect", RELAY), visited.belief
