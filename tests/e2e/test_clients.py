"""Real clients and a real Byway: every way in, and whole pages of which a part is blocked.

curl goes in by each protocol to each kind of address; the origin confirms what arrived, and Byway's log by which door
it came. Then five clients, a browser among them, each load a page with 30 pictures over three hosts. One host is reset
by a censor that sees its name, and the client is to notice nothing. All visits happen at once, in one event loop,
before the first test; the tests look at what was seen.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import socks

from tests.e2e import visitors
from tests.e2e.country import Country, Running
from tests.e2e.visitors import Visit, Visitor
from tests.support import programs
from tests.support.byway import Byway
from tests.support.censor import Behaviour
from tests.support.origin import Origin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: loopback has one address here")

_CURLS_AT_ONCE = 6

# -- every door, every kind of address -------------------------------------------------------------------------------

V4, V6 = "127.0.0.1", "::1"
NAMES = {"four.test": V4, "six.test": V6}
DOORS = ("http", "proxytunnel", "socks5h", "socks5", "socks4a", "socks4")
"""What curl is told."""
BY_ADDRESS = frozenset({"socks5", "socks4"})
"""The client resolves."""


@dataclass(frozen=True)
class Fetch:
    """One curl."""

    door: str
    scheme: str
    host: str

    @property
    def id(self) -> str:
        return f"{self.door}-{self.scheme}-{self.host}"

    @property
    def inbound(self) -> str:
        """What the log calls it."""
        if self.door in ("http", "proxytunnel"):
            return "http" if (self.door, self.scheme) == ("http", "http") else "connect"
        return self.door.removesuffix("h")

    @property
    def possible(self) -> bool:
        """SOCKS4 has no room for an IPv6 address; a name that has one is for SOCKS4a."""
        return not (self.door.startswith("socks4") and self.host == V6) and (self.door, self.host) != (
            "socks4",
            "six.test",
        )

    def url(self, origin: Origin) -> str:
        port = origin.https_port if self.scheme == "https" else origin.http_port
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{port}/{self.id}"

    def words(self, byway: Byway, origin: Origin, trusted: Path) -> list[str]:
        words = ["--cacert", str(trusted)]
        if self.door == "proxytunnel":
            words += ["--proxy", byway.url, "--proxytunnel"]
        else:
            words += ["--proxy", f"{self.door}://127.0.0.1:{byway.port}"]
        if self.door in BY_ADDRESS and self.host in NAMES:
            address = f"[{V6}]" if NAMES[self.host] == V6 else V4
            words += [word for port in (origin.http_port, origin.https_port)
                      for word in ("--resolve", f"{self.host}:{port}:{address}")]  # fmt: skip
        return [*words, self.url(origin)]


FETCHES = [
    fetch
    for door in DOORS
    for scheme in ("http", "https")
    for host in (V4, V6, *NAMES)
    if (fetch := Fetch(door, scheme, host)).possible
]


@dataclass(frozen=True)
class Curled:
    """What curl said."""

    exit_code: int
    status: str
    body: str
    error: str


@dataclass(frozen=True)
class Seen:
    """What came of all fetches."""

    curled: Mapping[str, Curled]
    at_origin: Counter[str]  # targets
    in_log: Counter[tuple[str, str]]  # inbound, host


async def curl(*words: str) -> Curled:
    done = await visitors.run(
        *(programs.require("curl"), "--silent", "--show-error", "--disable", "--noproxy", ""),
        *("--write-out", "\n%{http_code} %{http_connect}", *words),
    )
    body, _, status = done.stdout.decode().rpartition("\n")
    return Curled(done.returncode, status, body, done.stderr.decode())


async def fetch_all(folder: Path) -> Seen:
    gate = asyncio.Semaphore(_CURLS_AT_ONCE)
    hosts = "".join(f'"{name}" = "{address}"\n' for name, address in NAMES.items())
    async with (
        Origin(addresses=(V4, V6)) as origin,
        Byway(folder, config=f'[log]\nhosts = "all"\n[dns.hosts]\n{hosts}') as byway,
    ):
        trusted = origin.authority.write(folder)

        async def one(fetch: Fetch) -> Curled:
            async with gate:
                return await curl(*fetch.words(byway, origin, trusted))

        curled = await asyncio.gather(*(one(fetch) for fetch in FETCHES))
        assert await byway.stop() == 0  # so that every row is written
        await byway.start()
        rows = (await byway.read("log", "--limit", "1000"))["rows"]
        return Seen(
            dict(zip((fetch.id for fetch in FETCHES), curled, strict=True)),
            Counter(origin.targets()),
            Counter((row["inbound"], row["host"]) for row in rows),
        )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return asyncio.run(fetch_all(tmp_path_factory.mktemp("doors")))


@pytest.mark.needs("curl")
@pytest.mark.parametrize("fetch", FETCHES, ids=lambda fetch: fetch.id)
def test_curl_arrives_by_every_door(fetch: Fetch, seen: Seen) -> None:
    curled = seen.curled[fetch.id]
    assert (curled.exit_code, curled.error) == (0, "")
    assert curled.status.startswith("200 ")
    assert curled.body.endswith(" says hello\n")
    assert seen.at_origin[f"/{fetch.id}"] == 1


@pytest.mark.needs("curl")
def test_each_came_by_the_door_it_was_sent_to(seen: Seen) -> None:
    """The control: none of them went around Byway."""
    wanted = Counter((fetch.inbound, fetch.host) for fetch in FETCHES)
    assert seen.in_log == wanted


# -- a user and a password -------------------------------------------------------------------------------------------

PASSWORD = "päss:w@rd with spaces"  # what a keyring may hold
GIVEN = {"right": ("--proxy-user", f"ann:{PASSWORD}"), "wrong": ("--proxy-user", "ann:guess"), "missing": ()}
ASKED = [
    (scheme, door, given) for scheme in ("http", "https") for door in ("http", "socks5h", "socks4a") for given in GIVEN
]


async def ask_with_passwords(folder: Path) -> dict[tuple[str, str, str], tuple[Curled, int]]:
    """What curl said, and how often the origin was asked."""
    (folder / "password.txt").write_text(f"{PASSWORD}\nnot this line\n")
    config = f'[listen]\nuser = "ann"\npassword_cmd = \'cat "{folder / "password.txt"}"\'\n'
    async with Origin() as origin, Byway(folder, config=config) as byway:
        trusted = ("--cacert", str(origin.authority.write(folder)))
        told = {}
        for scheme, door, given in ASKED:
            port = origin.https_port if scheme == "https" else origin.http_port
            words = (*trusted, "--proxy", f"{door}://127.0.0.1:{byway.port}", *GIVEN[given])
            before = len(origin.requests)
            curled = await curl(*words, f"{scheme}://127.0.0.1:{port}/")
            told[scheme, door, given] = curled, len(origin.requests) - before
        return told


Told = Mapping[tuple[str, str, str], tuple[Curled, int]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return asyncio.run(ask_with_passwords(tmp_path_factory.mktemp("passwords")))


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("door", ["http", "socks5h"])
def test_the_right_password_opens(door: str, scheme: str, told: Told) -> None:
    curled, asked = told[scheme, door, "right"]
    assert (curled.exit_code, curled.error, asked) == (0, "", 1)
    assert curled.body.endswith(" says hello\n")


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("given", ["wrong", "missing"])
def test_any_other_gets_407(given: str, scheme: str, told: Told) -> None:
    curled, asked = told[scheme, "http", given]
    status, tunnel_status = curled.status.split()
    assert (tunnel_status if scheme == "https" else status, asked) == ("407", 0)


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("door", "given"), [("socks5h", "wrong"), ("socks5h", "missing"), *(("socks4a", given) for given in GIVEN)]
)
def test_any_other_is_refused_by_socks(door: str, given: str, scheme: str, told: Told) -> None:
    """SOCKS4 has no password, so that door is closed."""
    curled, asked = told[scheme, door, given]
    assert (curled.exit_code, asked) == (97, 0)  # CURLE_PROXY


# -- whole pages -----------------------------------------------------------------------------------------------------

PICTURES = 30
PATIENT = "hedge_syn_s = 30\nhedge_unacked_s = 30\nhedge_silent_s = 30\nhedge_blind_s = 30\n"
"""What is blocked is reset here. Many clients at once, browsers among them, share the processors with the origin, and a
part that comes late for that must not be fetched by the relay as well."""


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
    parts: Mapping[str, list[str]]  # by host, what the origin was asked for
    peers: Mapping[str, set[str]]  # by host, from where
    struck: int
    belief: Mapping[str, Any]


async def visit_all(folder: Path, guests: Iterable[Guest]) -> dict[str, Visited | Exception]:
    async with Country([host for guest in GUESTS for host in guest.hosts]) as country:
        for guest in guests:
            for host in guest.hosts:
                behaviour = Behaviour.RESET if host == guest.blocked else Behaviour.PASS
                await country.censor(host, behaviour, secure=guest.scheme == "https")
        byway = country.byway(folder / "byway", detect=PATIENT)
        async with byway:
            return dict(await asyncio.gather(*(visit(guest, country, byway, folder) for guest in guests)))


async def visit(guest: Guest, country: Country, byway: Running, folder: Path) -> tuple[str, Visited | Exception]:
    origin = country.origin
    port = origin.https_port if guest.scheme == "https" else origin.http_port
    hosts = [f"{host}:{port}" for host in guest.hosts]
    own = folder / guest.id
    own.mkdir()
    page = f"{guest.scheme}://{hosts[0]}/page/{PICTURES}?hosts={','.join(hosts)}"
    try:
        got = await guest.visit(Visit(page, byway.proxy, origin.authority, own))
        return guest.id, Visited(
            got,
            {host: sorted(t for t in origin.targets(host) if t.startswith("/part/")) for host in guest.hosts},
            {host: set(country.peers(host)) for host in guest.hosts},
            country.censors[guest.blocked].struck,
            await byway.belief(guest.blocked),
        )
    except Exception as error:
        error.add_note(byway.report())
        return guest.id, error


Tell = Callable[[Guest], Visited]


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Tell:
    able = [guest for guest in GUESTS if not guest.program or programs.find(guest.program)]
    visits = asyncio.run(visit_all(tmp_path_factory.mktemp("pages"), able))

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
    assert visited.struck > 0
    for host in guest.hosts:
        assert ("127.0.0.9" in visited.peers[host]) is (host == guest.blocked)
        assert len(visited.peers[host]) == 1
    assert (visited.belief["state"], visited.belief["last_good"]) == ("suspect", "vps")
