"""A certificate authority that lives as long as a test; no key is ever committed."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import trustme


class Authority:
    """Issues a certificate for every name that is asked of a server, and trusts itself on the client's side."""

    def __init__(self) -> None:
        self._ca = trustme.CA(organization_name="Byway tests")
        self._contexts: dict[str, ssl.SSLContext] = {}

    def server(self, *names: str) -> ssl.SSLContext:
        """A server's context with one certificate for these names or addresses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def server_for_all(self, asked: Callable[[str | None], None], *default: str) -> ssl.SSLContext:
        """A server's context that shows a certificate for the very name the client asks for; `asked` hears the name."""

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
        """A client's context that trusts this authority and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    @property
    def pem(self) -> str:
        """The authority's certificate."""
        return self._ca.cert_pem.bytes().decode()

    def write(self, folder: Path) -> Path:
        """The authority's certificate as a file, for programs (`curl --cacert`)."""
        path = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(path)
        return path

    def write_server(self, folder: Path, *names: str) -> tuple[Path, Path]:
        """A certificate chain and its key as files, for servers that are programs."""
        issued = self._ca.issue_cert(*names)
        chain, key = folder / f"{names[0]}.pem", folder / f"{names[0]}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        return chain, key
