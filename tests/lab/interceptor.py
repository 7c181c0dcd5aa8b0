"""The provider's handling of diverted connections: it reads them, ends them itself, or both.

It listens on transparent sockets in the provider's space, so an accepted connection still names its original target.
The interceptor presents a certificate of its own authority for the name that the client asked for, and carries the
traffic on to the true site. Where it does not read, it still ends the connection and copies: every host seems near.
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
    """`async with Middlebox(make, addresses) as box:` accepts diverted connections, whatever their target address, and
    copies each to its target. `reader_of` decides whose TLS it reads, and with the certificates of which authority; a
    `page` answers all connections in place of the targets."""

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
    """Returns a client's context that verifies nothing: some real interceptors do not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
