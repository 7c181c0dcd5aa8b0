"""The lines of an HTTP/1.x head, and the grammar that both directions share (RFC 9110 section 5, RFC 9112 section 5).

A head is cut into lines only when every line ends in CRLF and no other control character occurs, so that no later
parser can cut it in another place. A fault is a ValueError with one sentence; the caller knows which side sent it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Headers = tuple[tuple[str, str], ...]
"""Name and value of each field in order, as latin-1 text; names in the spelling that was sent."""

HEAD_LIMIT = 64 * 1024
"""Bytes of the longest head, with its first line."""

PLAIN = ""
"""The key of a field that a proxy only passes on."""

_TEXT = bytes([*b"\t", *range(0x20, 0x7F), *range(0x80, 0x100)])
_FIELD_LINE = re.compile(
    r"^([!#$%&'*+.^_`|~0-9A-Za-z-]++):[ \t]*+((?:[^\r\n]*[^\r\n \t])?)[ \t]*+\r\n", re.MULTILINE
)  # one match for each line: `head_text` lets no CR or LF stand alone
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_LENGTH = re.compile(r"[0-9]{1,18}\Z")  # below 2^63, so no recipient overflows

# Names that browsers and servers send all the time: a lookup of the usual spelling is faster than an examination.
_USUAL = """Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-Allow-Origin
Access-Control-Request-Headers Access-Control-Request-Method Age Alt-Svc Authorization Cache-Control
Content-Disposition Content-Encoding Content-Language Content-Location Content-Security-Policy Content-Type Cookie DNT
Date ETag Expires If-Match If-Modified-Since If-None-Match If-Range Last-Modified Link Location Origin P3P Pragma
Priority Range Referer Referrer-Policy Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-GPC
Sec-WebSocket-Accept
Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Version Server Set-Cookie Strict-Transport-Security
Upgrade-Insecure-Requests User-Agent Vary Via WWW-Authenticate X-Content-Type-Options X-Forwarded-For X-Frame-Options
X-Powered-By X-Requested-With X-XSS-Protection""".split()  # noqa: SIM905  a list literal would take 60 lines


def field_table(notable: Iterable[str]) -> Mapping[str, str]:
    """Returns a table of usual spellings of names → the lower-case name if it is one of `notable`, else PLAIN."""
    table = {spelling: PLAIN for name in _USUAL for spelling in (name, name.lower())}
    return table | {spelling: name for name in notable for spelling in (name, name.title())}


def head_text(head: bytes) -> str:
    """Returns a head as latin-1 text, which can be cut at each CRLF. Raises ValueError for a bare CR or LF and for any
    other control character."""
    text = head.decode("latin-1")
    if head.translate(None, _TEXT) != b"\r\n" * text.count("\r\n"):
        raise ValueError("the head contains a control character, or a line that does not end in CRLF")
    return text


def read_fields(
    lines: str, table: Mapping[str, str], single: frozenset[str], *, lenient: bool = False
) -> tuple[list[tuple[str, str]], list[tuple[str, str]], dict[str, str]]:
    """Parses field lines, each with its CRLF. `table` is one of `field_table`. Returns all fields, the fields that a
    proxy only passes on, and the values of the others by key. The values of a repeated field become one list (RFC 9110
    section 5.3). `lenient` drops blanks before the colon, as RFC 9112 section 5.1 demands for answers. Raises
    ValueError, also for a second field with a key of `single`."""
    received: list[tuple[str, str]] = _FIELD_LINE.findall(lines)
    if len(received) != lines.count("\r\n"):
        received = _cut(lines, lenient=lenient)
    plain: list[tuple[str, str]] = []
    notable: dict[str, str] = {}
    for field in received:
        key = table.get(field[0])
        if key is None:
            key = table.get(field[0].lower(), PLAIN)
        if not key:
            plain.append(field)
        elif key not in notable:
            notable[key] = field[1]
        elif key in single:
            raise ValueError(f"there are two {key.title()} fields")
        else:
            notable[key] += f",{field[1]}"
    return received, plain, notable


def _cut(lines: str, *, lenient: bool) -> list[tuple[str, str]]:
    """Cuts field lines of which at least one has an unusual form. Raises ValueError, with the fault, if that form is
    not allowed."""
    fields: list[tuple[str, str]] = []
    for line in lines.split("\r\n")[:-1]:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError("a header line has no colon")
        if lenient:
            name = name.rstrip(" \t")
        if _TOKEN.match(name) is None:
            raise ValueError("a header name is empty or holds a character that no name may have")
        fields.append((name, value.strip(" \t")))
    return fields


NO_TOKENS: frozenset[str] = frozenset()
_LISTS = {text: frozenset([text.lower()]) for text in ("keep-alive", "Keep-Alive", "close", "Close", "Upgrade")}


def tokens(text: str) -> frozenset[str]:
    """Returns the items of a comma-separated list of tokens, in lower case. Raises ValueError if one is no token."""
    if (usual := _LISTS.get(text)) is not None:
        return usual
    items = [item.strip(" \t").lower() for item in text.split(",")]
    if any(item and _TOKEN.match(item) is None for item in items):
        raise ValueError("a Connection field holds something that is no name")
    return frozenset(item for item in items if item)


def content_length(text: str) -> int:
    """Raises ValueError unless `text` is 1 to 18 digits."""
    if _LENGTH.match(text) is None:
        raise ValueError("Content-Length is not a plain number")
    return int(text)


def without(fields: Iterable[tuple[str, str]], names: frozenset[str]) -> list[tuple[str, str]]:
    """Returns the fields whose lower-case name is not in `names`."""
    return [field for field in fields if field[0].lower() not in names]
