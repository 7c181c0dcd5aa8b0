"""A subscription of keys, with a real engine and a real server: added, used and changed; what the person chose is kept.

Its relays need public addresses, which are those of this network alone."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.netlink import Netlink
from tests.lab.spaces import Space
from tests.support.byway import PATIENT, Byway
from tests.support.client import fetch
from tests.support.key_server import KeyServer, Place, path_with_engine
from tests.support.list_source import ListSource, page
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.shown import engines_of, shown_by, spellings

pytestmark = [pytest.mark.namespaces, pytest.mark.needs("mihomo"), pytest.mark.slow]

ADDRESS, PUBLIC = "45.67.89.10", "45.0.0.0/8"
TOKEN = "t0ken-of-mine"
PATH = f"/sub/{TOKEN}"
_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def public_network() -> Iterator[Space]:
    """A network with public addresses, in which this thread is meanwhile."""
    space = Space("computer")
    netlink = Netlink(space.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    libc = ctypes.CDLL(None, use_errno=True)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        netlink.set_up("lo")
        netlink.add_local(PUBLIC)
        assert libc.setns(space.fd, _CLONE_NEWNET) == 0
        try:
            yield space
        finally:
            assert libc.setns(here, _CLONE_NEWNET) == 0
    finally:
        os.close(here)
        netlink.close()
        space.close()


def file(**links: str) -> bytes:
    return page("\n".join(f"{link}#{name}" for name, link in links.items()).encode())


async def asked(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], head: str) -> bytes:
    """Sends a request. Returns the head of the answer, or what came of it; reads the body."""
    reader, writer = stream
    writer.write(head.encode())
    async with asyncio.timeout(30):
        try:
            answer = await reader.readuntil(b"\r\n\r\n")
            if length := re.search(rb"(?i)content-length: (\d+)", answer):
                await reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
    return answer


async def test_keys_of_a_subscription_are_used_and_followed(folder: Path) -> None:
    """Of three keys of three protocols one is wrong at first. Then one is gone, one is right under the same name, and
    one is new; the first relay is gone as well, so the new file comes through one of the keys."""
    with public_network() as space:
        async with (
            KeyServer(folder, Place(ADDRESS)) as server,
            Origin() as origin,
            ListSource() as source,
            Relay({"shop.test": "127.0.0.1"}) as first,
        ):
            url = f"https://shop.test:{source.port}{PATH}"
            source.answers[PATH] = file(DE=server.links["ss"], NL=server.links["trojan"], SE=server.wrong["vmess"])
            environment = {**path_with_engine(folder), "SSL_CERT_FILE": str(source.authority.write(folder))}
            config = f'[[relay]]\nname = "first"\nurl = "socks5h://{first.address}:{first.port}"\n{PATIENT}'
            own = folder / "byway"
            own.mkdir()
            async with Byway(
                own, config=config, rules="DOMAIN-SUFFIX,blocked.test,RELAY:first\n", arguments=["-vv"],
                environment=environment, prefix=space.entering, namespaces=space.namespaces, forked=False,
            ) as byway:  # fmt: skip
                said = []

                async def run(*words: str, check: bool = True) -> str:
                    done = await byway.command(*words, check=check)
                    said.append(done.stdout + done.stderr)
                    return done.stdout

                async def relays() -> list[str]:
                    return [each["name"] for each in (await byway.ask("/v1/relays"))["relays"]]

                assert "3 relays" in await run("relay", "add", url, "--name", "shop")
                assert first.asked == [f"shop.test:{source.port}"]
                byway.rules.write_text("DOMAIN-SUFFIX,blocked.test,RELAY:shop\n")
                await run("relay", "order", "shop/SE", "shop/NL")
                assert await relays() == ["first", "shop/SE", "shop/NL", "shop/DE"]

                site = f"blocked.test:{origin.http_port}"
                answer = await fetch(f"http://{site}/", via=byway.proxy)
                assert answer.status == 200, "the wrong one is first, and another one brings the page"
                assert "wrong key, or expired" in await run("relay", "test", "shop/SE", "--to", site, check=False)
                await run("relay", "disable", "shop/DE")
                held = await asyncio.open_connection(*byway.proxy)
                assert b" 200 " in await asked(held, f"CONNECT held.{site} HTTP/1.1\r\nHost: held.{site}\r\n\r\n")
                assert b"200 OK" in await asked(held, f"GET /1 HTTP/1.1\r\nHost: held.{site}\r\n\r\n")

                await first.stop()
                source.answers[PATH] = file(
                    NL=server.links["trojan"], SE=server.links["vmess"], FI=server.links["hysteria2"]
                )
                assert "replaced" in await run("relay", "refresh", "shop")
                assert await relays() == ["first", "shop/SE", "shop/NL", "shop/FI"]
                for name in ("shop/SE", "shop/NL", "shop/FI"):
                    assert "works" in await run("relay", "test", name, "--to", site), name
                answer = await fetch(f"http://new.{site}/", via=byway.proxy)
                assert answer.status == 200
                again = await asked(held, f"GET /2 HTTP/1.1\r\nHost: held.{site}\r\n\r\n")
                assert b"200 OK" in again, "the tunnel of a relay that stayed is not cut"
                held[1].close()

                (shown,) = (await byway.ask("/v1/relays"))["subscriptions"]
                assert (shown["relays"], shown["answered"], shown["problems"]) == (3, 3, [])
                source.answers[PATH] = file(DE=server.links["ss"], NL=server.links["trojan"], SE=server.links["vmess"])
                await run("relay", "refresh", "shop")
                states = {each["name"]: each["enabled"] for each in (await byway.ask("/v1/relays"))["relays"]}
                assert states == {"first": True, "shop/SE": True, "shop/NL": True, "shop/DE": False}

                assert (await fetch(f"http://again.{site}/", via=byway.proxy)).status == 200
                shown = await shown_by(byway, own, ("report", "blocked.test"))
                assert engines_of(byway.pid)
                shown["what commands printed before"] = "".join(said)
                secrets = spellings({**server.secrets, "address of the subscription": TOKEN})
                found = {where: {what for what, it in secrets.items() if it in text} for where, text in shown.items()}
                assert {where: what for where, what in found.items() if what} == {}
                assert TOKEN in byway.config.read_text()
