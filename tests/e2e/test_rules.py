"""Rules of a running Byway: edited by command, and counted."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.programs import require
from tests.support.streams import close, listening

SITES = "".join(f'"{name}" = "127.0.0.1"\n' for name in ("a.test", "b.test", "www.c.test"))
CONFIG = f"[dns.hosts]\n{SITES}"
EDIT_S = 20.0
"""An edit is in use within a second; a busy machine takes longer."""


async def hits(byway: Byway) -> dict[str, int]:
    answer = await byway.read("rule", "list")
    rows = {rule["text"]: rule["hits"] for rule in answer["rules"]}
    return rows | {override["scope"]: override["hits"] for override in answer["overrides"]}


async def planned(byway: Byway, host: str) -> str:
    action: str = (await byway.read("rule", "test", host))["plan"]["action"]
    return action


async def until_planned(byway: Byway, host: str, action: str) -> None:
    async with asyncio.timeout(EDIT_S):
        while await planned(byway, host) != action:
            pass  # each question takes a process of its own


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if b"close" in head.lower():
            return


@pytest.mark.slow
async def test_connections_are_counted_by_the_rule_that_decides(tmp_path: Path) -> None:
    rules = "# mine\nDOMAIN,a.test,DIRECT\nDOMAIN-SUFFIX,c.test,BLOCK\nDOMAIN,never.test,BLOCK\n"
    async with listening(echo, "127.0.0.1", 0) as server, Byway(tmp_path, config=CONFIG, rules=rules) as byway:
        port = server.sockets[0].getsockname()[1]
        for name in ("a.test", "a.test", "b.test"):
            assert (await fetch(f"http://{name}:{port}/", via=byway.proxy)).status == 200
        assert (await fetch(f"http://www.c.test:{port}/", via=byway.proxy)).status == 403
        assert await hits(byway) == {
            "DOMAIN,a.test,DIRECT": 2,
            "DOMAIN-SUFFIX,c.test,BLOCK": 1,
            "DOMAIN,never.test,BLOCK": 0,
        }
        # A tunnel counts when it opens, and what is only asked for does not count.
        reader, writer = await asyncio.open_connection(*byway.proxy)
        writer.write(f"CONNECT a.test:{port} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        assert await planned(byway, "a.test") == "DIRECT"
        assert (await hits(byway))["DOMAIN,a.test,DIRECT"] == 3
        # Of a reload, and of a line that moves, a rule's count does not begin anew. An override has a count, too.
        await byway.command("site", "set", "b.test", "direct")
        assert (await fetch(f"http://b.test:{port}/", via=byway.proxy)).status == 200
        await byway.command("rule", "add", "DOMAIN,x.test,BLOCK", "--top")
        await until_planned(byway, "x.test", "BLOCK")
        counted = await hits(byway)
        assert (counted["DOMAIN,a.test,DIRECT"], counted["DOMAIN,x.test,BLOCK"], counted["b.test"]) == (3, 0, 1)
        await close(writer)


async def test_a_literal_address_counts_for_the_rule_about_its_name(tmp_path: Path) -> None:
    rules = "DOMAIN,named.test,DIRECT\nIP-CIDR,127.0.0.0/8,DIRECT\n"
    async with listening(echo, "127.0.0.1", 0) as server, Byway(tmp_path, rules=rules) as byway:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(*byway.proxy)
        writer.write(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\nHost: named.test\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await reader.read()
        await close(writer)
        assert await hits(byway) == {"DOMAIN,named.test,DIRECT": 1, "IP-CIDR,127.0.0.0/8,DIRECT": 1}


@pytest.mark.slow
@pytest.mark.needs("curl")
async def test_a_rule_about_a_program_is_for_that_program_alone(tmp_path: Path) -> None:
    config = f'{CONFIG}[[relay]]\nname = "none"\nurl = "127.0.0.1:1"\n'
    rules = "PROCESS-NAME,Curl,BLOCK\nMATCH,DIRECT\n"
    async with listening(echo, "127.0.0.1", 0) as server, Byway(tmp_path, config=config, rules=rules) as byway:
        url = f"http://a.test:{server.sockets[0].getsockname()[1]}/"

        async def by_curl() -> int:
            words = ("-s", "-o", os.devnull, "-w", "%{http_code}", "-x", byway.url, url)
            process = await asyncio.create_subprocess_exec(
                require("curl"), *words, stdout=asyncio.subprocess.PIPE, env={"PATH": ""}
            )
            said, _ = await process.communicate()
            return int(said)

        assert [await by_curl(), (await fetch(url, via=byway.proxy)).status, await by_curl()] == [403, 200, 403]
        assert await hits(byway) == {"PROCESS-NAME,Curl,BLOCK": 2, "MATCH,DIRECT": 1}
        assert await planned(byway, "a.test") == "DIRECT"
        answer = await byway.read("rule", "test", "a.test", "--process", "curl")
        assert answer["plan"]["why"] == "rules.txt:1 PROCESS-NAME,Curl,BLOCK"


@pytest.mark.slow
async def test_a_rule_about_a_network_is_for_that_network_alone(tmp_path: Path) -> None:
    async with Byway(tmp_path, rules="MATCH,AUTO\n") as byway:
        network = (await byway.read("status"))["network"]
        byway.config.write_text(f'{byway.config.read_text()}\n[networks]\ncafe = "{"0" * 16}"\n')
        await byway.command("rule", "add", "NETWORK,cafe,BLOCK")
        await byway.command("rule", "add", f"NETWORK,{network},DIRECT")
        await until_planned(byway, "a.test", "DIRECT")
        answer = await byway.read("rule", "test", "a.test", "--network", "Cafe")
        assert answer["plan"]["why"] == "rules.txt:1 NETWORK,cafe,BLOCK"
        refused = await byway.command("rule", "test", "a.test", "--network", "caffe", check=False)
        assert 'unknown network "caffe"; did you mean cafe?' in refused.stderr


@pytest.mark.slow
async def test_a_running_byway_uses_an_imported_list(tmp_path: Path) -> None:
    source = tmp_path / "gfw.txt"
    source.write_text("[Adblock Plus 2.0]\n||one.test^\n")
    async with Byway(tmp_path, rules="MATCH,AUTO\n") as byway:
        await byway.command("rule", "import", str(source))
        await byway.command("rule", "add", "LIST,gfw,BLOCK")
        await until_planned(byway, "www.one.test", "BLOCK")
        source.write_text("[Adblock Plus 2.0]\n||two.test^\n")
        await byway.command("rule", "import", str(source), "--list", "gfw")
        await until_planned(byway, "two.test", "BLOCK")
        assert await planned(byway, "www.one.test") == "AUTO"


@pytest.mark.slow
async def test_a_running_byway_uses_what_is_added_and_forgets_what_is_removed(tmp_path: Path) -> None:
    async with Byway(tmp_path, rules="MATCH,AUTO\n") as byway:
        added = await byway.command("rule", "add", "DOMAIN-SUFFIX,example.org,BLOCK")
        assert "added as rule 1, before MATCH,AUTO" in added.stdout
        await until_planned(byway, "www.example.org", "BLOCK")
        await byway.command("rule", "rm", "1")
        await until_planned(byway, "www.example.org", "AUTO")
        assert byway.rules.read_text() == "MATCH,AUTO\n"
