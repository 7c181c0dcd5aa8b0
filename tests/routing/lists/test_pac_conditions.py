"""What conditions of PAC files mean: each alone, in a script that is otherwise understood."""

from __future__ import annotations

import pytest

from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from tests.routing.lists.pac_scripts import (
    BOTH,
    DATA,
    HOST,
    PROXY,
    SITE,
    SITES,
    SUBDOMAINS,
    excepted,
    listed,
    read_body,
    read_condition,
)
from tests.support.rows import each_row


@each_row(
    ("condition", "expected"),
    [
        ('dnsDomainIs(host, "a.example")', {"a.example": SITE}),
        ("dnsDomainIs(host, '.a.example')", {"a.example": SUBDOMAINS}),
        ("dnsDomainIs(host.toLowerCase(), 'A.example')", {"a.example": SITE}),
        ("localHostOrDomainIs(host, 'www.a.example')", {"www.a.example": HOST}),
        ("shExpMatch(host, '*.a.example')", {"a.example": SUBDOMAINS}),
        ("shExpMatch(host, 'a.example')", {"a.example": HOST}),
        ("shExpMatch(host, '*a.example')", {"*a.example": HOST}),
        ("shExpMatch(host, '*word*')", {"word": HOST}),
        ("shExpMatch(url, '*://a.example/*')", {"a.example": HOST}),
        ("shExpMatch(url, 'http://*.a.example/*')", {"a.example": SUBDOMAINS}),
        ("host == 'a.example'", {"a.example": HOST}),
        ("host === 'a.example' || 'b.example' == host", BOTH),
        ("(host == 'a.example' || (host == 'b.example'))", BOTH),
        ("!!(host == 'a.example')", {"a.example": HOST}),
        ("host == 'a.example' || host.endsWith('.a.example')", {"a.example": SITE}),
        ("host.indexOf('word') >= 0", {"word": HOST}),
        ("host.indexOf('word') != -1", {"word": HOST}),
        ("host.indexOf('word') > -1 || host.includes('other')", {"word": HOST, "other": HOST}),
        ("isInNet(host, '192.0.2.0', '255.255.255.0')", {"192.0.2.0/24": HOST}),
        ("hosts.hasOwnProperty(host)", {**BOTH, "c": HOST}),
        ("Object.prototype.hasOwnProperty.call(hosts, host)", {**BOTH, "c": HOST}),
        ("hosts[host]", {**BOTH, "c": HOST}),
        ("hosts[host] == 1", {**BOTH, "c": HOST}),
        ("host in hosts", {**BOTH, "c": HOST}),
        ("sites.indexOf(host) >= 0", BOTH),
        ("sites.includes(host)", BOTH),
        ("set.has(host)", {"a.example": HOST}),
    ],
)
def test_a_condition_that_is_understood(condition: str, expected: dict[str, Covers]) -> None:
    found = read_condition(condition, DATA)
    assert listed(found) == expected
    assert {reason for reason in found.skips if reason is not Skip.SCRIPT} == set()


@each_row(
    ("condition", "reason"),
    [
        ("isPlainHostName(host)", Skip.CONDITION),
        ("isInNet(dnsResolve(host), '192.0.2.0', '255.255.255.0')", Skip.CONDITION),
        ("isInNet(myIpAddress(), '192.0.2.0', '255.255.255.0')", Skip.CONDITION),
        ("isInNet(host, 'x', 'y')", Skip.UNREADABLE),
        ("dnsDomainIs(host, 'a.example') && isResolvable(host)", Skip.CONDITION),
        ("weekdayRange('MON', 'FRI')", Skip.CONDITION),
        ("/a\\.example$/.test(host)", Skip.REGULAR_EXPRESSION),
        ("host.match(/a/)", Skip.REGULAR_EXPRESSION),
        ("shExpMatch(host, 'a?.example')", Skip.PATTERN),
        ("shExpMatch(url, '*/ads/*')", Skip.NO_HOST),
        ("url.includes('word')", Skip.CONDITION),
        ("!dnsDomainIs(host, 'a.example')", Skip.SCRIPT),
        ("dnsDomainIs(host, name)", Skip.SCRIPT),
        ("dnsDomainIs(other, 'a.example')", Skip.SCRIPT),
        ("url.substring(0, 5) == 'http:'", Skip.SCRIPT),
        ("host.length > 20", Skip.SCRIPT),
        ("host.indexOf('word') == 0", Skip.SCRIPT),
        ("unknown(host)", Skip.SCRIPT),
        ("host != 'a.example'", Skip.SCRIPT),
        ("true", Skip.SCRIPT),
    ],
)
def test_a_condition_that_no_list_can_say_is_skipped_by_name(condition: str, reason: Skip) -> None:
    found = read_condition(condition)
    assert listed(found) == {}
    assert found.skips == {reason: 1}
    assert found.covering("sure.example") is not None


