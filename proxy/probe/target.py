"""The target of a probe: a page of a site, parsed from a person's input.

The input is a name or an address, with or without a port, or a URL, and may hold any characters. The request that is
made from it is always well-formed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from proxy.config.suggestions import quoted, suggestion
from proxy.model import Destination, Protocol, bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names

_URL_LIMIT = 8192
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
"""The default port of each scheme that a browser opens."""

_SUGGESTED = ("http", "https")
AGENT = "Mozilla/5.0"
"""The User-Agent: many servers answer browsers only. No other header identifies Byway."""


@frozen_dataclass
class ProbeTarget:
    """A page to request: the host under its own name, and the target of the request."""

    host: str  # canonical; a literal sends no SNI
    protocol: Protocol  # TLS or HTTP
    port: int
    target: str = "/"

    @property
    def destination(self) -> Destination:
        return Destination(self.host, self.port)

    @property
    def field(self) -> str:
        """The value of the Host header."""
        usual = self.port == (443 if self.protocol is Protocol.TLS else 80)
        return bracketed(self.host) if usual else str(self.destination)

    @property
    def url(self) -> str:
        return f"{'https' if self.protocol is Protocol.TLS else 'http'}://{self.field}{self.target}"

    def request(self, *, is_last: bool = True, method: str = "GET") -> bytes:
        """Returns the request. Unless it is the last one, the connection stays open."""
        lines = (f"{method} {self.target} HTTP/1.1", f"Host: {self.field}", f"User-Agent: {AGENT}", "Accept: */*")
        return "\r\n".join((*lines, *(["Connection: close"] if is_last else []), "", "")).encode("ascii")


def page_of(text: str) -> ProbeTarget:
    """Parses a URL, or a host with or without a port. The page is requested over TLS, unless the scheme is http, or the
    port is 80 and there is no scheme. Raises ValueError with a sentence."""
    text = text.strip()
    if len(text) > _URL_LIMIT:
        raise ValueError("that is too long for a host or a URL")
    if "://" not in text:
        bare_ipv6 = text.count(":") > 1 and "[" not in text
        text = f"//[{text}]" if bare_ipv6 else f"//{text}"
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme and scheme not in _PORTS:
        raise ValueError(f"unknown scheme {quoted(scheme)}{suggestion(scheme, _SUGGESTED)}")
    if not parts.hostname:
        raise ValueError("no host is named")
    port = parts.port  # raises ValueError, with a sentence, above 65535
    plain = scheme in ("http", "ws") or (not scheme and port == 80)
    if port is None:
        port = _PORTS.get(scheme, 443)
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    protocol = Protocol.HTTP if plain else Protocol.TLS
    return ProbeTarget(names.host(parts.hostname), protocol, names.port(port), _ascii(target))


def names_port(text: str) -> bool:
    """Whether the text has a scheme or a port, so that no other port may be tried. `page_of` has accepted the text."""
    text = text.strip()
    if "://" in text:
        return True
    return not (text.count(":") > 1 and "[" not in text) and urlsplit(f"//{text}").port is not None


def _ascii(target: str) -> str:
    """Returns the request target, of 2048 bytes at most, with all bytes escaped that could end its line."""
    safe = (f"%{byte:02X}" if not 0x21 <= byte <= 0x7E else chr(byte) for byte in target.encode("utf-8"))
    return "".join(safe)[:2048]
