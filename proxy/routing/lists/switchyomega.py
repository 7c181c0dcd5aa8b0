"""Rule lists of SwitchyOmega and ZeroOmega: conditions, read from top to bottom, and sections of AutoProxy filters.

A line is a condition, `*.example.com`, most often of hosts. `!` before it means the default, so an exception. After
`@with result`, each line ends with the profile it leads to, ` +proxy`; a line that leads to `direct` is an exception,
and any other profile means listed. Conditions of URLs, times and expressions are read as far as they name hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.first_match import OrderedExceptions
from proxy.routing.lists.lines import DOMAIN, MANY_LIMIT, split_lines
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind
from proxy.routing.lists.url_filters import (
    HostFilter,
    add_filter,
    add_hosts,
    host_filter,
    shell_wildcard,
    url_wildcard,
)

_HEADER = re.compile(r"\ufeff?\s*\[switchyomega conditions", re.IGNORECASE)
_LEGACY = re.compile(
    r"^[ \t]*#begin[ \t]*\r?$.*?^[ \t]*\[(?:wildcard|regexp)\]", re.IGNORECASE | re.MULTILINE | re.DOTALL
)
_BEGIN = re.compile(r"^[ \t]*#begin[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_WITH_RESULT = re.compile(r"^[ \t]*@with[ \t]+results?[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_DEFAULT = re.compile(r"^[ \t]*\*[ \t]+\+([^\r\n]*)", re.MULTILINE)
_SPECIAL = ("!", "[", "#", "rulelist", "direct")
"""What a piece with a section or an exception has in it."""

_USUAL = re.compile(
    rf"^(?:\*\.({DOMAIN})(?:[\x20\t]+\+(?![\x20\t]*direct[\x20\t\r]*$)[\x20-\x7e]*)?"
    r"|(?:;(?!\s*rulelist)[\x20-\x7e\t]*)?)\r?$",
    re.MULTILINE,
)
"""A line in lower case as most are: a site, whose domain is the group, and the profile it leads to; a comment; or
nothing."""

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
    """Returns whether the beginning of a file is that of all options of SwitchyOmega (OmegaOptions.bak)."""
    return text.lstrip("\ufeff \r\n\t").startswith("{") and '"profileType"' in text


def recognizes(text: str) -> bool:
    """Returns whether the beginning of a file is that of a rule list of SwitchyOmega, or of its predecessors; or of its
    options, which `parse_switchyomega` refuses by name."""
    return _HEADER.match(text) is not None or _LEGACY.search(text) is not None or is_backup(text)


class _Section(Enum):
    """What the lines of a part of the file are."""

    CONDITIONS = auto()
    AUTOPROXY = auto()
    WILDCARDS = auto()
    """Of URLs, in a list of SwitchySharp."""
    EXPRESSIONS = auto()
    OUTSIDE = auto()
    """Before #BEGIN and after #END in such a list."""


_SECTIONS = {
    "switchyomega": _Section.CONDITIONS,
    "autoproxy": _Section.AUTOPROXY,
    "wildcard": _Section.WILDCARDS,
    "regexp": _Section.EXPRESSIONS,
}


class _Lines:
    """Knows in which section the next line is."""

    def __init__(self, *, legacy: bool) -> None:
        self.section = _Section.OUTSIDE if legacy else _Section.CONDITIONS

    def entry(self, line: str) -> str:
        """Returns a line without what is around it; "" when it is no entry, or longer than MANY_LIMIT. Takes each line
        in turn."""
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
    """What the profiles of a list mean."""

    named: bool
    """Each line names its profile."""
    default_listed: bool
    """What no line matches leads to a profile that is not direct."""

    def polarity(self, line: str) -> tuple[str, bool | None]:
        """Returns a condition without its polarity, and whether it is an exception; None when it names no profile."""
        if line.startswith("!"):
            return line[1:].strip(), not self.default_listed
        if not self.named:
            return line, False
        text, plus, profile = line.rpartition(" +")
        return text.strip(), profile.strip().lower() == "direct" if plus else None


def parse_switchyomega(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a rule list, as `formats.ParseList` says. Its text is read twice: the exceptions first."""
    kept = list(pieces)
    if kept and is_backup(kept[0]):
        told = "is a backup of SwitchyOmega, and no list; `byway rule import` of it, without --list, shows its rules"
        raise ConfigError(f"{builder.source}: {told}")
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
        found: list[str] = []
        if lines.section is _Section.CONDITIONS and first > exceptions.last_place and text.isascii():
            found = _USUAL.findall(bulk.lower())
        if len(found) == bulk.count("\n") + 1 and (not named or bulk.count(" +") >= len(found) - found.count("")):
            builder.add_many(first, found)
            first += len(found)
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
                for found in _hosts(text) if excepted else ():
                    if isinstance(found, HostFilter) and not found.narrow:
                        exceptions.add(first, found, entry)
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
        found = _legacy(line.removeprefix("!")) if section is _Section.WILDCARDS else Skip.REGULAR_EXPRESSION
        if isinstance(found, Skip):
            builder.skip(number, line, found)
        else:
            add_hosts(builder, number, found, exception=line.startswith("!"), shown=line)
        return
    text, excepted = results.polarity(line)
    if excepted is None:
        builder.skip(number, line, Skip.NO_PROFILE)
        return
    if text == "*" and excepted:  # what no other line matches
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
    """Yields which hosts a condition names: several are written with `|` between."""
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
            case "keyword":  # of URLs with http:
                found = host_filter(text)
                if isinstance(found, HostFilter):
                    yield HostFilter(found.kind, found.texts, found.covers, narrow=True)
                else:
                    yield found
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
    """Returns what a wildcard of hosts names, where `*.example.com` and `.example.com` are a site, `**.example.com` is
    what is below it, and stars at the ends of others are any characters."""
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
    """Of SwitchySharp, which writes URLs and means `*://*.example.com/*` as a site."""
    text = pattern.lower()
    if text.startswith("@"):
        text = text[1:]
    else:
        text = text if "://" in text[1:] or text.startswith("*") else f"*{text}"
        text = text if text.endswith("*") else f"{text}*"
    host = re.fullmatch(r"\*://([\w?*._-]+)/\*", text)
    return host_wildcard(host[1]) if host else url_wildcard(text)


def _bypass(text: str) -> HostFilter | Skip:
    """Of a line as Chromium's list of hosts without a proxy has it."""
    if text == "<local>":
        return Skip.CONDITION
    narrow = "://" in text
    text = text.rpartition("://")[2]
    if re.fullmatch(r"[0-9a-f.:\[\]]+/[0-9]+", text):
        return HostFilter(EntryKind.PREFIX, (text.replace("[", "").replace("]", ""),), narrow=narrow)
    if port := re.search(r"(?<!:):[0-9]+$", text) if text.startswith("[") or text.count(":") < 2 else None:
        text, narrow = text[: port.start()], True
    found = shell_wildcard(f"*{text}" if text.startswith(".") else text)
    return HostFilter(found.kind, found.texts, found.covers, narrow) if isinstance(found, HostFilter) else found