@each_row(
    ("condition", "expected"),
    [
        ("dnsDomainIs(host, d[i]) || shExpMatch(host, '*.' + d[i])", SITES),
        ("host == d[i] || shExpMatch(host, '*.' + d[i])", SITES),
        ("host === d[i] || dnsDomainIs(host, '.' + d[i])", SITES),
        ("shExpMatch(host, '*' + d[i])", SITES),
        ("shExpMatch(host, '*.' + d[i])", {"a.example": SUBDOMAINS, "b.example": SUBDOMAINS}),
    ],
)
def test_a_walk_through_an_array_that_asks_for_subdomains_too(condition: str, expected: dict[str, Covers]) -> None:
    """As people write it by hand. Without the second part a RELAY rule would let `www.` of each site go direct."""
    body = f"for (var i = 0; i < d.length; i++) if ({condition}) return {PROXY}; return 'DIRECT';"
    found = read_body(body, "var d = ['a.example', 'b.example'];")
    assert listed(found) == expected
    assert found.lines_skipped == 0
    assert found.covering("www.a.example") == "a.example"


@each_row(
    ("condition", "expected"),
    [
        ("shExpMatch(url, d[i])", {"a.example": SUBDOMAINS, "b.example": HOST, "word": HOST}),
        ("shExpMatch(url, '*://' + h[i] + '/*')", {"a.example": HOST, "b.example": HOST}),
        ("shExpMatch(url, '*.' + h[i] + '/*')", {"a.example": SUBDOMAINS, "b.example": SUBDOMAINS}),
        ("shExpMatch(host, 'cdn*.' + h[i])", {"cdn*.a.example": HOST, "cdn*.b.example": HOST}),
        ("host == 'www.' + h[i]", {"www.a.example": HOST, "www.b.example": HOST}),
    ],
)
def test_a_walk_through_an_array_of_wildcards_or_with_strings_around_its_items(
    condition: str, expected: dict[str, Covers]
) -> None:
    data = "var d = ['*://*.a.example/*', 'http*://b.example/*', '*word*']; var h = ['a.example', 'b.example'];"
    found = read_body(
        f"for (var i = 0; i < d.length; i++) {{ if ({condition}) return {PROXY}; }} return 'DIRECT';", data
    )
    assert listed(found) == expected


@pytest.mark.parametrize(
    "walk",
    [
        "for (var d in o) if (host == d || host.endsWith('.' + d)) return p;",
        "for (const d of s) { if (dnsDomainIs(host, d)) { return p; } }",
        "var d; for (d of s) if (host == d || shExpMatch(host, '*.' + d)) return p;",
    ],
)
def test_a_walk_over_the_keys_of_a_dictionary_or_the_items_of_an_array(walk: str) -> None:
    found = read_body(
        f"{walk} for (const i in s) if (dnsDomainIs(host, s[i])) return p;\n"
        "for (var k in o) if (dnsDomainIs(host, k)) return p; return 'DIRECT';",
        f"var p = {PROXY}; var s = ['a.example', 'b.example']; var o = {{'a.example': 1, 'b.example': 'x'}};",
    )
    assert listed(found) == SITES
    assert found.missing == ""


def test_what_a_dictionary_holds_is_not_its_keys() -> None:
    found = read_condition("host == o[i]", "var o = {'a.example': 1};")
    assert listed(found) == {}
    assert "so sites are missing" in found.missing


@each_row("item", ["f(h[i])", "h[i] + h[j]", "'*.' + h[i] + x", "1 + h[i]", "'a' + '.example'"])
def test_strings_that_are_put_together_otherwise_are_not_understood(item: str) -> None:
    found = read_condition(f"shExpMatch(host, {item})", "var h = ['a.example'];")
    assert listed(found) == {}
    assert found.skips[Skip.SCRIPT] > 0
    assert "so sites are missing" in found.missing


@pytest.mark.parametrize(
    "shortened",
    [
        "if (host.substring(0, 4) == 'www.') host = host.substring(4); var d = host;",
        "var d = host.replace(/^www\\./, '');",
        "var d = host.toLowerCase().split('.').slice(-2).join('.');",
    ],
)
def test_a_comparison_with_a_shortened_host_means_what_is_below_it_too(shortened: str) -> None:
    """Else `www.` of each site would go direct under a RELAY rule."""
    data = "var h = ['b.example']; var o = {'c.example': 1};"
    found = read_body(
        f"{shortened} if (d == 'fine.a.example') return 'DIRECT';\n"
        f"if (d == 'a.example' || h.indexOf(d) >= 0 || o[d]) return {PROXY}; return 'DIRECT';",
        data,
    )
    assert listed(found) == {"a.example": SITE, "b.example": SITE, "c.example": SITE}
    assert excepted(found).get("fine.a.example", HOST) is HOST, "an exception does not grow"
