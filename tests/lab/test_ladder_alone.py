"""The evasion matrix of docs/detection.md, "Local strategies", through a real Byway that knows no relay, to servers
that are in common use.

A cut ClientHello passes a censor that looks at packets, or that reassembles the TCP stream, without any action of the
visitor. It does not pass one that reassembles TLS records; then `byway why` names the remedy.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.country import NO_HEDGE, Country, Running, Site
from tests.lab.name_servers import Addresses
from tests.lab.rules import HttpReset, SniDrop, SniReset, When
from tests.lab.sockets import connect
from tests.lab.spaces import Space
from tests.lab.trials import limited
from tests.lab.views import View
from tests.lab.visitor import Visit, Visitor
from tests.support import programs
from tests.support.at_once import AtOnce
from tests.support.authority import Authority
from tests.support.streams import listening
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

at_once = AtOnce(most=4)

PASSED = (View.STRING, View.PACKET, View.TCP)
"""Censors that a cut hello passes."""

PATIENCE_S = 20.0
PATIENT = NO_HEDGE.replace("hedge_unacked_s = 60", "hedge_unacked_s = 5")
"""A dropped hello starts the next route after 5 s: on a busy machine one that is only late looks dropped before."""
_READY_S = 20.0

_NGINX = """\
user root; daemon off; master_process off; pid nginx.pid; error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server {{
    listen 80; listen 443 ssl;
    ssl_certificate {chain}; ssl_certificate_key {key};
    location / {{ default_type text/html; return 200 "$host says hello\\n"; }}
  }}
}}
"""
_NODE = """\
const [,, chain, key] = process.argv, fs = require('fs');
const hello = (asked, answer) => answer.end(asked.headers.host + ' says hello\\n');
require('http').createServer(hello).listen(80, '0.0.0.0');
require('https').createServer({cert: fs.readFileSync(chain), key: fs.readFileSync(key)}, hello).listen(443, '0.0.0.0');
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One server behind one censor."""

    server: str
    view: View
    rule: Callable[..., When] = SniReset

    @property
    def name(self) -> str:
        return f"{self.server}-{self.view}-{self.rule.__name__.lower()}.test"

    @property
    def secure(self) -> bool:
        return self.rule is not HttpReset


@dataclass
class Place:
    """A country with real servers in it, and a Byway without a relay."""

    country: Country
    byway: Running
    visitor: Visitor
    sites: dict[str, Site]

    async def visit(self, case: Case) -> Visit:
        return await limited(self.visitor, self.sites[case.name].url(secure=case.secure), PATIENCE_S)

    async def row(self, case: Case, number: int = 0) -> dict[str, Any]:
        """Returns the log's line for the visit with this number."""
        rows: list[dict[str, Any]] = []

        async def written() -> bool:
            rows[:] = await self.byway.rows(case.name)
            return len(rows) > number

        await until_read(written)
        return rows[number]


@contextlib.asynccontextmanager
async def place(folder: Path, server: str, cases: list[Case], *, ladder: str = "") -> AsyncIterator[Place]:
    """Yields a place in which each case has an address of its own, for a censor may punish one."""
    authority = Authority()
    async with Country(folder) as country, contextlib.AsyncExitStack() as stack:
        prefix = "198.51.100.64/26"  # where otherwise nobody is: places.NOBODY
        space = country.router.add_space("servers", ["198.51.100.2/29"], prefixes=[prefix])
        sites = {case.name: Site(case.name, f"198.51.100.{65 + n}") for n, case in enumerate(cases)}
        country.zone.names.update({name: Addresses((site.address,)) for name, site in sites.items()})
        await _serve(stack, server, space, authority, folder, list(sites))
        await until_read(lambda: _answers(country, next(iter(sites.values()))), within_s=_READY_S)
        trust = country.trust_file()
        trust.write_text(trust.read_text() + authority.pem)
        config = country.config(no_relay=True, detect=PATIENT, auto=ladder)
        byway = await stack.enter_async_context(country.byway(folder / "byway", config=config))
        visitor = dataclasses.replace(country.visitor(byway), trust=authority.client())
        country.rules.set([case.rule(case.name, view=case.view) for case in cases])
        yield Place(country, byway, visitor, sites)


