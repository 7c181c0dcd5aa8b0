"""A Byway, wired and listening, wherever its files lie and with as few descriptors as it is given.

Each is a process of its own; what such a process is started and stopped with is told in `test_process`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import stat
from collections import Counter
from pathlib import Path

import pytest

from tests.support.byway import TYPED, Byway
from tests.support.client import fetch, tunnel
from tests.support.origin import Origin
from tests.support.waiting import until, until_read

pytestmark = pytest.mark.waits

HOSTS = '[dns.hosts]\n"one.test" = "127.0.0.1"\n'


@pytest.mark.uses("today")
@pytest.mark.parametrize("name", ["with spaces", "юникод", "x" * 200])
async def test_G10_any_folder_will_do(tmp_path: Path, name: str) -> None:
    async with Byway(tmp_path / name) as byway:
        assert (await byway.read("status"))["pid"] == byway.pid
        assert await byway.stop() == 0
        assert "Traceback" not in byway.said.read_text()


async def test_G5_a_file_with_a_password_is_closed_to_others(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config='[[relay]]\nname = "vps"\nurl = "socks5h://me:secret@127.0.0.1:1"\n')
    byway.config.chmod(0o644)
    async with byway:
        assert stat.S_IMODE(byway.config.stat().st_mode) == 0o600
        assert "secret" not in byway.said.read_text()


@pytest.mark.parametrize(
    ("config", "relays"),
    [
        ("", f"no relay; add one with `{TYPED} relay add URL`"),
        ('[[relay]]\nname = "vps"\nurl = "v.test:1"\n', "relays: vps"),
    ],
)
async def test_without_a_terminal_it_prints_its_address_and_the_next_step(
    tmp_path: Path, config: str, relays: str
) -> None:
    async with Byway(tmp_path, config=config) as byway:
        address = "{}:{}".format(*byway.proxy)
        await until(lambda: byway.said.read_text().count("\n") >= 2)  # run.json is written before the greeting
        assert byway.said.read_text().splitlines() == [
            f"Byway listens on {address} for HTTP, SOCKS4 and SOCKS5 ({relays}).",
            f"Set {address} as your browser's proxy, then see `{TYPED} status`. Ctrl-C stops.",
        ]


async def test_G11_G1_hangup_with_a_bad_file_keeps_what_was_and_every_tunnel(tmp_path: Path) -> None:
    async with Origin() as origin, Byway(tmp_path, config=HOSTS, rules="DOMAIN,two.test,BLOCK\n") as byway:
        async with tunnel(f"one.test:{origin.http_port}", byway.proxy) as (reader, writer):
            byway.config.write_text("config_version = 1\n[listen\n")
            byway.reload()
            await until(lambda: "config.toml:2: " in byway.said.read_text())
            assert (await fetch("http://two.test/", via=byway.proxy)).status == 403
            writer.write(b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        assert await byway.stop() == 0


@pytest.mark.parametrize(("reserve", "why"), [(40, "clients_max"), (1, os.strerror(errno.EMFILE))])
async def test_K1_a_shortage_is_said_once_a_second_and_got_over(tmp_path: Path, reserve: int, why: str) -> None:
    """By our own count, and, with a reserve that is too small, by the system's."""
    async with Byway(tmp_path) as unlimited:
        needed = len(os.listdir(f"/proc/{unlimited.pid}/fd"))
    limit = ("sh", "-c", f'ulimit -n {needed + reserve + 5} && exec "$0" "$@"')
    byway = Byway(tmp_path, config=f"[limits]\ndescriptors_reserve = {reserve}\n{HOSTS}", prefix=limit)
    async with Origin() as origin, byway, contextlib.AsyncExitStack() as held:

        async def served() -> bool:
            try:
                async with asyncio.timeout(5):  # none is served while others hold all places
                    answer = await fetch(f"http://one.test:{origin.http_port}/", via=byway.proxy)
            except (OSError, asyncio.IncompleteReadError):
                return False
            return answer.status == 200

        await until_read(served)
        for _ in range(80):
            _, writer = await asyncio.open_connection(*byway.proxy)
            writer.write(b"GET http://one.test/ HT")
            held.callback(writer.close)

        def shortages() -> list[str]:
            return re.findall(rf"^(\S+) not accepting clients: .*{why}", byway.said.read_text(), re.MULTILINE)

        await until(lambda: len(shortages()) >= 3)
        assert max(Counter(shortages()).values()) <= 2, "pauses are many, lines few"
        assert "Traceback" not in byway.said.read_text()
        assert byway.process is not None
        assert byway.process.returncode is None
        await held.aclose()
        await until_read(served)


@pytest.mark.uses("today")
async def test_a_list_that_was_hardly_read_is_told_at_the_start_and_in_status(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config='[[list]]\nname = "gfw"\nsource = "gfw.txt"\n', rules="LIST,gfw,AUTO\n")
    byway.config.with_name("gfw.txt").write_text("<html>\n<p>Not found</p>\n</html>\n")
    async with byway:
        await until(lambda: "0 lines read, 3 lines skipped" in byway.said.read_text())
        (problem,) = (await byway.read("status"))["problems"]
        assert "0 lines read, 3 lines skipped" in problem["text"]
