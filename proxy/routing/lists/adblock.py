"""Adblock lists: URL filters with options, and rules that change pages.

`||ads.example^` lists a site, `@@` is an exception (`url_filters`). A filter may have options that make it important or
name the kind of visit (third party, pop-up, whole page). With any other option it depends on facts that a list cannot
use, such as the requesting page or the kind of file, and is skipped. Rules for pages (`##`), scripts, `!#include`, and
lines under an `!#if`, which tests for a browser, are skipped too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, BulkLines, parse_lines
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.url_filters import FILTER_LINES, add_filter

_HEADER = re.compile(r"\ufeff?\s*\[(?:adblock|ublock|adguard)", re.IGNORECASE)
_FILTER = re.compile(r"(?:@@)?\|\|?[^\s|]|@@/|[^\s#]+#@?[?$%]{0,2}#\S")
_COSMETIC = re.compile(r"#@?[?$%]{0,2}#|\$@?\$|^\[\$")
_OPTIONS = re.compile(r"\$(~?[a-z0-9_-]+(?:[=,].*)?)$", re.IGNORECASE)

_THIRD_PARTY = re.compile(rf"^(?:\|\|({DOMAIN})\^\$third-party)?\r?$", re.MULTILINE)

_WHOLE = frozenset({"important", "match-case", "all"})
"""Options with which a filter is still about the whole host."""
_VISITS = frozenset({"third-party", "3p", "strict3p", "popup", "document", "doc"})
"""Options that AdGuard's compiler for DNS lists drops. The host is then listed for all visits."""


def recognizes(text: str) -> bool:
    """Whether the beginning of a file is that of an Adblock list: its header, or filters such as `||x^` in more than
    half of the first lines. Lines that begin with `#` are ignored: most are comments of other formats, such as `##
    Title`, and rules for all pages name no host."""
    if _HEADER.match(text):
        return True
    lines = [line for line in text[:16384].split("\n") if line.strip() and not re.match(r"\s*[!#]", line)][:50]
    return sum(_FILTER.match(line) is not None for line in lines) > len(lines) // 2


def parse_adblock(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses an Adblock list, as `formats.ParseList` says."""
    conditions = 0

    def take(first: int, domains: str) -> None:
        if not conditions:
            builder.add_lines(first, domains)
            return
        for number, domain in enumerate(domains.split("\n"), first):
            if domain:
                builder.skip(number, f"||{domain}^", Skip.CONDITION)

    def take_third_party(first: int, domains: str) -> None:
        take(first, domains)
        for number, domain in enumerate(domains.split("\n"), first):
            if domain and not conditions:
                builder.widen(number, f"||{domain}^$third-party", domain)

    def parse_line(number: int, text: str) -> None:
        nonlocal conditions
        line = text.strip()
        if line.startswith("!#"):
            word = line[2:].split(maxsplit=1)[0] if line[2:].strip() else ""
            if word == "include":
                builder.skip(number, line, Skip.INCLUDE)
            conditions = max(0, conditions + (word == "if") - (word == "endif"))
        elif not line or line.startswith(("!", "[Adblock", "[uBlock", "[AdGuard")) or re.match(r"#(?:\s|#*$)", line):
            pass
        elif conditions:
            builder.skip(number, line, Skip.CONDITION)
        elif _COSMETIC.search(line):
            builder.skip(number, line, Skip.COSMETIC)
        else:
            _add(number, line, builder)

    parse_lines(pieces, (BulkLines(FILTER_LINES, take), BulkLines(_THIRD_PARTY, take_third_party)), parse_line)


def _add(number: int, line: str, builder: ListBuilder) -> None:
    options = _OPTIONS.search(line)
    text = line[: options.start()] if options else line
    if re.match(r"(?:@@)?/.+/$", text):
        builder.skip(number, line, Skip.REGULAR_EXPRESSION)
        return
    names = {option.partition("=")[0].lower() for option in options[1].split(",")} if options else set()
    if names - _WHOLE - _VISITS:
        builder.skip(number, line, Skip.CONDITION)
    elif " " in text:
        builder.skip(number, line, Skip.UNREADABLE)
    else:
        add_filter(builder, number, text, narrow=bool(names & _VISITS), shown=line)
