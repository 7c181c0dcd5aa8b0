"""What a person types when a site is meant: a name, an address, with or without a port, or the whole of a URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from proxy.model import Destination
from proxy.wire import names

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_DEFAULT_PORT = 443
_LONGEST = 8192


def site(text: str) -> Destination:
    """The host and port meant by `text`; port 443 unless it says otherwise. Raises ValueError with a sentence."""
    text = text.strip()
    if len(text) > _LONGEST:
        raise ValueError("that is too long for a host or a URL")
    if "://" not in text:
        if text.count(":") > 1 and "[" not in text:  # an IPv6 literal without its brackets
            return Destination(names.host(text), _DEFAULT_PORT)
        text = f"https://{text}"
    parts = urlsplit(text)
    host = parts.hostname
    if not host:
        raise ValueError("that names no host")
    port = parts.port  # raises ValueError, with a sentence, beyond 65535
    if port is None:
        port = _PORTS.get(parts.scheme.lower(), _DEFAULT_PORT)
    return Destination(names.host(host), names.port(port))


def scope(text: str) -> str:
    """The host meant by `text`, which stands for all below it too: `*.example.org` and `.example.org` are the same as
    `example.org`. Raises ValueError with a sentence."""
    return site(text.strip().removeprefix("*").removeprefix(".")).host
