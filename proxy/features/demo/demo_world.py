"""The servers of the demo: an origin, a censor on the direct path to it, and a relay with another path.

All of them listen on loopback, in this process, and speak real TLS and SOCKS5; the certificate is created for the
demo. They count their connections, so that the demo can check its output.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"
_CHUNK = 65_536
_HELLO_LIMIT = 16_384
_LINGER_0 = struct.pack("ii", 1, 0)
_SOCKS5_GRANTED = b"\x05\x00\x00\x01" + bytes(6)
_SOCKS5_REFUSED = b"\x05\x04\x00\x01" + bytes(6)


class DemoWorld:
    """`async with DemoWorld(folder, open_name, blocked_name) as world:`; the certificate and its key are written to
    `folder`."""

    def __init__(self, folder: Path, open_name: str, blocked_name: str) -> None:
        self.names = (open_name, blocked_name)
        self.blocked = blocked_name
        self.served: list[str] = []  # names that the origin served, in order
        self.cut = 0  # connections that the censor reset
        self.relayed: list[str] = []  # names that were requested from the relay
        self.origin_port = self.censor_port = self.relay_port = 0
        self.certificate, self._key = _certificate(folder, self.names)
        self._servers: list[asyncio.Server] = []
        self._handlers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> DemoWorld:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.load_cert_chain(self.certificate, self._key)
        self.origin_port = await self._listen(self._origin, secure)
        self.censor_port = await self._listen(self._censor)
        self.relay_port = await self._listen(self._relay)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        handlers = list(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _listen(self, serve: Callable[..., Awaitable[None]], secure: ssl.SSLContext | None = None) -> int:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if (task := asyncio.current_task()) is not None:
                self._handlers.add(task)
                task.add_done_callback(self._handlers.discard)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await serve(reader, writer)
            await _close(writer)

        server = await asyncio.start_server(guarded, LOOPBACK, 0, ssl=secure)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _origin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        name = fields.get("host", "").partition(":")[0]
        self.served.append(name)
        page = page_of(name)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))
        await writer.drain()

    async def _censor(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Reads the ClientHello, and resets the connection when the blocked name is in it."""
        hello = await reader.readexactly(5)
        hello += await reader.readexactly(min(int.from_bytes(hello[3:5]), _HELLO_LIMIT))
        if self.blocked.encode() in hello:
            self.cut += 1
            sock: socket.socket = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)  # close() then sends a reset and no FIN
            writer.transport.abort()
            return
        await _carry(reader, writer, self.origin_port, hello)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves SOCKS5 without credentials, by name. It reaches the origin on a path that the censor does not see."""
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x00")
        _, _, _, kind, size = await reader.readexactly(5)
        name = (await reader.readexactly(size)).decode("latin-1") if kind == 3 else ""
        await reader.readexactly(2)
        self.relayed.append(name)
        if name not in self.names:
            writer.write(_SOCKS5_REFUSED)
            return
        writer.write(_SOCKS5_GRANTED)
        await _carry(reader, writer, self.origin_port, b"")


def page_of(name: str) -> bytes:
    """Returns the page of the origin for a name."""
    return f"This is {name}.\n".encode()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, first: bytes) -> None:
    """Connects to the origin and copies both ways until both sides have ended."""
    far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        far_writer.write(first)
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    finally:
        await _close(far_writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _certificate(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """Writes a certificate for the names, valid for an hour, and its key. Returns the two files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = folder / "origin.pem", folder / "origin.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key_file
