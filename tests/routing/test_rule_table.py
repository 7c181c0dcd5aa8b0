"""The rules of a file as columns."""

from __future__ import annotations

import pytest

from proxy.model import Action
from proxy.routing.rule import Rule, RuleType
from proxy.routing.rule_table import RuleKind, RuleTable
from tests.support.rows import each_row

DIRECT = RuleKind(RuleType.DOMAIN, Action.DIRECT, "", False)
TOR = RuleKind(RuleType.DOMAIN_SUFFIX, Action.RELAY, "tor", True)


def table() -> RuleTable:
    rules = RuleTable("rules.txt")
    number = rules.add(2, DIRECT, "a.example")
    rules.add(3, TOR, "b.example", written="domain-suffix,b.example,relay:tor,inspect")
    rules.add_alike((70_000,), number, ("c.example",))
    assert rules.add(70_001, DIRECT, "d.example") == number
    return rules


ALL = [
    Rule(2, RuleType.DOMAIN, "a.example", Action.DIRECT, "", False, "rules.txt"),
    Rule(
        *(3, RuleType.DOMAIN_SUFFIX, "b.example", Action.RELAY, "tor", True, "rules.txt"),
        written="domain-suffix,b.example,relay:tor,inspect",
    ),
    Rule(70_000, RuleType.DOMAIN, "c.example", Action.DIRECT, "", False, "rules.txt"),
    Rule(70_001, RuleType.DOMAIN, "d.example", Action.DIRECT, "", False, "rules.txt"),
]


def test_rules_are_made_as_they_were_added() -> None:
    rules = table()
    assert list(rules) == ALL
    assert len(rules) == 4
    assert rules.kinds == [DIRECT, TOR]


def test_it_is_a_sequence() -> None:
    rules = table()
    assert (rules[1], rules[-1]) == (ALL[1], ALL[3])
    assert [list(rules[:2]), list(rules[2:]), list(rules[::-1])] == [ALL[:2], ALL[2:], ALL[::-1]]
    for beyond in (4, -5):
        with pytest.raises(IndexError):
            rules[beyond]
    assert not RuleTable("rules.txt")


def test_rules_of_a_kind_are_in_order() -> None:
    rules = table()
    assert list(rules.of_kind(lambda kind: kind.action is Action.DIRECT)) == [ALL[0], ALL[2], ALL[3]]
    assert list(rules.of_kind(lambda kind: kind.type is RuleType.MATCH)) == []


@each_row("rule", ALL)
def test_a_rule_alone(rule: Rule) -> None:
    assert list(RuleTable.of(rule)) == [rule]
