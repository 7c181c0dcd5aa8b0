"""A real Byway whose relay is a key: what is visited, what is shown, and what is left when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.features.keys.test_process import _has_ended
from tests.support import programs
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.key_server import PASSWORD, KeyServer
from tests.support.origin import Origin
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("mihomo"), pytest.mark.slow]


def config(**links: str) -> str:
    return "".join(f'[[relay]]\nname = "{name}"\nurl = "{link}"\nlocal = true\n' for name, link in links.items())


def path_with_engine(folder: Path) -> dict[str, str]:
    """Returns an environment in which mihomo is on PATH."""
    programs_folder = folder / "programs"
    programs_folder.mkdir()
    (programs_folder / "mihomo").symlink_to(programs.require("mihomo"))
    return {"PATH": f"{programs_folder}{os.pathsep}{os.environ['PATH']}"}


def engines_of(pid: int) -> list[int]:
    """Returns the processes of a Byway that are engines."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"mihomo" in Path(f"/proc/{child}/cmdline").read_bytes()]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_page_comes_through_a_key_and_nothing_shows_it(tmp_path: Path) -> None:
    async with KeyServer(tmp_path) as server, Origin() as origin:
        trojan = server.links["trojan"]
        rules = "MATCH,RELAY"
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        async with Byway(
            folder, config=config(mine=trojan), rules=rules, arguments=["-vv"], environment=environment
        ) as byway:
            assert engines_of(byway.pid) == []  # nothing is started before a visit needs it
            answer = await fetch(f"http://blocked.test:{origin.http_port}/", via=byway.proxy)
            assert answer.status == 200
            (engine,) = engines_of(byway.pid)
            assert environment_of(engine) == b""

            tested = await byway.command("relay", "test", "mine", "--to", f"blocked.test:{origin.http_port}")
            assert "works" in tested.stdout
            shown = [await byway.command(*words) for words in (("relay", "list"), ("status",), ("config", "export"))]
            shown += [await byway.command("report", "blocked.test", check=False)]
            assert f"trojan://127.0.0.1:{server.ports['trojan']}" in shown[0].stdout
            log = "".join(file.read_text("utf-8", "replace") for file in folder.rglob("*.log"))
            said = "".join(each.stdout + each.stderr for each in (tested, *shown)) + log + byway.report()
            assert PASSWORD not in said
            assert server.pin not in said
            await byway.kill()
            await until(lambda: _has_ended(engine))
            assert origin.requests


async def test_a_wrong_key_is_named_with_the_relay_and_no_site_is_blamed(tmp_path: Path) -> None:
    """The other relay opens the site, and `relay test` says what is wrong with the key."""
    async with KeyServer(tmp_path) as server, Origin() as origin:
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        links = config(wrong=server.wrong["trojan"], good=server.links["ss"])
        async with Byway(folder, config=links, rules="MATCH,RELAY", environment=environment) as byway:
            for number in range(4):
                answer = await fetch(f"http://blocked{number}.test:{origin.http_port}/", via=byway.proxy)
                assert answer.status == 200
            relays = {relay["name"]: relay for relay in (await byway.read("relay", "list"))["relays"]}
            assert relays["good"]["words"] == "works"
            assert relays["wrong"]["last_fault"]["fault"] == "key_closed"
            to = f"blocked.test:{origin.http_port}"
            tested = await byway.command("relay", "test", "wrong", "--to", to, check=False)
            assert "wrong key, or expired" in tested.stdout
            sites = await byway.read("site", "list")
            assert all(site["state"] not in ("blocked", "suspect") for site in sites["sites"])


async def test_visits_go_on_while_the_engine_is_killed_again_and_again(tmp_path: Path) -> None:
    """A GET of which no byte has come is sent again, after the restart; a POST is not."""
    async with KeyServer(tmp_path) as server, Origin() as origin:
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        async with Byway(
            folder, config=config(mine=server.links["ss"]), rules="MATCH,RELAY", environment=environment
        ) as byway:
            for number in range(30):
                pages = [f"http://blocked{number}-{each}.test:{origin.http_port}/" for each in range(3)]
                visits = asyncio.gather(*(fetch(page, via=byway.proxy) for page in pages))
                await asyncio.sleep(0)
                if number % 5 == 2:
                    for engine in engines_of(byway.pid):
                        os.kill(engine, signal.SIGKILL)
                for answer in await visits:
                    assert answer.status == 200
            assert origin.posts == 0
