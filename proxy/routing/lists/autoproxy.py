"""AutoProxy lists, such as gfwlist: URL filters, usually in base64.

The syntax is that of Adblock Plus without options and rules for pages (`url_filters`). `@@` is an exception. A wrong `!
Checksum:` means that the list was cut short, or changed after its author wrote it. Such a list is refused, since
missing sites would go direct. Base64 is decoded a piece at a time.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from proxy.model.errors import ConfigError
from proxy.routing.lists.lines import BulkLines, parse_lines
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.url_filters import FILTER_LINES, add_filter

_HEADER = re.compile(r"\ufeff?\s*\[autoproxy", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")
_CHECKSUM = re.compile(r"^[ \t]*![ \t]*checksum[ \t:-]+([\w+/]+)[^\n]*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)
"""The checksum, as Adblock Plus reads it. Its own line is not part of the checked text."""

_AT_ONCE = 16 * 1024
"""Characters of base64 that one call decodes: a multiple of four."""


def recognizes(text: str) -> bool:
    """Whether the beginning of a file is that of an AutoProxy list, plain or in base64."""
    if _HEADER.match(text):
        return True
    digits = "".join(text[:_AT_ONCE].removeprefix("\ufeff").split())
    if _BASE64.fullmatch(digits) is None:
        return False
    to_text = codecs.getincrementaldecoder("utf-8")()  # the last character may be cut
    try:
        decoded = to_text.decode(base64.b64decode(digits[: len(digits) // 4 * 4]))
    except ValueError:
        return False
    lines = decoded.replace("\r", "").replace("\n", "")
    return _HEADER.match(decoded) is not None or ("||" in lines and lines.isprintable())


def _is_base64(text: str) -> bool:
    return _HEADER.match(text) is None and recognizes(text)


def unpacked(text: str) -> str | None:
    """Returns the text of a list in base64; None: it is not base64. Raises ConfigError when it is damaged."""
    return "".join(_decoded([text], "the list")) if _is_base64(text) else None


def parse_autoproxy(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses an AutoProxy list, as `formats.ParseList` says. Its checksum must be right, and its base64 whole."""
    first = next(pieces, "")
    text: Iterator[str] = chain((first,), pieces)
    if _is_base64(first):
        text = _decoded(text, builder.source)

    def parse_line(number: int, line: str) -> None:
        entry = line.strip()
        if entry and not entry.startswith(("!", "[")):
            add_filter(builder, number, entry)

    parse_lines(_checked(text, builder.source), (BulkLines(FILTER_LINES, builder.add_lines),), parse_line)


def _decoded(pieces: Iterable[str], source: str) -> Iterator[str]:
    """Decodes the base64 of `pieces`, and yields the text in pieces of whole lines. Raises ConfigError when the base64
    is damaged."""
    to_text = codecs.getincrementaldecoder("utf-8")()
    left = ""
    begun: list[str] = []
    try:
        for piece in pieces:
            for start in range(0, len(piece), _AT_ONCE):
                digits = left + "".join(piece[start : start + _AT_ONCE].removeprefix("\ufeff").split())
                left = digits[len(digits) // 4 * 4 :]
                decoded = binascii.a2b_base64(digits[: len(digits) // 4 * 4], strict_mode=True)
                lines, end, rest = to_text.decode(decoded).rpartition("\n")
                if end:
                    yield "".join((*begun, lines, end))
                    begun = []
                begun.append(rest)
        if left:
            raise ValueError("not a multiple of four digits")
        begun.append(to_text.decode(b"", final=True))
    except ValueError:
        raise ConfigError(f"{source}: its base64 is damaged or cut short; fetch the list again") from None
    yield "".join(begun)


def _checked(pieces: Iterable[str], source: str) -> Iterator[str]:
    """Yields the pieces unchanged. Raises ConfigError after the last one if their checksum is not the one at the top of
    the text: the MD5 of all other lines, with one newline, and no carriage return, between them."""
    digest = hashlib.md5(usedforsecurity=False)
    checksum, line, lines, characters, after_newline = "", 0, 1, 0, False
    for piece in pieces:
        if checksum or characters < _AT_ONCE:
            text = piece.removeprefix("\ufeff").replace("\r", "")
            if not checksum and (match := _CHECKSUM.search(text)):
                checksum, line = match[1], lines + text.count("\n", 0, match.start())
                text = text[: match.start()] + text[match.end() :]
            if "\n\n" in text:
                text = re.sub(r"\n+", "\n", text)
            if after_newline:
                text = text.removeprefix("\n")
            if text:
                digest.update(text.encode())
                after_newline = text.endswith("\n")
            lines += piece.count("\n")
            characters += len(piece)
        yield piece
    if checksum and base64.b64encode(digest.digest()).decode().rstrip("=") != checksum.rstrip("="):
        raise ConfigError(
            f"{source}:{line}: the checksum is wrong, so the list was cut short or changed; fetch it again, "
            "or delete this line if you changed the list yourself"
        )
