"""Rule providers of Clash. What an entry means is judged by mihomo (test_judges.py); here is how files are read."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest

from proxy.model.errors import ConfigError
from proxy.routing.lists.clash import recognizes
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.lines import BulkLines
from tests.routing.lists.reading import read, shown
from tests.support.calls import counting
from tests.support.rows import each_row

DOMAINS = """\
# NAME: made up
name: made up
---
payload:  # here
  - 'host.example'
  - "+.site.example"
  - .below.example  # why
  - '*.children.example'

  # - +.gone.example
  - 'www.*.star.example'
- +.Bücher.example
  - '192.0.2.1'
  - '192.0.2.0/24'
  - 'it''s'
  - ~
  -
  - +.com
  - '+.*.example'
  - 'a*.example'
  - *.no.yaml.example
  - 'open.example
  - {a: b}
  - a: b
  -dash.example
other: 1
"""

CLASSICAL = """\
# NAME: made up
// as some write it
DOMAIN,host.example
DOMAIN-SUFFIX,site.example,PROXY
host-suffix, spaced.example
HOST,Other.example // why
DOMAIN-KEYWORD,google
DOMAIN-WILDCARD,cdn*.example
DOMAIN-WILDCARD,*.below.example
IP-CIDR,192.0.2.77/24,no-resolve
IP-CIDR6,2001:db8::/32
IP6-CIDR,2001:db9::/32,no-resolve
IP-CIDR,203.0.113.0/24,src
DOMAIN-REGEX,^a{1,3}$
URL-REGEX,^https?://a/
PROCESS-NAME,frpc.exe
DST-PORT,443
USER-AGENT,Line*
GEOIP,CN
AND,((DOMAIN,a.example),(NETWORK,udp))
NEW-TYPE,what
DOMAIN-SUFFIX,com
DOMAIN-SUFFIX,.dot.example
DOMAIN-KEYWORD,e
no type
"""


def test_domains_in_yaml() -> None:
    found = read(DOMAINS)
    assert found.format == "clash"
    assert shown(found.listed) == [
        "=host.example", "+site.example", ".below.example", "*children.example", "+xn--bcher-kva.example",
        "prefix 192.0.2.0/24", "prefix 192.0.2.1", "wildcard www.*.star.example",
    ]  # fmt: skip
    assert found.skips == {Skip.UNREADABLE: 7, Skip.SUFFIX: 1, Skip.PATTERN: 2}
    assert [sentence.split(":")[1] for sentence in found.skipped] == [
        "15", "18", "19", "20", "21", "22", "23", "24", "25", "26",
    ]  # fmt: skip


def test_classical_text() -> None:
    found = read(CLASSICAL)
    assert found.format == "clash"
    assert shown(found.listed) == [
        "=host.example", "+site.example", "+spaced.example", "=other.example", ".below.example", "prefix 192.0.2.0/24",
        "prefix 2001:db8::/32", "prefix 2001:db9::/32", "keyword google", "wildcard cdn*.example",
    ]  # fmt: skip
    assert found.skips == {
        Skip.CONDITION: 3, Skip.REGULAR_EXPRESSION: 2, Skip.PROCESS: 1, Skip.UNSUPPORTED_TYPE: 3, Skip.SUFFIX: 1,
        Skip.UNREADABLE: 2, Skip.PATTERN: 1,
    }  # fmt: skip
    assert found.lines_read == 10
    assert found.problem == ""


@pytest.mark.parametrize("line", ["192.0.2.0/24,no-resolve\n", "payload:\n  - 2001:db8::/32,no-resolve\n"])
def test_an_option_belongs_to_a_type(line: str) -> None:
    found = read(line, format="clash")
    assert (shown(found.listed), found.skips) == ([], {Skip.UNSUPPORTED_TYPE: 1})


def test_what_yaml_has_around_a_string_is_no_part_of_it() -> None:
    items = (
        '"+.b\\u00FCcher.example"', '"DOMAIN-REGEX,^a\\\\.b$"', "&one '+.one.example'", "!!str two.example  # why",
        "*one", '"\\x2ethree.example"', '"\\ud83d.example"', '"open.example\\"', "!!str",
    )  # fmt: skip
    found = read("".join(f"{line}\n" for line in ("payload:", *(f"- {item}" for item in items))))
    assert found.format == "clash"
    assert shown(found.listed) == ["+xn--bcher-kva.example", "+one.example", "=two.example"]
    assert found.skips == {Skip.REGULAR_EXPRESSION: 1, Skip.UNREADABLE: 5}


@pytest.mark.parametrize("text", [DOMAINS, CLASSICAL], ids=["domains", "classical"])
def test_it_reads_the_same_in_small_pieces(text: str) -> None:
    for made in (text, text.replace("\n", "\r\n"), f"\ufeff{text}"):
        whole = read(text)
        for size in (120, 300):
            cut = read(made, piece=size)
            assert (shown(cut.listed), cut.skipped) == (shown(whole.listed), whole.skipped)


def test_classical_yaml_is_classical_text_as_items() -> None:
    lines = [line for line in CLASSICAL.splitlines() if not line.startswith(("#", "//"))]
    items = "".join(f"  - {line.partition(' //')[0]}\n" for line in lines)
    as_items = read(f"payload:\n{items}")
    assert (shown(as_items.listed), as_items.skips) == (shown(read(CLASSICAL).listed), read(CLASSICAL).skips)


def test_a_file_of_programs_only_says_so() -> None:
    found = read("payload:\n  - PROCESS-NAME,frpc\n  - PROCESS-NAME,frps\n")
    assert found.skips == {Skip.PROCESS: 2}
    assert found.problem.startswith(f'l:2: "PROCESS-NAME,frpc" {Skip.PROCESS.sentence}; 0 lines read, 2 lines skipped')


def test_text_of_domains_is_recognised_by_its_plus() -> None:
    found = read("# c\nhost.example\n+.site.example\n.below.example\n")
    assert (found.format, shown(found.listed)) == ("clash", ["=host.example", "+site.example", ".below.example"])


def test_what_it_recognizes() -> None:
    for text in (DOMAINS, CLASSICAL, "payload:\n", "\ufeff# c\npayload: # c\n- a\n", "+.a.example\n", "rules:\n- a\n",
                 "host-suffix, a.example, direct\n", "PROCESS-NAME,a\n"):  # fmt: skip
        assert recognizes(text), text
    for text in ("", "a.example\n", "payload\n", "- a\n", "a.example\npayload:\n", "DOMAINS,a\n",
                 ".a.example\n", "*.a.example\n", "++.a\n", "{payload:\n", "version: 2\nrules_set:\n"):  # fmt: skip
        assert not recognizes(text), text


@each_row(
    "line",
    ["  - '+.Site{}.example'\n", "- site{}.example\n", "  - DOMAIN-SUFFIX,site{}.example\n", "  - '192.0.{}.0/24'\n",
     "  - IP-CIDR,192.0.{}.0/24,no-resolve\n"],
)  # fmt: skip
def test_usual_lines_are_read_by_few_calls(line: str) -> None:
    head = "payload:\n" + line.format(0)

    def text(count: int) -> str:
        return "payload:\n" + "".join(line.format(n) for n in range(count))

    read(head)  # public suffixes are read once
    with counting() as calls:
        read(text(200), format="clash")
    with counting() as calls_for_one:
        read(text(1), format="clash")
    assert calls.total() < calls_for_one.total() + 200 / 10, calls


@pytest.mark.parametrize("odd", [
    "+.*.b.example", "*.+.b.example", "+..b.example", "..b.example", "+b.example", "+.", "\x01b.example",
    "+.\x02b.example", "b\x03.example", "*.b\x04",
    "b\x03c.example",
])  # fmt: skip
def test_lines_that_begin_in_different_ways_are_read_in_bulk_but_for_odd_ones(
    odd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands before a name is taken off once, and of each line."""
    usual = [
        f"  - '{begin}{name}.example'\n" for name in ("a", "c", "d") for begin in ("", f"{name}.", "+.s", ".b", "*.c")
    ]
    lines = [*usual, f"  - '{odd}'\n", *usual]
    together, alone = (
        parse_list(iter(["payload:\n", *pieces]), size=999, source="l", format="clash")
        for pieces in (["".join(lines)], lines)
    )
    assert list(together.entries()) == list(alone.entries())
    assert (together.skips, together.skipped, together.lines_read) == (alone.skips, alone.skipped, alone.lines_read)
    monkeypatch.setattr(BulkLines, "take_matches", None)  # so lines that are not alike cannot be taken in bulk
    assert parse_list(iter(["payload:\n", "".join(usual)]), size=999, source="l", format="clash").lines_read == 15


