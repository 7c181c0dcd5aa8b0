"""Groups of real relays: microsocks processes that die and come back under a running Byway.

Each relay connects from an address of its own, so the origin sees which one a visit came through.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.support.byway import PATIENT, Byway
from tests.support.descriptors import descriptors_for_tunnels
from tests.support.programs import require
from tests.support.streams import close, listening
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.needs("microsocks"), pytest.mark.slow]

NAMES = ("a", "b", "c")
SOURCES = {f"127.0.3.{number}": name for number, name in enumerate(NAMES, 1)}


@dataclass
class MicroSocks:
    """One relay. It may be ended and started again, on the same port."""

    source: str
    port: int = field(default=0)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as free:
                self.port = free.getsockname()[1]
        self.process = await asyncio.create_subprocess_exec(
            *(require("microsocks"), "-q", "-i", "127.0.0.1", "-p", str(self.port), "-b", self.source)
        )
        await until(self._listens)

    async def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


@dataclass
class Scene:
    """A Byway whose rules send everything to the group eu, and its relays."""

    byway: Byway
    relays: dict[str, MicroSocks]
    port: int

    async def visit(self, path: str = "/") -> str:
        """The relay that a visit came through; "" when the visit failed."""
        reader, writer = await asyncio.open_connection(*self.byway.proxy)
        writer.write(f"GET http://127.0.0.1:{self.port}{path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n".encode())
        writer.write(b"Connection: close\r\n\r\n")
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        writer.close()
        return SOURCES[body.decode()] if head.startswith(b"HTTP/1.1 200 ") else ""

    async def groups(self) -> dict[str, object]:
        (group,) = (await self.byway.read("relay", "list"))["groups"]
        return dict(group)


async def tell_source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = writer.get_extra_info("peername")[0].encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))


@contextlib.asynccontextmanager
async def scene(folder: Path, policy: str) -> AsyncIterator[Scene]:
    relays = {name: MicroSocks(source) for source, name in SOURCES.items()}
    async with contextlib.AsyncExitStack() as stack:
        for relay in relays.values():
            stack.push_async_callback(relay.end)
            await relay.start()
        server = await stack.enter_async_context(listening(tell_source, "127.0.0.1", 0))
        tables = [f'[[relay]]\nname = "{n}"\nurl = "socks5h://127.0.0.1:{relays[n].port}"\n' for n in NAMES]
        group = f'[[group]]\nname = "eu"\nrelays = ["a", "b", "c"]\npolicy = "{policy}"\n'
        config = "\n".join([*tables, group, PATIENT])
        byway = await stack.enter_async_context(Byway(folder, config=config, rules="MATCH,RELAY:eu\n"))
        yield Scene(byway, relays, server.sockets[0].getsockname()[1])


async def test_fallback_leaves_a_dead_relay_at_once_and_does_not_come_and_go(tmp_path: Path) -> None:
    async with scene(tmp_path, "fallback") as here:
        assert [await here.visit() for _ in range(3)] == ["a"] * 3
        await here.relays["a"].end()
        assert [await here.visit() for _ in range(3)] == ["b"] * 3, "no visit fails, and none changes back"
        await here.relays["b"].end()
        assert [await here.visit() for _ in range(3)] == ["c"] * 3
        assert (await here.groups())["first"] == "c"
        await here.relays["a"].start()
        assert await here.visit() == "c", "a still rests"
        await here.relays["c"].end()
        assert await here.visit() == "a", "a visit is never lost while a member works"


async def test_tunnels_outlive_edits_of_their_relays_and_their_group(tmp_path: Path) -> None:
    """A relay and a group are added, reordered, renamed, removed and broken, and put right."""
    async with contextlib.AsyncExitStack() as stack:
        tunnels_max = stack.enter_context(descriptors_for_tunnels())
        here = await stack.enter_async_context(scene(tmp_path, "sticky"))
        server = await stack.enter_async_context(listening(echo, "127.0.0.1", 0))
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        tunnels = []
        for _ in range(tunnels_max):
            reader, writer = await asyncio.open_connection(*here.byway.proxy)
            stack.push_async_callback(close, writer)
            writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            tunnels.append((reader, writer))

        async def carry(said: bytes) -> None:
            for _, writer in tunnels:
                writer.write(said)
            for reader, _ in tunnels:
                assert await reader.readexactly(len(said)) == said

        async def is_shown(names: set[str], groups: dict[str, list[str]], problem: str = "") -> bool:
            shown = await here.byway.read("relay", "list")
            problems = str((await here.byway.read("status"))["problems"])
            return (
                {relay["name"] for relay in shown["relays"]} == names
                and {group["name"]: group["relays"] for group in shown["groups"]} == groups
                and (problem in problems if problem else "config.toml" not in problems)
            )

        await carry(b"first bytes")
        (used,) = {await here.visit() for _ in range(3)}
        kept = [name for name in NAMES if name != used]
        config, rules = here.byway.config.read_text(), here.byway.rules.read_text()
        members = '["a", "b", "c"]'
        more = f'\n[[relay]]\nname = "d"\nurl = "socks5h://127.0.0.1:{here.relays["a"].port}"\n'
        without = "\n".join(
            table for table in config.split("\n\n") if f'name = "{used}"' not in table
        ).replace(members, f'["{kept[0]}", "{kept[1]}"]')  # fmt: skip
        abcd = {*NAMES, "d"}
        edits: list[tuple[str, str, set[str], dict[str, list[str]], str]] = [
            (config + more, rules, abcd, {"eu": list("abc")}, ""),
            ((config + more).replace(members, '["d", "c", "b", "a"]'), rules, abcd, {"eu": list("dcba")}, ""),
            (config.replace('"eu"', '"far"'), "MATCH,RELAY:far\n", set(NAMES), {"far": list("abc")}, ""),
            (config.replace("[[group]]", "[[group]"), rules, set(NAMES), {"far": list("abc")}, "config.toml"),
            (config.replace('"c"]', '"x"]'), rules, set(NAMES), {"far": list("abc")}, "config.toml"),
            (without, rules, set(kept), {"eu": kept}, ""),
            (config, rules, set(NAMES), {"eu": list("abc")}, ""),
        ]
        for number, (config_text, rules_text, names, groups, problem) in enumerate(edits):
            here.byway.rules.write_text(rules_text)
            here.byway.config.write_text(config_text)
            await until_read(partial(is_shown, names, groups, problem))
            await carry(b"%d" % number * 1000)
            assert await here.visit() != "", "the group serves, or the last good one"
        assert (await here.byway.read("status"))["live"]["tunnels"] == tunnels_max


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_sticky_keeps_a_site_with_one_relay_and_after_its_death_with_another(tmp_path: Path) -> None:
    async with scene(tmp_path, "sticky") as here:
        first = await here.visit()
        assert {await here.visit() for _ in range(5)} == {first}
        await here.relays[first].end()
        second = await here.visit()
        assert second != first
        await here.relays[first].start()
        await here.byway.command("relay", "test", first, "--to", f"127.0.0.1:{here.port}")
        assert {await here.visit() for _ in range(5)} == {second}, "the first one works again"


async def test_select_uses_the_selected_relay_and_no_other_also_after_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path, "select") as here:
        assert await here.visit() == "a"
        done = await here.byway.command("relay", "use", "eu", "b")
        assert done.stdout == "Group eu uses b\n"
        assert await here.visit() == "b"
        await here.byway.stop()
        await here.byway.command("relay", "use", "eu", "c")  # without a running Byway
        await here.byway.start()
        assert await here.visit() == "c"
        await here.relays["c"].end()
        assert await here.visit() == "", "it fails, and no other relay is asked"
        refused = await here.byway.command("relay", "use", "eu", "d", check=False)
        assert (refused.returncode, "no relay" in refused.stderr) == (2, True)


async def test_a_selected_relay_that_an_edit_removes_makes_way_for_the_first_and_is_named(tmp_path: Path) -> None:
    async with scene(tmp_path, "select") as here:
        await here.byway.command("relay", "use", "eu", "b")
        config = here.byway.config.read_text()
        here.byway.config.write_text(config.replace('["a", "b", "c"]', '["a", "c"]'))

        async def uses_a() -> bool:
            return await here.visit() == "a"

        await until_read(uses_a)
        said = "relay b, selected for group eu, is not in it any more; its first relay, a, is used"
        assert any(said in notice for notice in (await here.byway.read("status"))["notices"])
        assert said in str((await here.groups())["problem"])
        assert said in here.byway.said.read_text()
