"""Rule providers of Clash and mihomo, and the similar rule files of Surge, Loon and Quantumult.

A provider is text, or YAML with a `payload:` list, of items or in brackets. Its entries have one of three behaviors. A
user of mihomo has to name it; here each entry shows it: `DOMAIN-SUFFIX,example.com` (classical), `192.0.2.0/24`
(ipcidr), else domain. In behavior domain, `example.com` is one host, `+.example.com` the site, `.example.com` its
subdomains, and a star one whole label. Lines that mihomo silently ignores, such as YAML that is not a list, are counted
as skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.lines import DOMAIN, READ_LIMIT, BulkLines, entries_of, parse_lines, split_lines
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.prefix_lines import IPV4_PREFIX, IPV6_PREFIX, are_ipv4, are_ipv6

_DOMAIN_TYPES = {"DOMAIN": Covers.HOST, "HOST": Covers.HOST, "DOMAIN-SUFFIX": Covers.SITE, "HOST-SUFFIX": Covers.SITE}
_COVERS_OF_TYPE = {word.lower(): _DOMAIN_TYPES[word] for word in sorted(_DOMAIN_TYPES, key=len, reverse=True)}

_KEYWORD_TYPES = frozenset(("DOMAIN-KEYWORD", "HOST-KEYWORD"))
_WILDCARD_TYPES = frozenset(("DOMAIN-WILDCARD", "HOST-WILDCARD"))
_PREFIX_TYPES = frozenset(("IP-CIDR", "IP-CIDR6", "IP6-CIDR"))
_SKIPPED_TYPES = {
    **dict.fromkeys(("DOMAIN-REGEX", "URL-REGEX"), Skip.REGULAR_EXPRESSION),
    **dict.fromkeys(
        (
            "PROCESS-NAME", "PROCESS-PATH", "PROCESS-NAME-REGEX", "PROCESS-PATH-REGEX", "PROCESS-NAME-WILDCARD",
            "PROCESS-PATH-WILDCARD", "UID",
        ),
        Skip.PROCESS,
    ),
    **dict.fromkeys(
        (
            "DST-PORT", "DEST-PORT", "SRC-PORT", "IN-PORT", "SRC-IP-CIDR", "SRC-IP", "SRC-IP-SUFFIX", "SRC-MAC",
            "NETWORK", "DSCP", "IN-TYPE", "IN-USER", "IN-NAME", "SCHEDULE", "PROTOCOL", "SUBNET", "USER-AGENT",
            "DEVICE-NAME",
        ),
        Skip.CONDITION,
    ),
    **dict.fromkeys(
        (
            "GEOIP", "GEOSITE", "SRC-GEOIP", "IP-ASN", "SRC-IP-ASN", "IP-SUFFIX", "AND", "OR", "NOT", "SUB-RULE",
            "RULE-SET", "DOMAIN-SET", "MATCH", "FINAL", "SCRIPT",
        ),
        Skip.UNSUPPORTED_TYPE,
    ),
}  # fmt: skip
_TYPES = (*_DOMAIN_TYPES, *_KEYWORD_TYPES, *_WILDCARD_TYPES, *_PREFIX_TYPES, *_SKIPPED_TYPES)
_LEADING = {"+.": Covers.SITE, "*.": Covers.CHILDREN, ".": Covers.SUBDOMAINS, "": Covers.HOST}
"""The hosts that an entry of behavior domain covers, by its beginning."""

_HEAD = re.compile(r"\x20*(['\"]?)(?:payload|rules)\1[\x20\t]*:(?:[\x20\t]++[&!]\S*+)*+[\x20\t]*+(?:\#.*)?")
_FLOW_HEAD = re.compile(r"[\x20\t{]*(['\"]?)(?:payload|rules)\1[\x20\t]*:(?:[\x20\t]++[&!][^\s\[]*+)*+[\x20\t]*+\[")
_FLOW_PARTS = re.compile(r"'(?:[^']|'')*+'|\"(?:[^\"\\]|\\.)*+\"|\]|[^\s,\]][^,\]]*+")
"""The items of a list in brackets, and the bracket that closes it."""
_ITEM = re.compile(r"[\x20\t]*+-(?:[\x20\t]++(.*))?")
_KEY = re.compile(r"---|[\w-]+:(?:\s.*)?")
_OTHER_KEY = re.compile(r"^(?!rules\b)[\w-]+:(?:\s|$)", re.MULTILINE)
_YAML_COMMENT = re.compile(r"(?:^|\s)#.*")
_TEXT_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*|^\s*;.*")
_SINGLE_QUOTED = re.compile(r"'((?:[^']|'')*+)'\s*(?:\s#.*)?")
_DOUBLE_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*+")\s*(?:\s#.*)?')
_PROPERTIES = re.compile(r"\A(?:[&!]\S*+\s++)*+")
"""An anchor and a tag before a value."""
_NO_PLAIN_SCALAR = re.compile(r"[*&!|>%@`{}\[\],\"'#]|[?:-](?:\s|$)|.*:(?:\s|$)")

_TYPED = re.compile(rf"(?:(?:DOMAIN|HOST)\s*,[^,]*\.|(?!(?:DOMAIN|HOST)\s*,)(?:{'|'.join(_TYPES)})\s*,)", re.IGNORECASE)
"""`domain,category` is the first line of a table."""
_LOOKED_AT = 50
_WITH_SUBDOMAINS = re.compile(r"\+\.[\w.-]+")


def recognizes(text: str) -> bool:
    """Whether the beginning of a file is that of a provider: it is YAML with `payload:`, or the first entry or most of
    the first ones have a type, or one is a domain with `+.`, which no other format has."""
    entries = entries_of(text)
    if not entries:
        return False
    head = next((place for place, entry in enumerate(entries) if not _KEY.fullmatch(entry)), len(entries))
    heads = entries[: head + 1]
    if any(map(_FLOW_HEAD.match, heads)) or (_has_head(text) and any(map(_HEAD.fullmatch, heads))):
        return True
    typed = [_TYPED.match(entry) is not None for entry in entries[:_LOOKED_AT]]
    return typed[0] or sum(typed) * 2 > len(typed) or any(map(_WITH_SUBDOMAINS.fullmatch, entries))


def head_of_lines(text: str) -> str:
    """Returns the text that a single line of a list needs before it, to mean the same alone."""
    return "payload:\n" if _has_head(text) else ""


def lines_of_list(text: str) -> range:
    """Returns the numbers, from 0 on, of the lines of the list in a text, without lists of other keys."""
    lines = text.removeprefix("\ufeff").split("\n")
    head = next((number for number, line in enumerate(lines) if _HEAD.fullmatch(line.removesuffix("\r"))), None)
    if head is None:
        return range(len(lines))
    others = (number for number, line in enumerate(lines) if number > head and _OTHER_KEY.match(line))
    return range(head + 1, next(others, len(lines)) if "rules" in lines[head] else len(lines))


def _has_head(text: str) -> bool:
    return any(map(_HEAD.fullmatch, split_lines(text.removeprefix("\ufeff"))))


def _lines_of(entry: str, *, is_yaml: bool) -> re.Pattern[str]:
    """Returns an expression for lines in lower case, with an entry or without. Its first group is the quote of a YAML
    item; without quotes, YAML does not take a star for text."""
    entry = rf"-[\x20\t]++(?!\*)(['\"]?){entry}\1" if is_yaml else f"(){entry}"
    comment = r"\#[\x20-\x7e\t]*"
    return re.compile(rf"^[\x20\t]*+(?:{entry}[\x20\t]*+(?:(?<=[\x20\t]){comment})?|(?:{comment})?)\r?$", re.MULTILINE)


def parse_clash(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a rule provider, as `formats.ParseList` says."""
    first = next(pieces, "").removeprefix("\ufeff")
    is_yaml = _has_head(first)
    text = _from_head_on(first, pieces) if is_yaml else chain((first,), pieces)
    if not is_yaml and any(map(_FLOW_HEAD.match, entries_of(first))):
        _parse_flow(text, builder)
        return
    in_payload = False

    def parse_line(number: int, line: str) -> None:
        nonlocal in_payload
        if not is_yaml:
            entry = _TEXT_COMMENT.sub("", line).strip()
        elif not in_payload:
            in_payload = _HEAD.fullmatch(line) is not None
            return
        elif not (content := _YAML_COMMENT.sub("", line).strip()):
            return
        elif (item := _ITEM.fullmatch(line)) is None or (scalar := _scalar(item[1] or "")) is None:
            builder.skip(number, content, Skip.UNREADABLE)
            return
        else:
            entry = scalar
        if entry:
            _add_entry(builder, number, entry)

    types = "|".join(_DOMAIN_TYPES).lower()
    of_domains = rf"(\+?\.|\*\.|)({DOMAIN})"
    of_types = rf"({types})[\x20\t]*,[\x20\t]*({DOMAIN})(?:,[^\r\n'\"\#]*+)?"
    bare = r"(?![^,\r\n]*,)"  # no option without a type
    of_ipv4 = rf"(?:ip-cidr,|{bare})({IPV4_PREFIX})(?:,no-resolve)?"
    of_ipv6 = rf"(?:ip-cidr6?,|{bare})({IPV6_PREFIX})(?:,no-resolve)?"
    kinds = (
        BulkLines(_lines_of(of_domains, is_yaml=is_yaml), builder.add_lines, leads=_LEADING),
        BulkLines(_lines_of(of_types, is_yaml=is_yaml), builder.add_lines, leads=_COVERS_OF_TYPE),
        BulkLines(_lines_of(of_ipv4, is_yaml=is_yaml), builder.add_ipv4, are_ipv4),
        BulkLines(_lines_of(of_ipv6, is_yaml=is_yaml), builder.add_ipv6, are_ipv6),
    )
    parse_lines(text, kinds, parse_line)


