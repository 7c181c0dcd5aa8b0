"""`[listen] programs` in a real Byway: curl is named, and a copy of it under the same name is not, by every door."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.test_inspection import inspecting
from tests.features.inspection.mitm.site import Site
from tests.support.authority import Authority
from tests.support.byway import IMPATIENT, Byway
from tests.support.origin import Origin
from tests.support.relay import Relay

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="programs are found out on Linux only"),
    pytest.mark.needs("curl"),
]

FREE, RELAYED, BLOCKED, DENIED = "free.test", "relayed.test", "blocked.test", "denied.test"
RULES = f"DOMAIN,{RELAYED},RELAY\nDOMAIN,{BLOCKED},BLOCK\n"
NAMED = '[listen]\nprograms = ["curl"]\n'
DOORS = {"http": ("--proxy", "http://"), "connect": ("--proxytunnel", "--proxy", "http://")}
DOORS |= {name: ("--proxy", f"{name}://") for name in ("socks5h", "socks4a")}


@dataclass(frozen=True)
class Seen:
    """What a curl has got: its exit code, the status (of the proxy, if that refused), and the body."""

    code: int
    status: int
    body: str

    @property
    def opened(self) -> bool:
        return self.status == 200


def config(relay: Relay, extra: str = NAMED) -> str:
    hosts = f'[dns.hosts]\n"{FREE}" = "127.0.0.1"\n"{DENIED}" = "127.0.0.1"\n'
    return f'{extra}[[relay]]\nname = "hidden"\nurl = "socks5h://{relay.address}:{relay.port}"\n{hosts}{IMPATIENT}'


def a_copy(folder: Path) -> Path:
    """`cp /usr/bin/curl …/bin/curl`."""
    copy = folder / "bin" / "curl"
    copy.parent.mkdir()
    shutil.copy(shutil.which("curl") or "", copy)
    return copy


async def ask(program: Path | str, url: str, byway: Byway, door: str = "http", *more: str, at: str = "") -> Seen:
    *options, scheme = DOORS[door]
    process = await asyncio.create_subprocess_exec(
        *(program, "--silent", "--max-time", "60", "--write-out", "\n%{http_code} %{http_connect}"),
        *(*options, f"{scheme}{at or f'127.0.0.1:{byway.port}'}", *more, url),
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    body, _, numbers = out.decode().rpartition("\n")
    statuses = [int(number) for number in numbers.split()]
    return Seen(
        process.returncode or 0, next((status for status in statuses if status not in (0, 200)), statuses[0]), body
    )


async def ask_all(program: Path | str, urls: Sequence[str], byway: Byway) -> dict[tuple[str, str], Seen]:
    asked = [(url, door) for url in urls for door in DOORS]
    seen = await asyncio.gather(*(ask(program, url, byway, door) for url, door in asked))
    return dict(zip(asked, seen, strict=True))


async def test_a_copy_of_a_named_program_gets_direct_and_refusals_and_the_named_one_all_as_ever(tmp_path: Path) -> None:
    spy = a_copy(tmp_path)
    names = {RELAYED: "127.0.0.1", FREE: "127.0.0.1"}
    async with Origin() as origin, Relay(names) as relay, Byway(tmp_path, config=config(relay), rules=RULES) as byway:
        free, relayed, blocked = (f"http://{host}:{origin.http_port}/" for host in (FREE, RELAYED, BLOCKED))
        of_spy = await ask_all(spy, (free, relayed, blocked), byway)
        assert relay.asked == []
        assert origin.targets(RELAYED) == []
        for (url, door), seen in of_spy.items():
            assert seen.opened is (url == free), (url, door, seen)
            if url != free and door in ("http", "connect"):
                assert seen.status == 403, (url, door, seen)
        assert f"{spy} is none of `[listen] programs`" in of_spy[relayed, "http"].body
        assert "hidden" not in of_spy[relayed, "http"].body
        assert "rules.txt" not in of_spy[blocked, "http"].body

        of_curl = await ask_all("curl", (free, relayed, blocked), byway)
        assert {url for (url, _), seen in of_curl.items() if seen.opened} == {free, relayed}
        assert len(relay.asked) == len(DOORS)

        await byway.command("mode", "relay")
        assert not any(seen.opened for seen in (await ask_all(spy, (free,), byway)).values())
        assert len(relay.asked) == len(DOORS)
        assert all(seen.opened for seen in (await ask_all("curl", (free,), byway)).values())
        assert len(relay.asked) == 2 * len(DOORS)
        await byway.command("mode", "auto")

        rows = (await byway.read("log"))["rows"]
        assert any(f"{spy} is none of" in (row["error"] or "") for row in rows)


async def test_nothing_is_learned_from_a_program_that_is_not_named(tmp_path: Path) -> None:
    """A port that refuses everyone, which a relay opens: five visits of a browser would make it a site in trouble."""
    spy = a_copy(tmp_path)
    async with (
        Origin() as origin,
        Relay({DENIED: "127.0.0.1", FREE: "127.0.0.1"}) as relay,
        Byway(tmp_path, config=config(relay)) as byway,
    ):
        url = f"http://{DENIED}:1/"
        for _ in range(5):
            await ask("curl", f"http://{FREE}:{origin.http_port}/", byway)
            assert not (await ask(spy, url, byway)).opened
        asked = list(relay.asked)
        assert asked == []
        sites = await byway.read("site", "list", "--all")
        assert DENIED not in str(sites)
        await ask("curl", url, byway)
        assert relay.asked, "the twin: a visit of the named program goes on by the relay"


async def test_an_edit_holds_for_the_next_request_of_a_connection_that_is_open(tmp_path: Path) -> None:
    """This process is a client whose connection to the origin by the relay is kept for its next request."""
    async with (
        Origin() as origin,
        Relay({RELAYED: "127.0.0.1"}) as relay,
        Byway(tmp_path, config=config(relay, ""), rules=RULES) as byway,
    ):
        reader, writer = await asyncio.open_connection(*byway.proxy)
        request = f"GET http://{RELAYED}:{origin.http_port}/ HTTP/1.1\r\nHost: {RELAYED}:{origin.http_port}\r\n\r\n"

        async def status() -> int:
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            return int(head.split()[1])

        assert [await status(), await status()] == [200, 200]
        assert len(relay.asked) == 1, "the connection to the origin is kept"
        await byway.command("config", "set", "listen.programs", "curl")
        assert await status() == 403
        assert len(relay.asked) == 1
        assert (await ask("curl", f"http://{RELAYED}:{origin.http_port}/", byway)).opened
        writer.close()


async def test_a_client_by_ipv6_is_found(tmp_path: Path) -> None:
    spy = a_copy(tmp_path)
    async with (
        Origin() as origin,
        Relay({RELAYED: "127.0.0.1"}) as relay,
        Byway(tmp_path, config=config(relay, '[listen]\naddress = "::1"\nprograms = ["curl"]\n'), rules=RULES) as byway,
    ):
        url, at = f"http://{RELAYED}:{origin.http_port}/", f"[::1]:{byway.port}"
        for door in ("http", "connect"):
            assert (await ask(spy, url, byway, door, at=at)).status == 403
            assert (await ask("curl", url, byway, door, at=at)).opened


@pytest.mark.slow
async def test_a_program_that_is_not_named_is_not_inspected(tmp_path: Path) -> None:
    authority, spy = Authority(), a_copy(tmp_path)
    async with Site(authority) as site, inspecting(tmp_path, authority, NAMED) as byway:
        of_curl = await ask("curl", f"{site.url}/", byway, "connect", "--insecure")
        of_spy = await ask(spy, f"{site.url}/", byway, "connect", "--insecure")
        assert "shown by the addon" in of_curl.body
        assert "shown by the addon" not in of_spy.body
        assert "hello" in of_spy.body
