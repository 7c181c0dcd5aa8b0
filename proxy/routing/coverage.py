"""Finds rules that can never decide, because an earlier rule matches whenever they do.

When a user adds a rule, it is compared with each other rule. A rule counts as covered only if that is certain, whatever
hosts exist: the hosts of a regular expression, for example, are not known.
"""

from __future__ import annotations

import ipaddress

from proxy.model import Destination
from proxy.routing.rule import Rule, RuleType
from proxy.routing.rule_values import ports_of
from proxy.routing.rules import Rules

_NO_PORT = 0
"""A port that no rule names."""


def covering(rules: Rules, number: int) -> Rule | None:
    """Returns the first rule before `rules.rules[number]` that matches whenever that one does; None: there is none."""
    rule = rules.rules[number]
    return next((earlier for earlier in rules.rules[:number] if _covers(earlier, rule, rules)), None)


def covered(rules: Rules, number: int) -> list[Rule]:
    """Returns the rules after `rules.rules[number]` that it covers and that no rule before it covers."""
    before, rule = rules.rules[:number], rules.rules[number]
    return [
        later
        for later in rules.rules[number + 1 :]
        if _covers(rule, later, rules) and not any(_covers(earlier, later, rules) for earlier in before)
    ]


def _covers(earlier: Rule, later: Rule, rules: Rules) -> bool:
    if earlier.type is RuleType.MATCH or (earlier.type, earlier.value) == (later.type, later.value):
        return True
    match later.type:
        case RuleType.DOMAIN:
            return rules.applies(earlier, Destination(later.value, _NO_PORT))
        case RuleType.DOMAIN_SUFFIX if earlier.type is RuleType.LIST:
            return rules.lists[earlier.value].covers_site(later.value)
        case RuleType.DOMAIN_SUFFIX if earlier.type in (RuleType.DOMAIN_SUFFIX, RuleType.DOMAIN_KEYWORD):
            return rules.applies(earlier, Destination(later.value, _NO_PORT))  # then it applies to the subdomains too
        case RuleType.DOMAIN_KEYWORD:
            return earlier.type is RuleType.DOMAIN_KEYWORD and earlier.value in later.value
        case RuleType.IP_CIDR if earlier.type is RuleType.IP_CIDR:
            wide, narrow = ipaddress.ip_network(earlier.value), ipaddress.ip_network(later.value)
            return wide.version == narrow.version and narrow.subnet_of(wide)  # type: ignore[arg-type]  # same version
        case RuleType.DST_PORT if earlier.type is RuleType.DST_PORT:
            return set(ports_of(later.value)) <= set(ports_of(earlier.value))
        case _:
            return False
