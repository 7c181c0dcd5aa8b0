"""What the provider does with connections that are turned aside to it: reads them, ends them itself, or both.

It listens on transparent sockets in the provider's space, so an accepted connection still says where it was to go. The
interceptor shows a certificate of its own authority for the name that was asked, and carries the words on to the true
site. Where it does not read, it ends the connection all the same and copies: every host seems near.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.lab.authorities import Authority
from tests.lab.channel import Buffered, Channel, Plain, Secure, first_flight, server_name
from tests.lab.portal import PageServer
from tests.lab.relays import copy_both_ways
from tests.lab.sockets import Address, MakeSocket, connect, listener
from tests.support.streams import Connections, close, shut

CONNECT_S = 6.0


@dataclass
class Middlebox:
    """`async with Middlebox(make, addresses) as box:` takes what is turned aside, to whatever address, and copies it to
    there. Whose TLS it reads, and with whose certificates, `reader_of` says; a `page` answers all in its place."""

    make: MakeSocket
    addresses: tuple[Address, ...]
    reader_of: Callable[[str], Authority | None] = lambda host: None
    page: PageServer | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)  # the name and the address of each connection it read
    _servers: list[asyncio.Server] = field(default_factory=list)
    _contexts: dict[Authority, ssl.SSLContext] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._connections = Connections(self._serve)

    async def __aenter__(self) -> Middlebox:
        for address in self.addresses:
            sock = listener(self.make, address, transparent=True)
            self._servers.append(await asyncio.start_server(self._connections, sock=sock))
        return self

    async def __aexit__(self, *_: object) -> None:
        await shut(*self._servers)
        await self._connections.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = writer.get_extra_info("sockname")
        wanted: Address = (name[0], name[1])
        if self.page is not None:
            await self.page.serve(reader, writer)
            return
        ahead, records = await first_flight(reader)
        host = server_name(ahead) if records else ""
        self.seen.append((host, wanted[0]))
        authority = self.reader_of(host)
        if not records or authority is None:
            await self._carry(Plain(reader, writer, ahead), wanted)
            return
        if authority not in self._contexts:
            self._contexts[authority] = authority.server()
        near = Secure(reader, writer, self._contexts[authority], ahead=ahead)
        await near.handshake()
        await self._carry(near, wanted, server_name=host)

    async def _carry(self, near: Channel, wanted: Address, *, server_name: str | None = None) -> None:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await connect(self.make, wanted)
        try:
            far: Channel = Plain(reader, writer)
            if server_name is not None:
                far = secure = Secure(reader, writer, _credulous(), server_name=server_name or None, server_side=False)
                await secure.handshake()
            await copy_both_ways(Buffered(near), near, Buffered(far), far)
        finally:
            with contextlib.suppress(OSError):
                await close(writer)


def _credulous() -> ssl.SSLContext:
    """Interceptors have been seen to verify nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
