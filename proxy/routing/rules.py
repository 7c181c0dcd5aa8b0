"""All rules of a file, compiled for matching: the first rule that matches decides.

`rule_parser` parses them. The `router` makes a plan from a rule.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.model import Action, Destination, NetworkId
from proxy.routing.match import NO_RULE, Index
from proxy.routing.rule import ANYWHERE, Rule, RuleType, Situation
from proxy.routing.rule_table import RuleTable
from proxy.routing.rule_values import compiled_pattern, ports_of

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList

PROBLEMS_SHOWN = 50

_MADE_LIMIT = 1024
"""Rule objects that are kept after they decided: a few rules of a large file decide about nearly all connections."""

_NO_RULES = RuleTable("")


class Rules:
    """All rules of a file, in its order, compiled for matching. Immutable. The number of a rule in the index is its
    line."""

    __slots__ = (
        "_first_if_unknown", "_index", "_made", "_networks", "_unused_lists", "closing", "depend_on_situation",
        "first_program_line", "has_rules", "list_problems", "lists", "notices", "rules",
    )  # fmt: skip

    def __init__(
        self,
        rules: RuleTable = _NO_RULES,
        *,
        lists: Mapping[str, DomainList] | None = None,
        networks: Mapping[str, NetworkId] | None = None,
    ) -> None:
        self.rules = rules
        self.has_rules = bool(rules)  # read for each connection
        self.lists: Mapping[str, DomainList] = lists or {}
        self._networks: Mapping[str, NetworkId] = networks or {}
        used = {rule.value for rule in rules.of_kind(lambda kind: kind.type is RuleType.LIST)}
        self._unused_lists = tuple(listed for name, listed in self.lists.items() if name not in used)
        self._index = Index()
        self._made: dict[int, Rule] = {}
        adders = [self._adder(self._index, kind.type) for kind in rules.kinds]
        rows = enumerate(zip(rules.kind_numbers, rules.values, rules.lines, strict=True))
        unreachable = [place for place, (kind, value, line) in rows if not adders[kind](value, line)]
        programs = list(rules.of_kind(lambda kind: kind.type is RuleType.PROCESS_NAME))
        closed = (rule for rule in programs if rule.action in (Action.RELAY, Action.BLOCK))
        self._first_if_unknown: Rule | None = next(closed, None)
        self.first_program_line: int = programs[0].line if programs else NO_RULE
        """The line of the first PROCESS-NAME rule; NO_RULE: there is none."""
        self.closing: Rule | None = next(rules.of_kind(lambda kind: kind.action in (Action.RELAY, Action.BLOCK)), None)
        """The first rule with RELAY or BLOCK, which keeps its sites from going direct."""
        self.depend_on_situation = bool(self._index.programs or self._index.uplinks)
        """Whether a rule matches by the client's program or the network."""
        problems = (listed.problem for listed in self.lists.values())
        self.list_problems: tuple[str, ...] = tuple(filter(None, problems))
        """The `problem` of each list that has one."""
        self.notices: tuple[str, ...] = (
            *self.list_problems,
            *(suffix for listed in self.lists.values() for suffix in listed.suffixes),
            *_notices(rules, unreachable),
        )
        """Sentences about lists and rules that are valid but cover less, or more, than they seem to."""

    def __len__(self) -> int:
        return len(self.rules)

    def match(self, destination: Destination, name: str | None = None, situation: Situation = ANYWHERE) -> Rule | None:
        """Returns the first rule that matches the destination; None: none does. `name` is the host name in the client's
        flight if the destination is a literal address; a rule may match either.

        If the client's program could not be determined, it may be the program of any PROCESS-NAME rule. Then those with
        RELAY or BLOCK, which keep it from going direct, match, and no other PROCESS-NAME rules."""
        if not self.has_rules:
            return None
        number = self._index.first(destination)
        if name is not None and name != destination.host:
            by_name = self._index.first(Destination(name, destination.port))
            number = min((n for n in (number, by_name) if n is not None), default=None)
        if self.depend_on_situation:
            return self._match_in(situation, NO_RULE if number is None else number)
        return None if number is None else self._made.get(number) or self._make(number)

    def _match_in(self, situation: Situation, number: int) -> Rule | None:
        """Returns the first rule that matches in a situation. `number` is the first one that matches the
        destination."""
        number = min(number, self._index.uplinks.get(situation.network, NO_RULE))
        if situation.program is not None:
            number = min(number, self._index.programs.get(situation.program, NO_RULE))
        elif self._first_if_unknown is not None and self._first_if_unknown.line < number:
            return replace(self._first_if_unknown, note=", as it is not known which program asks")
        return None if number == NO_RULE else self._made.get(number) or self._make(number)

    def _make(self, line: int) -> Rule:
        """Makes the Rule of a line and keeps it."""
        if len(self._made) >= _MADE_LIMIT:
            self._made.clear()
        rule = self._made[line] = self.rules[bisect_left(self.rules.lines, line)]
        return rule

    def is_listed(self, host: str) -> bool:
        """Whether a list that no rule uses covers the host. Such a list tells which sites are blocked somewhere."""
        return True in [listed.contains(host) for listed in self._unused_lists]

    def entries(self, rule: Rule) -> int | None:
        """Returns the number of entries in the list of a LIST rule; None for another rule."""
        return len(self.lists[rule.value].listed) if rule.type is RuleType.LIST else None

    @property
    def texts(self) -> tuple[str, ...]:
        """`file:line TYPE,value,ACTION` of each rule, in order."""
        return tuple(rule.why for rule in self.rules)

    def trace(self, destination: Destination, situation: Situation = ANYWHERE) -> list[Rule]:
        """Returns every rule that matches the destination, in order, so the deciding one first. Tries all rules."""
        host, names = destination.host, {destination.host}
        while parent := host.partition(".")[2]:
            names.add(host := parent)
        could = {RuleType.DOMAIN: {destination.host}, RuleType.DOMAIN_SUFFIX: names}
        by_kind = [could.get(kind.type) for kind in self.rules.kinds]  # most rules of a large file are of these types
        rows = enumerate(zip(self.rules.kind_numbers, self.rules.values, strict=True))
        places = [place for place, (kind, value) in rows if (named := by_kind[kind]) is None or value in named]
        return [rule for rule in map(self.rules.__getitem__, places) if self.applies(rule, destination, situation)]

    def applies(self, rule: Rule, destination: Destination, situation: Situation = ANYWHERE) -> bool:
        """Whether `rule` alone matches the destination."""
        alone = Rules(RuleTable.of(rule), lists=self.lists, networks=self._networks)
        return alone.match(destination, None, situation) is not None

    def _adder(self, index: Index, rule_type: RuleType) -> Callable[[str, int], bool]:
        """Returns a function that adds the value and number of a rule of this type to an index, and returns whether the
        rule can ever decide."""
        match rule_type:
            case RuleType.DOMAIN:
                return index.add_exact
            case RuleType.DOMAIN_SUFFIX:
                return index.add_suffix
            case RuleType.DOMAIN_KEYWORD:
                return lambda value, number: index.add_name_test(lambda host: value in host, number)
            case RuleType.DOMAIN_REGEX:
                return lambda value, number: index.add_name_test(compiled_pattern(value).search, number)
            case RuleType.IP_CIDR:
                return lambda value, number: index.add_network(ipaddress.ip_network(value), number)
            case RuleType.DST_PORT:
                return lambda value, number: index.add_ports(ports_of(value), number)
            case RuleType.LIST:
                return lambda value, number: index.add_test(self.lists[value].test, number)
            case RuleType.PROCESS_NAME:
                return index.add_program
            case RuleType.NETWORK:
                return lambda value, number: index.add_uplink(self._networks.get(value, value), number)
            case RuleType.MATCH:
                return lambda _, number: index.add_always(number)

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)}>"


def _notices(rules: RuleTable, unreachable: list[int]) -> Iterator[str]:
    catch_all = next(rules.of_kind(lambda kind: kind.type is RuleType.MATCH), None)
    if catch_all is not None and catch_all.line != rules.lines[-1]:
        yield f"{catch_all.source}:{catch_all.line}: MATCH applies to everything, so rules below it are never used"
    for place in unreachable[:PROBLEMS_SHOWN]:
        rule = rules[place]
        if catch_all is None or rule.line < catch_all.line:
            yield f"{rule.source}:{rule.line}: {rule.type},{rule.value} is never used: an earlier rule is the same"
