"""Relays that are dead in five ways, and what a user is told after one visit: which relay, what is wrong with it and
what to do; and nothing of the site.

Real servers on loopback. The country's censor resets one name, and leaves another alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.country import DEAD, RELAY, Country, Running
from tests.support import programs
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.censor import Behaviour
from tests.support.relay import Relay
from tests.support.streams import Connections, close, listening
from tests.support.waiting import until_read

pytestmark = pytest.mark.slow

BLOCKED, HEALTHY = "blocked.test", "healthy.test"
QUICK = "give_up_s = 1.0\nhedge_relay_s = 0.3\n"
IMPATIENT = "[limits]\nhandshake_timeout_s = 0.5\n"
PORT = 1
"""Where nothing listens, at DEAD."""

MakeRelay = Callable[[Path], AbstractAsyncContextManager[str]]
"""Starts a relay and gives its URL."""


@asynccontextmanager
async def closed_port(_: Path) -> AsyncIterator[str]:
    yield f"socks5h://{DEAD}:{PORT}"


@asynccontextmanager
async def wrong_password(folder: Path) -> AsyncIterator[str]:
    """microsocks, which wants another one."""
    port = _free_port()
    program = programs.require("microsocks")
    arguments = ("-i", "127.0.0.1", "-p", str(port), "-u", "me", "-P", "secret")
    with (folder / "microsocks.txt").open("wb") as said:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=said, stderr=said)
    try:
        await _until_it_listens(port)
        yield f"socks5h://me:wrong@127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def bad_certificate(_: Path) -> AsyncIterator[str]:
    """An https relay whose certificate nobody here trusts."""
    async with _server(_say_nothing, Authority().server("localhost", "127.0.0.1")) as port:
        yield f"https://127.0.0.1:{port}"


@asynccontextmanager
async def garbage(_: Path) -> AsyncIterator[str]:
    async with _server(_say_garbage) as port:
        yield f"socks5h://127.0.0.1:{port}"


@asynccontextmanager
async def silent(_: Path) -> AsyncIterator[str]:
    async with _server(_say_nothing) as port:
        yield f"socks5h://127.0.0.1:{port}"


@dataclass(frozen=True)
class Dead:
    """One kind of dead relay."""

    name: str
    make: MakeRelay
    fault: str
    text: str
    needs: tuple[str, ...] = ()


KINDS = (
    Dead("closed port", closed_port, "connection_refused", "connection refused"),
    Dead("wrong password", wrong_password, "credentials_refused", "user or password refused", ("microsocks",)),
    Dead("bad certificate", bad_certificate, "bad_certificate", "bad certificate"),
    Dead("garbage", garbage, "wrong_protocol", "does not answer in its protocol"),
    Dead("silent", silent, "silent", "no answer"),
)


@pytest.fixture(params=[
    pytest.param(kind, id=kind.name, marks=pytest.mark.needs(*kind.needs) if kind.needs else ()) for kind in KINDS
])  # fmt: skip
def dead(request: pytest.FixtureRequest) -> Dead:
    kind: Dead = request.param
    return kind


@asynccontextmanager
async def visited(dead: Dead, folder: Path, *, rules: str | None = None) -> AsyncIterator[tuple[Country, Running]]:
    """A Byway with that relay alone, after one visit to the blocked site and one to the healthy one."""
    async with dead.make(folder) as url, Country((BLOCKED, HEALTHY)) as country:
        await country.censor(BLOCKED, Behaviour.RESET)
        await country.censor(HEALTHY, Behaviour.PASS)
        relay = f"socks5h://{country.relay.address}:{country.relay.port}"
        config = country.config(QUICK).replace(relay, url).replace("[detect]\n", f"{IMPATIENT}[detect]\n", 1)
        place = folder / "byway"
        place.mkdir()
        async with Running(country, place, config, rules=rules) as byway:
            with contextlib.suppress(OSError, EOFError):
                await byway.get(f"https://{BLOCKED}:{country.origin.https_port}/")
            if rules is None:
                healthy = await byway.get(f"https://{HEALTHY}:{country.origin.https_port}/")
                assert healthy.status == 200
            yield country, byway


async def test_after_one_visit_the_relay_and_its_fault_are_named_and_the_site_is_not_blamed(
    dead: Dead, tmp_path: Path
) -> None:
    async with visited(dead, tmp_path) as (country, byway):
        status = await byway.read("status")
        assert status["problems"][0]["text"] == f"Relay {RELAY} fails: {dead.text}."
        assert f"byway relay test {RELAY}" in status["problems"][0]["do"]
        assert [relay["fault"]["fault"] for relay in status["relays"]] == [dead.fault]
        assert {site["scope"]: site["words"] for site in status["sites"]} == {BLOCKED: "relays fail"}

        assert dead.text in (await byway.command("status")).stdout
        listed = (await byway.command("relay", "list")).stdout
        assert RELAY in listed
        assert dead.text in listed
        (relay,) = (await byway.read("relay", "list"))["relays"]
        assert (relay["state"], relay["fault"]["text"]) == ("failing", dead.text)

        answer = await byway.read("why", f"https://{BLOCKED}:{country.origin.https_port}/")
        assert answer["verdict"]["words"] == "relays fail", answer["verdict"]
        assert answer["verdict"]["relay_faults"] == {RELAY: dead.text}
        assert f"relay {RELAY}: {dead.text}" in answer["verdict"]["seen"]
        assert [fault["relay"] for fault in answer["relay_faults"]] == [RELAY]
        assert answer["belief"]["words"] == "relays fail"
        assert answer["belief"]["state"] not in ("suspect", "blocked")
        why = (await byway.command("why", f"https://{BLOCKED}:{country.origin.https_port}/")).stdout
        assert RELAY in why
        assert dead.text in why
        healthy = await byway.read("why", f"https://{HEALTHY}:{country.origin.https_port}/")
        assert healthy["verdict"]["words"] == "works"


async def test_a_relay_that_works_again_is_cleared(tmp_path: Path) -> None:
    async with visited(KINDS[0], tmp_path) as (country, byway):
        assert (await byway.read("status"))["relays"][0]["fault"] is not None
        text = byway.config.read_text()
        url = f"socks5h://{country.relay.address}:{country.relay.port}"
        patient = text.replace("handshake_timeout_s = 1\n", "").replace("give_up_s = 3\n", "")  # this relay works
        byway.config.write_text(patient.replace(f"socks5h://{DEAD}:{PORT}", url))
        byway.reload()

        async def is_reloaded() -> bool:
            return bool((await byway.ask("/v1/relays"))["relays"][0]["url"] == url)

        await until_read(is_reloaded, within_s=15)
        rescued = await byway.get(f"https://{BLOCKED}:{country.origin.https_port}/")
        assert rescued.status == 200
        status = await byway.read("status")
        assert status["relays"][0]["fault"] is None
        assert status["relays"][0]["state"] == "works"
        assert status["problems"] == []


async def test_a_fault_is_known_after_a_restart_and_after_an_edit_with_its_age(tmp_path: Path) -> None:
    async with visited(KINDS[0], tmp_path) as (_, byway):
        (before,) = (await byway.read("relay", "list"))["relays"]
        assert await byway.stop() == 0
        await byway.start()
        for words in (("status",), ("config", "set", "log.keep_days", "13")):
            await byway.command(*words)
            (now,) = (await byway.read("relay", "list"))["relays"]
            said = ("fault", "state", "words", "found_at")
            assert {key: now[key] for key in said} == {key: before[key] for key in said}
            assert f"Relay {RELAY} fails" in (await byway.read("status"))["problems"][0]["text"]


async def test_under_relay_a_fact_about_the_only_relay_is_named_and_nothing_goes_direct(
    dead: Dead, tmp_path: Path
) -> None:
    async with visited(dead, tmp_path, rules="MATCH,RELAY\n") as (country, byway):
        status = await byway.read("status")
        texts = [problem["text"] for problem in status["problems"]]
        blamed = f"Relay {RELAY} fails: {dead.text}." in texts
        assert blamed is (dead.name != "silent"), "that nothing answers may as well be this network's doing"
        assert {site["scope"]: site["words"] for site in status["sites"]} == {BLOCKED: "relays fail"}
        assert country.censors[BLOCKED].connections == 0


# -- servers -----------------------------------------------------------------------------------------------------------


async def _say_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(64)
    writer.write(b"HTTP/1.0 400 this is no SOCKS relay\r\n\r\n")
    await writer.drain()
    await reader.read()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


@asynccontextmanager
async def _server(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    connections = Connections(serve)
    server = await asyncio.start_server(connections, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await connections.stop()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def _until_it_listens(port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


async def test_two_byways_that_are_each_others_relay_end_the_loop_and_name_it(tmp_path: Path) -> None:
    """One visit took every descriptor of both, for half a minute. The next relay serves it now, also where descriptors
    are few: then no further request comes, by which the loop would show."""
    few = ("/bin/sh", "-c", 'ulimit -n 1024; exec "$@"', "sh")

    def relays(first: int, *others: str) -> str:
        urls = (f"socks5h://127.0.0.1:{first}", *others)
        return "\n".join(f'[[relay]]\nname = "r{number}"\nurl = "{url}"\n' for number, url in enumerate(urls))

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(listening(_echo, "127.0.0.1", 0))
        way_out = await stack.enter_async_context(Relay({"site.test": "127.0.0.1"}))
        other = Byway(tmp_path / "other", config=relays(PORT), rules="MATCH,RELAY:r0\n", prefix=few)
        await stack.enter_async_context(other)
        config = relays(other.port, f"socks5h://{way_out.address}:{way_out.port}")
        byway = Byway(tmp_path / "one", config=config, rules="MATCH,RELAY\n", prefix=few)
        await stack.enter_async_context(byway)
        other.config.write_text(f"config_version = 1\n{relays(byway.port)}")

        async def is_set() -> bool:
            (relay,) = (await other.read("relay", "list"))["relays"]
            return bool(relay["url"] == f"socks5h://127.0.0.1:{byway.port}")

        await until_read(is_set)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*byway.proxy)
            stack.push_async_callback(close, writer)
            site = f"site.test:{server.sockets[0].getsockname()[1]}"
            writer.write(f"CONNECT {site} HTTP/1.1\r\nHost: {site}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.write(b"through")
            assert await reader.readexactly(7) == b"through"

        async def is_quiet() -> bool:
            return bool((await byway.read("status"))["live"]["tunnels"] == 1)

        await until_read(is_quiet)
        (fault, _) = [relay["fault"] for relay in (await byway.read("relay", "list"))["relays"]]
        assert fault["fault"] == "leads_back"
        assert fault["do"].startswith("set the relay to connect directly and not through Byway")


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
