"""Checks the rules of an import as rules.txt will have them: a rule that Byway would refuse is not taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.schema import Settings
from proxy.features.imports.plan import PlannedRule
from proxy.model.errors import ConfigError
from proxy.routing.rule import RuleType
from proxy.routing.rule_values import REGEX_RULES_LIMIT
from proxy.routing.rules import Rules
from proxy.setup.rule_files import check_rules

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList


def checked(rules: Sequence[PlannedRule], settings: Settings, own: Rules) -> list[PlannedRule]:
    """Returns the rules with the lines that can be added: `settings` are those after the import, `own` the present
    rules, which also has the lists. A rule that loses a line has the reason in `why`."""
    has_match = any(rule.type is RuleType.MATCH for rule in own.rules)
    regexes = REGEX_RULES_LIMIT - sum(rule.type is RuleType.DOMAIN_REGEX for rule in own.rules)
    faults = _faults([line for rule in rules for line in rule.lines], settings, own.lists)
    made = []
    for rule in rules:
        kept, lost = list[str](), list[str]()
        for line in rule.lines:
            fault = faults.get(line, "")
            if line.startswith("MATCH,") and has_match:
                fault = "rules.txt has a MATCH already"
            elif not fault and line.startswith("DOMAIN-REGEX,"):
                regexes -= 1
                fault = f"a file can have at most {REGEX_RULES_LIMIT} DOMAIN-REGEX rules" if regexes < 0 else ""
            if fault:
                lost.append(f"{line}: {fault}" if len(rule.lines) > 1 else fault)
            else:
                kept.append(line)
        why = (
            f"{'without ' if kept else ''}{lost[0]}{f'; and {len(lost) - 1} more' if len(lost) > 1 else ''}"
            if lost
            else ""
        )
        made.append(replace(rule, lines=tuple(kept), why=rule.why or why))
    return made


def new_lines(rules: Sequence[PlannedRule], own: Rules) -> list[str]:
    """Returns the lines to add, in their order; one that is there, or came before, is not added again."""
    there = {rule.text for rule in own.rules}
    lines = dict.fromkeys(line for rule in rules for line in rule.lines)
    return [line for line in lines if line not in there]


def _faults(lines: Sequence[str], settings: Settings, lists: Mapping[str, DomainList]) -> dict[str, str]:
    """Returns the fault of each line that has one, as a sentence."""
    try:
        check_rules("\n".join(lines), settings, source="", lists=lists)
    except ConfigError:
        return dict(_each_fault(dict.fromkeys(lines), settings, lists))
    return {}


def _each_fault(
    lines: Mapping[str, None], settings: Settings, lists: Mapping[str, DomainList]
) -> Iterator[tuple[str, str]]:
    for line in lines:
        try:
            rules = check_rules(line, settings, source="", lists=lists)
        except ConfigError as error:
            yield line, error.problems[0].partition(":1: ")[2] or error.problems[0]
        else:
            if not rules.rules:
                yield line, "it is a comment"
