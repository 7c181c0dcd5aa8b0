"""The authority among real programs: what Chromium makes of it, and that a running Byway neither makes nor tells it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from proxy.control.access import SameUser
from proxy.control.api import make_app
from proxy.control.dashboard.sign_in import SignIn
from proxy.control.frame import Frame
from proxy.features.inspection.authority import Authority, certificate_file, open_authority
from proxy.features.inspection.leaf import Leaves
from proxy.features.inspection.nss_stores import NssStore
from proxy.features.inspection.trust_stores import trust, untrust
from proxy.features.table import FEATURES
from tests.features.inspection.test_authority import secrets_of
from tests.support.byway import Byway
from tests.support.chromium import browse
from tests.support.control_world import World

pytestmark = pytest.mark.slow

PAGE = b"<!doctype html><title>inspected</title><p>shown by us"
NAME = "inspected.test"


@asynccontextmanager
async def server(authority: Authority, folder: Path) -> AsyncIterator[int]:
    """Shows a leaf for NAME to whoever comes; gives its port."""
    leaf = Leaves(authority).leaf(NAME)
    (folder / "leaf.pem").write_bytes(leaf.key_pem() + leaf.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "leaf.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(PAGE), PAGE))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # a browser that warns hangs up
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


async def visit(port: int, home: Path, profile: str) -> tuple[bool, bool]:
    """Whether Chromium shows the page, and whether it refuses the authority (net error -202)."""
    here = (f"--host-resolver-rules=MAP * 127.0.0.1:{port}", "--no-proxy-server")
    done = await browse(f"https://{NAME}:{port}/", home, *here, profile=profile)
    return b"shown by us" in done.stdout, b"net_error -202" in done.stderr


@pytest.mark.needs("chromium", "certutil")
async def test_chromium_takes_a_leaf_as_long_as_its_store_trusts_the_authority(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    authority = open_authority(tmp_path / "ca", now=time.time())
    store = NssStore("Chromium", home / ".pki" / "nssdb")
    async with server(authority, tmp_path) as port:
        assert await visit(port, home, "1") == (False, True)
        assert (await asyncio.to_thread(trust, store, authority.certificate, certificate_file(tmp_path / "ca"))).trusted
        assert await visit(port, home, "2") == (True, False)
        assert not (await asyncio.to_thread(untrust, store, [authority.certificate])).trusted
        assert await visit(port, home, "3") == (False, True)


def questions() -> list[str]:
    """Every path of the control server that answers and ends, and some that somebody might try."""
    world = World(features=FEATURES)
    try:
        app = make_app(Frame(world.parts, SignIn()), SameUser())
    finally:
        world.close()
    paths = {resource.canonical.replace("{host}", "example.org") for resource in app.router.resources()}
    assert "/v1/status" in paths
    tries = ("/ca", "/v1/ca", "/v1/ca/authority.pem", "/ca/authority.pem", "/v1/../ca/authority.pem", "/%2e%2e/ca")
    return sorted({*paths, *tries} - {"/v1/log/follow"})


async def test_a_running_byway_makes_no_authority_and_tells_nothing_of_one(tmp_path: Path) -> None:
    async with Byway(tmp_path, config='[log]\nhosts = "all"\n', arguments=("-v", "-v")) as byway:
        assert not (byway.state / "ca").exists()
        await byway.command("ca", "trust", "--print")
        secret = secrets_of(byway.state / "ca")
        told = []
        connector = aiohttp.UnixConnector(path=json.loads((byway.state / "run.json").read_text())["socket"])
        async with aiohttp.ClientSession(connector=connector) as session:
            for path in questions():
                async with session.get(URL(f"http://byway{path}", encoded=True)) as answer:
                    told.append(await answer.text())
        for words in (("status",), ("config", "show"), ("log",), ("report", "example.org", "--format", "md")):
            done = await byway.command(*words, check=False)
            told.append(done.stdout + done.stderr)
        assert await byway.stop() == 0
        kept = [path for path in byway.state.rglob("*") if path.is_file() and path.name != "authority.pem"]
        told += [path.read_bytes().decode("latin-1") for path in (*kept, byway.said, byway.config)]
    assert any('"listen"' in text for text in told)  # else nothing was asked
    assert not [line for line in secret for text in told if line in text]
