from __future__ import annotations

import ipaddress

import pytest
from publicsuffixlist import PSLFILE, PublicSuffixList, encode_idn

from proxy.detect.scopes import (
    address_of,
    domain_scope,
    is_public_suffix,
    prefix_around,
    prefix_scope,
    registrable,
    scopes_of,
    wide_scope,
)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.org", "example.org"),
        ("a.example.org", "example.org"),
        ("a.b.c.example.org", "example.org"),
        ("localhost", "localhost"),
        ("a.b.example.co.uk", "example.co.uk"),
        ("somebody.github.io", "somebody.github.io"),
        ("x.somebody.github.io", "somebody.github.io"),
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("blog1.livejournal.test", "livejournal.test"),
        ("*.livejournal.test", "livejournal.test"),
        ("a.xn--e1afmkfd.xn--p1ai", "xn--e1afmkfd.xn--p1ai"),
        ("a.b.xn--55qx5d.cn", "b.xn--55qx5d.cn"),  # the rule is written in Chinese
        ("a.b.xn--a-", "b.xn--a-"),  # no A-label of anything
        ("a.b.c.ck", "b.c.ck"),  # *.ck
        ("a.www.ck", "www.ck"),  # !www.ck
        ("ck", "ck"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("2001:db8::/48", "2001:db8::/48"),
        ("", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:db8::a", "2001:db8::a"),
    ],
)
def test_registrable(host: str, domain: str) -> None:
    assert registrable(host) == domain


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("blog1.livejournal.test", "*.livejournal.test"),
        ("livejournal.test", "*.livejournal.test"),
        ("x.somebody.github.io", "*.somebody.github.io"),
        ("localhost", ""),
        ("192.0.2.7", ""),
        ("2001:db8::7", ""),
        ("2001:db8::a", ""),
    ],
)
def test_the_scope_of_all_siblings(host: str, scope: str) -> None:
    assert domain_scope(host) == scope


@pytest.mark.parametrize(
    ("name", "shared"),
    [("com", True), ("co.uk", True), ("github.io", True), ("nobody-has-this", True), ("example.org", False),
     ("corp.example.org", False), ("example.co.uk", False)],
)  # fmt: skip
def test_below_what_unrelated_sites_have_names(name: str, shared: bool) -> None:
    assert is_public_suffix(name) is shared


@pytest.mark.parametrize(
    ("address", "scope"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("0.0.0.255", "0.0.0.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("::1", "::/48"),
    ],
)
def test_prefixes(address: str, scope: str) -> None:
    assert prefix_scope(ipaddress.ip_address(address)) == prefix_around(address) == scope


@pytest.mark.parametrize(
    ("prefix", "wide"),
    [
        ("203.0.113.0/24", "203.0.0.0/16"),
        ("255.255.255.0/24", "255.255.0.0/16"),
        ("2001:db8:1::/48", "2001:db8::/32"),
        ("::/48", "::/32"),
    ],
)
def test_wide_prefixes(prefix: str, wide: str) -> None:
    assert wide_scope(prefix) == wide


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:443", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
    ],
)
def test_addresses_with_and_without_a_port(text: str, address: str) -> None:
    assert address_of(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize("text", ["", "example.org:443", "[", "[]", "192.0.2.1:443:1", "192.0.2.256"])
def test_what_is_no_address(text: str) -> None:
    assert address_of(text) is None
    assert not prefix_around(text)


def test_every_name_of_the_list_is_known_as_the_library_knows_it() -> None:
    """Byway reads only the rules of the top-level domains that it is asked for."""
    known = PublicSuffixList()
    with open(PSLFILE, encoding="utf-8") as file:
        rules = [line.split()[0] for line in file if line.strip() and line[:2] != "//"]
    names = {encode_idn(rule.removeprefix("!").removeprefix("*.")) for rule in rules}
    assert len(names) > 9_000
    for name in names:
        for host in (f"a.b.{name}", name):
            assert registrable(host) == (known.privatesuffix(host) or host)


def test_the_scopes_of_a_name() -> None:
    assert scopes_of("a.b.test") == ["a.b.test", "*.a.b.test", "*.b.test"]
    assert scopes_of("*.b.test") == ["*.b.test"]
    assert scopes_of("localhost") == ["localhost"]
    assert len(scopes_of(".".join("x" * 100))) == 6
