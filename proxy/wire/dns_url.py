"""URLs of encrypted DNS servers: `https://1.1.1.1/dns-query` (DoH, RFC 8484) and `tls://9.9.9.9` (DoT, RFC 7858).

A URL gives the server's address, since its name would first need an unencrypted query. `?sni=` is the name in its
certificate, if that is not the address; `?ca=` is a file of certificates to trust in place of the system's.
"""

from __future__ import annotations

import re
from enum import StrEnum
from urllib.parse import unquote

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names


class DnsProtocol(StrEnum):
    """The protocol of an encrypted DNS server; the value is its URL scheme."""

    DOH = "https"
    DOT = "tls"


_PORTS = {DnsProtocol.DOH: 443, DnsProtocol.DOT: 853}
_URL = re.compile(r"(https|tls)://([^/?#@\\]+)(/[!->@-~]*+)?+(?:\?([!-~]*+))?\Z")
_SHARED_PATHS = ("", "/", "/dns-query", "/resolve")
_TEMPLATE = "{?dns}"  # RFC 8484 section 4.1; we send POST


@frozen_dataclass
class SecureServer:
    """One server of `[dns] servers`."""

    kind: DnsProtocol
    endpoint: Destination  # an address
    path: str = ""  # DoH
    sni: str | None = None  # the name to send as SNI and to verify, in place of the address
    ca: str | None = None  # a PEM file

    @property
    def name(self) -> str:
        """The name for the certificate and the Host header."""
        return self.sni or self.endpoint.host

    def __str__(self) -> str:
        """For messages. An unusual path is hidden: it may be the name of a user."""
        return f"{self.kind}://{self.endpoint}{self.path if self.path in _SHARED_PATHS else '/***'}"


def parse(text: str) -> SecureServer:
    """Parses one entry of `[dns] servers`. Raises ValueError with one sentence."""
    match = _URL.match(text.removesuffix(_TEMPLATE))
    if match is None:
        raise ValueError("write an encrypted DNS server as https://ADDRESS/PATH or tls://ADDRESS")
    kind = DnsProtocol(match[1])
    endpoint = names.authority(match[2], _PORTS[kind])
    if endpoint.address is None:
        raise ValueError(
            f"give an encrypted DNS server by address, with its name as an option: {kind}://ADDRESS?sni={endpoint.host}"
        )
    if kind is DnsProtocol.DOT and match[3] not in (None, "/"):
        raise ValueError("a tls:// server has no path")
    options = _options(match[4])
    sni = names.host(options["sni"]) if "sni" in options else None
    return SecureServer(
        kind, endpoint, (match[3] or "/dns-query") if kind is DnsProtocol.DOH else "", sni, options.get("ca")
    )


def _options(query: str | None) -> dict[str, str]:
    options: dict[str, str] = {}
    for item in query.split("&") if query else ():
        key, _, value = item.partition("=")
        if key not in ("sni", "ca") or not value or key in options:
            raise ValueError("the options of an encrypted DNS server are sni=NAME and ca=FILE, each once")
        options[key] = unquote(value, errors="strict")
    return options
