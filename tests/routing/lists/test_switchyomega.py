"""Rule lists of SwitchyOmega, ZeroOmega and SwitchySharp. The rows follow omega-pac, which reads them there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.matcher import EntryKind
from proxy.routing.lists.switchyomega import host_wildcard, parse_switchyomega, recognizes
from proxy.routing.lists.url_filters import HostFilter
from tests.support.calls import counting
from tests.support.rows import each_row

HEADER = "[SwitchyOmega Conditions]\r\n"


def read(text: str) -> DomainList:
    builder = ListBuilder("rules.sorl", size=len(text), format="switchyomega")
    parse_switchyomega(iter(text.splitlines(keepends=True)), builder)
    return builder.build()


def listed(found: DomainList) -> dict[str, Covers]:
    return {entry.text: entry.covers for entry in found.entries()}


def excepted(found: DomainList) -> dict[str, Covers]:
    return {entry.text: entry.covers for entry in found.exceptions.entries()}


@each_row(
    ("pattern", "expected"),
    [
        ("*.example.com", HostFilter(EntryKind.DOMAIN, ("example.com",), Covers.SITE)),
        (".example.com", HostFilter(EntryKind.DOMAIN, ("example.com",), Covers.SITE)),
        ("**.example.com", HostFilter(EntryKind.DOMAIN, ("example.com",), Covers.SUBDOMAINS)),
        ("example.com", HostFilter(EntryKind.DOMAIN, ("example.com",), Covers.HOST)),
        ("*example.com", HostFilter(EntryKind.WILDCARD, ("*example.com",))),
        ("*.cdn*.example.com", HostFilter(EntryKind.WILDCARD, ("cdn*.example.com", "*.cdn*.example.com"))),
        ("www.example.*", HostFilter(EntryKind.WILDCARD, ("www.example.*",))),
        ("*word*", HostFilter(EntryKind.KEYWORD, ("word",))),
        ("*", Skip.PATTERN),
        ("www?.example.com", Skip.PATTERN),
    ],
)
def test_the_hosts_of_a_wildcard(pattern: str, expected: HostFilter | Skip) -> None:
    assert host_wildcard(pattern) == expected


def test_a_list_without_results() -> None:
    found = read(
        HEADER + "; comment\r\n@note why\r\n\r\n!*.fine.a.example\r\n*.a.example\r\n*.B.example\r\n"
        "H: **.c.example\r\nHostWildcard: d.example|e.example\r\nU: *://f.example/*\r\nUrlWildcard: http://*.g.example/p*\r\n"
        "HR: ^h\\.example$\r\nHostRegex: i\r\nUR: j\r\nLv: 1~2\r\nHostLevels: 0~0\r\nIp: 192.0.2.0/24\r\nK: kkkk\r\n"
        "B: 198.51.100.0/24\r\nBypass: *.l.example:8080\r\nB: <local>\r\nDisabled: m.example\r\nTrue:\r\nTime: 1~5\r\n"
        "WD: MTWTF--\r\nXyz: n.example\r\n: ;o.example\r\nB: http://p.example\r\n"
    )
    assert listed(found) == {
        "a.example": Covers.SITE, "b.example": Covers.SITE, "c.example": Covers.SUBDOMAINS, "d.example": Covers.HOST,
        "e.example": Covers.HOST, "f.example": Covers.HOST, "g.example": Covers.SUBDOMAINS, "192.0.2.0/24": Covers.HOST,
        "kkkk": Covers.HOST, "198.51.100.0/24": Covers.HOST, "l.example": Covers.SUBDOMAINS, "p.example": Covers.HOST,
    }  # fmt: skip
    assert excepted(found) == {"fine.a.example": Covers.SITE}
    assert found.lines_widened == 4
    assert found.skips == {
        Skip.REGULAR_EXPRESSION: 3, Skip.CONDITION: 6, Skip.UNSUPPORTED_TYPE: 1, Skip.UNREADABLE: 1,
    }  # fmt: skip


def test_a_list_with_results_lists_what_leads_elsewhere_than_direct() -> None:
    found = read(
        HEADER
        + "@with result\r\n\r\n*.icloud.example +direct\r\n*.a.example +proxy\r\n*.b.example +Another profile\r\n"
        "!*.c.example\r\nno-result.example\r\n*.example +proxy\r\n\r\n* +direct\r\n"
    )
    assert listed(found) == {"a.example": Covers.SITE, "b.example": Covers.SITE, "example": Covers.SITE}
    assert excepted(found) == {"icloud.example": Covers.SITE, "c.example": Covers.SITE}
    assert found.skips == {Skip.NO_PROFILE: 1}
    assert found.skipped[0].endswith("names no profile at its end (+profile), as it must after @with result")


def test_where_the_default_is_a_proxy_an_exclamation_mark_means_that_and_the_default_is_reported() -> None:
    found = read(HEADER + "@with result\n*.a.example +direct\n!*.b.example\n*.c.example +x\n* +proxy\n")
    assert listed(found) == {"b.example": Covers.SITE, "c.example": Covers.SITE}
    assert excepted(found) == {"a.example": Covers.SITE}
    assert found.skips == {Skip.PATTERN: 1}


def test_of_a_line_that_is_too_long_nothing_is_read() -> None:
    many = "|".join(f"*.site{n}.example" for n in range(5000))
    found = read(f"{HEADER}*.a.example\n{many}\n!{many}\n")
    assert (listed(found), excepted(found)) == ({"a.example": Covers.SITE}, {})
    assert found.skips == {Skip.UNREADABLE: 2}


def test_a_pattern_that_lists_cannot_use_is_explained() -> None:
    told = read(f"{HEADER}*a?.example\n").skipped[0]
    assert told.endswith("is a pattern that lists cannot use, such as one with ? or one that matches nearly every host")


def test_an_exception_counts_where_it_stands() -> None:
    found = read(HEADER + "*.www.a.example\n!*.a.example\n!*.b.example\n*.b.example\n*.c.example\n")
    assert set(listed(found)) == {"www.a.example", "b.example", "c.example"}
    assert set(excepted(found)) == {"b.example"}
    assert found.skips == {Skip.ORDER: 1}
    assert found.covering("www.a.example") is not None


def test_an_exception_for_a_path_is_left_out() -> None:
    found = read(HEADER + "!U: *://a.example/path*\n*.a.example\n")
    assert found.skips == {Skip.NARROW_EXCEPTION: 1}
    assert found.covering("a.example") is not None


def test_sections_of_autoproxy() -> None:
    found = read(
        HEADER + "*.a.example\n[AutoProxy 0.2.9]\n! comment\n||b.example\n@@||fine.b.example\n"
        "[SwitchyOmega Conditions]\n*.c.example\n; RuleList: AutoProxy\n|http://d.example/x\n"
    )
    assert set(listed(found)) == {"a.example", "b.example", "c.example", "d.example"}
    assert set(excepted(found)) == {"fine.b.example"}
    assert (found.lines_skipped, found.lines_widened) == (0, 1)


def test_a_list_of_switchysharp() -> None:
    found = read(
        "; Summary: x\n#BEGIN\n\n[Wildcard]\n!*://fine.a.example/*\n*://*.a.example/*\n*://b.example/*\nc.example\n"
        "@*://d.example/path*\n*://*.e.example/x/*\n[RegExp]\n^https?://f\n#END\n*://g.example/*\n"
    )
    assert listed(found) == {
        "a.example": Covers.SITE, "b.example": Covers.HOST, "c.example": Covers.HOST, "d.example": Covers.HOST,
        "e.example": Covers.SUBDOMAINS,
    }  # fmt: skip
    assert set(excepted(found)) == {"fine.a.example"}
    assert found.skips == {Skip.REGULAR_EXPRESSION: 1}
    assert found.lines_widened == 2


def test_a_list_without_a_header_that_is_called_one_has_conditions() -> None:
    found = read("*.a.example\n!*.fine.b.example\n*.b.example\n")
    assert listed(found) == {"a.example": Covers.SITE, "b.example": Covers.SITE}


@pytest.mark.parametrize("result", ["", " +proxy"])
def test_usual_lines_are_read_by_few_calls(result: str) -> None:
    top = HEADER + ("@with result\n" if result else "") + f"!*.x.example\n*.y.example{result}\n"
    text = "".join(f"*.site{n}.example{result}\n; comment\n\n" for n in range(1000))
    builder = ListBuilder("l", size=len(text))
    parse_switchyomega(iter([top, text]), builder)  # public suffixes are read once
    with counting() as calls:
        parse_switchyomega(iter([top, text]), builder)
    assert calls["proxy.routing.lists.switchyomega._read"] == 2
    assert calls.total() < 300, calls


@given(st.text(alphabet="[]@!;#:*. +|?\nabUH", max_size=60))
def test_any_text_is_a_list(text: str) -> None:
    for header in (HEADER, HEADER + "@with result\n", "#BEGIN\n[Wildcard]\n", HEADER + "[AutoProxy]\n"):
        read(header + text)


@each_row(
    ("text", "is_one"),
    [
        ("[SwitchyOmega Conditions]\n", True),
        ("\ufeff[SwitchyOmega Conditions @1.0]\n", True),
        ("; x\n#BEGIN\n\n[Wildcard]\n", True),
        ("#BEGIN\na.example\n", False),
        ("[AutoProxy]\n", False),
        ("*.a.example\n", False),
        ("", False),
    ],
)
def test_its_text_is_recognised(text: str, is_one: bool) -> None:
    assert recognizes(text) is is_one
