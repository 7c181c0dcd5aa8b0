"""The rules of the file as rows, and the rule that a form says."""

from __future__ import annotations

import pytest

from proxy.features.rules.rows import ROWS, action_values, move_of, parts_of, rule_of, rule_rows
from proxy.model.errors import ConfigError
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules_text import rule_lines
from proxy.session.rule_hits import Hits
from tests.support.rows import each_row

TEXT = (
    "DOMAIN,a.example,BLOCK\n# DOMAIN-SUFFIX,b.example,RELAY:tor # mine\nLIST,near,PREFER-RELAY\n"
    "DOMAIN,a.example,BLOCK\nDOMAIN-SUFFIX,c.example,RELAY:tor,INSPECT\nMATCH,AUTO\n"
)
HITS = {"DOMAIN,a.example,BLOCK": Hits(5, 9.0), "LIST,near,PREFER-RELAY": Hits(20, 8.0)}


def hits_of(text: str) -> Hits:
    return HITS.get(text, Hits())


def test_rows_say_in_words_what_matches_and_what_is_decided() -> None:
    rows = rule_rows(rule_lines(TEXT), hits_of)
    assert (rows.all, rows.on, rows.unused, rows.pages) == (6, 5, 3, 1)
    isolated = '<bdi dir="ltr">{}</bdi>'.format
    assert [(row.matches, row.action, row.kind, row.is_on) for row in rows.rows] == [
        (f"{isolated('a.example')} alone", "blocked", "failed", True),
        (f"{isolated('b.example')} and its subdomains", f"{isolated('tor')}, never direct", "relay", False),
        (f"list {isolated('near')}", "a relay first, then direct", "relay", True),
        (f"{isolated('a.example')} alone", "blocked", "failed", True),
        (f"{isolated('c.example')} and its subdomains", f"{isolated('tor')}, never direct", "relay", True),
        ("everything else", "auto", "quiet", True),
    ]
    assert [(row.hits, row.share, row.last_hit_at) for row in rows.rows] == [
        (5, 25, 9.0), (0, 0, 0.0), (20, 100, 8.0), (0, 0, 0.0), (0, 0, 0.0), (0, 0, 0.0)
    ]  # fmt: skip
    assert [row.comment for row in rows.rows] == ["", "mine", "", "", "", ""]
    assert [row.is_inspected for row in rows.rows] == [False] * 4 + [True, False]


def test_rows_say_where_a_rule_can_move() -> None:
    rows = rule_rows(rule_lines(TEXT), hits_of)
    assert [(row.up, row.down) for row in rows.rows] == [(None, 3), (1, 4), (2, 5), (3, 6), (4, 0), (5, None)]


def test_what_is_written_with_markup_stays_text() -> None:
    (row,) = rule_rows(rule_lines("DOMAIN,<b>x</b>,RELAY:<i>\n"), hits_of).rows
    assert "<b>" not in row.matches
    assert "<i>" not in row.action
    (row,) = rule_rows(rule_lines("<script>\n"), hits_of).rows
    assert row.matches == '<bdi dir="ltr">&lt;script&gt;</bdi>'


def test_a_page_has_fifty_rules() -> None:
    lines = rule_lines("".join(f"DOMAIN,host{n}.example,BLOCK\n" for n in range(120)))
    rows = rule_rows(lines, hits_of, page=2)
    assert [row.place for row in rows.rows] == [*range(ROWS + 1, 2 * ROWS + 1)]
    assert rows.pages == 3
    assert rows.rows[0].up == 50, "the last one of the page before"
    assert rows.rows[-1].down == 102
    assert rule_rows(lines, hits_of, page=99).page == 3
    found = rule_rows(lines, hits_of, find="HOST11")
    assert [row.place for row in found.rows] == [12, *range(111, 121)]
    assert rule_rows((), hits_of).rows == []


