"""Fetched lists in a real Byway: replaced and broken beside tunnels, fetched beside visits and never without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.terminal.exit_codes import Exit
from tests.support.byway import TYPED, Byway, NotReady
from tests.support.client import fetch
from tests.support.descriptors import descriptors_for_tunnels
from tests.support.list_source import LONG_AGO, Answer, ListSource, page, redirect, zipped
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.streams import close, listening
from tests.support.waiting import until, until_read

LISTED = b"".join(b"site%d.test\n" % number for number in range(100))
MORE = LISTED + b"new.test\n"
HTML = page(b"<!doctype html><title>Login</title>", kind="text/html")
NAMES = {"lists.test": "127.0.0.1", "echo.test": "127.0.0.1"}
Tunnel = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class Scene:
    """A source of a list behind a relay, a server that echoes, a site to visit, and the Byway between."""

    def __init__(self, folder: Path, source: ListSource, relay: Relay, echo_port: int, origin: Origin) -> None:
        self.folder, self.source, self.relay, self.echo_port, self.origin = folder, source, relay, echo_port, origin
        self.url = f"https://lists.test:{source.port}/list.txt"

    def list_table(self, more: str = "") -> str:
        return f'[[list]]\nname = "mine"\nsource = "{self.url}"\n{more}\n'

    def byway(self, config: str, rules: str = "DOMAIN-SUFFIX,echo.test,RELAY\nLIST,mine,RELAY\n") -> Byway:
        relay = f'[[relay]]\nname = "tor"\nurl = "socks5h://{self.relay.address}:{self.relay.port}"\n'
        trust = {"SSL_CERT_FILE": str(self.source.authority.write(self.folder)), "SSL_CERT_DIR": str(self.folder)}
        return Byway(self.folder, config=relay + config, rules=rules, environment=trust)

    async def tunnel(self, byway: Byway, host: str) -> Tunnel:
        reader, writer = await asyncio.open_connection(*byway.proxy)
        place = f"{host}:{self.echo_port}"
        writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        await check([(reader, writer)], b"first bytes")
        return reader, writer

    async def visit(self, byway: Byway) -> None:
        assert (await fetch(f"http://127.0.0.1:{self.origin.http_port}/", via=byway.proxy)).status == 200


async def check(tunnels: list[Tunnel], said: bytes) -> None:
    """Every tunnel carries `said` there and back."""

    async def one(tunnel: Tunnel) -> None:
        reader, writer = tunnel
        writer.write(said)
        await writer.drain()
        assert await reader.readexactly(len(said)) == said

    async with asyncio.timeout(60):
        await asyncio.gather(*map(one, tunnels))


async def has_rules(byway: Byway, count: int) -> bool:
    return len((await byway.read("rule", "list"))["rules"]) == count


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    source, relay = ListSource({"/list.txt": page(LISTED, last_modified=LONG_AGO)}), Relay(NAMES)
    async with source, relay, listening(echo, "127.0.0.1", 0) as server, Origin() as origin:
        yield Scene(tmp_path, source, relay, server.sockets[0].getsockname()[1], origin)


@pytest.mark.slow
async def test_tunnels_outlive_whatever_becomes_of_the_list(scene: Scene) -> None:
    async with contextlib.AsyncExitStack() as stack:
        tunnels_max = stack.enter_context(descriptors_for_tunnels())
        byway = await stack.enter_async_context(scene.byway(scene.list_table("allow_empty = true")))

        async def action(host: str) -> str:
            return str((await byway.read("rule", "test", host))["plan"]["action"])

        assert (await byway.command("list", "refresh", "mine")).stdout == "mine\treplaced\t100\t\n"
        assert await action("www.site99.test") == "RELAY"
        tunnels = [
            await scene.tunnel(byway, host) for host in ("echo.test", "127.0.0.1") for _ in range(tunnels_max // 2)
        ]
        for _, writer in tunnels:
            stack.push_async_callback(close, writer)
        answers: tuple[tuple[Answer, str], ...] = (
            (HTML, "a web page came in place of the list"),
            (page(b"site1.test\n"), "it has shrunk from 100 entries to 1"),
            (page(b"", status="404 Not Found"), "through tor: answered 404"),
            (zipped(bytes(100_000_000)), "through tor: decompresses to more than 67,108,864 bytes"),
            (redirect("https://169.254.169.254/"), "through tor: redirects to 169.254.169.254, which is no public"),
        )
        for number, (answer, says) in enumerate(answers):
            scene.source.answers["/list.txt"] = answer
            ran = await byway.command("list", "refresh", "mine", check=False)
            assert ran.returncode == Exit.BAD
            assert ran.stdout.startswith(f"mine\tfailed\t100\t{says}")
            await check(tunnels, b"%d" % number * 1000)
            assert await action("www.site99.test") == "RELAY", "the last good copy serves"
        (problem,) = (await byway.read("status"))["problems"]
        assert problem["text"].startswith("List mine could not be fetched: through tor: redirects to 169")
        assert problem["do"] == "byway list refresh mine"
        assert byway.said.read_text().count("List mine could not be fetched") == 1

        scene.source.answers["/list.txt"] = page(MORE)
        assert (await byway.command("list", "refresh")).stdout == "mine\treplaced\t101\t\n"
        assert await action("new.test") == "RELAY"
        await check(tunnels, b"after the reload")
        assert (await byway.read("status"))["problems"] == []
        assert (await byway.read("status"))["live"]["tunnels"] == len(tunnels)
    assert all("accept-language" not in scene.source.fields(number) for number in range(len(scene.source.heads)))


@pytest.mark.slow
async def test_without_a_visit_nothing_is_sent_though_a_refresh_is_due(scene: Scene) -> None:
    async with scene.byway(scene.list_table('refresh = "15m"\nallow_empty = true')) as byway:
        await byway.command("list", "refresh")
        await byway.stop()
        (noted,) = (file for file in (byway.state / "lists").glob("*.json") if file.name != "tried.json")
        month_ago = time.time() - 30 * 86_400
        noted.write_text(json.dumps(json.loads(noted.read_text()) | {"fetched_at": month_ago, "changed_at": month_ago}))
        sent = (scene.relay.connections, scene.source.connections)
        await byway.start()
        (problem,) = (await byway.read("status"))["problems"]
        assert problem["text"].startswith("List mine is out of date: its last good copy, of 30 days ago, is in use")
        for words in (("list", "show"), ("rule", "list"), ("rule", "test", "site1.test"), ("site", "list")):
            await byway.command(*words)
        byway.rules.write_text("LIST,mine,RELAY\n")
        await until_read(lambda: has_rules(byway, 1))
        assert (scene.relay.connections, scene.source.connections) == sent, "idle, and a refresh is due"

        await scene.visit(byway)
        await until(lambda: scene.source.connections == sent[1] + 1)
        await until(lambda: json.loads(noted.read_text())["fetched_at"] > month_ago)
        for _ in range(20):
            await scene.visit(byway)
        assert (await byway.read("status"))["problems"] == []
        assert scene.source.connections == sent[1] + 1, "once"
        assert scene.source.fields()["if-modified-since"].endswith(" 00:00:00 GMT")


@pytest.mark.slow
async def test_a_rule_that_needs_the_list_is_told_what_to_do_first(scene: Scene) -> None:
    byway = scene.byway(scene.list_table())
    with pytest.raises(NotReady, match="exit code 7"):
        await byway.start()
    assert f"list mine: not fetched yet; run `{TYPED} list refresh mine`" in byway.said.read_text()
    await byway.command("list", "refresh")
    async with byway:
        assert (await byway.read("rule", "test", "site1.test"))["plan"]["action"] == "RELAY"


@pytest.mark.slow
async def test_a_list_that_an_edit_adds_is_fetched_by_the_running_byway(scene: Scene) -> None:
    async with scene.byway("", rules="MATCH,AUTO\n") as byway:
        byway.config.write_text(byway.config.read_text() + scene.list_table())
        byway.rules.write_text("LIST,mine,RELAY\n")
        await until(lambda: "Keeping the previous configuration" in byway.said.read_text())
        problems = (await byway.read("status"))["problems"]
        assert "run `byway list refresh mine`" in problems[0]["text"]
        await byway.command("list", "refresh", "mine")
        assert (await byway.read("rule", "test", "site1.test"))["plan"]["action"] == "RELAY"
        assert (await byway.read("status"))["problems"] == []


@pytest.mark.slow
async def test_with_every_relay_dead_the_source_is_not_asked_direct(scene: Scene) -> None:
    """It could be reached: the name has an address here."""
    config = f'[dns.hosts]\n"lists.test" = "127.0.0.1"\n{scene.list_table("allow_empty = true")}refresh = "15m"\n'
    await scene.relay.stop()
    async with scene.byway(config, rules="LIST,mine,RELAY\n") as byway:
        await scene.visit(byway)
        ran = await byway.command("list", "refresh", check=False)
        assert ran.returncode == Exit.BAD
        assert ran.stdout.startswith("mine\tfailed\t0\tthrough tor: ")
    assert scene.source.connections == 0


async def test_ephemeral_writes_no_copy(scene: Scene) -> None:
    byway = scene.byway(scene.list_table("allow_empty = true"))
    byway._arguments += ("--ephemeral",)
    async with byway:
        await byway.command("list", "refresh")
        assert (await byway.read("rule", "test", "site1.test"))["plan"]["action"] == "RELAY"
        assert not (byway.state / "lists").exists()


@pytest.mark.slow
async def test_a_rule_about_the_source_counts(scene: Scene) -> None:
    """RELAY:name is for the fetch too, and BLOCK."""
    other = '[[relay]]\nname = "other"\nurl = "socks5h://127.0.0.1:9"\n'
    rules = "DOMAIN-SUFFIX,lists.test,RELAY:other\nMATCH,AUTO\n"
    async with scene.byway(other + scene.list_table(), rules=rules) as byway:
        ran = await byway.command("list", "refresh", check=False)
        assert ran.stdout.startswith("mine\tfailed\t0\tthrough other: ")
        await byway.command("site", "set", "lists.test", "block")
        ran = await byway.command("list", "refresh", check=False)
        assert ran.stdout == "mine\tfailed\t0\ta rule blocks its host, or leaves no relay for it\n"
        assert scene.relay.connections == 0
        await byway.command("site", "set", "lists.test", "relay:tor")
        assert (await byway.command("list", "refresh")).stdout == "mine\treplaced\t100\t\n"
