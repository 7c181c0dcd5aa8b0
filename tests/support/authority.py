"""A certificate authority that exists for one test. No key is committed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


class Authority:
    """Issues certificates for servers, for any name, and makes contexts for clients that trust it."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="Byway tests")
        self._contexts: dict[str, ssl.SSLContext] = {}

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        """Returns a server's context with one certificate for these names or addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ended = datetime.now(UTC) - timedelta(days=1) if expired else None
        self._ca.issue_cert(*names, not_after=ended).configure_cert(context)
        return context

    def server_for_all(self, asked: Callable[[str | None], None], *default: str) -> ssl.SSLContext:
        """Returns a server's context that presents a certificate for the name in the client's SNI, and calls `asked`
        with it."""

        def choose(sock: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            asked(name)
            if name is not None:
                if name not in self._contexts:
                    self._contexts[name] = self.server(name)
                sock.context = self._contexts[name]

        context = self.server(*default)
        context.sni_callback = choose
        return context

    def client(self, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        """Returns a client's context that trusts only this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    @property
    def pem(self) -> str:
        """Returns the authority's certificate as PEM."""
        return self._ca.cert_pem.bytes().decode()

    def write(self, folder: Path) -> Path:
        """Writes the authority's certificate to a file, for programs (`curl --cacert`)."""
        path = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(path)
        return path

    def write_server(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """Writes a certificate chain and its key to files, for servers that are programs."""
        issued = self._ca.issue_cert(*names)
        chain, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return chain, key