def _from_head_on(first: str, pieces: Iterator[str]) -> Iterator[str]:
    """Yields YAML with empty lines in place of the lines before the head, since lists of other keys look the same.
    `rules:` is one of many keys of a configuration, so its list ends at the next key; mihomo reads a `payload:` to the
    end of the file."""
    lines = split_lines(first)
    head = next(number for number, line in enumerate(lines) if _HEAD.fullmatch(line))
    is_configuration = "rules" in lines[head]
    for piece in chain(("\n" * head + "\n".join((*lines[head:], "")),), pieces):
        if is_configuration and (key := _OTHER_KEY.search(piece)):
            yield piece[: key.start()]
            return
        yield piece


def _parse_flow(pieces: Iterable[str], builder: ListBuilder) -> None:
    """Parses a list in brackets, `payload: ['+.example.com', …]`, on one line or several, also as JSON."""
    number, is_open, is_closed = 0, False, False
    for piece in pieces:
        for line in split_lines(piece.removeprefix("\ufeff")):
            number += 1
            text = _YAML_COMMENT.sub("", line)
            if not is_open and (head := _FLOW_HEAD.match(text)):
                is_open, text = True, text[head.end() :]
            for match in _FLOW_PARTS.finditer(text) if is_open and not is_closed else ():
                part = match[0]
                if part == "]":
                    is_closed = True
                    break
                scalar = _scalar(part) if len(part) <= READ_LIMIT else None
                if scalar is None:
                    builder.skip(number, part, Skip.UNREADABLE)
                elif scalar:
                    _add_entry(builder, number, scalar)
    if not is_closed:
        raise ConfigError(f"{builder.source}:{number}: the list in brackets has no end; it was cut short")


