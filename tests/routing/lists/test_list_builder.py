"""What becomes of the entries of a list, whatever its format."""

from __future__ import annotations

import pytest

from proxy.model.errors import ConfigError
from proxy.routing import domain_set
from proxy.routing.domain_set import Covers
from proxy.routing.lists import list_builder
from proxy.routing.lists.domain_list import SKIPPED_SHOWN, Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind


@pytest.fixture
def builder() -> ListBuilder:
    return ListBuilder("l", format="plain")


def test_one_name_in_any_spelling(builder: ListBuilder) -> None:
    assert builder.add(1, "B\u00fccher.Example.")
    assert builder.add(2, "www.example", Covers.HOST)
    assert builder.add(3, "www.example", Covers.SUBDOMAINS)
    assert builder.add(4, "127.1")
    assert not builder.add(5, "a b")
    assert builder.add_prefix(6, "192.0.2.77/24")
    assert builder.add_prefix(7, "::ffff:198.51.100.0/120")
    assert not builder.add_prefix(8, "192.0.2.0/33")
    found = builder.build()
    assert list(found.entries()) == [
        (EntryKind.DOMAIN, "xn--bcher-kva.example", Covers.SITE),
        (EntryKind.DOMAIN, "www.example", Covers.SITE),
        (EntryKind.PREFIX, "127.0.0.1", Covers.HOST),
        (EntryKind.PREFIX, "192.0.2.0/24", Covers.HOST),
        (EntryKind.PREFIX, "198.51.100.0/24", Covers.HOST),
    ]
    assert (found.lines_read, found.lines_skipped, found.skips) == (6, 2, {Skip.UNREADABLE: 2})
    assert found.skipped == (
        'l:5: "a b" is neither a domain nor an address',
        'l:8: "192.0.2.0/33" is neither a domain nor an address',
    )


def test_an_exception_wins(builder: ListBuilder) -> None:
    builder.add(1, "example.com")
    builder.add(2, "fine.example.com", exception=True)
    builder.add_prefix(3, "192.0.2.0/24")
    builder.add_prefix(4, "192.0.2.9/32", exception=True)
    builder.add_keyword(5, "blog")
    builder.add_wildcard(6, "my*.test", exception=True)
    found = builder.build()
    asked = "www.example.com", "www.fine.example.com", "192.0.2.8", "192.0.2.9", "a.blog.test", "myblog.test", "x.test"
    assert [found.covering(host) for host in asked] == [
        "example.com", None, "192.0.2.0/24", None, "blog", None, None,
    ]  # fmt: skip
    assert [found.contains(host) for host in asked] == [found.covering(host) is not None for host in asked]
    assert [bool(found.test(host)) for host in asked] == [found.contains(host) for host in asked]
    assert found.lines_read == 6
    assert [entry.text for entry in found.exceptions.entries()] == ["fine.example.com", "192.0.2.9", "my*.test"]


def test_a_line_counts_once(builder: ListBuilder) -> None:
    for name in ("a.example", "b.example"):
        builder.add(1, name)
    builder.add(2, "a.example")
    assert builder.build().lines_read == 2


def test_a_suffix_is_refused_but_for_the_host_itself(builder: ListBuilder) -> None:
    assert not builder.add(1, "com")
    assert not builder.add(2, "co.uk", exception=True)
    assert not builder.add_wildcard(3, "*.com")
    assert not builder.add_wildcard(4, "*.*.com", by_label=True)
    assert not builder.add_wildcard(5, "*com")
    assert not builder.add_prefix(6, "0.0.0.0/0")
    assert not builder.add_prefix(7, "2000::/3")
    assert builder.add(8, "com", Covers.HOST)
    builder.add_many(9, ["", "com", "example.com"], Covers.SUBDOMAINS)
    builder.add_many(12, ["uk"], Covers.HOST)
    found = builder.build()
    assert found.skips == {Skip.SUFFIX: 6, Skip.WIDE_PREFIX: 2}
    assert [sentence.split(":")[1] for sentence in found.skipped] == ["1", "2", "3", "4", "5", "6", "7", "10"]
    assert found.skipped[0] == (
        'l:1: "com" is a public suffix, and is left out; to list every site below it, set allow_suffixes = true'
    )
    assert [host for host in ("com", "a.com", "www.example.com", "uk", "a.uk", "8.8.8.8") if found.covering(host)] == [
        "com", "www.example.com", "uk",
    ]  # fmt: skip


def test_many_domains_that_cover_different_hosts(builder: ListBuilder) -> None:
    domains = ["a.example", "", "com", "com", "b.example", "a.example", "uk"]
    builder.add_many(1, domains, bytes((1, 0, 1, 3, 2, 4, 1)))
    found = builder.build()
    assert [(entry.text, entry.covers) for entry in found.entries()] == [
        ("a.example", Covers.HOST | Covers.CHILDREN), ("com", Covers.HOST), ("b.example", Covers.SUBDOMAINS),
        ("uk", Covers.HOST),
    ]  # fmt: skip
    assert found.skips == {Skip.SUFFIX: 1}
    assert found.skipped[0].startswith('l:4: "com" is a public suffix')


def test_a_suffix_that_is_allowed_is_listed() -> None:
    builder = ListBuilder("l", allow_suffixes=True)
    assert builder.add(1, "com")
    assert builder.add_wildcard(2, "*.uk")
    assert builder.add_prefix(3, "0.0.0.0/0")
    found = builder.build()
    assert [host for host in ("a.com", "a.uk", "uk", "192.0.2.1") if found.covering(host)] == [
        "a.com", "a.uk", "192.0.2.1",
    ]  # fmt: skip
    assert found.skips == {}


