"""Rule lists of SwitchyOmega and ZeroOmega: conditions, of which the first that matches decides, and AutoProxy filters.

A line is a condition, usually on the host: `*.example.com`. `!` before it means the default profile, so it is an
exception. After `@with result`, each line ends with its profile, ` +proxy`: with `direct` it is an exception, with any
other profile it lists hosts. Conditions on URLs are read for their hosts; those on times, and expressions, are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.first_match import OrderedExceptions
from proxy.routing.lists.lines import DOMAIN, MANY_LIMIT, split_lines
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind
from proxy.routing.lists.url_filters import HostFilter, add_filter, add_hosts, host_filter, shell_wildcard, url_wildcard

_HEADER = re.compile(r"\ufeff?\s*\[switchyomega conditions", re.IGNORECASE)
_LEGACY = re.compile(
    r"^[ \t]*#begin[ \t]*\r?$.*?^[ \t]*\[(?:wildcard|regexp)\]", re.IGNORECASE | re.MULTILINE | re.DOTALL
)
_BEGIN = re.compile(r"^[ \t]*#begin[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_WITH_RESULT = re.compile(r"^[ \t]*@with[ \t]+results?[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_DEFAULT = re.compile(r"^[ \t]*\*[ \t]+\+([^\r\n]*)", re.MULTILINE)
_SPECIAL = ("!", "[", "#", "rulelist", "direct")
"""Every piece with a section or an exception has one of these."""

_USUAL = re.compile(
    rf"^(?:\*\.({DOMAIN})(?:[\x20\t]+\+(?![\x20\t]*direct[\x20\t\r]*$)[\x20-\x7e]*)?"
    r"|(?:;(?!\s*rulelist)[\x20-\x7e\t]*)?)\r?$",
    re.MULTILINE,
)
"""Matches the usual lines, in lower case: a site, whose domain is the group, with its profile; a comment; an empty
line."""

_TYPES = {
    "host": ("", "h", "w", "hw", "wild", "wildcard", "host", "hostw", "hwild", "hwildcard", "hostwild", "hostwildcard",
             "hostwildcardcondition"),
    "url": ("u", "uw", "url", "urlw", "uwild", "uwildcard", "urlwild", "urlwildcard", "urlwildcardcondition"),
    "keyword": ("k", "kw", "keyword", "keywordcondition"),
    "bypass": ("b", "bypass", "bypasscondition"),
    "ip": ("ip", "ipcondition"),
    "expression": ("ur", "uregex", "urlr", "urlregex", "urlregexcondition", "r", "hr", "regex", "hostr", "hregex",
                   "hostregex", "hostregexcondition"),
    "nothing": ("false", "disabled", "falsecondition"),
    "other": ("true", "truecondition", "lv", "level", "levels", "hl", "hlv", "hlevel", "hlevels", "hostl", "hostlv",
              "hostlevel", "hostlevels", "hostlevelscondition", "wd", "week", "day", "weekday", "weekdaycondition",
              "t", "time", "hour", "timecondition"),
}  # fmt: skip
_TYPE_OF = {name: kind for kind, spellings in _TYPES.items() for name in spellings}


def is_backup(text: str) -> bool:
    """Whether the beginning of a file is that of a backup of SwitchyOmega's options (OmegaOptions.bak)."""
    return text.lstrip("\ufeff \r\n\t").startswith("{") and '"profileType"' in text


def recognizes(text: str) -> bool:
    """Whether the beginning of a file is that of a rule list of SwitchyOmega or its predecessors, or of a backup, for
    which `parse_switchyomega` has a sentence."""
    return _HEADER.match(text) is not None or _LEGACY.search(text) is not None or is_backup(text)


class _Section(Enum):
    """The kinds of sections of a file."""

    CONDITIONS = auto()
    AUTOPROXY = auto()
    WILDCARDS = auto()
    """Wildcards of URLs, in a list of SwitchySharp."""
    EXPRESSIONS = auto()
    OUTSIDE = auto()
    """The lines before #BEGIN and after #END in a list of SwitchySharp."""


_SECTIONS = {
    "switchyomega": _Section.CONDITIONS,
    "autoproxy": _Section.AUTOPROXY,
    "wildcard": _Section.WILDCARDS,
    "regexp": _Section.EXPRESSIONS,
}


