"""Makes mitmproxy's TLS use Byway's CA, and the roots that Byway trusts.

mitmproxy would create a CA in its configuration folder; here it never does. A client gets a certificate of Byway's CA
for the requested host, and only after the origin has shown a valid certificate on the connection that will be used.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from mitmproxy import certs, connection, exceptions, tls
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.proxy.context import Context
from OpenSSL import crypto

from proxy.config.mitmproxy_version import FORBIDDEN_OPTIONS
from proxy.features.inspection.client_context import InspectedClient
from proxy.features.inspection.leaf import Leaf

CIPHERS = "@SECLEVEL=2:ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Python's default ciphers, for origins. Security level 2 rejects RSA keys below 2048 bits."""

OURS = ("server", "mode", "confdir", "certs", "ssl_insecure", "client_certs", "connection_strategy", "upstream_cert",
        "ciphers_server", "ssl_verify_upstream_trusted_ca", "ssl_verify_upstream_trusted_confdir")  # fmt: skip
"""Options that only Byway sets."""


def trust_options() -> Mapping[str, str | None]:
    """Returns mitmproxy's options for the system's roots, as in the rest of Byway. Without files, it uses its own."""
    paths = ssl.get_default_verify_paths()
    return {"ssl_verify_upstream_trusted_ca": paths.cafile, "ssl_verify_upstream_trusted_confdir": paths.capath}


class LocalCaTls(TlsConfig):
    """Replaces mitmproxy's addon `tlsconfig`."""

    name = "tlsconfig"
    request: Any = None  # 12.2 serves a revocation list of its own authority there

    def __init__(
        self, inspected_of: Callable[[connection.Client], InspectedClient], leaf: Callable[[str], Leaf]
    ) -> None:
        self._inspected_of = inspected_of
        self._leaf = leaf
        self.certstore: Any = SimpleNamespace(dhparams=None)  # the only attribute used, besides `get_cert`
        self.sealed = False

    def configure(self, updated: set[str]) -> None:
        """Reads and writes no folder. Once `sealed`, the options in OURS cannot be changed."""
        for name in updated:
            if name.startswith(FORBIDDEN_OPTIONS):
                raise exceptions.OptionsError(f"{name} would trust a CA whose private key is public; it is never used")
            if self.sealed and name in OURS:
                raise exceptions.OptionsError(f"{name} is set by Byway and cannot be changed")

    def running(self) -> None:
        """Does nothing: mitmproxy's method creates its CA here."""

    def tls_start_client(self, tls_start: tls.TlsData) -> None:
        """Signs only if the origin's certificate is valid; otherwise the client's connection is closed."""
        server = tls_start.context.server
        if not server.tls_established or server.error:
            return
        super().tls_start_client(tls_start)
        # OpenSSL completes the chain with this issuer; mitmproxy would read it from a file, which an ephemeral CA does
        # not have. A browser that trusts the CA by the hash of its key (`byway browser`) needs it in the chain.
        if tls_start.ssl_conn is not None and (store := tls_start.ssl_conn.get_context().get_cert_store()) is not None:
            for issuer in self._leaf(self._inspected_of(tls_start.context.client).host).chain:
                store.add_cert(crypto.X509.from_cryptography(issuer))  # does nothing when it is there

    def get_cert(self, conn_context: Context) -> certs.CertStoreEntry:
        leaf = self._leaf(self._inspected_of(conn_context.client).host)
        chain = [certs.Cert(part) for part in leaf.chain]
        key: Any = leaf.key  # declared as RSA, taken as any
        return certs.CertStoreEntry(certs.Cert(leaf.certificate), key, None, chain)
