"""Edited files and a real Byway: taken without being told, and no tunnel notices.

Every test holds a tunnel open over the edits and speaks through it at the end. What is edited is looked at from outside
alone: by what a client is told next, by what Byway says, and by what `byway status` shows.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.app.app import _POLL_S
from tests.support.byway import Byway
from tests.support.client import fetch, tunnel
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.streams import close, listening
from tests.support.waiting import GIVEN_UP_S, until, until_read

pytestmark = pytest.mark.waits

TAKEN_S = 1.0
"""How soon an edited file acts. It takes two polls, as `tests/setup/test_reload.py` shows."""
HOSTS = """
[dns.hosts]
"one.test" = "127.0.0.1"
"two.test" = "127.0.0.1"
"held.test" = "127.0.0.1"
"far.test" = "127.0.9.9"
"""
"""Nobody listens where far.test seems to be."""
OPEN, FORBIDDEN, MUST_SIGN_IN, UNREACHED = 200, 403, 407, 502
PASSWORD = '[listen]\nuser = "alice"\npassword_cmd = "echo opensesame"\n'


class Talk:
    """A tunnel to a server that repeats what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def holds(self) -> bool:
        word = os.urandom(8)
        self._writer.write(word)
        return await asyncio.wait_for(self._reader.readexactly(len(word)), GIVEN_UP_S) == word


