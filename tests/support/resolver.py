"""A name server whose answers come from a function, and which records its queries."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

_A = 1
_HEADER = struct.Struct("!6H")
_ANSWERS = 0x8180  # a response, recursion desired and available
_NO_SUCH_NAME = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """One query that arrived."""

    asker: str  # the address that it came from
    name: str
    kind: int  # 1: A, 28: AAAA


class Resolver(asyncio.DatagramProtocol):
    """`async with Resolver(sock, lookup) as resolver:` answers on a bound UDP socket, which it closes.

    `lookup` returns the IPv4 address of a name for a client's address; None: the name does not exist. There are no
    other records."""

    def __init__(self, sock: socket.socket, lookup: Callable[[str, str], str | None]) -> None:
        self.asked: list[Asked] = []
        self._sock = sock
        self._lookup = lookup
        self._transport: asyncio.DatagramTransport

    async def __aenter__(self) -> Resolver:
        self._sock.setblocking(False)
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=self._sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    def askers(self, name: str) -> set[str]:
        """Returns the clients that asked for the name, or for a longer one that a search list made from it."""
        return {asked.asker for asked in self.asked if asked.name == name or asked.name.startswith(f"{name}.")}

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        number, _, questions, *_ = _HEADER.unpack_from(data)
        assert questions == 1, data
        name, end = _name(data, _HEADER.size)
        (kind,) = struct.unpack_from("!H", data, end)
        self.asked.append(Asked(addr[0], name, kind))
        address = self._lookup(name, addr[0])
        found = address if kind == _A else None
        flags = _ANSWERS | (_NO_SUCH_NAME if address is None else 0)
        reply = _HEADER.pack(number, flags, 1, int(found is not None), 0, 0) + data[_HEADER.size : end + 4]
        if found is not None:
            reply += struct.pack("!HHHIH", 0xC00C, _A, 1, 60, 4) + socket.inet_aton(found)
        self._transport.sendto(reply, addr)


def _name(data: bytes, place: int) -> tuple[str, int]:
    """Returns the name of a question, and the offset after it."""
    labels = []
    while length := data[place]:
        labels.append(data[place + 1 : place + 1 + length].decode("latin-1").lower())
        place += 1 + length
    return ".".join(labels), place + 1