@each_row(
    ("kind", "value", "action", "rule"),
    [
        ("", "example.org", "RELAY", "DOMAIN-SUFFIX,example.org,RELAY"),
        ("", " https://user:pw@www.example.org:8443/a,b?c ", "RELAY:tor", "DOMAIN-SUFFIX,www.example.org,RELAY:tor"),
        ("", "*.example.org", "BLOCK", "DOMAIN-SUFFIX,example.org,BLOCK"),
        ("", ".example.org/", "BLOCK", "DOMAIN-SUFFIX,example.org,BLOCK"),
        ("", "192.0.2.7", "DIRECT", "IP-CIDR,192.0.2.7/32,DIRECT"),
        ("", "[2001:db8::7]", "DIRECT", "IP-CIDR,2001:db8::7/128,DIRECT"),
        ("", "192.0.2.0/24", "DIRECT", "IP-CIDR,192.0.2.0/24,DIRECT"),
        ("", "DOMAIN,a.example,BLOCK", "DIRECT", "DOMAIN,a.example,BLOCK"),
        ("", "bücher.example", "AUTO", "DOMAIN-SUFFIX,bücher.example,AUTO"),
        ("DOMAIN", "example.org", "BLOCK", "DOMAIN,example.org,BLOCK"),
        ("DOMAIN-REGEX", "a{1,2}", "BLOCK", "DOMAIN-REGEX,a{1,2},BLOCK"),
        ("MATCH", "", "AUTO", "MATCH,AUTO"),
    ],
)
def test_the_rule_that_a_form_says(kind: str, value: str, action: str, rule: str) -> None:
    made = rule_of(kind, value, action)
    assert made == rule
    assert len(parse_rules(made, source="r")) == 1


@each_row(("kind", "value"), [("", "  "), ("DOMAIN", ""), ("DOMAN", "a.example"), ("", "https://"), ("", "ftp://x y/")])
def test_what_is_no_rule_gets_a_sentence(kind: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        rule_of(kind, value, "BLOCK")


def test_hostile_values_stay_one_line_or_are_refused() -> None:
    for value in (
        "a.example\nDOMAIN,b.example,DIRECT",
        "a.example,BLOCK\rMATCH,DIRECT",
        "a\x00b",
        "a" * 9000,
        "{0}",
        "\u202ea",
    ):
        with pytest.raises(ConfigError):
            parse_rules(rule_of("DOMAIN", value, "BLOCK").replace("\n", " ").replace("\r", " "), source="r")


def test_parts_of_rules_with_options() -> None:
    assert parts_of("ip-cidr6,2001:db8::/32,relay : tor,no-resolve") == ("IP-CIDR", "2001:db8::/32", "RELAY:tor", False)
    assert parts_of("MATCH,AUTO") == ("MATCH", "", "AUTO", False)
    assert parts_of("nonsense") == ("", "nonsense", "", False)


def test_the_actions_of_a_new_rule() -> None:
    actions = action_values(["tor"])
    assert [*actions] == ["RELAY", "RELAY:tor", "AUTO", "DIRECT", "PREFER-RELAY", "BLOCK"]
    assert actions["RELAY:tor"] == "tor, never direct"


@each_row(
    ("order", "move"),
    [
        ([3, 1, 2], (3, 1)),
        ([2, 3, 1], (1, 5)),
        ([2, 1, 3], (2, 1)),
        ([1, 3, 2], (3, 2)),
        ([1, 2, 5, 3], (5, 3)),
        ([3, 5, 7, 1, 2], None),
        ([1, 2, 3], None),
        ([7, 5, 3], None),
        ([1, 2, 7, 3, 5], (7, 3)),
        ([2, 3, 5, 7, 1], (1, 0)),
        ([4, 1], None),
        ([2, 2, 1], None),
        ([0, 1], None),
        ([], None),
    ],
)
def test_which_rule_was_dragged(order: list[int], move: tuple[int, int] | None) -> None:
    text = "".join("\n" if number in (4, 6) else f"DOMAIN,r{number}.example,BLOCK\n" for number in range(1, 8))
    assert move_of(rule_lines(text), order) == move
