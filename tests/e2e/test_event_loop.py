"""Byway on asyncio's own event loop: because a setting says so, and on a Python whose asyncio differs inside."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import select
import sys
from pathlib import Path

import pytest

from proxy.net.loop.choice import BORROWED
from tests.e2e.test_budgets import HOST, Visitor, answer
from tests.support.byway import Byway
from tests.support.other_python import Change, environment, without
from tests.support.streams import listening
from tests.support.waiting import until

pytestmark = [pytest.mark.skipif(not hasattr(select, "epoll"), reason="not run: epoll is Linux"), pytest.mark.slow]

ALL_VISITS = ("connect", "socks5", "plain", "keep_alive", "first")
FIRST = "www.fresh0.test"


async def visit(folder: Path, config: str = "", variables: dict[str, str] | None = None) -> tuple[bool, str]:
    """Makes a visit of each kind through a Byway. Returns whether that has its own loop, and what it said."""
    hosts = "".join(f'"{host}" = "127.0.0.1"\n' for host in (HOST, FIRST))
    async with (
        listening(answer, "127.0.0.1", 0) as server,
        Byway(folder, config=f"{config}[dns.hosts]\n{hosts}", environment=variables) as byway,
    ):
        async with contextlib.aclosing(Visitor(byway.proxy, server.sockets[0].getsockname()[1])) as visitor:
            for kind in ALL_VISITS:
                await getattr(visitor, kind)()
        has_own = waits_in_the_set_of_sockets(byway.pid, byway.port)
        assert await byway.stop() == 0
    return has_own, byway.said.read_text()


def waits_in_the_set_of_sockets(pid: int, port: int) -> bool:
    """Whether the epoll set that has the listening socket has another set in it, that of asyncio's descriptors. On
    asyncio's loop it is the other way round."""
    found: dict[int, str] = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
    listener = f"socket:[{inode_of_listener(pid, port)}]"
    sets = {fd for fd, target in found.items() if target == "anon_inode:[eventpoll]"}
    members = {fd: members_of(pid, fd) for fd in sets}
    (ours,) = (fd for fd in sets if any(found.get(member) == listener for member in members[fd]))
    return bool(members[ours] & sets)


def members_of(pid: int, fd: int) -> set[int]:
    """The descriptors in an epoll set, as the kernel tells them."""
    return {int(number) for number in re.findall(r"^tfd:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{fd}").read_text(), re.M)}


def inode_of_listener(pid: int, port: int) -> str:
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return next(row[9] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}"))


@pytest.mark.parametrize(("wanted", "has_own"), [("auto", True), ("asyncio", False)])
async def test_the_setting_decides_and_all_visits_go_through(tmp_path: Path, wanted: str, has_own: bool) -> None:
    found, said = await visit(tmp_path, f'[limits]\nevent_loop = "{wanted}"\n')
    assert found == has_own
    assert "event loop" not in said


@pytest.mark.parametrize("borrowed", BORROWED)
async def test_a_python_that_lacks_it_gets_asyncios_loop_and_one_line_names_it(tmp_path: Path, borrowed: str) -> None:
    found, said = await visit(tmp_path, variables=environment(tmp_path / "python", without(borrowed)))
    assert not found
    (line,) = (line for line in said.splitlines() if "event loop" in line)
    assert f"needs {borrowed}, which Python " in line
    assert "Traceback" not in said


WITHOUT_ACCEPT: list[Change] = [
    ("socket", r"self\._accept\(\)", "_socket.socket._accept(self)"),
    ("socket", r'( +)__slots__ = \["__weakref__"', r"\1_accept = property()  # which has no value\n\n\g<0>"),
]
WITHOUT_SSLOBJ: list[Change] = [("ssl", r"\b_sslobj\b", "_as_it_is_called_now")]


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [
        pytest.param(WITHOUT_ACCEPT, "from socket import socket; socket()._accept", id="socket._accept"),
        pytest.param(
            WITHOUT_SSLOBJ,
            "from ssl import *; SSLContext(PROTOCOL_TLS_SERVER).wrap_bio(MemoryBIO(), MemoryBIO(), True)._sslobj",
            id="SSLObject._sslobj",
        ),
    ],
)
async def test_a_python_that_lacks_what_else_is_borrowed_keeps_our_loop(
    tmp_path: Path, changes: list[Change], lacks: str
) -> None:
    variables = environment(tmp_path / "python", changes)
    shown = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", lacks), env={**os.environ, **variables}, stderr=asyncio.subprocess.PIPE
    )
    assert b"\nAttributeError" in (await shown.communicate())[1]  # the control: it is not there
    found, said = await visit(tmp_path, variables=variables)
    assert found
    assert "event loop" not in said
    assert "Traceback" not in said


async def test_where_the_setting_says_so_nothing_is_tried_and_nothing_said(tmp_path: Path) -> None:
    variables = environment(tmp_path / "python", without(BORROWED[0]))
    found, said = await visit(tmp_path, '[limits]\nevent_loop = "asyncio"\n', variables)
    assert not found
    assert "event loop" not in said


async def test_a_reload_that_changes_it_says_that_it_holds_from_the_next_start(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        done = await byway.command("config", "set", "limits.event_loop", "asyncio")
        assert done.stdout.startswith("limits.event_loop = asyncio\n")
        assert "It takes effect after `" in done.stdout + done.stderr
        await until(lambda: "[limits] event_loop: the change takes effect after a restart" in byway.said.read_text())
        assert waits_in_the_set_of_sockets(byway.pid, byway.port)
        await byway.stop()
        await byway.start()
        assert not waits_in_the_set_of_sockets(byway.pid, byway.port)