async def _serve(
    stack: contextlib.AsyncExitStack, server: str, space: Space, authority: Authority, folder: Path, names: list[str]
) -> None:
    """Starts the server on ports 80 and 443 of all addresses of the space."""
    if server == "python":
        for port, context in ((80, None), (443, authority.server(*names))):
            sock = space.create_server(("0.0.0.0", port))
            await stack.enter_async_context(listening(_hello, sock=sock, ssl=context))
        return
    chain, key = authority.write_server(folder, *names)
    program = programs.require(server)
    if server == "nginx":
        written = folder / "nginx.conf"
        written.write_text(_NGINX.format(chain=chain, key=key))
        command = [program, "-p", str(folder), "-c", str(written), "-e", "stderr"]
    else:
        written = folder / "server.js"
        written.write_text(_NODE)
        command = [program, str(written), str(chain), str(key)]
    said = stack.enter_context((folder / "said.txt").open("wb"))
    process = space.popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT, env={"PATH": os.defpath})
    stack.callback(process.wait)
    stack.callback(process.terminate)


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    host = head.partition("\r\nhost: ")[2].partition("\r\n")[0]
    body = f"{host} says hello\n".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await writer.drain()


async def _answers(country: Country, site: Site) -> bool:
    """Returns whether a server listens there by now."""
    with contextlib.suppress(OSError):
        _, writer = await connect(country.net.socket, (site.address, 443))
        writer.transport.abort()
        return True
    await asyncio.sleep(0.05)
    return False


SERVERS = (
    "python",
    pytest.param("nginx", marks=pytest.mark.needs("nginx")),
    pytest.param("node", marks=pytest.mark.needs("node")),
)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
@at_once
async def test_without_a_relay_a_cut_hello_passes_whom_it_can(folder: Path, *, server: str) -> None:
    cases = [Case(server, view, rule) for rule in (SniReset, SniDrop) for view in PASSED]
    lost = Case(server, View.RECORDS)
    async with place(folder, server, [*cases, lost]) as here:

        async def passes(case: Case) -> None:
            """The page comes, and later visits do not wait."""
            assert (seen := await here.visit(case)).genuine, (case, seen)
            first = await here.row(case)
            assert first["winner"] == "direct|tlsrec", (case, first)
            assert (seen := await here.visit(case)).genuine, (case, seen)
            assert [attempt["route"] for attempt in (await here.row(case, 1))["attempts"]] == ["direct|tlsrec"], case

        await asyncio.gather(*map(passes, cases))
        assert not (await here.visit(lost)).genuine
        assert (await here.row(lost))["winner"] is None
        told = await here.byway.read("why", here.sites[lost.name].url())
    assert told["verdict"]["words"] == "likely blocked", told["verdict"]  # no other route has shown that it is there
    assert told["verdict"]["cause"] == "sni_reset"
    assert "Fragmenting the ClientHello does not help" in told["verdict"]["do"]
    assert "byway relay add" in told["verdict"]["do"]


@pytest.mark.slow
@at_once
async def test_without_a_relay_a_plain_request_passes_whom_it_can(folder: Path) -> None:
    cases = [Case("python", view, HttpReset) for view in (View.STRING, View.PACKET)]
    lost = Case("python", View.TCP, HttpReset)
    async with place(folder, "python", [*cases, lost]) as here:

        async def passes(case: Case) -> None:
            assert (seen := await here.visit(case)).genuine, (case, seen)
            assert (await here.row(case))["winner"] in ("direct|hostcase", "direct|split"), case

        await asyncio.gather(*map(passes, cases))
        seen = await here.visit(lost)
        assert seen.status == 502
        assert f"For details: `byway why {lost.name}`" in seen.body.decode()
        told = await here.byway.read("why", here.sites[lost.name].url(secure=False))
    assert "byway relay add" in told["verdict"]["do"], told["verdict"]


@at_once
async def test_the_control_for_that_without_the_ladder_nobody_is_passed(folder: Path) -> None:
    cases = [Case("python", view) for view in View]
    async with place(folder, "python", cases, ladder="ladder = []") as here:
        seen = await asyncio.gather(*map(here.visit, cases))
        assert [visit.url for visit in seen if visit.genuine] == []


@pytest.mark.needs("curl")
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
@at_once
async def test_curl_is_taken_past_a_censor_who_puts_the_stream_together(folder: Path, *, scheme: str) -> None:
    """curl sends a different hello than Python, and asks in a different way."""
    case = Case("python", View.TCP)
    async with place(folder, "python", [case]) as here:
        process = await asyncio.create_subprocess_exec(
            *here.byway.entering,
            *(programs.require("curl"), "-sS", "--max-time", "20", "--cacert", str(here.country.trust_file())),
            *("--proxy", f"{scheme}://127.0.0.1:{here.byway.port}", here.sites[case.name].url()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert out.decode() == f"{case.name} says hello\n", err.decode()
        assert (await here.row(case))["winner"] == "direct|tlsrec"
