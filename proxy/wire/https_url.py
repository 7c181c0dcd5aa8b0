"""https URLs that Byway fetches itself, such as the source of a list, and their redirects.

A URL is split into a host in canonical spelling, a port, and a target for a request line. Ambiguous parts are refused:
user information, backslashes, control characters. The fragment is dropped, since it is never sent.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin

from proxy.model import Destination, bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames

URL_LIMIT = 4096
"""Characters of the longest URL. A signed URL of a download has up to a thousand."""

_URL = re.compile(r"https://([^/?#@\\\s]+)(/[^?#\\\s]*)?(\?[^#\\\s]*)?(?:#.*)?\Z", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


@frozen_dataclass
class HttpsUrl:
    """The parts of an https URL, as they are dialed and sent."""

    host: str  # canonical; a literal sends no SNI
    port: int
    target: str  # printable ASCII, beginning with "/"

    @property
    def destination(self) -> Destination:
        return Destination(self.host, self.port)

    @property
    def field(self) -> str:
        """The value of the Host header."""
        return bracketed(self.host) if self.port == 443 else str(self.destination)

    def joined(self, location: str) -> HttpsUrl:
        """Returns the URL that a redirect with this Location leads to. Raises ValueError with a sentence, also if that
        is not an https URL."""
        if len(location) > URL_LIMIT:
            raise ValueError("redirects to an overlong URL")
        try:
            joined = urljoin(str(self), location.strip())
        except ValueError:
            raise ValueError("redirects to what is no URL") from None
        if not joined.lower().startswith("https://"):
            scheme = _SCHEME.match(joined)
            raise ValueError(f"redirects to {scheme[1].lower() if scheme else 'no'}://, which is not encrypted")
        try:
            return parse(joined)
        except ValueError as error:
            raise ValueError(f"redirects to a URL that cannot be used: {error}") from None

    def __str__(self) -> str:
        return f"https://{self.field}{self.target}"


def parse(text: str) -> HttpsUrl:
    """Parses an https URL. Raises ValueError with a sentence that does not quote the URL: it may hold a password."""
    if len(text) > URL_LIMIT:
        raise ValueError(f"a URL can have at most {URL_LIMIT} characters")
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() != "https":
        raise ValueError("write it as https://HOST/PATH")
    if "@" in text[len("https://") :].partition("/")[0]:
        raise ValueError("it has a user name or password, which Byway does not send")
    match = _URL.match(text)
    if match is None:
        raise ValueError("write it as https://HOST/PATH, without spaces or backslashes")
    destination = hostnames.authority(match[1], 443)
    return HttpsUrl(destination.host, destination.port, _ascii(f"{match[2] or '/'}{match[3] or ''}"))


def _ascii(target: str) -> str:
    """Returns the target with percent-escapes for bytes that could end its line or are not ASCII."""
    return "".join(f"%{byte:02X}" if not 0x21 <= byte <= 0x7E else chr(byte) for byte in target.encode())
