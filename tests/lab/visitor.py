"""A person at a computer in the country, who opens pages through Byway and waits for them.

The result of a visit is a value, failures too: a scenario is judged by the pages that the user saw and by their waits.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import urlsplit

from tests.lab.sockets import MakeSocket, connect
from tests.support.client import fetch


@dataclass(frozen=True, slots=True)
class Visit:
    """One page, as the visitor saw it."""

    url: str
    status: int = 0  # 0: no answer came
    body: bytes = b""
    elapsed_s: float = 0.0
    error: str = ""

    @property
    def genuine(self) -> bool:
        """Whether the site itself answered, with a page of its own."""
        host = (urlsplit(self.url).hostname or "").encode()
        return self.status == 200 and (b"%b says hello" % host in self.body or len(self.body) > 32 * 1024)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Opens pages over the proxy at `via` from the network of `make`; direct when there is none."""

    make: MakeSocket
    trust: ssl.SSLContext
    via: tuple[str, int] | None = None
    socks: bool = False  # asks the proxy by SOCKS5, with names, and not by HTTP
    addresses: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # of names, without a resolver

    async def visit(self, url: str, *, upload: bytes = b"", limit_s: float | None = 30.0) -> Visit:
        """Opens a page; sends a form when there is an `upload`. Gives up after `limit_s`, if there is one. Never raises
        for anything that a network or a site does."""
        started = time.monotonic()
        try:
            via = None if self.socks else self.via
            method = "POST" if upload else "GET"
            found = await fetch(
                url, via=via, trust=self.trust, dial=self._dial, method=method, body=upload, limit_s=limit_s
            )
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            return Visit(url, elapsed_s=time.monotonic() - started, error=f"{type(error).__name__}: {error}")
        refused = bool(via) and url.startswith("https") and not found.tunnel
        return Visit(
            url,
            status=0 if refused else found.status,
            body=found.body,
            elapsed_s=found.elapsed_s,
            error=found.body.decode(errors="replace").strip() if refused else "",
        )

    async def _dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socks and self.via is not None:
            return await _by_socks(self.make, self.via, host, port)
        return await connect(self.make, (self.addresses.get(host, host), port))


async def _by_socks(
    make: MakeSocket, proxy: tuple[str, int], host: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Returns a connection that the proxy opened; the proxy resolves the name: curl calls this socks5h (RFC 1928)."""
    reader, writer = await connect(make, proxy)
    try:
        writer.write(b"\x05\x01\x00")  # version 5, one method, none
        await reader.readexactly(2)
        writer.write(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big"))
        reply = await reader.readexactly(10)  # with an IPv4 address
        if reply[1]:
            raise ConnectionRefusedError(f"SOCKS5 reply {reply[1]}")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer
