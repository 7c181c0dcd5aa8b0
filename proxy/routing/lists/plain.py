"""Plain lists: a line is a domain with its subdomains, an address, or a prefix.

`#`, `//`, `!` and `;` begin comments; all but `!` also after an entry. A leading `.`, `*.` or `+.` changes nothing: the
domain itself is always included. A URL lists its host with subdomains. `full:`, `domain:`, `keyword:` and `regexp:`
mean the same as in v2fly's lists: in a large one they may come only after 100,000 domains, too late to recognize the
format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, BulkLines, parse_lines
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.prefix_lines import IPV4_PREFIX, IPV6_PREFIX, are_ipv4, are_ipv6

_COMMENT = re.compile(r"(?:^|\s)(?:#|//|;).*")
_LEADING = re.compile(r"^(?:[*+]?\.)")
_URL = re.compile(r"(?:https?://)?+([^\s/:,;\"'<>]++)(?:/[^\s,;\"'<>]*+)?", re.IGNORECASE)
_MARKED = re.compile(r"(full|domain|keyword|regexp):(\S+)", re.IGNORECASE)
_PREFIX = re.compile(r"[0-9a-f:.]+/[0-9.]+", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")
"""No label is so long. It may be a subscription, which holds passwords, so only its beginning is shown."""
_WITH_PORT = re.compile(r"(?:https?://)?([^\s/:]+):[0-9]{1,5}(?:/\S*)?", re.IGNORECASE)


def _line_of(entry: str) -> re.Pattern[str]:
    """Returns an expression for lines in lower case with such an entry, a comment, both or neither."""
    comment = r"(?:\#|//|;)[\x20-\x7e\t]*"
    return re.compile(
        rf"^[\x20\t]*(?:{entry}(?:[\x20\t]+(?:{comment})?)?|(?:{comment}|![\x20-\x7e\t]*)?)\r?$", re.MULTILINE
    )


_DOMAINS = _line_of(rf"(?:[*+]?\.)?({DOMAIN})\.?")
_IPV4 = _line_of(rf"({IPV4_PREFIX})")
_IPV6 = _line_of(rf"({IPV6_PREFIX})")


def parse_plain(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a plain list, as `formats.ParseList` says."""

    def parse_line(number: int, line: str) -> None:
        entry = _COMMENT.sub("", line).strip()
        if not entry or entry.startswith("!"):
            return
        if _BASE64.fullmatch(entry):
            builder.skip(number, f"{entry[:8]}…", Skip.UNREADABLE)
            return
        if marked := _MARKED.fullmatch(entry):
            add_marked(builder, number, entry, marked[1].lower(), marked[2])
            return
        if _WITH_PORT.fullmatch(entry):
            builder.skip(number, entry, Skip.CONDITION)
        elif "/" not in entry:
            builder.add(number, _LEADING.sub("", entry))
        elif _PREFIX.fullmatch(entry) or not (url := _URL.fullmatch(entry)) or "." not in url[1][1:-1]:
            builder.add_prefix(number, entry)
        elif builder.add(number, url[1]):
            builder.widen(number, entry, url[1])

    kinds = (
        BulkLines(_DOMAINS, builder.add_lines),
        BulkLines(_IPV4, builder.add_ipv4, are_ipv4),
        BulkLines(_IPV6, builder.add_ipv6, are_ipv6),
    )
    parse_lines(pieces, kinds, parse_line)


def add_marked(builder: ListBuilder, line: int, entry: str, kind: str, value: str) -> None:
    """Adds `kind:value`, a rule as in v2fly's lists."""
    match kind:
        case "full":
            builder.add(line, value, Covers.HOST)
        case "domain":
            builder.add(line, value)
        case "keyword":
            builder.add_keyword(line, value)
        case "regexp":
            builder.skip(line, entry, Skip.REGULAR_EXPRESSION)
        case _:
            builder.skip(line, entry, Skip.UNSUPPORTED_TYPE)
