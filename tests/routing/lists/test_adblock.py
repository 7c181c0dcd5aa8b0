"""Adblock lists, as blocklists for browsers are published."""

from __future__ import annotations

import pytest

from proxy.routing.lists.adblock import parse_adblock, recognizes
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.list_builder import ListBuilder
from tests.support.calls import counting
from tests.support.rows import each_row


def read(*lines: str) -> DomainList:
    text = "".join(f"{line}\n" for line in lines)
    builder = ListBuilder("ads.txt", size=len(text), format="adblock")
    parse_adblock(iter([text]), builder)
    return builder.build()


def listed(found: DomainList) -> set[str]:
    return {entry.text for entry in found.entries()}


def test_a_list_is_read() -> None:
    found = read(
        "[Adblock Plus 2.0]", "! Title: ads", "# a comment of uBlock's", "||ads.example^", "@@||fine.ads.example^",
        "||192.0.2.7^", "|https://one.example^", "tracker.example^", "||part.example/banner.js",
    )  # fmt: skip
    hosts = ("ads.example", "a.ads.example", "192.0.2.7", "one.example", "x.tracker.example", "part.example")
    assert [host for host in hosts if found.covering(host) is None] == []
    assert found.covering("fine.ads.example") is None
    assert found.covering("a.one.example") is None
    assert (found.lines_read, found.lines_widened, found.lines_skipped) == (6, 2, 0)


@each_row("option", ["important", "match-case", "all", "important,match-case"])
def test_options_that_leave_a_filter_about_the_whole_host(option: str) -> None:
    found = read(f"||ads.example^${option}", f"@@||fine.ads.example^${option}")
    assert (listed(found), found.lines_widened, found.lines_skipped) == ({"ads.example"}, 0, 0)
    assert found.covering("fine.ads.example") is None


@each_row("option", ["third-party", "3p", "strict3p", "popup", "document", "doc", "third-party,important"])
def test_options_that_name_the_kind_of_visit_are_widened_and_make_no_exception(option: str) -> None:
    found = read(f"||ads.example^${option}", f"@@||fine.ads.example^${option}")
    assert (listed(found), found.lines_widened) == ({"ads.example"}, 1)
    assert found.skips == {Skip.NARROW_EXCEPTION: 1}
    assert found.covering("fine.ads.example") == "ads.example"


@each_row(
    "option",
    [
        "script", "~third-party", "domain=a.example|~b.example", "third-party,domain=~a.example", "image,script",
        "websocket", "subdocument", "badfilter", "csp=script-src 'none'", "redirect=noop.js", "removeparam=utm",
        "denyallow=x.com", "ctag=device_phone", "client=127.0.0.1", "dnsrewrite=NOERROR;A;1.2.3.4", "popup,~script",
        "cname", "generichide", "elemhide", "replace=/a$b/c/",
    ],
)  # fmt: skip
def test_other_options_skip_the_filter(option: str) -> None:
    found = read(f"||ads.example^${option}", f"@@||fine.example^${option}")
    assert (listed(found), found.skips) == (set(), {Skip.CONDITION: 2})
    assert not found.exceptions


@each_row(
    ("line", "reason"),
    [
        ("example.com##.ad", Skip.COSMETIC),
        ("##.banner", Skip.COSMETIC),
        ("example.com#@#.ad", Skip.COSMETIC),
        ("example.com#?#div:has(.ad)", Skip.COSMETIC),
        ("example.com#$#body { color: red }", Skip.COSMETIC),
        ("example.com#%#//scriptlet('x')", Skip.COSMETIC),
        ("example.com#@%#x", Skip.COSMETIC),
        ("example.com##+js(acis, m)", Skip.COSMETIC),
        ("example.com##^script:has-text(x)", Skip.COSMETIC),
        ("example.com$$script[tag-content=x]", Skip.COSMETIC),
        ("[$path=/x]example.com##.ad", Skip.COSMETIC),
        ("/ads[0-9]+/", Skip.REGULAR_EXPRESSION),
        ("/ads[0-9]+/$script,third-party", Skip.REGULAR_EXPRESSION),
        ("@@/^https?:\\/\\/x/$domain=a.example", Skip.REGULAR_EXPRESSION),
        ("!#include other.txt", Skip.INCLUDE),
        ("/banner/*", Skip.NO_HOST),
        ("-ad-300x250/", Skip.NO_HOST),
        ("0.0.0.0 ads.example", Skip.UNREADABLE),
    ],
)
def test_what_is_no_filter_of_hosts_is_skipped_by_name(line: str, reason: Skip) -> None:
    found = read(line)
    assert found.skips == {reason: 1}
    assert not listed(found)
    assert found.skipped[0].startswith("ads.txt:1: ")


def test_what_stands_under_a_condition_is_skipped() -> None:
    found = read(
        "||a.example^", "!#if env_mobile", "||b.example^", "!#if ext_ublock", "||c.example^", "!#endif",
        "||d.example^$third-party",
        "!#else", "||e.example^", "!#endif", "||f.example^", "!#endif", "||g.example^",
    )  # fmt: skip
    assert listed(found) == {"a.example", "f.example", "g.example"}
    assert found.skips == {Skip.CONDITION: 4}


def test_a_condition_that_no_end_closes_holds_over_the_pieces_that_follow() -> None:
    builder = ListBuilder("ads.txt", size=100)
    parse_adblock(iter(["||a.example^\n!#if x\n", "||b.example^\n", "||c.example^\n!#endif\n"]), builder)
    assert listed(builder.build()) == {"a.example"}


@pytest.mark.parametrize("option", ["", "$third-party"])
def test_usual_lines_are_read_by_few_calls(option: str) -> None:
    text = "".join(f"||Site{n}.example^{option}\n\n" for n in range(1000))
    builder = ListBuilder("l", size=len(text))
    parse_adblock(iter([text]), builder)  # public suffixes are read once
    with counting() as calls:
        parse_adblock(iter([text]), builder)
    assert calls["proxy.routing.domain_set.DomainSetBuilder.add"] == 1
    assert calls.total() < (1100 if option else 30), calls
    assert builder.build().lines_widened == (2000 if option else 0)


@each_row(
    ("text", "is_one"),
    [
        ("[Adblock Plus 2.0]\n", True),
        ("\ufeff[uBlock Origin]\n", True),
        ("! Title: x\n||a.example^\n", True),
        ("# x\n||a.example^$third-party\n@@||b.example^\n", True),
        ("example.com##.ad\nexample.org##.ad\n", True),
        ("a.example\nb.example\n||c.example^\n", False),
        ("0.0.0.0 a.example # x\n", False),
        ("# comments only\n", False),
        ("", False),
    ],
)
def test_its_text_is_recognised(text: str, is_one: bool) -> None:
    assert recognizes(text) is is_one
