"""Public suffixes are those of the library that reads the same file."""

from __future__ import annotations

from publicsuffixlist import PublicSuffixList

from proxy.routing.lists.public_suffixes import public_suffixes

DOMAINS = [
    "com", "co.uk", "example.com", "ck", "anything.ck", "www.ck", "x.www.ck", "kobe.jp", "x.kobe.jp", "city.kobe.jp",
    "a.x.kobe.jp", "github.io", "localhost", "xn--p1ai", "192.0.2.1", "2001:db8::1", "co", "notck", "x.notck",
]  # fmt: skip


def test_they_are_those_of_the_library() -> None:
    library = PublicSuffixList(only_icann=True, accept_unknown=False)
    rules = [rule.lstrip("!*.") for rule in library._publicsuffix if rule.isascii()]
    domains = [*DOMAINS, *rules, *(f"x.{rule}" for rule in rules)]
    expected = [place for place, domain in enumerate(domains) if library.is_public(domain)]
    assert public_suffixes(domains) == expected
    assert 6000 < len(expected) < len(domains)
    for domain in DOMAINS:
        assert public_suffixes(["a.example", "", domain]) == [2] * library.is_public(domain), domain
    assert public_suffixes([]) == []
