"""Plain lists: one domain a line, which includes its subdomains, or one address.

`#`, `//` and `!` begin comments; a leading `.`, `*.` or `+.` changes nothing, since the apex is always included. Lists
come from strangers: sizes are bounded, what cannot be read is skipped and counted, and no entry is a pattern.

Nearly every line of a million is plain ASCII, so one expression reads all lines of a piece in one call. Only a piece
with a line that it does not match is read line by line, and only such a line by `wire.hostnames`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.routing.lists.lines import READ_LIMIT
from proxy.routing.lists.list_builder import ListBuilder

_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_LEADING = re.compile(r"^(?:[*+]?\.)")

_LINE = re.compile(
    r"""^(?!.{254})     # hostnames.HOST_LIMIT
    [\x20\t]*
    (?: (?:[*+]?\.)?
        ( (?:[a-z0-9][a-z0-9_-]{0,62}+(?<!-)\.)*
          [a-z][a-z0-9_-]{0,62}+(?<!-) )        # begins with a letter, so it is no address
        \.? (?: [\x20\t]+ (?: (?:\#|//)[\x20-\x7e\t]* )? )?
    | (?: (?:\#|//|!)[\x20-\x7e\t]* )?
    )
    \r?$""",
    re.MULTILINE | re.VERBOSE,
)
"""A line of ASCII in lower case. Its group is the domain in canonical spelling; empty for a comment, or nothing. A line
that it does not match may still be a domain or an address."""


def parse_plain(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a plain list, as `formats.ParseList` says."""
    first = 1
    for piece in pieces:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        lines = text.removesuffix("\n")  # the expression would match once more after it
        found: list[str] = _LINE.findall(lines.lower()) if text.isascii() else []
        if len(found) == lines.count("\n") + 1:
            builder.add_many(first, found)
            first += len(found)
            continue
        for line in text.splitlines():
            _parse_line(first, line[:READ_LIMIT], builder)
            first += 1


def _parse_line(number: int, line: str, builder: ListBuilder) -> None:
    match = _LINE.fullmatch(line.lower()) if line.isascii() else None
    if match is not None:
        if match[1]:
            builder.add_many(number, (match[1],))
        return
    entry = _COMMENT.sub("", line).strip()
    if not entry or entry.startswith("!"):
        return
    if "/" in entry:
        builder.add_prefix(number, entry)
    else:
        builder.add(number, _LEADING.sub("", entry))
