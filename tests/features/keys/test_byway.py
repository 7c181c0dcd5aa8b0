"""A real Byway whose relay is a key: what is visited, what is shown, and what is left when it ends."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.features.keys.test_process import _has_ended
from tests.support.byway import Byway
from tests.support.client import fetch
from tests.support.key_server import KeyServer, path_with_engine
from tests.support.origin import Origin
from tests.support.streams import listening
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


async def test_a_key_that_is_removed_leaves_the_engine_within_seconds_and_no_tunnel_is_cut(tmp_path: Path) -> None:
    """A tunnel goes on in the process that had the key, which ends with it. What is disabled leaves as well."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async with KeyServer(tmp_path) as server, Origin() as origin, listening(echo, "127.0.0.1", 0) as echoing:
        port = echoing.sockets[0].getsockname()[1]
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        links = config(one=server.links["ss"], two=server.links["trojan"])
        async with Byway(folder, config=links, rules="MATCH,RELAY", environment=environment) as byway:
            reader, writer = await asyncio.open_connection(*byway.proxy)
            writer.write(f"CONNECT echo.test:{port} HTTP/1.1\r\nHost: echo.test:{port}\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"first")
            assert await reader.readexactly(5) == b"first"
            (first,) = engines_of(byway.pid)

            await byway.command("relay", "rm", "two")
            page = f"http://blocked.test:{origin.http_port}/"
            assert (await fetch(page, via=byway.proxy)).status == 200
            await until(lambda: len(engines_of(byway.pid)) == 2)
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"
            writer.close()
            await until(lambda: _has_ended(first))

            await byway.command("relay", "disable", "one")
            await until(lambda: engines_of(byway.pid) == [])


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
