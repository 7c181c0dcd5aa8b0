"""A real Byway whose relay is a key: what is visited, what is shown, and what is left when it ends."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.detect.relay_faults import RelayFault
from tests.features.keys.test_process import _has_ended
from tests.support.byway import ALLOW, Byway
from tests.support.client import fetch
from tests.support.key_server import WRONG_PASSWORD, KeyServer, path_with_engine
from tests.support.origin import Origin
from tests.support.shown import engines_of, files_below, shown_by, spellings
from tests.support.streams import listening
from tests.support.tunnel_servers import BEHIND, SshServer, WireGuardServer
from tests.support.waiting import until

pytestmark = [pytest.mark.needs("mihomo"), pytest.mark.slow]


def config(**links: str) -> str:
    return "".join(f'[[relay]]\nname = "{name}"\nurl = "{link}"\nlocal = true\n' for name, link in links.items())


ADDRESSES = {
    "wireguard": BEHIND,
    "wrong-wireguard": "203.0.113.8",
    "ssh": "127.0.0.1",
    "wrong-ssh": "127.0.0.2",
    "wrong-ssh-password": "127.0.0.3",
}
"""What is visited through keys that resolve no name here: WireGuard without encrypted DNS, and sshd without a name
server."""

_OF_THE_ENGINE = re.compile(r"\b[0-9a-f]{32}\b")
"""Passwords that Byway makes for its engine (`new_password`)."""


@pytest.mark.needs("sing-box", "sshd", "ssh-keygen")
async def test_a_page_comes_through_each_key_and_nothing_shows_a_secret(tmp_path: Path) -> None:
    """Keys that work and wrong ones, with -vv: processes, their environments, files, output and commands. The
    configuration alone has the keys."""
    async with (
        KeyServer(tmp_path) as server,
        WireGuardServer(tmp_path) as wireguard,
        SshServer(passphrase="correct-horse-battery") as ssh,
        Origin() as origin,
    ):
        good = {**server.links, "wireguard": wireguard.link(), "ssh": ssh.link()}
        wrong = {
            **server.wrong,
            "wireguard": wireguard.link(wrong=True),
            "ssh": ssh.link(user="other"),
            "ssh-password": ssh.link(password=WRONG_PASSWORD),
        }
        links = {**good, **{f"wrong-{name}": link for name, link in wrong.items()}}
        hosts = {**{name: f"{name}.test" for name in links}, **ADDRESSES}
        rules = "".join(
            f"{'IP-CIDR' if name in ADDRESSES else 'DOMAIN'},{host},RELAY:{name}\n" for name, host in hosts.items()
        )
        secrets = {**server.secrets, **wireguard.secrets, **ssh.secrets}
        in_links = {what for what in secrets if not what.endswith((" in base64", " in hexadecimal"))}
        secrets = spellings(secrets)
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        async with Byway(
            folder,
            config=config(**links),
            rules=f"{rules}MATCH,RELAY\n",
            allow=(*ALLOW, "203.0.113.0/24:*"),
            arguments=["-vv"],
            environment=environment,
            forked=False,  # `ps` shows its own words then, and its own environment
        ) as byway:
            assert engines_of(byway.pid) == []  # nothing is started before a visit needs it
            pages = {name: f"http://{host}:{origin.http_port}/" for name, host in hosts.items()}
            visits = await asyncio.gather(*(fetch(page, via=byway.proxy) for page in pages.values()))
            came = {name for name, visit in zip(pages, visits, strict=True) if visit.status == 200}
            assert came == good.keys()
            engines = engines_of(byway.pid)
            assert engines
            to = f"blocked.test:{origin.http_port}"
            test, why = ("relay", "test", "--to", to), ("why", f"http://{to}/", "--json")
            shown = await shown_by(byway, folder, test, why)
            assert {shown[f"environment of {engine}"] for engine in engines} == {""}
            await byway.kill()
            for engine in engines:
                await until(lambda engine=engine: _has_ended(engine))  # type: ignore[misc]
            shown |= {f"after the end: {name}": text for name, text in files_below(folder).items()}
            assert f"trojan://127.0.0.1:{server.ports['trojan']}" in shown["relay list -v"]
            assert "works" in shown[f"relay test --to {to}"]
            assert "trojan.test" in shown["log --long"]
            assert "-vv" in shown[f"words of {byway.pid}"]
            found = {where: secrets_in(text, secrets) for where, text in shown.items()}
            assert {where: what for where, what in found.items() if what} == {}
            in_config = secrets_in(byway.config.read_text(), secrets)
            assert {what.removesuffix(" quoted") for what in in_config} == in_links, "a key was not in use"


def secrets_in(text: str, secrets: Mapping[str, str]) -> set[str]:
    """Returns what a text shows of keys, or of the engine's configuration."""
    found = {what for what, secret in secrets.items() if secret in text}
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


async def test_a_key_whose_server_cannot_reach_the_destination_is_not_called_wrong(tmp_path: Path) -> None:
    """It closes as for a wrong key; another control page tells. A page that the user names is said to be unreached."""
    async with KeyServer(tmp_path) as server, Origin() as origin:
        environment = path_with_engine(tmp_path)
        folder = tmp_path / "byway"
        folder.mkdir()
        with socket.socket() as bound:  # it does not listen: connections are refused
            bound.bind(("127.0.0.1", 0))
            closed = f"closed.test:{bound.getsockname()[1]}"
            pages = f'[auto]\ncontrols = ["http://{closed}/", "http://open.test:{origin.http_port}/"]\n'
            links = {"good": server.links["trojan"], "other": server.links["ss"], "wrong": server.wrong["trojan"]}
            async with Byway(folder, config=pages + config(**links), environment=environment) as byway:
                wrong, unreached = RelayFault.KEY_CLOSED.text, "does not reach this destination, but another"
                for words, said in (((), ("", "", wrong)), (("--to", closed), (unreached, unreached, wrong))):
                    ran = await byway.command("relay", "test", *words, "--json", check=False)
                    faults = {result["relay"]: result["fault"] for result in json.loads(ran.stdout)["results"]}
                    assert faults == dict(zip(links, said, strict=True)), words
