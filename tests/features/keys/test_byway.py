"""A real Byway whose relay is a key: what is visited, what is shown, and what is left when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.features.keys.test_process import _has_ended
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.key_server import KeyServer, path_with_engine
from tests.support.origin import Origin
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("mihomo"), pytest.mark.slow]


def config(**links: str) -> str:
    return "".join(f'[[relay]]\nname = "{name}"\nurl = "{link}"\nlocal = true\n' for name, link in links.items())


def engines_of(pid: int) -> list[int]:
    """Returns the processes of a Byway that are engines."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"mihomo" in Path(f"/proc/{child}/cmdline").read_bytes()]


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


COMMANDS = (
    ("status", "-v"),
    ("status", "--json"),
    ("relay", "list", "-v"),
    ("relay", "list", "--json"),
    ("log", "--long"),
    ("log", "--json"),
    ("site", "list", "--json"),
    ("doctor", "-v"),
    ("config", "show", "--all"),
    ("config", "show", "--json"),
    ("config", "check"),
    ("config", "export"),
    ("rule", "test", "http://trojan.test/", "-v"),
    *(("report", "--format", form, "--redact", "none") for form in ("md", "json", "ooni", "csv", "har")),
)
_OF_THE_ENGINE = re.compile(r"\b[0-9a-f]{32}\b")
"""Passwords that Byway makes for its engine (`new_password`)."""


async def test_a_page_comes_through_each_key_and_nothing_shows_a_secret(tmp_path: Path) -> None:
    """Keys that work and wrong ones, with -vv: processes, their environments, files, output and commands. The
    configuration alone has the keys."""
    async with KeyServer(tmp_path) as server, Origin() as origin:
        links = {**server.links, **{f"wrong-{name}": link for name, link in server.wrong.items()}}
        rules = "".join(f"DOMAIN-SUFFIX,{name}.test,RELAY:{name}\n" for name in links) + "MATCH,RELAY\n"
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        async with Byway(
            folder,
            config=config(**links),
            rules=rules,
            arguments=["-vv"],
            environment=environment,
            forked=False,  # `ps` shows its own words then
        ) as byway:
            assert engines_of(byway.pid) == []  # nothing is started before a visit needs it
            pages = {name: f"http://{name}.test:{origin.http_port}/" for name in links}
            visits = await asyncio.gather(*(fetch(page, via=byway.proxy) for page in pages.values()))
            came = {name for name, visit in zip(pages, visits, strict=True) if visit.status == 200}
            assert came == server.links.keys()
            engines = engines_of(byway.pid)
            assert engines
            assert {environment_of(engine) for engine in engines} == {b""}
            shown = {f"words of {pid}": words_of(pid) for pid in (byway.pid, *engines)}
            to = f"blocked.test:{origin.http_port}"
            for words in (*COMMANDS, ("relay", "test", "--to", to), ("why", f"http://{to}/", "--json")):
                ran = await byway.command(*words, check=False)
                shown[" ".join(words)] = ran.stdout + ran.stderr
            for path in ("/v1/status", "/v1/relays", "/v1/log", "/v1/sites"):
                shown[path] = json.dumps(await byway.ask(path))
            shown |= {f"before the end: {name}": text for name, text in texts_below(folder).items()}
            await byway.kill()
            for engine in engines:
                await until(lambda engine=engine: _has_ended(engine))  # type: ignore[misc]
            shown |= texts_below(folder)
            assert f"trojan://127.0.0.1:{server.ports['trojan']}" in shown["relay list -v"]
            assert "works" in shown[f"relay test --to {to}"]
            assert "trojan.test" in shown["log --long"]
            assert "-vv" in shown[f"words of {byway.pid}"]
            found = {what: secrets_in(text, server) for what, text in shown.items()}
            assert {what: secrets for what, secrets in found.items() if secrets} == {}
            assert secrets_in(byway.config.read_text(), server) == {*server.secrets} - {"psk", "psk in base64"}


def texts_below(folder: Path) -> dict[str, str]:
    """Returns the contents of all files but those of the configuration, by their paths."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.parent != folder / "config")
    return {str(file.relative_to(folder)): file.read_bytes().decode("latin-1") for file in files}


def words_of(pid: int) -> str:
    """Returns what `ps` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


def secrets_in(text: str, server: KeyServer) -> set[str]:
    """Returns what a text shows of keys, or of the engine's configuration."""
    found = {what for what, secret in server.secrets.items() if secret in text}
    return found | ({"password of the engine"} if _OF_THE_ENGINE.search(text) else set())


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
