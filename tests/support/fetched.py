"""An https server for fetched files and a relay to it, in a thread of their own: a command that fetches has a loop of
its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.net.dialers import tls
from tests.support.list_source import ListSource
from tests.support.relay import Relay


class Servers:
    """`with Servers() as servers:`. The server has the name `lists.test` for the relay."""

    def __init__(self) -> None:
        self.source = ListSource()
        self.relay = Relay({"lists.test": "127.0.0.1"})
        self._ready, self._stop = threading.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    @property
    def relay_url(self) -> str:
        return f"socks5h://{self.relay.address}:{self.relay.port}"

    def url(self, path: str) -> str:
        return f"https://lists.test:{self.source.port}{path}"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with self.source, self.relay:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> Servers:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    with Servers() as servers:
        monkeypatch.setenv("SSL_CERT_FILE", str(servers.source.authority.write(tmp_path)))
        tls._system_context.cache_clear()
        yield servers
        tls._system_context.cache_clear()