class _Lines:
    """Keeps the section of the next line."""

    def __init__(self, *, legacy: bool) -> None:
        self.section = _Section.OUTSIDE if legacy else _Section.CONDITIONS

    def entry(self, line: str) -> str:
        """Returns a line without blanks around it; "": it is not an entry, or is longer than MANY_LIMIT. Call it for
        each line in order."""
        text = line.strip() if len(line) <= MANY_LIMIT else ""
        if not text:
            return ""
        lowered = text.lower()
        if lowered in ("#begin", "#end"):
            self.section = _Section.WILDCARDS if lowered == "#begin" else _Section.OUTSIDE
        named = re.match(r"\[\s*(\w+)|;\s*rulelist:\s*(\w+)", lowered)
        if named and self.section is not _Section.OUTSIDE:
            self.section = _SECTIONS.get(named[1] or named[2], self.section)
        if named or text.startswith((";", "#", "@with", "@note")) or self.section is _Section.OUTSIDE:
            return ""
        if self.section is _Section.AUTOPROXY:
            return "" if text.startswith("!") else text
        return "" if text.startswith("@") and self.section is _Section.CONDITIONS else text


@frozen_dataclass
class _Results:
    """The meaning of a list's profiles."""

    named: bool
    """Each line names its profile."""
    default_listed: bool
    """The default profile, for hosts that no line matches, is not direct."""

    def polarity(self, line: str) -> tuple[str, bool | None]:
        """Returns a condition without `!` or profile, and whether it is an exception; None: it names no profile."""
        if line.startswith("!"):
            return line[1:].strip(), not self.default_listed
        if not self.named:
            return line, False
        text, plus, profile = line.rpartition(" +")
        return text.strip(), profile.strip().lower() == "direct" if plus else None


