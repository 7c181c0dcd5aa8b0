"""A relay on loopback that follows a script up to one byte, and then misbehaves.

A script is a list of turns: the client's message, read to its last byte, and the relay's answer. `after` counts the
answered bytes of all turns, so a test can misbehave at every byte of a handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tests.support.streams import Connections, reset, shut

Ask = Callable[[asyncio.StreamReader], Awaitable[bytes]]
GARBAGE = b"\xee" * (128 * 1024)


class Lie(Enum):
    CLOSE = auto()
    RESET = auto()
    HANG = auto()
    GARBAGE = auto()  # in place of the rest
    DRIP = auto()  # all from there on, a byte at a time, `pace_s` apart
    NONE = auto()  # plays to the end, then echoes


@dataclass(frozen=True)
class Turn:
    ask: Ask
    answer: bytes


class LyingRelay:
    """`async with LyingRelay(SOCKS5, after=3, lie=Lie.RESET) as relay:` then `relay.port`."""

    def __init__(
        self, turns: Sequence[Turn], *, lie: Lie = Lie.NONE, after: int = 0, pace_s: float = 0, extra: bytes = b""
    ) -> None:
        """`extra` is written together with the last byte of the last answer."""
        self._turns = turns
        self._lie = lie
        self._after = after
        self._pace_s = pace_s
        self._extra = extra
        self._connections = Connections(self._serve)
        self._server: asyncio.Server | None = None
        self.received = b""  # of all connections, in the handshake
        self.port = 0

    async def __aenter__(self) -> LyingRelay:
        self._server = await asyncio.start_server(self._connections, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await shut(self._server)
        await self._connections.stop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self._after if self._lie is not Lie.NONE else 1 << 30
        for turn in self._turns:
            self.received += await turn.ask(reader)
            answer = turn.answer + (self._extra if turn is self._turns[-1] else b"")
            writer.write(answer[:left])
            if left < len(answer) and self._lie is not Lie.DRIP:
                await self._misbehave(reader, writer)
                return
            for byte in answer[left:]:
                writer.write(bytes([byte]))
                await asyncio.sleep(self._pace_s)
            left = max(0, left - len(answer))
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def _misbehave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._lie is Lie.RESET:
            reset(writer)
        elif self._lie is Lie.GARBAGE:
            writer.write(GARBAGE)
        if self._lie is not Lie.CLOSE:
            self.received += await reader.read()  # until the client goes


async def _greeting(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(2)
    return head + await reader.readexactly(head[1])


async def _credentials(reader: asyncio.StreamReader) -> bytes:
    said = await reader.readexactly(2)
    said += await reader.readexactly(said[-1] + 1)
    return said + await reader.readexactly(said[-1])


async def _socks5_request(reader: asyncio.StreamReader) -> bytes:
    said = await reader.readexactly(5)
    return said + await reader.readexactly({1: 3, 3: said[4], 4: 15}[said[3]] + 2)


async def _socks4_request(reader: asyncio.StreamReader) -> bytes:
    said = await reader.readexactly(8) + await reader.readuntil(b"\0")
    return said + (await reader.readuntil(b"\0") if said[4:7] == b"\0\0\0" else b"")


async def _http_head(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


SOCKS5 = (
    Turn(_greeting, b"\x05\x00"),
    Turn(_socks5_request, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90"),  # granted, 127.0.0.1, port 8080
)
SOCKS5_AUTH = (
    Turn(_greeting, b"\x05\x02"),
    Turn(_credentials, b"\x01\x00"),
    Turn(_socks5_request, b"\x05\x00\x00\x03\x04relay\x1f"),  # granted, a name of four bytes, its port
)
SOCKS4 = (Turn(_socks4_request, b"\x00\x5a\x1f\x90\x7f\x00\x00\x01"),)
HTTP = (Turn(_http_head, b"HTTP/1.1 200 Connection established\r\nProxy-Agent: liar\r\n\r\n"),)


def http(answer: bytes) -> tuple[Turn, ...]:
    """An HTTP relay that answers CONNECT with this."""
    return (Turn(_http_head, answer),)


def socks5(method: bytes, reply: bytes = b"") -> tuple[Turn, ...]:
    """A SOCKS5 relay that answers the greeting with `method` and the request with `reply`."""
    return (Turn(_greeting, method), Turn(_socks5_request, reply))


def socks5_auth(verdict: bytes) -> tuple[Turn, ...]:
    """A SOCKS5 relay that wants credentials and answers them with this."""
    return (Turn(_greeting, b"\x05\x02"), Turn(_credentials, verdict))


def socks4(reply: bytes) -> tuple[Turn, ...]:
    """A SOCKS4 relay that answers with this."""
    return (Turn(_socks4_request, reply),)
