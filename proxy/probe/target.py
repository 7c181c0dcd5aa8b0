"""A page of a site: what a visit asks for, and what a person types when a site is meant.

A name, an address, with or without a port, or the whole of a URL. What is typed may hold anything; what is asked for is
one line of a request, whatever was typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.model import Destination, Protocol, bracketed
from proxy.wire import hostnames as names

_URL_LIMIT = 8192
_PORTS = {"http": 80, "ws": 80, "ftp": 21}
_AGENT = "Mozilla/5.0"  # servers that answer browsers alone are common; nothing else of us is told


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """What is asked for: a host under its own name, and the target of a request."""

    host: str  # canonical; a literal sends no SNI
    protocol: Protocol  # TLS or HTTP
    port: int
    target: str = "/"

    @property
    def destination(self) -> Destination:
        return Destination(self.host, self.port)

    @property
    def field(self) -> str:
        """The Host header."""
        usual = self.port == (443 if self.protocol is Protocol.TLS else 80)
        return bracketed(self.host) if usual else str(self.destination)

    @property
    def url(self) -> str:
        return f"{'https' if self.protocol is Protocol.TLS else 'http'}://{self.field}{self.target}"

    def request(self) -> bytes:
        lines = (f"GET {self.target} HTTP/1.1", f"Host: {self.field}", f"User-Agent: {_AGENT}", "Accept: */*")
        return "\r\n".join((*lines, "Connection: close", "", "")).encode("ascii")


def page_of(text: str) -> ProbeTarget:
    """The page that a URL, or a host with or without a port, names: over TLS unless it says http, or port 80 alone.

    Raises ValueError with a sentence."""
    text = text.strip()
    if len(text) > _URL_LIMIT:
        raise ValueError("that is too long for a host or a URL")
    if "://" not in text:
        bare_ipv6 = text.count(":") > 1 and "[" not in text
        text = f"//[{text}]" if bare_ipv6 else f"//{text}"
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError("no host is named")
    scheme, port = parts.scheme.lower(), parts.port  # the port raises ValueError, with a sentence, beyond 65535
    plain = scheme in ("http", "ws") or (not scheme and port == 80)
    if port is None:
        port = _PORTS.get(scheme, 443)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    protocol = Protocol.HTTP if plain else Protocol.TLS
    return ProbeTarget(names.host(parts.hostname), protocol, names.port(port), _ascii(target))


def names_port(text: str) -> bool:
    """Whether what a person typed says by which scheme or at which port the page is, so that nothing is left to choose.

    `text` has passed `page_of`."""
    text = text.strip()
    if "://" in text:
        return True
    return not (text.count(":") > 1 and "[" not in text) and urlsplit(f"//{text}").port is not None


def _ascii(target: str) -> str:
    """A request target without a byte that could end its line."""
    safe = (f"%{byte:02X}" if not 0x21 <= byte <= 0x7E else chr(byte) for byte in target.encode("utf-8"))
    return "".join(safe)[:2048]