def parse_switchyomega(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a rule list, as `formats.ParseList` says. The text is read twice, first for its exceptions."""
    kept = list(pieces)
    if kept and is_backup(kept[0]):
        fault = "is a backup of SwitchyOmega, and no list; `byway rule import` of it, without --list, shows its rules"
        raise ConfigError(f"{builder.source}: {fault}")
    named = any("@" in piece and _WITH_RESULT.search(piece) for piece in kept)
    matches = (_DEFAULT.search(piece) for piece in kept) if named else ()
    defaults = [match[1].strip().lower() for match in matches if match]
    results = _Results(named, default_listed=named and bool(defaults) and defaults[0] != "direct")
    legacy = bool(kept) and _HEADER.match(kept[0]) is None and any(_BEGIN.search(piece) for piece in kept)
    exceptions = OrderedExceptions(builder.source)
    _find_exceptions(kept, _Lines(legacy=legacy), results, exceptions)
    lines, first = _Lines(legacy=legacy), 1
    for piece in kept:
        text = piece.removeprefix("\ufeff") if first == 1 else piece
        bulk = text.removesuffix("\n")
        domains: list[str] = []
        if lines.section is _Section.CONDITIONS and first > exceptions.last_place and text.isascii():
            domains = _USUAL.findall(bulk.lower())
        if len(domains) == bulk.count("\n") + 1 and (not named or bulk.count(" +") >= len(domains) - domains.count("")):
            builder.add_many(first, domains)
            first += len(domains)
            continue
        for line in split_lines(text):
            if entry := lines.entry(line):
                _read(first, entry, lines.section, builder, exceptions, results)
            elif len(line) > MANY_LIMIT:
                builder.skip(first, line, Skip.UNREADABLE)
            first += 1
    exceptions.add_to(builder)


def _find_exceptions(pieces: Sequence[str], lines: _Lines, results: _Results, exceptions: OrderedExceptions) -> None:
    first = 1
    for piece in pieces:
        lowered = piece.lower()
        if not any(mark in lowered for mark in _SPECIAL):
            first += len(split_lines(piece))
            continue
        for line in split_lines(piece):
            entry = lines.entry(line)
            if entry and lines.section is _Section.CONDITIONS:
                text, excepted = results.polarity(entry)
                for hosts in _hosts(text) if excepted else ():
                    if isinstance(hosts, HostFilter) and not hosts.narrow:
                        exceptions.add(first, hosts, entry)
            first += 1


def _read(
    number: int,
    line: str,
    section: _Section,
    builder: ListBuilder,
    exceptions: OrderedExceptions,
    results: _Results,
) -> None:
    if section is _Section.AUTOPROXY:
        add_filter(builder, number, line)
        return
    if section is not _Section.CONDITIONS:
        hosts = _legacy(line.removeprefix("!")) if section is _Section.WILDCARDS else Skip.REGULAR_EXPRESSION
        if isinstance(hosts, Skip):
            builder.skip(number, line, hosts)
        else:
            add_hosts(builder, number, hosts, exception=line.startswith("!"), shown=line)
        return
    text, excepted = results.polarity(line)
    if excepted is None:
        builder.skip(number, line, Skip.NO_PROFILE)
        return
    if text == "*" and excepted:  # the default
        return
    for hosts in _hosts(text):
        if isinstance(hosts, Skip):
            builder.skip(number, line, hosts)
        elif not excepted:
            exceptions.note(number, hosts)
            add_hosts(builder, number, hosts, exception=False, shown=line)
        elif hosts.narrow:
            builder.skip(number, line, Skip.NARROW_EXCEPTION)


def _hosts(condition: str) -> Iterator[HostFilter | Skip]:
    """Yields the hosts of a condition, whose patterns are separated by `|`, or the reasons to skip them."""
    kind, pattern = "host", condition
    if typed := re.match(r"(\w*):(?:\s+|$)", condition):
        kind, pattern = _TYPE_OF.get(typed[1].lower(), "unknown"), condition[typed.end() :]
    for part in pattern.split("|") if kind in ("host", "url") else (pattern,):
        text = part.strip().lower()
        match kind:
            case _ if not text and kind in ("host", "url"):
                continue
            case "host":
                yield host_wildcard(text)
            case "url":
                yield url_wildcard(text)
            case "keyword":  # for http: URLs only
                hosts = host_filter(text)
                yield replace(hosts, narrow=True) if isinstance(hosts, HostFilter) else hosts
            case "ip":
                yield HostFilter(EntryKind.PREFIX, (text.strip("[]"),))
            case "bypass":
                yield _bypass(text)
            case "expression":
                yield Skip.REGULAR_EXPRESSION
            case "nothing":
                continue
            case "other":
                yield Skip.CONDITION
            case _:
                yield Skip.UNSUPPORTED_TYPE


def host_wildcard(pattern: str) -> HostFilter | Skip:
    """Returns the hosts of a host wildcard: `*.example.com` and `.example.com` are a site, `**.example.com` its
    subdomains; in other patterns a star matches any characters."""
    if "?" in pattern or not pattern.strip("*."):
        return Skip.PATTERN
    text = f"*{pattern}" if pattern.startswith(".") else pattern
    if text.startswith("**."):
        return shell_wildcard(text[1:])
    if text.startswith("*.") and "*" not in text[2:]:
        return HostFilter(EntryKind.DOMAIN, (text[2:],), Covers.SITE)
    if text.startswith("*."):
        return HostFilter(EntryKind.WILDCARD, (text[2:], text))
    return shell_wildcard(text)


def _legacy(pattern: str) -> HostFilter | Skip:
    """Returns the hosts of a URL wildcard of SwitchySharp, where `*://*.example.com/*` is a site."""
    text = pattern.lower()
    if text.startswith("@"):
        text = text[1:]
    else:
        text = text if "://" in text[1:] or text.startswith("*") else f"*{text}"
        text = text if text.endswith("*") else f"{text}*"
    host = re.fullmatch(r"\*://([\w?*._-]+)/\*", text)
    return host_wildcard(host[1]) if host else url_wildcard(text)


def _bypass(text: str) -> HostFilter | Skip:
    """Returns the hosts of an entry in the syntax of Chromium's proxy bypass list."""
    if text == "<local>":
        return Skip.CONDITION
    narrow = "://" in text
    text = text.rpartition("://")[2]
    if re.fullmatch(r"[0-9a-f.:\[\]]+/[0-9]+", text):
        return HostFilter(EntryKind.PREFIX, (text.replace("[", "").replace("]", ""),), narrow=narrow)
    if port := re.search(r"(?<!:):[0-9]+$", text) if text.startswith("[") or text.count(":") < 2 else None:
        text, narrow = text[: port.start()], True
    hosts = shell_wildcard(f"*{text}" if text.startswith(".") else text)
    return replace(hosts, narrow=narrow) if isinstance(hosts, HostFilter) else hosts
