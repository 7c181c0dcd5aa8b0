"""Two Byways, each of which is a relay of the other."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.relay import Relay
from tests.support.streams import close, listening
from tests.support.waiting import GIVEN_UP_S, until_read

pytestmark = pytest.mark.slow


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
        other = Byway(tmp_path / "other", config=relays(1), rules="MATCH,RELAY:r0\n", prefix=few)
        await stack.enter_async_context(other)
        config = relays(other.port, f"socks5h://{way_out.address}:{way_out.port}")
        byway = Byway(tmp_path / "one", config=config, rules="MATCH,RELAY\n", prefix=few)
        await stack.enter_async_context(byway)
        other.config.write_text(f"config_version = 1\n{relays(byway.port)}")

        async def is_set() -> bool:
            (relay,) = (await other.read("relay", "list"))["relays"]
            return bool(relay["url"] == f"socks5h://127.0.0.1:{byway.port}")

        await until_read(is_set)
        async with asyncio.timeout(GIVEN_UP_S):
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
