"""Which hosts an entry of each kind covers."""

from __future__ import annotations

import fnmatch
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.domain_set import Covers, DomainSet
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import NO_ENTRIES, EntryKind, Matcher, Wildcard
from tests.support.calls import counting


def matcher_of(prefixes: list[str]) -> Matcher:
    builder = ListBuilder("l", allow_suffixes=True)
    for line, prefix in enumerate(prefixes, 1):
        assert builder.add_prefix(line, prefix)
    return builder.build().listed


def test_a_prefix_is_no_domain_and_a_domain_no_prefix() -> None:
    found = matcher_of(["192.0.2.0/24", "203.0.113.9"])
    for host in ("a.example", "1.192.0.2.example", "192.0.2.1.example", "192-0-2-1.example"):
        assert found.covering(host) is None
    assert Matcher(DomainSet.of({"example"})).covering("192.0.2.1") is None


LETTERS = st.text("ab.", min_size=1, max_size=12)


@given(st.lists(st.text("ab.", max_size=3), min_size=2, max_size=4).map("*".join), LETTERS)
def test_a_wildcard_matches_as_the_shell_does(pattern: str, host: str) -> None:
    assert Wildcard.of(pattern).matches(host) == fnmatch.fnmatchcase(host, pattern)


def test_what_stands_before_and_after_a_star_shares_no_character() -> None:
    assert not Wildcard.of("ab*ba").matches("aba")
    assert not Wildcard.of("ab*b*ba").matches("abba")
    assert Wildcard.of("ab*ba").matches("abba")


@given(st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=4).map(".".join), LETTERS)
def test_a_wildcard_by_label_matches_whole_labels(pattern: str, host: str) -> None:
    if "*" not in pattern:
        return
    expected = re.fullmatch(re.escape(pattern).replace(r"\*", "[^.]+"), host) is not None
    if all(host.split(".")):  # as in every canonical name
        assert Wildcard.of(pattern, by_label=True).matches(host) == expected


def test_a_wildcard_needs_a_star() -> None:
    with pytest.raises(ValueError, match="a wildcard needs a star"):
        Wildcard.of("a.example")


def test_a_hostile_wildcard_takes_linear_time() -> None:
    """It asks for each part once: no call of Python's for what has been tried already."""
    wildcard = Wildcard.of("*a" * 60 + "*b")
    with counting() as calls:
        assert not wildcard.matches("a" * 253)
    assert calls.total() == 1


def test_keywords_and_wildcards_cover_names_only() -> None:
    builder = ListBuilder("l")
    builder.add_keyword(1, "Google")
    builder.add_keyword(2, "0.2")
    builder.add_wildcard(3, "cdn*.example.com")
    builder.add(4, "example.com", Covers.HOST)
    found = builder.build().listed
    assert found.covering("www.google-x.test") == "google"
    assert found.covering("cdn12.a.example.com") == "cdn*.example.com"
    assert found.covering("example.com") == "example.com"
    assert found.covering("a0.2b.test") == "0.2"
    for host in ("192.0.2.1", "2001:db8::1", "xcdn.example.com", "cdn.example.com.test"):
        assert found.covering(host) is None
    assert [(kind, text) for kind, text, _ in found.entries()] == [
        (EntryKind.DOMAIN, "example.com"),
        (EntryKind.KEYWORD, "google"),
        (EntryKind.KEYWORD, "0.2"),
        (EntryKind.WILDCARD, "cdn*.example.com"),
    ]
    assert repr(found) == "<Matcher 4 entries>"
    assert len(NO_ENTRIES) == 0
    assert NO_ENTRIES.covering("a.example") is None


def test_whether_a_name_is_in_a_list_of_domains_costs_one_call() -> None:
    builder = ListBuilder("l")
    builder.add(1, "example.com")
    listed = builder.build()
    is_listed = listed.test
    for host in ("www.other.test", "www.example.com"):
        with counting() as calls:
            is_listed(host)
        assert calls.total() == 1, calls
