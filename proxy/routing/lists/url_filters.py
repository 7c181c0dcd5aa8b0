"""Parses URL filters of AutoProxy and Adblock Plus, and returns the hosts of each.

Byway sees hosts and no paths, so only the host of a filter counts: `||example.com^` is a site, `|http://example.com/`
one host, `.example.com` the subdomains, `example` every host with this in its name. A filter for a scheme, a port or a
path lists the whole host and is marked (`HostFilter.narrow`). Without `^` or `/` after a name, Adblock Plus lets the
name go on (`||example.com` matches `example.com.cn`); here it ends, as its author intends and as every other reader of
gfwlist does.
"""

from __future__ import annotations

import re
from dataclasses import replace

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
"""The usual lines, for `BulkLines`: a site, a comment, or an empty line."""

_SCHEME = re.compile(r"(\*|[a-z]+s?\*?)?:(?://|/\*/?|\*)|//")
_HOST = re.compile(r"\[[0-9a-f:.]+\]|[^/^?:|&=]*")
_ENDS = re.compile(r"[/^]?\*?")
"""The text after a host without a port or a path."""
_HOST_CHARACTERS = re.compile(r"[^\x00-\x29+,/:-@\[-^`{-\x7f]+|\[[0-9a-f:.]+\]")
_DOMAIN = re.compile(r"(?:[a-z0-9_-]+\.)+(?:[a-z]|xn--)[a-z0-9-]+")
_IPV4 = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@frozen_dataclass
class HostFilter:
    """The hosts of a filter: a domain, an address or prefix, a keyword, or wildcards."""

    kind: EntryKind
    texts: tuple[str, ...]
    """One text; for wildcards also two, without a subdomain and with one."""
    covers: Covers = Covers.HOST
    narrow: bool = False
    """The filter is about a scheme, a port or a path of these hosts only."""


def host_filter(text: str) -> HostFilter | Skip:
    """Returns the hosts of a filter, or the reason to skip it. `text` is without `@@` and options. Names in the result
    are in lower case, and may not be valid."""
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
    assert host_match is not None  # it also matches the empty text
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
    """Returns a part of a name with A-labels in place of international ones. A lone word is returned unchanged: it may
    be a part of a label, which is not a part of that label's punycode."""
    if host.isascii() or "." not in host.strip("."):
        return host
    try:
        return ".".join([label if label.isascii() else hostnames.host(label) for label in host.split(".")])
    except ValueError:
        return host


def _anchored(host: str, *, below: bool, ends: bool, narrow: bool) -> HostFilter | Skip:
    """Returns the hosts of a filter that begins at the beginning of a host; with `below`, of any of its labels."""
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
    """Returns the hosts of a filter that may match anywhere in a URL. `ends`: the text ends with the host."""
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
    """Returns the hosts of a shell wildcard, as `shExpMatch` of PAC files takes it: it matches the whole name."""
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
    """Returns the hosts of a URL wildcard, which matches the whole URL."""
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
    """Adds the hosts of a filter, as an exception if it begins with `@@`, or skips it. `narrow`: its options limit it
    to a kind of visit. Messages show `shown`, the line in the list."""
    hosts = host_filter(text.removeprefix("@@"))
    if isinstance(hosts, Skip):
        builder.skip(line, shown or text, hosts)
        return
    if narrow:
        hosts = replace(hosts, narrow=True)
    add_hosts(builder, line, hosts, exception=text.startswith("@@"), shown=shown or text)


def add_hosts(builder: ListBuilder, line: int, hosts: HostFilter, *, exception: bool, shown: str) -> None:
    """Adds the hosts of a filter. A narrow exception is skipped: the rest of the host would no longer be listed."""
    if exception and hosts.narrow:
        builder.skip(line, shown, Skip.NARROW_EXCEPTION)
        return
    added = False
    for text in hosts.texts:
        match hosts.kind:
            case EntryKind.KEYWORD:
                added = builder.add_keyword(line, text, exception=exception)
            case EntryKind.WILDCARD:
                added = builder.add_wildcard(line, text, exception=exception)
            case EntryKind.PREFIX:
                added = builder.add_prefix(line, text, exception=exception)
            case EntryKind.DOMAIN:
                added = builder.add(line, text, hosts.covers, exception=exception)
        if not added:
            return
    if hosts.narrow:
        builder.widen(line, shown, hosts.texts[0])
