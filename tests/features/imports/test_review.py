"""The rules of an import, checked as those of rules.txt."""

from __future__ import annotations

from proxy.config.schema import Settings
from proxy.features.imports.foreign import ForeignRule
from proxy.features.imports.plan import PlannedRule, Taken, rows_of
from proxy.features.imports.review import checked, new_lines
from proxy.model import Action
from proxy.routing.rule_parser import parse_rules
from proxy.routing.rules import Rules


def rule(*lines: str) -> PlannedRule:
    return PlannedRule(ForeignRule("rule 1", "text", "P"), lines, Action.DIRECT)


def test_a_line_that_byway_refuses_is_left_out_with_the_reason() -> None:
    made = checked([rule("DOMAIN,a.example,DIRECT", "DOMAIN,a b,DIRECT", "DOMAIN,-,DIRECT")], Settings(), Rules())
    assert made[0].lines == ("DOMAIN,a.example,DIRECT",)
    assert made[0].why.startswith("without DOMAIN,a b,DIRECT: ")
    assert made[0].why.endswith("; and 1 more")
    (row,) = rows_of(made, frozenset())
    assert row.taken is Taken.PART


def test_a_rule_without_any_line_has_the_reason() -> None:
    made = checked([rule("DOMAIN,a b,DIRECT")], Settings(), Rules())
    assert (made[0].lines, "a b" in made[0].why) == ((), True)


def test_an_own_match_stays_the_last_word() -> None:
    own = parse_rules("DOMAIN,own.example,BLOCK\nMATCH,AUTO\n", source="rules.txt")
    made = checked([rule("DOMAIN,own.example,BLOCK"), rule("MATCH,DIRECT")], Settings(), own)
    assert made[1].why == "rules.txt has a MATCH already"
    assert new_lines(made, own) == []
    assert [row.taken for row in rows_of(made, frozenset(it.text for it in own.rules))] == [Taken.THERE, Taken.NO]


def test_patterns_are_counted_with_the_own_ones() -> None:
    own = parse_rules("".join(f"DOMAIN-REGEX,^own{n}$,DIRECT\n" for n in range(200)), source="rules.txt")
    made = checked([rule(f"DOMAIN-REGEX,^x{n}$,DIRECT") for n in range(60)], Settings(), own)
    assert [bool(it.lines) for it in made] == [True] * 56 + [False] * 4
    assert made[-1].why == "a file can have at most 256 DOMAIN-REGEX rules"


def test_a_line_that_comes_twice_is_added_once() -> None:
    made = checked([rule("DOMAIN,a.example,DIRECT"), rule("DOMAIN,a.example,DIRECT")], Settings(), Rules())
    assert new_lines(made, Rules()) == ["DOMAIN,a.example,DIRECT"]
