from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import socks

from proxy.features.demo.demo_world import LOOPBACK, DemoWorld, page_of


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[DemoWorld]:
    async with DemoWorld(tmp_path, "open.test", "blocked.test") as playing:
        yield playing


def ask(stage: DemoWorld, name: str, *, relayed: bool = False) -> bytes:
    """The answer to a stranger's client, over TLS that it verifies; on the censor's way, or through the relay."""
    with socks.socksocket() as sock:
        sock.settimeout(10)
        if relayed:
            sock.set_proxy(socks.SOCKS5, LOOPBACK, stage.relay_port, rdns=True)
        sock.connect((name if relayed else LOOPBACK, stage.censor_port))
        trust = ssl.create_default_context(cafile=stage.certificate)
        with trust.wrap_socket(sock, server_hostname=name) as secure:
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode())
            return b"".join(iter(lambda: secure.recv(65536), b"")).partition(b"\r\n\r\n")[2]


async def test_the_censor_cuts_one_name_and_passes_the_other(stage: DemoWorld) -> None:
    assert await asyncio.to_thread(ask, stage, "open.test") == page_of("open.test")
    with pytest.raises((ConnectionResetError, ssl.SSLError)):
        await asyncio.to_thread(ask, stage, "blocked.test")
    assert (stage.served, stage.cut, stage.relayed) == (["open.test"], 1, [])


async def test_the_relay_goes_around_by_name(stage: DemoWorld) -> None:
    assert await asyncio.to_thread(ask, stage, "blocked.test", relayed=True) == page_of("blocked.test")
    assert (stage.served, stage.cut, stage.relayed) == (["blocked.test"], 0, ["blocked.test"])
    with pytest.raises(socks.ProxyError, match="Host unreachable"):
        await asyncio.to_thread(ask, stage, "other.test", relayed=True)


async def test_the_key_is_for_its_owner_alone(stage: DemoWorld, tmp_path: Path) -> None:
    assert (tmp_path / "origin.key").stat().st_mode & 0o077 == 0
