"""What is written in another format is read again as it was."""

from __future__ import annotations

import json
import subprocess
from string import ascii_lowercase, digits
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.schema import ListFormatName
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.export import Changed, ExportFormat, export
from proxy.routing.lists.formats import FORMATS, parse_list
from proxy.routing.lists.matcher import Entry, EntryKind
from tests.support.programs import require
from tests.support.rows import each_row

IMPORTERS: dict[ExportFormat, str] = {ExportFormat.CLASH_DOMAIN: "clash"}
"""The reader of a format that has another name."""

READABLE = [it for it in ExportFormat if IMPORTERS.get(it, str(it)) in FORMATS]

SAID = {
    ExportFormat.CLASH: {Covers.HOST, Covers.SITE},
    ExportFormat.CLASH_DOMAIN: {Covers.HOST, Covers.SITE, Covers.SUBDOMAINS, Covers.CHILDREN},
    ExportFormat.SING_BOX: {Covers.HOST, Covers.SITE, Covers.SUBDOMAINS},
    ExportFormat.V2FLY: {Covers.HOST, Covers.SITE},
    ExportFormat.AUTOPROXY: {Covers.HOST, Covers.SITE, Covers.SUBDOMAINS},
    ExportFormat.ADBLOCK: {Covers.HOST, Covers.SITE, Covers.SUBDOMAINS},
    ExportFormat.HOSTS: {Covers.HOST},
    ExportFormat.DNSMASQ: {Covers.SITE},
    ExportFormat.PLAIN: {Covers.SITE},
    ExportFormat.PAC: {Covers.SITE},
    ExportFormat.SWITCHYOMEGA: {Covers.HOST, Covers.SITE, Covers.SUBDOMAINS},
}
"""What each format can say of a domain."""

WITH_PREFIXES = {ExportFormat.CLASH, ExportFormat.SING_BOX, ExportFormat.PLAIN, ExportFormat.SWITCHYOMEGA}
WITH_ADDRESSES = {*WITH_PREFIXES, ExportFormat.AUTOPROXY, ExportFormat.ADBLOCK}


def read(text: str, format: ExportFormat, *, auto: bool = False) -> DomainList:  # noqa: A002
    name = cast(ListFormatName, "auto" if auto else str(IMPORTERS.get(format, format)))
    return parse_list(iter([text]), size=len(text), source="list", format=name)


LABEL = st.builds(
    "{}{}".format,
    st.sampled_from(ascii_lowercase),
    st.text(f"{ascii_lowercase}{digits}-", max_size=9).map(lambda rest: rest.rstrip("-")),
).filter(lambda label: label[2:4] != "--")
NAME = st.builds(
    "{}.{}".format, st.lists(LABEL, min_size=1, max_size=3).map(".".join), st.sampled_from(["test", "com"])
)
IPV4 = st.integers(0, (1 << 24) - 1).map(lambda n: f"203.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}")
ADDRESS = st.one_of(IPV4, st.integers(1, 0xFFFF).map(lambda n: f"2001:db8::{n:x}"))
PREFIX = st.sampled_from(["198.51.100.0/24", "203.0.0.0/8", "192.0.2.4/30", "2001:db8::/32", "2001:db8:1::/48"])


def entries(format: ExportFormat) -> st.SearchStrategy[list[Entry]]:  # noqa: A002
    """Lists of what a format can say; each domain once."""
    kinds = [st.tuples(NAME, st.sampled_from(sorted(SAID[format])), st.just(EntryKind.DOMAIN))]
    if format in WITH_ADDRESSES:
        kinds.append(st.tuples(ADDRESS, st.just(Covers.HOST), st.just(EntryKind.PREFIX)))
    if format in WITH_PREFIXES:
        kinds.append(st.tuples(PREFIX, st.just(Covers.HOST), st.just(EntryKind.PREFIX)))
    one = st.one_of(kinds).map(lambda it: Entry(it[2], it[0], it[1]))
    return st.lists(one, min_size=1, max_size=12, unique_by=lambda entry: entry.text)