def _scalar(text: str) -> str | None:
    """Returns the string in a YAML item on one line; empty for null; None: the item is something else."""
    text = _PROPERTIES.sub("", text.strip(), count=1)
    if quoted := _SINGLE_QUOTED.fullmatch(text):
        return quoted[1].replace("''", "'").strip()
    if quoted := _DOUBLE_QUOTED.fullmatch(text):
        try:
            return str(json.loads(quoted[1], strict=False)).strip()
        except ValueError:  # an escape that only YAML has
            return None
    plain = _YAML_COMMENT.sub("", text).strip()
    if _NO_PLAIN_SCALAR.match(plain):
        return None
    return "" if plain in ("~", "null", "Null", "NULL") else plain


def _add_entry(builder: ListBuilder, line: int, entry: str) -> None:
    word, comma, rest = entry.partition(",")
    if comma:
        _add_typed(builder, line, entry, word.strip().upper(), [part.strip() for part in rest.split(",")])
    elif "/" in entry:
        builder.add_prefix(line, entry)
    else:
        leading = next(filter(entry.startswith, _LEADING))
        if "*" not in entry:
            builder.add(line, entry.removeprefix(leading), _LEADING[leading])
        elif leading in ("+.", "."):
            builder.skip(line, entry, Skip.PATTERN)
        else:
            builder.add_wildcard(line, entry, by_label=True)


def _add_typed(builder: ListBuilder, line: int, entry: str, word: str, values: list[str]) -> None:
    """Adds `TYPE,value` with options. Only `src` among them changes the meaning."""
    value, *options = values
    if word in _DOMAIN_TYPES:
        builder.add(line, value, _DOMAIN_TYPES[word])
    elif word in _KEYWORD_TYPES:
        builder.add_keyword(line, value)
    elif word in _WILDCARD_TYPES:
        builder.add_wildcard(line, value)
    elif word not in _PREFIX_TYPES:
        builder.skip(line, entry, _SKIPPED_TYPES.get(word, Skip.UNSUPPORTED_TYPE))
    elif "src" in map(str.lower, options):
        builder.skip(line, entry, Skip.CONDITION)
    else:
        builder.add_prefix(line, value)
