"""curl and a real Byway: every way in.

curl goes in by each protocol to each kind of address; the origin confirms what arrived, and Byway's log by which door
it came. All visits happen at once, in one event loop, before the first test; the tests look at what was seen.
tests/lab/test_whole_pages.py has other clients.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import visitors
from tests.support import programs
from tests.support.byway import Byway
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