@pytest.mark.parametrize("format", READABLE)
@given(st.data())
def test_what_is_written_is_read_as_it_was(format: ExportFormat, data: st.DataObject) -> None:  # noqa: A002
    drawn = data.draw(entries(format))
    told = "".join(read("".join(f"{entry.text}\n" for entry in drawn), ExportFormat.PLAIN).suffixes)
    given_entries = [entry for entry in drawn if f'"{entry.text}"' not in told]
    exported = export(format, given_entries)
    assert (exported.written, exported.changed, exported.left_out) == (len(given_entries), {}, {})
    assert set(read(exported.text, format).entries()) == set(given_entries)
    if given_entries and any(entry.kind is EntryKind.DOMAIN for entry in given_entries):
        assert set(read(exported.text, format, auto=True).entries()) == set(given_entries)


KEYWORD = Entry(EntryKind.KEYWORD, "ads", Covers.HOST)
HOST = Entry(EntryKind.DOMAIN, "www.example.com", Covers.HOST)
SITE = Entry(EntryKind.DOMAIN, "example.org", Covers.SITE)
NET = Entry(EntryKind.PREFIX, "192.0.2.0/24", Covers.HOST)


@each_row(
    ("format", "text", "changed", "left_out"),
    [
        ("plain", "www.example.com\nexample.org\n192.0.2.0/24\n", {Changed.WIDENED: 1}, {"keyword": 1}),
        ("hosts", "0.0.0.0 www.example.com\n0.0.0.0 example.org\n", {Changed.NARROWED: 1}, {"keyword": 1, "prefix": 1}),
        ("v2fly", "keyword:ads\nfull:www.example.com\ndomain:example.org\n", {}, {"prefix": 1}),
        (
            "clash",
            "payload:\n  - 'DOMAIN-KEYWORD,ads'\n  - 'DOMAIN,www.example.com'\n  - 'DOMAIN-SUFFIX,example.org'\n"
            "  - 'IP-CIDR,192.0.2.0/24'\n",
            {},
            {},
        ),
        ("clash-domain", "payload:\n  - 'www.example.com'\n  - '+.example.org'\n", {}, {"keyword": 1, "prefix": 1}),
        ("adblock", "[Adblock Plus 2.0]\n//www.example.com^\n||example.org^\n", {}, {"keyword": 1, "prefix": 1}),
        (
            "dnsmasq",
            "ipset=/www.example.com/byway\nipset=/example.org/byway\n",
            {Changed.WIDENED: 1},
            {"keyword": 1, "prefix": 1},
        ),
        (
            "switchyomega",
            "[SwitchyOmega Conditions]\n*ads*\nwww.example.com\n*.example.org\nIp: 192.0.2.0/24\n",
            {},
            {},
        ),
    ],
)
def test_what_a_format_cannot_say_is_counted(
    format: str,  # noqa: A002
    text: str,
    changed: dict[Changed, int],
    left_out: dict[str, int],
) -> None:
    exported = export(ExportFormat(format), [KEYWORD, HOST, SITE, NET])
    assert (exported.text, exported.changed, exported.left_out) == (text, changed, left_out)
    assert exported.written == 4 - sum(left_out.values())


def test_autoproxy_is_spelled_as_gfwlist_is() -> None:
    """Its readers know no `^`: to SwitchyOmega, `||example.org^` is a host that ends with it."""
    below = Entry(EntryKind.DOMAIN, "below.example.net", Covers.SUBDOMAINS)
    address = Entry(EntryKind.PREFIX, "192.0.2.1", Covers.HOST)
    assert export(ExportFormat.AUTOPROXY, [HOST, SITE, below, address]).text.split("\n") == [
        "[AutoProxy 0.2.9]", "|http://www.example.com/", "|https://www.example.com/", "||example.org",
        ".below.example.net", "||192.0.2.1", "",
    ]  # fmt: skip
    text = export(ExportFormat.AUTOPROXY, [SITE], [HOST, SITE, below]).text
    assert set(read(text, ExportFormat.AUTOPROXY).exceptions.entries()) == {HOST, SITE, below}


