"""The conditions of PAC files, and the hosts for which each is true.

Supported are conditions on the host alone: functions of PAC files, comparisons, and lookups in arrays and dictionaries
of the script. `pac`, which reads the statements around the conditions, skips all others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from enum import Enum, auto

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.matcher import EntryKind
from proxy.routing.lists.script_parser import Node, Part
from proxy.routing.lists.script_tokens import Token, names
from proxy.routing.lists.url_filters import HostFilter, host_filter, shell_wildcard, url_wildcard

_NAMES_LIMIT = 5
"""Variables in a chain of assignments at most."""

_FOUND = frozenset(((">=", "0"), (">", "-1"), ("!=", "-1"), ("!==", "-1")))
"""Comparisons that are true if `indexOf` finds something."""

_SHORTENS = frozenset(("substring", "substr", "slice", "replace", "join"))
"""Methods by which scripts shorten `www.example.com` to `example.com`."""

_KEY = "key"
"""Marks an INDEX that stands for each key of a dictionary, and not for its values."""


class Reading(Enum):
    """The meaning of strings that are compared with a host."""

    HOST = auto()
    SITE = auto()
    DNS_DOMAIN = auto()
    """Sites; with a dot before them, their subdomains."""
    SHELL = auto()
    """Shell wildcards of hosts."""
    URL = auto()
    """Shell wildcards of URLs."""


@frozen_dataclass
class Strings:
    """A test of the host against every string of an array, or key of a dictionary."""

    tokens: tuple[Token, ...]
    reading: Reading
    before: str = ""
    """The text that the script puts before each string: `shExpMatch(host, "*." + sites[i])`."""
    behind: str = ""
    """The text that it puts after each string."""

    def meaning(self, name: str) -> HostFilter | Skip:
        """Returns the hosts that one of the strings names."""
        return _of_string(f"{self.before}{name}{self.behind}", self.reading)


Test = HostFilter | Skip | Strings


class Names:
    """The variables of the part of a script that was read, and the meaning of conditions on them."""

    def __init__(self) -> None:
        self.values: dict[str, Node] = {}  # the latest values of variables
        self.hosts: set[str] = {"host"}
        self.shortened: set[str] = set()  # variables that may hold the host without its first labels
        self.urls: set[str] = {"url"}
        self.used: set[int] = set()  # ids of the arrays and dictionaries that a condition uses

    def walk(self, variable: str, data: str, *, keys: bool) -> None:
        """Notes a loop that sets a variable to each item of an array, or with `keys` to each key of a dictionary."""
        value = self.values.get(data)
        if value is not None and value.part is (Part.OBJECT if keys else Part.ARRAY):
            parts = (Node(Part.WORD, data, value.line), Node(Part.WORD, variable, value.line))
            self.values[variable] = Node(Part.INDEX, _KEY if keys else "", value.line, parts)

    def test(self, node: Node, *, looping: bool) -> Test | None:
        """Returns the hosts for which a condition is true; None: it is not supported."""
        if node.part is Part.CALL:
            return self._call_test(node, looping=looping)
        if node.part is Part.INDEX:
            return self._lookup(node.parts[0], node.parts[1], looping=looping)
        if node.part is Part.UNARY and node.text == "!" and node.parts[0].part is Part.UNARY:
            inner = node.parts[0]
            return self.test(inner.parts[0], looping=looping) if inner.text == "!" else None
        if node.part is Part.BINARY and node.text == "&&":
            return Skip.CONDITION
        if node.part is not Part.BINARY or len(node.parts) != 2:
            return None
        left, right = node.parts
        if node.text == "in":
            return self._lookup(right, left, looping=looping)
        if node.text in ("==", "==="):
            if self.is_host(right):
                left, right = right, left
            if self.is_host(left):
                return self._compared(right, Reading.HOST)
            if left.part is Part.INDEX and right.text in ("1", "true"):
                return self.test(left, looping=looping)
        if left.part is Part.CALL and (node.text, _number(right)) in _FOUND:
            return self._call_test(left, looping=looping, method="indexOf")
        return None

    def _call_test(self, node: Node, *, looping: bool, method: str = "") -> Test | None:
        function, *arguments = node.parts
        first, second = (*arguments, None, None)[:2]
        if function.part is Part.WORD:
            match function.text:
                case "dnsDomainIs" if self.is_host(first) and second is not None:
                    return self._compared(second, Reading.DNS_DOMAIN)
                case "localHostOrDomainIs" if self.is_host(first) and second is not None:
                    return self._compared(second, Reading.HOST)
                case "shExpMatch" if self.is_host(first) and second is not None:
                    return self._compared(second, Reading.SHELL)
                case "shExpMatch" if self._is_url(first) and second is not None:
                    return self._compared(second, Reading.URL)
                case "isInNet" if self.is_host(first) and len(arguments) == 3:
                    return _network(arguments[1], arguments[2])
                case "isPlainHostName" | "isInNet" | "isResolvable" | "dnsDomainLevels" | "weekdayRange" | "timeRange":
                    return Skip.CONDITION
            return None
        if function.part is not Part.MEMBER or first is None:
            return None
        owner, name = function.parts[0], function.text
        if method and name != method:
            return None
        if owner.part is Part.PATTERN:
            return Skip.REGULAR_EXPRESSION
        if name == "call" and owner.text == "hasOwnProperty" and second is not None:
            return self._lookup(first, second, looping=looping)
        if self.is_host(owner) or self._is_url(owner):
            if name == "endsWith" and self.is_host(owner):
                return self._compared(first, Reading.DNS_DOMAIN)
            if (name == "includes" or (name == "indexOf" and method)) and first.part is Part.STRING:
                hosts = host_filter(first.text)
                return hosts if isinstance(hosts, Skip) or self.is_host(owner) else Skip.CONDITION
            return Skip.REGULAR_EXPRESSION if first.part is Part.PATTERN else None
        if name in ("hasOwnProperty", "includes", "has") or (name == "indexOf" and method):
            return self._lookup(owner, first, looping=looping)
        return None

    def _compared(self, node: Node, reading: Reading) -> Test | None:
        """Returns the test for a comparison of the host with a string, with each item of an array, or with such an item
        between two strings."""
        if node.part is Part.STRING:
            return _of_string(node.text, reading)
        before, behind = "", ""
        if node.part is Part.BINARY and node.text == "+":
            first, last = node.parts[0], node.parts[-1]
            before = first.text if first.part is Part.STRING else ""
            behind = last.text if last.part is Part.STRING else ""
            items = [part for part in node.parts if part.part is not Part.STRING]
            if len(items) != 1 or len(node.parts) != 1 + bool(before) + bool(behind):
                return None
            node = items[0]
        if (reading, before, behind) == (Reading.SHELL, "*", ""):
            reading, before = Reading.DNS_DOMAIN, ""
        strings = self._item(node)
        return Strings(strings, reading, before, behind) if strings is not None else None

    def _item(self, node: Node) -> tuple[Token, ...] | None:
        """Returns the strings of the array or dictionary in which this node is an item or a key; None: of none."""
        for _ in range(_NAMES_LIMIT):
            if node.part is Part.WORD and node.text in self.values:
                node = self.values[node.text]
            elif node.part is Part.INDEX and node.parts[0].part is Part.WORD:
                array = self.values.get(node.parts[0].text)
                walked = (Part.OBJECT,) if node.text == _KEY else (Part.ARRAY,)
                if array is not None and array.part in walked and (not array.parts or node.text == _KEY):
                    self.used.add(id(array))
                    return array.strings
                return None
            else:
                return None
        return None

    def _lookup(self, data: Node, key: Node, *, looping: bool) -> Test | None:
        """Returns the test for a lookup of the host in an array or a dictionary. In a loop, the script also looks up
        the parents of the host."""
        value = self.values.get(data.text) if data.part is Part.WORD else None
        if value is None or value.part not in (Part.ARRAY, Part.OBJECT) or value.parts:
            return None
        if not self.is_host(key) and not (looping and key.part is Part.WORD):
            return None
        self.used.add(id(value))
        return Strings(value.strings, Reading.SITE if looping else Reading.HOST)

    def is_host(self, node: Node | None) -> bool:
        called = node.parts[0] if node is not None and node.part is Part.CALL else None
        if called is not None and called.part is Part.MEMBER and called.text in ("toLowerCase", "trim", "toString"):
            node = called.parts[0]
        return node is not None and node.part is Part.WORD and node.text in self.hosts

    def is_shortened(self, node: Node) -> bool:
        """Whether a node is the host without some of its first labels: `host.replace(/^www\\./, "")`."""
        is_method = node.part is Part.CALL and node.parts[0].part is Part.MEMBER
        if not is_method or node.parts[0].text not in _SHORTENS:
            return False
        while node.part in (Part.CALL, Part.MEMBER):
            node = node.parts[0]
        return self.is_host(node)

    def says_shortened(self, node: Node) -> bool:
        return (node.part is Part.WORD and node.text in self.shortened) or any(map(self.says_shortened, node.parts))

    def _is_url(self, node: Node | None) -> bool:
        return node is not None and node.part is Part.WORD and node.text in self.urls


def _of_string(text: str, reading: Reading) -> HostFilter | Skip:
    name = text.lower()
    match reading:
        case Reading.SHELL:
            return shell_wildcard(name)
        case Reading.URL:
            return url_wildcard(name)
        case Reading.DNS_DOMAIN if name.startswith("."):
            return HostFilter(EntryKind.DOMAIN, (name[1:],), Covers.SUBDOMAINS)
        case Reading.HOST:
            return HostFilter(EntryKind.DOMAIN, (name,), Covers.HOST)
    return HostFilter(EntryKind.DOMAIN, (name,), Covers.SITE)


def site_of(test: Test | None) -> Test | None:
    """Returns a test of the host without its first labels as a test of the whole host."""
    if isinstance(test, Strings) and test.reading is Reading.HOST:
        return replace(test, reading=Reading.SITE)
    if isinstance(test, HostFilter) and (test.kind, test.covers) == (EntryKind.DOMAIN, Covers.HOST):
        return replace(test, covers=Covers.SITE)
    return test


def each_of(test: Test) -> Iterator[HostFilter | Skip]:
    if isinstance(test, Strings):
        for token in test.tokens:
            for name in names(token):
                yield test.meaning(name)
    else:
        yield test


def _network(address: Node, mask: Node) -> HostFilter | Skip:
    try:
        network = ipaddress.ip_network(f"{address.text}/{mask.text}", strict=False)
    except ValueError:
        return Skip.UNREADABLE
    return HostFilter(EntryKind.PREFIX, (str(network),))


def _number(node: Node) -> str:
    return f"-{node.parts[0].text}" if node.part is Part.UNARY and node.text == "-" else node.text


def shown(node: Node) -> str:
    """Returns a condition for messages: its first words and strings."""
    match node.part:
        case Part.STRING:
            return f'"{node.text}"'
        case Part.CALL:
            function, *arguments = node.parts
            return f"{shown(function)}({', '.join(map(shown, arguments[:3]))})"
        case Part.MEMBER:
            return f"{shown(node.parts[0])}.{node.text}"
        case Part.INDEX:
            return f"{shown(node.parts[0])}[{shown(node.parts[1])}]"
        case Part.UNARY:
            return f"{node.text}{shown(node.parts[0])}"
        case Part.BINARY:
            return f" {node.text} ".join(map(shown, node.parts[:3]))
        case Part.ARRAY | Part.OBJECT | Part.FUNCTION | Part.CHOICE:
            return "…"
    return node.text
