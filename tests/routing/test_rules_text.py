"""The rules in a text, and what an edit of one of them leaves as it was."""

from __future__ import annotations

import random

import pytest

from proxy.model.errors import ConfigError
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules_text import added, moved, removed, rule_lines, split_lines, switched

TEXT = """# My rules.

# banks
DOMAIN-SUFFIX,bank.example,DIRECT  # mine
# DOMAIN,off.example,BLOCK
DOMAIN,a.example,RELAY:tor // at work

# the rest
MATCH,AUTO
"""


def test_rules_that_are_on_and_off_are_found() -> None:
    found = [(rule.number, rule.text, rule.is_on, rule.comment) for rule in rule_lines(TEXT)]
    assert found == [
        (4, "DOMAIN-SUFFIX,bank.example,DIRECT", True, "mine"),
        (5, "DOMAIN,off.example,BLOCK", False, ""),
        (6, "DOMAIN,a.example,RELAY:tor", True, "at work"),
        (9, "MATCH,AUTO", True, ""),
    ]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("#MATCH,AUTO", "MATCH,AUTO"),
        (" # domain-suffix , a.example , relay:tor , inspect # why", "domain-suffix , a.example , relay:tor , inspect"),
        ("# DOMAIN-REGEX,a{1,2}b,BLOCK", "DOMAIN-REGEX,a{1,2}b,BLOCK"),
        ("# IP-CIDR6,2001:db8::/32,DIRECT", "IP-CIDR6,2001:db8::/32,DIRECT"),
        ("# DOMAIN, which I need", ""),
        ("# Blocks: DOMAIN,a.example,BLOCK", ""),
        ("## DOMAIN,a.example,BLOCK", ""),
        ("// DOMAIN,a.example,BLOCK", ""),
        ("# MATCH", ""),
    ],
)
def test_which_comment_is_a_rule_that_is_off(line: str, rule: str) -> None:
    assert [found.text for found in rule_lines(line)] == ([rule] if rule else [])


def test_a_rule_is_switched_off_and_on() -> None:
    off = switched(TEXT, 4)
    assert off.splitlines()[3] == "# DOMAIN-SUFFIX,bank.example,DIRECT  # mine"
    assert [rule.is_on for rule in rule_lines(off)] == [False, False, True, True]
    assert switched(off, 4) == TEXT
    assert len(parse_rules(off, source="rules.txt")) == 2


def test_a_rule_is_removed_and_the_comments_above_it_stay() -> None:
    assert removed(TEXT, 9) == TEXT.removesuffix("MATCH,AUTO\n")


@pytest.mark.parametrize("number", [0, -1, 1, 2, 8, 10, 999])
def test_a_line_without_a_rule_cannot_be_edited(number: int) -> None:
    for edit in (switched, removed, lambda text, at: moved(text, at, 0), lambda text, at: moved(text, 4, at or 1)):
        with pytest.raises(LookupError):
            edit(TEXT, number)


def test_a_moved_rule_takes_its_comments_with_it() -> None:
    up, number = moved(TEXT, 9, 4)
    assert up == (
        "# My rules.\n\n# the rest\nMATCH,AUTO\n# banks\nDOMAIN-SUFFIX,bank.example,DIRECT  # mine\n"
        "# DOMAIN,off.example,BLOCK\nDOMAIN,a.example,RELAY:tor // at work\n\n"
    )
    assert number == 4
    down, number = moved(TEXT, 4, 0)
    assert down.endswith("# the rest\nMATCH,AUTO\n# banks\nDOMAIN-SUFFIX,bank.example,DIRECT  # mine\n")
    assert number == 9
    assert moved(TEXT, 5, 6) == (TEXT, 5), "it is there already"
    assert moved(TEXT, 5, 5) == (TEXT, 5)


def test_a_rule_is_added_before_the_one_for_everything() -> None:
    assert added(TEXT, "DOMAIN,new.example,BLOCK") == TEXT.replace(
        "# the rest\n", "DOMAIN,new.example,BLOCK\n# the rest\n"
    )
    assert added("# MATCH,AUTO", "DOMAIN,b.example,BLOCK") == "# MATCH,AUTO\nDOMAIN,b.example,BLOCK\n"
    assert added("DOMAIN,a.example,BLOCK\r\n", "MATCH,AUTO") == "DOMAIN,a.example,BLOCK\r\nMATCH,AUTO\r\n"
    assert added("", "MATCH,AUTO") == "MATCH,AUTO\n"


def test_a_comment_that_begins_the_file_stays_at_its_beginning() -> None:
    text = "# Of Anna.\nDOMAIN,a.example,BLOCK\nDOMAIN,b.example,BLOCK"
    assert moved(text, 3, 2) == ("# Of Anna.\nDOMAIN,b.example,BLOCK\nDOMAIN,a.example,BLOCK\n", 2)


def test_line_ends_stay_as_they_are() -> None:
    text = "DOMAIN,a.example,BLOCK\r\nDOMAIN,b.example,BLOCK\nDOMAIN,c.example,BLOCK"
    assert switched(text, 2) == text.replace("DOMAIN,b", "# DOMAIN,b")
    assert moved(text, 3, 1)[0] == "DOMAIN,c.example,BLOCK\r\nDOMAIN,a.example,BLOCK\r\nDOMAIN,b.example,BLOCK\n"


def test_random_edits_keep_every_other_line() -> None:
    drawn = random.Random(29)
    lines = ["# c", "", "DOMAIN,{}.example,BLOCK", "# DOMAIN,{}.example,DIRECT", "IP-CIDR,10.0.0.{}/32,DIRECT // x"]
    for turn in range(300):
        ends = ["\r"] if turn % 3 else ["\n", "\r\n"]
        text = "".join(drawn.choice(lines).format(n) + drawn.choice(ends) for n in range(drawn.randrange(1, 12)))
        text = text if drawn.randrange(2) else text.rstrip("\r\n")
        rules = rule_lines(text)
        if not rules:
            continue
        rule, other = drawn.choice(rules), drawn.choice([0, *(each.number for each in rules)])
        text_of = [each.rstrip("\r\n") for each in split_lines(text)]
        after, number = moved(text, rule.number, other)
        assert sorted(text_of) == sorted(each.rstrip("\r\n") for each in split_lines(after))
        (at,) = [each for each in rule_lines(after) if each.number == number]
        assert (at.text, at.is_on) == (rule.text, rule.is_on)
        others = [each for each in rules if each is not rule]
        order = [each.text for each in others]
        if other != rule.number:
            place = next((n for n, each in enumerate(others) if each.number == other), len(order))
            order.insert(place, rule.text)
            assert [each.text for each in rule_lines(after)] == order
        assert sorted(split_lines(removed(text, rule.number))) == sorted(
            line for n, line in enumerate(split_lines(text), 1) if n != rule.number
        )
        assert rule_lines(switched(text, rule.number))[rules.index(rule)].is_on is not rule.is_on
        on = sum(each.is_on for each in rules)
        try:
            assert len(parse_rules(text, source="rules.txt")) == on
        except ConfigError as error:
            raise AssertionError(text) from error
