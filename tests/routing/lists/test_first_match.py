"""Exceptions of a list of which the first matching line decides."""

from __future__ import annotations

import random

import pytest

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.first_match import OrderedExceptions
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind, Wildcard
from proxy.routing.lists.url_filters import HostFilter, add_hosts
from tests.support.rows import each_row

Line = tuple[bool, HostFilter]
"""Whether it is an exception."""


def site(text: str) -> HostFilter:
    return HostFilter(EntryKind.DOMAIN, (text,), Covers.SITE)


def host(text: str) -> HostFilter:
    return HostFilter(EntryKind.DOMAIN, (text,), Covers.HOST)


def below(text: str) -> HostFilter:
    return HostFilter(EntryKind.DOMAIN, (text,), Covers.SUBDOMAINS)


def wildcard(text: str) -> HostFilter:
    return HostFilter(EntryKind.WILDCARD, (text,))


def keyword(text: str) -> HostFilter:
    return HostFilter(EntryKind.KEYWORD, (text,))


def prefix(text: str) -> HostFilter:
    return HostFilter(EntryKind.PREFIX, (text,))


def read(*lines: Line) -> DomainList:
    builder, exceptions = ListBuilder("l", size=100), OrderedExceptions("l")
    for place, (excepted, found) in enumerate(lines, 1):
        if excepted:
            exceptions.add(place, found, found.texts[0])
    for place, (excepted, found) in enumerate(lines, 1):
        if not excepted:
            exceptions.note(place, found)
            add_hosts(builder, place, found, exception=False, shown="x")
    exceptions.add_to(builder)
    return builder.build()


@each_row(
    ("listed", "excepted", "taken_back"),
    [
        (site("a.example"), site("a.example"), True),
        (site("a.example"), host("a.example"), True),
        (host("a.example"), below("a.example"), False),
        (below("a.example"), host("a.example"), False),
        (site("a.example"), site("b.a.example"), True),
        (host("a.example"), site("b.a.example"), False),
        (host("b.a.example"), site("a.example"), True),
        (site("b.a.example"), host("a.example"), False),
        (site("b.a.example"), below("a.example"), True),
        (site("a.example"), site("b.example"), False),
        (site("a.example"), site("ba.example"), False),
        (wildcard("cdn*.a.example"), host("cdn1.a.example"), True),
        (wildcard("cdn*.a.example"), host("www.a.example"), False),
        (wildcard("cdn*.a.example"), site("a.example"), True),
        (wildcard("cdn*.a.example"), site("b.example"), False),
        (wildcard("cdn*"), site("a.example"), True),
        (site("a.example"), wildcard("*.example"), True),
        (host("a.example"), wildcard("*.test"), False),
        (wildcard("a*.example"), wildcard("*.test"), False),
        (wildcard("ab*"), wildcard("*.test"), True),
        (keyword("word"), host("my-word.example"), True),
        (keyword("word"), host("a.example"), False),
        (keyword("word"), site("a.example"), True),
        (host("a.example"), keyword("word"), False),
        (host("my-word.example"), keyword("word"), True),
        (prefix("192.0.2.0/24"), prefix("192.0.0.0/16"), True),
        (prefix("192.0.2.0/24"), prefix("198.51.100.0/24"), False),
        (prefix("192.0.2.0/24"), prefix("2001:db8::/32"), False),
        (prefix("192.0.2.0/24"), prefix("nonsense"), False),
        (prefix("192.0.2.0/24"), site("a.example"), False),
        (site("a.example"), prefix("192.0.2.0/24"), False),
    ],
)
def test_an_exception_behind_an_entry_for_the_same_hosts_is_left_out(
    listed: HostFilter, excepted: HostFilter, taken_back: bool
) -> None:
    found = read((False, listed), (True, excepted))
    assert found.skips.get(Skip.ORDER, 0) == taken_back
    if taken_back:
        assert found.skipped == (f'l:2: "{excepted.texts[0]}" {Skip.ORDER.sentence}',)
    assert Skip.ORDER not in read((True, excepted), (False, listed)).skips, "before it, the exception decides"


def test_exceptions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.routing.lists.first_match.EXCEPTIONS_LIMIT", 2)
    exceptions = OrderedExceptions("l")
    exceptions.add(1, site("a.example"), "x")
    exceptions.add(2, site("a.example"), "x")
    with pytest.raises(ConfigError, match="l: a list can have at most 2 exceptions"):
        exceptions.add(3, site("a.example"), "x")


def matches(found: HostFilter, name: str) -> bool:
    text = found.texts[0]
    match found.kind:
        case EntryKind.WILDCARD:
            return Wildcard.of(text).matches(name)
        case EntryKind.KEYWORD:
            return text in name
    is_below = name.endswith(f".{text}") and bool(found.covers & Covers.SUBDOMAINS)
    return is_below or (name == text and bool(found.covers & Covers.HOST))


def test_whatever_the_first_line_lists_is_listed() -> None:
    """The model: read from top to bottom. An exception of it may be lost, and is then reported; never a listed host."""
    chance = random.Random(5)
    labels = ("a", "b", "cdn1")
    names = ["x", *(f"{a}.x" for a in labels), *(f"{a}.{b}.x" for a in labels for b in labels), "z.a.b.x", "acdn1.x"]
    makers = (site, host, below, lambda text: wildcard(f"*{text}"), lambda text: wildcard(f"{text[0]}*.x"))
    for _ in range(2000):
        lines = [(chance.random() < 0.5, chance.choice(makers)(chance.choice(names[1:]))) for _ in range(5)]
        if chance.random() < 0.2:
            lines[chance.randrange(5)] = (chance.random() < 0.5, keyword("cdn"))
        found = read(*lines)
        for name in names:
            first = next((excepted for excepted, hosts in lines if matches(hosts, name)), True)
            is_listed = found.covering(name) is not None
            if not first:
                assert is_listed, (name, lines)
            elif is_listed:
                assert Skip.ORDER in found.skips, (name, lines)