@each_row("format", ExportFormat)
def test_subdomains_alone_are_written_in_every_format_that_has_subdomains(format: ExportFormat) -> None:  # noqa: A002
    below = Entry(EntryKind.DOMAIN, "below.example.net", Covers.SUBDOMAINS)
    exported = export(format, [below])
    if SAID[format] == {Covers.HOST}:
        assert exported.left_out == {"domain": 1}
        return
    covers = Covers.SUBDOMAINS if Covers.SUBDOMAINS in SAID[format] else Covers.SITE
    assert exported.changed == ({} if covers is Covers.SUBDOMAINS else {Changed.COMPLETED: 1})
    assert [*read(exported.text, format).entries()] == [below._replace(covers=covers)]


def test_a_rule_set_of_sing_box_is_one_rule() -> None:
    text = export(ExportFormat.SING_BOX, [KEYWORD, HOST, SITE, NET]).text
    assert json.loads(text) == {
        "version": 1,
        "rules": [
            {
                "domain_keyword": ["ads"],
                "domain": ["www.example.com"],
                "domain_suffix": ["example.org"],
                "ip_cidr": ["192.0.2.0/24"],
            }
        ],
    }
    assert json.loads(export(ExportFormat.SING_BOX, []).text)["rules"] == []


def test_exceptions_are_written_where_a_format_has_them() -> None:
    exception = Entry(EntryKind.DOMAIN, "fine.example.org", Covers.SITE)
    assert "@@||fine.example.org^\n" in export(ExportFormat.ADBLOCK, [SITE], [exception]).text
    assert "@@||fine.example.org\n" in export(ExportFormat.AUTOPROXY, [SITE], [exception]).text
    assert "server=/fine.example.org/#\n" in export(ExportFormat.DNSMASQ, [SITE], [exception]).text
    assert export(ExportFormat.PLAIN, [SITE], [exception]).left_out == {"exception": 1}


def test_what_stands_twice_is_written_once() -> None:
    both = [Entry(EntryKind.DOMAIN, "example.org", Covers.SITE), Entry(EntryKind.DOMAIN, "example.org", Covers.HOST)]
    assert export(ExportFormat.PLAIN, both).text == "example.org\n"


@pytest.mark.needs("node")
def test_a_browser_s_proxy_configuration_finds_sites_and_nothing_else() -> None:
    text = export(ExportFormat.PAC, [SITE]).text
    hosts = ["example.org", "a.b.example.org", "badexample.org", "org", "constructor"]
    asked = f"console.log(JSON.stringify({json.dumps(hosts)}.map(h => FindProxyForURL('http://' + h, h))))"
    done = subprocess.run(
        [require("node"), "-e", f"{text}\n{asked}"], capture_output=True, text=True, check=True, timeout=30
    )
    assert json.loads(done.stdout) == ["PROXY 127.0.0.1:8119"] * 2 + ["DIRECT"] * 3


@each_row("format", [it for it in READABLE if export(it, [Entry(EntryKind.KEYWORD, "x", Covers.HOST)]).written])
@each_row("word", [".cn", "cn.", "-ads-", "a.b", "direct"])
def test_a_keyword_at_a_dot_stays_what_it_is(format: ExportFormat, word: str) -> None:  # noqa: A002
    entry = Entry(EntryKind.KEYWORD, word, Covers.HOST)
    made = export(format, [entry])
    found = parse_list(iter([made.text]), size=len(made.text), source="l", allow_suffixes=True)
    assert list(found.entries()) == [entry]