@each_row(
    "text",
    [
        "payload: ['+.site.example', \"host.example\", .below.example]\n",
        "# why\npayload: [ # here\n  '+.site.example',  # why, and why not\n  host.example,\n  '.below.example',\n]\n",
        '{"payload": ["+.site.example", "host.example", ".below.example"]}\n',
        "'payload':\n  - '+.site.example'\n  - host.example\n  - .below.example\n",
        '"rules" :\n- +.site.example\n- host.example\n- .below.example',
        "payload: &all  # why\n- +.site.example\n- host.example\n- .below.example\n",
        "payload: !!seq &all [+.site.example, host.example, .below.example]\n",
        "  payload:\r\n    - '+.site.example'\r\n    - host.example\r\n    - .below.example\r\n",
    ],
)
def test_other_spellings_of_the_yaml(text: str) -> None:
    for made in (text, f"\ufeff{text}"):
        found = read(made)
        assert (found.format, found.skips) == ("clash", {})
        assert shown(found.listed) == ["+site.example", "=host.example", ".below.example"]


def test_lists_of_other_keys_are_not_part_of_it() -> None:
    before = "proxies:\n  - {name: a}\ndns:\n  nameserver:\n  - 192.0.2.53\n  fake-ip-filter:\n  - '+.before.example'\n"
    behind = "sub-rules:\n  other:\n  - DOMAIN,behind.example,DIRECT\n"
    rules = "rules:\n- DOMAIN-SUFFIX,site.example,PROXY\n- DOMAIN,host.example,PROXY\n"
    for text in (f"{before}{rules}{behind}", f"\ufeff{before}{rules}{behind}".replace("\n", "\r\n")):
        found = read(text, format="clash")
        assert (shown(found.listed), found.skips) == (["+site.example", "=host.example"], {})
        assert shown(read(text, format="clash", piece=len(before) + 60).listed) == ["+site.example", "=host.example"]
    found = read(f"{before}payload:\n- host.example\n- what is this\n", format="clash")
    assert shown(found.listed) == ["=host.example"]
    assert found.skipped == ('l:10: "what is this" is neither a domain nor an address',)