def test_a_star_that_is_a_whole_first_label_is_a_domain(builder: ListBuilder) -> None:
    builder.add_wildcard(1, "*.Example.com")
    builder.add_wildcard(2, "*.example.net", by_label=True)
    builder.add_wildcard(3, "www.*.org", by_label=True)
    found = builder.build()
    assert [(entry.text, entry.covers) for entry in found.entries()] == [
        ("example.com", Covers.SUBDOMAINS), ("example.net", Covers.CHILDREN), ("www.*.org", Covers.HOST),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "pattern", ["*", "*.*", "**", "a?.example", "", "*.x*", "*x", "ж*.example", "a b*", "a*" * 200]
)
def test_a_pattern_for_everything_or_nothing_is_skipped(builder: ListBuilder, pattern: str) -> None:
    assert not builder.add_wildcard(1, pattern)
    assert builder.build().skips == {Skip.PATTERN: 1}


@pytest.mark.parametrize("word", ["", "e", "a b", "*", "ж", "x" * 64])
def test_a_keyword_for_everything_or_nothing_is_skipped(builder: ListBuilder, word: str) -> None:
    assert not builder.add_keyword(1, word)
    assert builder.build().skips == {Skip.PATTERN: 1}


def test_patterns_are_limited(builder: ListBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_builder, "PATTERNS_LIMIT", 3)
    builder.add_keyword(1, "one")
    builder.add_keyword(2, "one")
    builder.add_wildcard(3, "a*.example")
    builder.add_keyword(4, "two", exception=True)
    assert not builder.add_keyword(5, "three")
    assert not builder.add_wildcard(6, "b*.example")
    assert builder.add_wildcard(7, "a*.example"), "it is known already"
    found = builder.build()
    assert (found.skips, len(found.listed), len(found.exceptions)) == ({Skip.TOO_MANY_PATTERNS: 2}, 2, 1)


def test_entries_are_limited(builder: ListBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_builder, "ENTRIES_LIMIT", 3)
    for line in range(10):
        builder.add(line, "a.example")
    builder.add_many(11, ["b.example"])
    builder.add_prefix(12, "192.0.2.0/24")
    builder.add(13, "c.example", exception=True)
    with pytest.raises(ConfigError, match="l: a list can have at most 3 domains and addresses"):
        builder.build()


def test_the_text_of_domains_is_limited(builder: ListBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_set, "TEXT_LIMIT", 20)
    builder.add(1, "a.example")
    for add in (lambda: builder.add(2, "bcd.example"), lambda: builder.add_many(2, ["bcd.example"])):
        with pytest.raises(ConfigError, match="l: the domains of a list can have 134,217,728 characters"):
            add()


def test_a_list_that_is_far_too_large_is_not_read_to_its_end(
    builder: ListBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_builder, "ENTRIES_LIMIT", 100)
    lines_read: list[int] = []

    def read() -> None:
        for line in range(1000):
            builder.add_prefix(line, f"192.0.{line // 256}.{line % 256}")
            lines_read.append(line)

    with pytest.raises(ConfigError, match="l: a list can have at most 100 domains and addresses"):
        read()
    assert len(lines_read) <= 150


def test_what_is_skipped_and_widened_is_told_with_its_line(builder: ListBuilder) -> None:
    for line in range(1, 100):
        builder.skip(line, f"/ads{line}/", Skip.REGULAR_EXPRESSION)
        builder.widen(line, f"|https://a{line}.example/x", f"a{line}.example")
    found = builder.build()
    assert (found.lines_skipped, len(found.skipped), found.lines_widened, len(found.widened)) == (
        99, SKIPPED_SHOWN, 99, SKIPPED_SHOWN,
    )  # fmt: skip
    assert found.skipped[0] == f'l:1: "/ads1/" {Skip.REGULAR_EXPRESSION.sentence}'
    assert found.widened[0] == 'l:1: "|https://a1.example/x" was read as all of "a1.example"'
    assert all(reason.sentence for reason in Skip)


def test_a_problem_is_a_list_that_names_nothing_or_was_hardly_understood() -> None:
    def problem(*, read: int = 0, unreadable: int = 0, cosmetic: int = 0, exceptions: int = 0) -> str:
        builder = ListBuilder("l", format="plain")
        builder.add_many(1, [f"a{n}.example" for n in range(read)])
        for line in range(unreadable):
            builder.skip(line + 1, "a b", Skip.UNREADABLE)
        for line in range(cosmetic):
            builder.skip(line + 1, "##.ad", Skip.COSMETIC)
        for line in range(exceptions):
            builder.add(line + 1, f"b{line}.example", exception=True)
        return builder.build().problem

    assert problem() == "l: the list is empty"
    assert problem(read=1) == problem(read=1, unreadable=1) == problem(read=1, cosmetic=50) == ""
    unread = 'l:1: "a b" is neither a domain nor an address; 1 line read, 2 lines skipped'
    assert problem(read=1, unreadable=2) == f"{unread}. The file was read in the format plain"
    assert problem(cosmetic=1).startswith(f'l:1: "##.ad" {Skip.COSMETIC.sentence}; 0 lines read, 1 line skipped')
    assert problem(exceptions=2).startswith("l: the list has exceptions only; 2 lines read, 0 lines skipped")
