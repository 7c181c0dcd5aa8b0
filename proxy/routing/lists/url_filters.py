"""Filters of URLs, as AutoProxy and Adblock Plus write them, and the hosts that each of them names.

Byway sees hosts and no paths, so of a filter its host counts: `||example.com^` is a site with its subdomains,
`|http://example.com/` one host, `.example.com` what is below it, `example` every host with this in its name. What is
about a scheme, a port or a path of a host means the whole host, and says so (`HostFilter.narrow`). Where a name ends
without `^` or `/`, Adblock Plus lets it go on (`||example.com` is `example.com.cn` too); here it ends, as its author
means it, and as every other reader of gfwlist has it.
"""

from __future__ import annotations

import re

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind
from proxy.wire import hostnames

FILTER_LINES = re.compile(
    rf"^(?:\|\|({DOMAIN})\^?|(?:!(?!\#|[ ]?checksum)[\x20-\x7e\t]*)?)\r?$",
    re.MULTILINE,
)
"""Lines as most are, for `BulkLines`: a site, a comment, or nothing."""

_SCHEME = re.compile(r"(\*|[a-z]+s?\*?)?:(?://|/\*/?|\*)|//")
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[^/^?:|&=]*")
_ENDS = re.compile(r"[/^]?\*?")
"""After a host: it ends here, and nothing is said of ports and paths."""
_HOST_CHARACTERS = re.compile(r"[^\x00-\x29+,/:-@\[-^`{-\x7f]+|\[[0-9a-f:.]+\]")
_DOMAIN = re.compile(r"(?:[a-z0-9_-]+\.)+(?:[a-z]|xn--)[a-z0-9-]+")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@frozen_dataclass
class HostFilter:
    """The hosts that a filter names: a domain, a part of names, or wildcards."""

    kind: EntryKind
    texts: tuple[str, ...]
    """One, and for wildcards two: without a subdomain and with one."""
    covers: Covers = Covers.HOST
    narrow: bool = False
    """The filter is about a scheme, a port or a path of these hosts only."""


def host_filter(text: str) -> HostFilter | Skip:
    """Returns which hosts a filter names, without the `@@` of exceptions and without options; else why it names none.
    Names are in lower case, and may still be no host."""
    rest = text.lower()
    if len(rest) > 1 and rest.startswith("/") and (rest.endswith("/") or rest.startswith("/^")):
        return Skip.REGULAR_EXPRESSION
    below = rest.startswith("||")
    first = rest.startswith("|") and not below
    rest = rest[2 if below else first :]
    narrow = False
    if not below and (scheme := _SCHEME.match(rest)):
        narrow = scheme[1] not in (None, "*", "http*")
        rest = rest[scheme.end() :]
        first = True
    elif first:
        return Skip.NO_HOST
    host_match = _HOST.match(rest)
    assert host_match is not None  # it matches nothing at least
    host, tail = host_match[0], rest[host_match.end() :]
    whole = _ENDS.fullmatch(tail.removesuffix("|")) is not None
    ends = bool(tail)
    if not host.strip("*."):
        return Skip.PATTERN if whole and (below or first) else Skip.NO_HOST
    if _HOST_CHARACTERS.fullmatch(host) is None:
        return Skip.UNREADABLE if below or first else Skip.NO_HOST
    host = _in_a_labels(host)
    if below or first:
        return _anchored(host, below=below, ends=ends, narrow=narrow or not whole)
    return _part(host, ends=ends, narrow=not whole, query=tail.startswith(("?", "&", "=")))


def _in_a_labels(host: str) -> str:
    """Returns the part of a name as it is in DNS, where it has international labels. A lone word stays as it is: it may
    be a piece of a label, and then no piece of its punycode."""
    if host.isascii() or "." not in host.strip("."):
        return host
    try:
        return ".".join([label if label.isascii() else hostnames.host(label) for label in host.split(".")])
    except ValueError:
        return host


def _anchored(host: str, *, below: bool, ends: bool, narrow: bool) -> HostFilter | Skip:
    """Of a filter that begins where a host begins; `below`, or where a label of it does."""
    name = host.rstrip("*")
    under_any = name.endswith(".") and (name != host or not ends)  # `||example.`
    if under_any or (name != host and "." not in name):  # `||ads*`
        name += "*"
    if name.startswith("[") or _IPV4.fullmatch(name):
        return HostFilter(EntryKind.DOMAIN, (name,), Covers.HOST, narrow)
    bare = name.removeprefix("*").removeprefix(".")
    if "*" not in bare and (bare == name or name.startswith((".", "*."))):
        if bare != name:
            return HostFilter(EntryKind.DOMAIN, (bare,), Covers.SUBDOMAINS, narrow)
        if not below and not ends and "." not in name:  # `|http://cdn`
            return HostFilter(EntryKind.WILDCARD, (f"{name}*",), Covers.HOST, narrow)
        return HostFilter(EntryKind.DOMAIN, (name,), Covers.SITE if below else Covers.HOST, narrow)
    if not re.search("[a-z]", name):
        return Skip.PATTERN  # the beginning of an address
    both = below and not name.startswith("*")
    return HostFilter(EntryKind.WILDCARD, (name, f"*.{name}") if both else (name,), Covers.HOST, narrow)