def test_a_list_in_brackets_names_what_it_skips_and_its_missing_end() -> None:
    found = read(
        "payload: ['DOMAIN-SUFFIX,site.example', 'PROCESS-NAME,curl', *a, &a 'b.example',\n  {c: d}, '+.com']\n"
    )
    assert shown(found.listed) == ["+site.example", "=b.example"]
    assert found.skips == {Skip.PROCESS: 1, Skip.UNREADABLE: 2, Skip.SUFFIX: 1}
    assert [sentence.split(":")[1] for sentence in found.skipped] == ["1", "1", "2", "2"]
    assert read("payload: []\n").problem == "l: the list is empty"
    with pytest.raises(ConfigError, match=r"^l:2: the list in brackets has no end; it was cut short$"):
        read("payload: ['+.site.example',\n 'host.exam")


def test_a_table_is_no_rule_provider_and_typed_lines_need_not_come_first() -> None:
    table = read("domain,category\nexample.com,NEWS\n")
    assert (table.format, len(table.listed)) == ("plain", 0)
    assert table.problem
    late = read("host.example\nDOMAIN-SUFFIX,site.example\nDOMAIN,other.example\n")
    assert (late.format, shown(late.listed)) == ("clash", ["=host.example", "+site.example", "=other.example"])
    assert read("; as Surge writes it\nDOMAIN,host.example\n; off\n").skips == {}


def test_a_keyword_that_is_a_dot_and_a_public_suffix_is_refused() -> None:
    found = read("DOMAIN-KEYWORD,.com\nDOMAIN-KEYWORD,.co.uk\nDOMAIN-KEYWORD,com\nDOMAIN-KEYWORD,.comp\n")
    assert shown(found.listed) == ["keyword com", "keyword .comp"]
    assert found.skips == {Skip.SUFFIX: 2}


@each_row("item", ["'" + "a" * 300_000, '"' + "a" * 300_000, "'" + "''" * 150_000, "a" * 300_000 + "]"])
def test_a_long_item_in_brackets_takes_no_more_memory_than_it_has(item: str) -> None:
    text = f"payload: [{item}"
    tracemalloc.start()
    try:
        with contextlib.suppress(ConfigError):
            assert not read(text).listed
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(text), "a match that can go back keeps 100 bytes for each character"


def test_a_comment_may_end_with_a_colon() -> None:
    found = read("payload:\n  - host.example # größer:\n  - 192.0.2.0/24 # or that:\n  - a: b\n")
    assert (shown(found.listed), found.skips) == (["=host.example", "prefix 192.0.2.0/24"], {Skip.UNREADABLE: 1})
