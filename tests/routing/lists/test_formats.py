"""A list is read by the first format that recognises it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.routing.lists import formats
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import FORMATS, ListFormat, parse_list
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.plain import parse_plain
from tests.support.rows import each_row


def read(*pieces: str, format: ListFormatName = "auto", allow_empty: bool = False) -> DomainList:  # noqa: A002
    return parse_list(iter(pieces), size=sum(map(len, pieces)), source="l", format=format, allow_empty=allow_empty)


def entries(found: DomainList) -> set[str]:
    return {entry.text for entry in found.entries()}


HEADING = "##########\n## Title\n##  of whom ##\n##\n###########\n"
"""As many lists have, of whatever format. In an Adblock list, `##` begins what is to be hidden on pages."""

SAMPLES: dict[str, tuple[str, ...]] = {
    "autoproxy": (
        "[AutoProxy 0.2.9]\n! Title: x\n||a.example\n",
        "W0F1dG9Qcm94eSAwLjIuOV0KISBDaGVja3N1bTogSmlSdnVGNjdrYlhydVB0Zmtx\n",
    ),
    "v2fly": (
        "# comment\ninclude:google-ads\n",
        "full:a.example @ads\n",
        "a.example @cn\n",
        "a.example &other # why\n",
        "keyword:a\n",
        "a.example:@cn\n",
    ),
    "sing-box": (
        '// made up\n/* { */ # {\n{"version": 1, "rules": []}',
        '{"version": 3, "rules": [{"domain": "a.example"}]}',
        '{\n  "rules": [\n',
    ),
    "switchyomega": ("[SwitchyOmega Conditions]\r\n@with result\r\n", "; x\n#BEGIN\n[Wildcard]\n*://a.example/*\n"),
    "pac": (
        "function FindProxyForURL(url, host) {\n",
        "// x\nvar domains = {\n",
        "const FindProxyForURL = function (url, host) {\n",
    ),
    "adblock": ("[Adblock Plus 2.0]\n! Title: x\n", "! Title: x\n||a.example^$third-party\n@@||b.example^\n"),
    "clash": (
        "# NAME: made up\npayload:\n  - '+.example.com'\n  - 'host.example'\n",
        "payload:\n- DOMAIN-SUFFIX,example.com\n- IP-CIDR,192.0.2.0/24,no-resolve\n",
        "payload:\n  - '192.0.2.0/24'\n",
        "# NAME: made up\nDOMAIN-SUFFIX,example.com\nPROCESS-NAME,frpc\n",
        "+.example.com\nhost.example\n",
        "payload: ['a.example']\n",
        f"{HEADING}payload:\n  - 'a.example'\n",
        '{"payload": ["a.example"]}\n',
        "host.example\nDOMAIN,a.example\nDOMAIN-SUFFIX,b.example\n",
    ),
    "hosts": (
        "localhost\n0.0.0.0 a.example\n0.0.0.0 b.example\n",
        "# title\n127.0.0.1 localhost\n0.0.0.0 ads.example\n",
        "0.0.0.0\tads.example\n",
        "::1 localhost\n",
        f"{HEADING}0.0.0.0 ads.example\n",
    ),
    "dnsmasq": (
        "\n# title\nserver=/example.com/192.0.2.1\n",
        "address=/ads.example/0.0.0.0\n",
        "bogus-nxdomain=192.0.2.1\n",
        "no-resolv\nserver=192.0.2.1\nserver=/example.com/192.0.2.1\n",
    ),
    "plain": (
        "",
        "# only a comment\n",
        "example.com\n*.example.net # why\n",
        "192.0.2.0/24\n2001:db8::/32\n198.51.100.7\n",
        "domain,category\nexample.com,NEWS\n",
        "; a comment\nexample.com\n",
        f"{HEADING}example.com\n",
        f"{HEADING}192.0.2.0/24\n",
        "example.com ## why\nexample.org ##\n",
        "<!DOCTYPE html>\n<html><body>Not found</body></html>\n",
    ),
}
"""Beginnings of files, by the format that must take them."""


@each_row(("name", "text"), [(name, text) for name, texts in SAMPLES.items() for text in texts])
def test_a_text_is_recognised_as_its_own_format_only(name: str, text: str) -> None:
    takers = [other for other, it in FORMATS.items() if it.recognizes(text)]
    assert takers == ([name] if name == "plain" else [name, "plain"])
    assert {*FORMATS} == {*SAMPLES}


def test_each_name_of_the_setting_is_a_format() -> None:
    assert {"auto", *FORMATS} == set(get_args(ListFormatName))
    assert list(FORMATS)[-1] == "plain", "it accepts every text"


def test_what_no_other_format_recognises_is_a_plain_list() -> None:
    found = read("a.example\n", "b.example\n")
    assert entries(found) == {"a.example", "b.example"}
    assert (found.source, found.format, found.lines_read) == ("l", "plain", 2)
    assert read().problem == "l: the list is empty"
    assert read(allow_empty=True).problem == ""


def test_the_beginning_of_a_long_line_tells_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def recognizes(text: str) -> bool:
        seen.append(len(text))
        return False

    monkeypatch.setattr(formats, "FORMATS", {"adblock": ListFormat(recognizes, parse_plain), "plain": FORMATS["plain"]})
    assert read("a" * (formats.RECOGNIZED_BY * 3)).format == "plain"
    assert seen == [formats.RECOGNIZED_BY]


def test_a_format_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse_marked(pieces: Iterator[str], builder: ListBuilder) -> None:
        parse_plain(iter(["".join(pieces).removeprefix("[marked]")]), builder)

    marked = ListFormat(lambda text: text.startswith("[marked]"), parse_marked)
    monkeypatch.setattr(formats, "FORMATS", dict([("marked", marked), *FORMATS.items()]))
    found = read("[marked]\na.example\n", "c.example")
    assert (entries(found), found.format) == ({"a.example", "c.example"}, "marked")
    assert entries(read("b.example\n")) == {"b.example"}
    named = read("[marked]\na.example\n", format="plain")
    assert (named.format, named.lines_skipped) == ("plain", 1), "a named format is used"


NAME = "www.site{}.example"


@each_row(
    ("head", "line"),
    [("", NAME), ("", f"*.{NAME}  # why"), ("", f"0.0.0.0 {NAME}"), ("", f"server=/{NAME}/192.0.2.1"),
     ("payload:\n", f"  - '+.{NAME}'"), ("payload:\n", f"  - DOMAIN-SUFFIX,{NAME}"), ("", f"DOMAIN-SUFFIX,{NAME}"),
     ("[Adblock Plus 2.0]\n", f"||{NAME}^"), ("[AutoProxy 0.2.9]\n! c\n", f"||{NAME}")],
)  # fmt: skip
def test_tables_are_as_large_as_the_names_need(head: str, line: str) -> None:
    """Whatever stands around the names."""
    comments = "".join(f"# {NAME.format(n)}: " + "why " * 20 + "\n" for n in range(50))
    for before in (head, head + comments if not head.startswith("[") else head):
        text = before + "".join(f"{line.format(n)}\n" for n in range(3000))
        lines = text.splitlines(keepends=True)
        pieces = ["".join(lines[start : start + 400]) for start in range(0, len(lines), 400)]
        domains = read(*pieces).listed.domains
        assert len(domains) == 3000
        assert 3 * len(domains) < len(domains.slots) < 11 * len(domains)


@pytest.mark.parametrize("first", ["192.0.2.{}/32", "+.*.{}.example", "no name at all {}"])
def test_a_list_that_begins_otherwise_than_it_goes_on_is_read_too(first: str) -> None:
    begins = "".join(f"{first.format(n)}\n" for n in range(200))
    found = read(begins, *("".join(f"{NAME.format(n + at)}\n" for n in range(500)) for at in range(0, 5000, 500)))
    assert len(found.listed.domains) == 5000
    assert all(found.covering(NAME.format(n)) for n in range(0, 5000, 50))


def test_a_backup_of_switchyomega_is_no_list_and_no_rule_set() -> None:
    text = '{"+auto switch": {"rules": [], "profileType": "SwitchProfile"}}'
    with pytest.raises(ConfigError) as caught:
        parse_list(iter([text]), size=len(text), source="x.bak")
    assert str(caught.value) == (
        "x.bak: is a backup of SwitchyOmega, and no list; `byway rule import` of it, without --list, shows its rules"
    )