def _part(host: str, *, ends: bool, narrow: bool, query: bool) -> HostFilter | Skip:
    """Of a filter that may match anywhere in a URL; it `ends` where the host ends, or goes on."""
    name = host.strip("*") if not ends else host.lstrip("*")
    if _IPV4.fullmatch(name):
        return HostFilter(EntryKind.DOMAIN, (name,), Covers.HOST, narrow)
    if name.startswith(".") and _DOMAIN.fullmatch(name[1:]):
        return HostFilter(EntryKind.DOMAIN, (name[1:],), Covers.SUBDOMAINS, narrow)
    if ends:
        name = name.rstrip("*")
        if query or "." not in name.strip("."):
            return Skip.NO_HOST  # `track.php?`, `/ads/`
        return HostFilter(EntryKind.WILDCARD, (f"*{name}",), Covers.HOST, narrow)
    if "*" in name:
        return HostFilter(EntryKind.WILDCARD, (f"*{name}*",), Covers.HOST, narrow)
    return HostFilter(EntryKind.KEYWORD, (name,), Covers.HOST, narrow)


def shell_wildcard(pattern: str) -> HostFilter | Skip:
    """Returns what a shell expression of hosts names, as `shExpMatch` of PAC files takes it: it matches the whole
    name."""
    text = re.sub(r"\*+", "*", pattern)
    if "/" in text:
        return Skip.UNREADABLE  # no host has one
    if "?" in text or not text.strip("*."):
        return Skip.PATTERN
    if "*" not in text:
        return HostFilter(EntryKind.DOMAIN, (text,), Covers.HOST)
    if text.startswith("*.") and "*" not in text[2:]:
        return HostFilter(EntryKind.DOMAIN, (text[2:],), Covers.SUBDOMAINS)
    inner = text.strip("*")
    if text == f"*{inner}*" and "*" not in inner:
        return HostFilter(EntryKind.KEYWORD, (inner,))
    return HostFilter(EntryKind.WILDCARD, (text,))


def url_wildcard(pattern: str) -> HostFilter | Skip:
    """Returns which hosts a wildcard of URLs names. It matches the whole URL."""
    begins = "" if pattern.startswith("*") and not pattern.startswith("*://") else "|"
    host = re.sub(r"^[a-z*]*://", "", pattern).partition("/")[0]
    if "?" in host or not pattern.strip("*"):
        return Skip.PATTERN
    text = pattern if begins else pattern.lstrip("*")
    if text.endswith("*"):
        text = text.rstrip("*")
    elif not text.endswith("/") or text.endswith("://"):
        text += "|"
    return Skip.NO_HOST if text.startswith("/") else host_filter(begins + text)


def add_filter(builder: ListBuilder, line: int, text: str, *, narrow: bool = False, shown: str = "") -> None:
    """Adds what a filter names, an exception when it begins with `@@`, or skips it. `narrow`: its options tie it to a
    kind of visit; `shown` is the line as it stands in the list."""
    found = host_filter(text.removeprefix("@@"))
    if isinstance(found, Skip):
        builder.skip(line, shown or text, found)
        return
    if narrow:
        found = HostFilter(found.kind, found.texts, found.covers, narrow=True)
    add_hosts(builder, line, found, exception=text.startswith("@@"), shown=shown or text)


def add_hosts(builder: ListBuilder, line: int, found: HostFilter, *, exception: bool, shown: str) -> None:
    """Adds the hosts of a filter. An exception for a part of a host is skipped: the rest of the host would no longer be
    listed."""
    if exception and found.narrow:
        builder.skip(line, shown, Skip.NARROW_EXCEPTION)
        return
    added = False
    for text in found.texts:
        match found.kind:
            case EntryKind.KEYWORD:
                added = builder.add_keyword(line, text, exception=exception)
            case EntryKind.WILDCARD:
                added = builder.add_wildcard(line, text, exception=exception)
            case EntryKind.PREFIX:
                added = builder.add_prefix(line, text, exception=exception)
            case EntryKind.DOMAIN:
                added = builder.add(line, text, found.covers, exception=exception)
        if not added:
            return
    if found.narrow:
        builder.widen(line, shown, found.texts[0])