@contextlib.asynccontextmanager
async def talk(byway: Byway) -> AsyncIterator[Talk]:
    """A tunnel through Byway that has been spoken through."""

    async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async with listening(repeat, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with tunnel(f"held.test:{port}", byway.proxy) as (reader, writer):
            talking = Talk(reader, writer)
            assert await talking.holds()
            yield talking


async def answers(byway: Byway, origin: Origin, host: str, status: int) -> None:
    """Returns once a request for `host` gets `status`."""

    async def asked() -> bool:
        return (await fetch(f"http://{host}:{origin.http_port}/", via=byway.proxy)).status == status

    await until_read(asked)


async def problems(byway: Byway) -> list[str]:
    return [problem["text"] for problem in (await byway.read("status"))["problems"]]


def said(byway: Byway, words: str) -> int:
    """In how many lines of standard output and error the words stand."""
    return sum(words in line for line in byway.said.read_text().splitlines())


def write(file: Path, text: str) -> None:
    file.write_text(text)


def replace(file: Path, text: str) -> None:
    """As editors do."""
    new = file.with_name("new")
    new.write_text(text)
    new.rename(file)


def relink(file: Path, text: str) -> None:
    """As those do who keep their files elsewhere."""
    target = file.with_name(f"kept-{len(list(file.parent.iterdir()))}")
    target.write_text(text)
    link = file.with_name("link")
    link.symlink_to(target)
    link.rename(file)


def test_two_polls_come_within_a_second() -> None:
    assert 2 * _POLL_S <= TAKEN_S


@pytest.mark.slow
@pytest.mark.parametrize("edit", [write, replace, relink])
async def test_an_edited_rule_acts_by_itself(edit: Callable[[Path, str], None], tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=HOSTS, rules="DOMAIN,one.test,BLOCK\n")
    async with Origin() as origin, byway, talk(byway) as talking:
        await answers(byway, origin, "one.test", FORBIDDEN)
        await answers(byway, origin, "two.test", OPEN)
        edit(byway.rules, "DOMAIN,two.test,BLOCK\nDOMAIN,held.test,BLOCK\n")
        await answers(byway, origin, "two.test", FORBIDDEN)
        await answers(byway, origin, "one.test", OPEN)
        assert await talking.holds(), "a tunnel that the new rules would forbid is left alone"


@pytest.mark.slow
async def test_a_first_rules_file_acts_and_so_does_its_removal(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=HOSTS)
    async with Origin() as origin, byway, talk(byway) as talking:
        await answers(byway, origin, "one.test", OPEN)
        byway.rules.write_text("MATCH,BLOCK\n")
        await answers(byway, origin, "one.test", FORBIDDEN)
        byway.rules.unlink()
        await answers(byway, origin, "one.test", OPEN)
        assert await talking.holds()


@pytest.mark.slow
async def test_a_bad_file_keeps_the_old_rules_and_says_where(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=HOSTS, rules="DOMAIN,one.test,BLOCK\n")
    async with Origin() as origin, byway, talk(byway) as talking:
        byway.rules.write_text("DOMAIN,two.test,BLOCK\nDOMAIN,one.test,BLOKC\nDOMAIN-REGEX,(,BLOCK\n")
        await until(lambda: said(byway, "rules.txt:3:") == 1)
        assert said(byway, "rules.txt:2:") == 1
        await answers(byway, origin, "one.test", FORBIDDEN)
        await answers(byway, origin, "two.test", OPEN)
        (problem,) = await problems(byway)
        assert "not in use" in problem
        assert "rules.txt:2:" in problem
        assert "rules.txt:2:" in (await byway.command("status")).stdout
        assert said(byway, "rules.txt:2:") == 1, "said once, not at each look"

        byway.rules.write_text("DOMAIN,two.test,BLOCK\n")
        await answers(byway, origin, "two.test", FORBIDDEN)
        assert await problems(byway) == []
        assert await talking.holds()


async def test_a_bad_configuration_keeps_the_old_one_and_says_where(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=HOSTS)
    good = byway.config.read_text()
    async with Origin() as origin, byway, talk(byway) as talking:
        byway.config.write_text(f'{good}"three.test" = 3\n')
        line = len(good.splitlines()) + 1
        await until(lambda: said(byway, f"config.toml:{line}:") == 1)
        await answers(byway, origin, "two.test", OPEN)
        assert any(f"config.toml:{line}:" in problem for problem in await problems(byway))
        byway.config.write_text(good)
        await until_read(lambda: _no_problem(byway))
        assert await talking.holds()


async def _no_problem(byway: Byway) -> bool:
    return not await problems(byway)


async def test_a_relay_that_is_added_is_used(tmp_path: Path) -> None:
    """The rule first: it names a relay that is not there yet, and waits for the configuration."""
    byway = Byway(tmp_path, config=HOSTS)
    async with Origin() as origin, Relay({"far.test": "127.0.0.1"}) as relay, byway, talk(byway) as talking:
        byway.rules.write_text("DOMAIN,far.test,RELAY:vps\n")
        await until(lambda: said(byway, "rules.txt:1:") == 1)
        await answers(byway, origin, "far.test", UNREACHED)
        with byway.config.open("a") as config:
            config.write(f'[[relay]]\nname = "vps"\nurl = "socks5h://{relay.address}:{relay.port}"\n')
        await answers(byway, origin, "far.test", OPEN)
        assert origin.requests[-1].peer == relay.address
        assert [told["name"] for told in (await byway.read("relay", "list"))["relays"]] == ["vps"]
        assert await talking.holds()


@pytest.mark.slow
async def test_what_the_log_keeps_can_be_edited(tmp_path: Path) -> None:
    """A site that simply works is not in it, and then it is."""
    byway = Byway(tmp_path, config=HOSTS)
    async with Origin() as origin, byway:

        async def rows() -> list[str]:
            await answers(byway, origin, "one.test", OPEN)
            return [row["host"] for row in (await byway.read("log"))["rows"]]

        assert await rows() == []
        byway.config.write_text(byway.config.read_text() + '[log]\nhosts = "all"\n')

        async def logged() -> bool:
            return "one.test" in await rows()

        await until_read(logged)


@pytest.mark.slow
async def test_a_hangup_reads_even_what_looks_unchanged(tmp_path: Path) -> None:
    """Length, time and inode stay as they were: only a signal can tell."""
    byway = Byway(tmp_path, config=HOSTS, rules="DOMAIN,one.test,BLOCK\n")
    async with Origin() as origin, byway, talk(byway) as talking:
        found = byway.rules.stat()
        byway.rules.write_text("DOMAIN,two.test,BLOCK\n")
        os.utime(byway.rules, ns=(found.st_atime_ns, found.st_mtime_ns))
        byway.reload()
        await answers(byway, origin, "two.test", FORBIDDEN)
        await answers(byway, origin, "one.test", OPEN)
        assert await talking.holds()


@pytest.mark.slow
async def test_G2_fifty_edits_good_and_bad_in_turn(tmp_path: Path) -> None:
    """Each good one acts and each bad one is said, while a tunnel and downloads go on."""
    byway = Byway(tmp_path, config=HOSTS)
    async with Origin() as origin, byway, talk(byway) as talking, asyncio.TaskGroup() as meanwhile:
        over = asyncio.Event()

        async def go_on() -> int:
            rounds = 0
            while not over.is_set():
                got = await fetch(f"http://held.test:{origin.http_port}/bytes/300000", via=byway.proxy)
                assert (got.status, len(got.body)) == (200, 300_000)
                assert await talking.holds()
                rounds += 1
            return rounds

        going_on = meanwhile.create_task(go_on())
        for turn in range(25):
            blocked, other = ("one.test", "two.test") if turn % 2 else ("two.test", "one.test")
            byway.rules.write_text(f"DOMAIN,{blocked},BLOCK\n")
            byway.reload()
            await answers(byway, origin, blocked, FORBIDDEN)
            byway.rules.write_text(f"DOMAIN,{other},BLOCK\n# turn {turn}\nnonsense-{turn}\n")
            byway.reload()
            await until(lambda turn=turn: said(byway, f"nonsense-{turn}") > 0)  # type: ignore[misc]  # bound now
            await answers(byway, origin, other, OPEN)
        over.set()
        assert await going_on > 0
    assert not re.search(r"Traceback|fault", byway.said.read_text())


@pytest.mark.slow
async def test_a_password_that_changed_where_it_is_stored_is_taken_on_sighup(tmp_path: Path) -> None:
    """An edit runs no command again: a keyring may ask its user. Before, only a restart did."""
    stored = tmp_path / "password"
    stored.write_text("old\n")
    config = f"""{HOSTS}
[listen]
user = "me"
password_cmd = "cat '{stored}'"
"""
    byway = Byway(tmp_path, config=config, rules="MATCH,DIRECT\n")
    async with Origin() as origin, byway:

        async def status(password: str, host: str = "one.test") -> int:
            place = f"{host}:{origin.http_port}".encode()
            credentials = base64.b64encode(f"me:{password}".encode())
            reader, writer = await asyncio.open_connection(*byway.proxy)
            writer.write(b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n" % (place, place))
            writer.write(b"Proxy-Authorization: Basic %b\r\nConnection: close\r\n\r\n" % credentials)
            head, _, _ = (await reader.read(-1)).partition(b"\r\n")
            await close(writer)
            return int(head.split()[1])

        assert (await status("old"), await status("new")) == (OPEN, MUST_SIGN_IN)
        stored.write_text("new\n")
        write(byway.rules, "DOMAIN,two.test,BLOCK\nMATCH,DIRECT\n")

        async def is_edited() -> bool:
            return await status("old", "two.test") == FORBIDDEN

        async def is_new() -> bool:
            return await status("new") == OPEN

        await until_read(is_edited)
        assert await status("new") == MUST_SIGN_IN
        byway.reload()
        await until_read(is_new)
        assert await status("old") == MUST_SIGN_IN


@pytest.mark.slow
async def test_a_password_is_asked_of_clients_that_were_there_before_it(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config=HOSTS)
    async with Origin() as origin, byway, talk(byway) as held:
        asks = b"GET http://one.test:%d/ HTTP/1.1\r\nHost: one.test:%d\r\n\r\n" % (2 * (origin.http_port,))
        idle, begun = [await asyncio.open_connection(*byway.proxy) for _ in range(2)]
        idle[1].write(asks)
        head = await idle[0].readuntil(b"\r\n\r\n")
        (length,) = re.findall(rb"content-length: (\d+)", head.lower())
        await idle[0].readexactly(int(length))
        begun[1].write(asks[:20])

        write(byway.config, byway.config.read_text() + PASSWORD)
        await answers(byway, origin, "one.test", MUST_SIGN_IN)
        served = len(origin.requests)
        idle[1].write(asks)
        begun[1].write(asks[20:])
        for reader, writer in (idle, begun):
            assert b" 200 " not in await asyncio.wait_for(reader.read(), GIVEN_UP_S)
            writer.close()
        assert len(origin.requests) == served
        assert await held.holds()
