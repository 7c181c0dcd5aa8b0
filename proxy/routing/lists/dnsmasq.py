"""Files for dnsmasq: options such as `server=/example.com/192.0.2.1`, which name domains with their subdomains.

The option itself (ask another server, answer from dnsmasq, add addresses to a set) has no meaning here: each lists the
domain. `server=/example.com/#`, or `local=`, returns a domain to the usual servers, so it is an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, MANY_LIMIT, BulkLines, entries_of, parse_lines
from proxy.routing.lists.list_builder import ListBuilder

_OPTIONS = "server|address|local|ipset|nftset"
"""The options with domains."""

_LINE = re.compile(
    rf"^(?:(?:{_OPTIONS})=/({DOMAIN})/(?!\#[\x20\t]*\r?$)[^/\n\r\x80-\uffff]*|\#[^\n\r]*|)\r?$", re.MULTILINE
)
_COMMENT = re.compile(r"(?:^|\s)#.*")
_OPTION = re.compile(r"(?:--)?([a-z][a-z0-9-]*)(?:\s*=\s*(.*))?", re.IGNORECASE)
_LOOKED_AT = 50
_FIRST = re.compile(rf"(?:--)?(?:(?:{_OPTIONS})\s*=\s*/|bogus-nxdomain\s*=\s*[0-9])")


def recognizes(text: str) -> bool:
    """Whether the first entry is an option, and one of the first is an option of dnsmasq with domains."""
    first = entries_of(text)[:_LOOKED_AT]
    return bool(first) and _OPTION.fullmatch(first[0]) is not None and any(map(_FIRST.match, first))


def parse_dnsmasq(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a file for dnsmasq, as `formats.ParseList` says."""

    def parse_line(number: int, line: str) -> None:
        text = _COMMENT.sub("", line).strip()
        if not text:
            return
        option = _OPTION.fullmatch(text)
        if option is None or len(line) == MANY_LIMIT:  # its end may be cut
            builder.skip(number, text, Skip.UNREADABLE)
            return
        value = option[2] or ""
        if option[1].lower() not in _OPTIONS.split("|") or not value.startswith("/"):
            builder.skip(number, text, Skip.UNSUPPORTED_TYPE)
            return
        *domains, target = value[1:].split("/")
        if not domains:
            builder.skip(number, text, Skip.UNREADABLE)
        is_exception = option[1].lower() in ("server", "local") and target.strip() == "#"
        for domain in domains:
            if domain in ("", "#"):  # names of one label; every name
                builder.skip(number, text, Skip.NO_HOST)
            elif domain.startswith("*"):
                builder.add_wildcard(number, domain, exception=is_exception)
            else:
                builder.add(number, domain.removeprefix("."), Covers.SITE, exception=is_exception)

    parse_lines(pieces, (BulkLines(_LINE, builder.add_lines),), parse_line, limit=MANY_LIMIT)
