"""All rules of a file, compiled for matching: the first that matches wins.

`rule_parser` reads them from text. The `router` decides what follows from a rule.
"""

from __future__ import annotations

import ipaddress
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.model import Action, Destination, NetworkId
from proxy.routing.match import NO_RULE, Index
from proxy.routing.rule import ANYWHERE, Rule, RuleType, Situation
from proxy.routing.rule_values import compiled_pattern, ports_of

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList

PROBLEMS_SHOWN = 50


class Rules:
    """All rules of a file, in its order, compiled for matching. Immutable. In the index a rule's number is its line, an
    object that there is already."""

    __slots__ = (
        "_first_if_unknown", "_index", "_lines", "_networks", "_unused_lists", "depend_on_situation",
        "first_program_line", "list_problems", "lists", "notices", "rules",
    )  # fmt: skip

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        lists: Mapping[str, DomainList] | None = None,
        networks: Mapping[str, NetworkId] | None = None,
    ) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._lines = array("L", [rule.line for rule in self.rules])
        self.lists: Mapping[str, DomainList] = lists or {}
        self._networks: Mapping[str, NetworkId] = networks or {}
        used = {rule.value for rule in self.rules if rule.type is RuleType.LIST}
        self._unused_lists = tuple(listed for name, listed in self.lists.items() if name not in used)
        self._index = Index()
        unreachable = [rule for rule in self.rules if not self._add(self._index, rule)]
        programs = [rule for rule in self.rules if rule.type is RuleType.PROCESS_NAME]
        closed = (rule for rule in programs if rule.action in (Action.RELAY, Action.BLOCK))
        self._first_if_unknown: Rule | None = next(closed, None)
        self.first_program_line: int = programs[0].line if programs else NO_RULE
        """The line of the first PROCESS-NAME rule; NO_RULE: there is none."""
        self.depend_on_situation = bool(self._index.programs or self._index.uplinks)
        """Whether some rule matches by more than the destination."""
        problems = (listed.problem for listed in self.lists.values())
        self.list_problems: tuple[str, ...] = tuple(filter(None, problems))
        """One sentence for each list of which more lines were skipped than read."""
        self.notices: tuple[str, ...] = (
            *self.list_problems,
            *(suffix for listed in self.lists.values() for suffix in listed.suffixes),
            *_notices(self.rules, unreachable),
        )
        """One sentence for each list or rule that is valid but covers less, or more, than it seems to."""

    def __len__(self) -> int:
        return len(self.rules)

    def match(self, destination: Destination, name: str | None = None, situation: Situation = ANYWHERE) -> Rule | None:
        """Returns the first rule that matches the destination; None when none does. `name` is the host name in the
        client's first bytes when the destination is a literal address; rules that match either count.

        A client whose program is unknown may be the one that a rule names. So PROCESS-NAME rules that keep it from
        going direct (RELAY, BLOCK) then match, and no others."""
        if not self.rules:
            return None
        number = self._index.first(destination)
        if name is not None and name != destination.host:
            by_name = self._index.first(Destination(name, destination.port))
            number = min((n for n in (number, by_name) if n is not None), default=None)
        if self.depend_on_situation:
            return self._match_in(situation, NO_RULE if number is None else number)
        return None if number is None else self.rules[bisect_left(self._lines, number)]

    def _match_in(self, situation: Situation, number: int) -> Rule | None:
        """Returns the first rule in a situation, when the first one by the destination has this number."""
        number = min(number, self._index.uplinks.get(situation.network, NO_RULE))
        if situation.program is not None:
            number = min(number, self._index.programs.get(situation.program, NO_RULE))
        elif self._first_if_unknown is not None and self._first_if_unknown.line < number:
            return replace(self._first_if_unknown, note=", as it is not known which program asks")
        return None if number == NO_RULE else self.rules[bisect_left(self._lines, number)]

    def is_listed(self, host: str) -> bool:
        """Whether a list that no rule uses names the host: such a list says which sites are blocked somewhere."""
        return any(listed.contains(host) for listed in self._unused_lists)

    def entries(self, rule: Rule) -> int | None:
        """Returns how many entries the list of a LIST rule has; None for another rule."""
        return len(self.lists[rule.value].listed) if rule.type is RuleType.LIST else None

    @property
    def texts(self) -> tuple[str, ...]:
        """`file:line TYPE,value,ACTION` of each rule, in order."""
        return tuple(rule.why for rule in self.rules)

    def trace(self, destination: Destination, situation: Situation = ANYWHERE) -> list[Rule]:
        """Returns every rule that matches the destination, the one that decides first. Tries all of them."""
        return [rule for rule in self.rules if self.applies(rule, destination, situation)]

    def applies(self, rule: Rule, destination: Destination, situation: Situation = ANYWHERE) -> bool:
        """Whether one of the rules, alone, matches the destination."""
        return Rules([rule], lists=self.lists, networks=self._networks).match(destination, None, situation) is not None

    def _add(self, index: Index, rule: Rule) -> bool:
        """Adds a rule to an index. Returns whether it can ever decide."""
        value, number = rule.value, rule.line
        match rule.type:
            case RuleType.DOMAIN:
                return index.add_exact(value, number)
            case RuleType.DOMAIN_SUFFIX:
                return index.add_suffix(value, number)
            case RuleType.DOMAIN_KEYWORD:
                return index.add_name_test(lambda host: value in host, number)
            case RuleType.DOMAIN_REGEX:
                return index.add_name_test(compiled_pattern(value).search, number)
            case RuleType.IP_CIDR:
                return index.add_network(ipaddress.ip_network(value), number)
            case RuleType.DST_PORT:
                return index.add_ports(ports_of(value), number)
            case RuleType.LIST:
                return index.add_test(self.lists[value].test, number)
            case RuleType.PROCESS_NAME:
                return index.add_program(value, number)
            case RuleType.NETWORK:
                return index.add_uplink(self._networks.get(value, value), number)
            case RuleType.MATCH:
                return index.add_always(number)

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)}>"


def _notices(rules: tuple[Rule, ...], unreachable: list[Rule]) -> Iterator[str]:
    catch_all = next((rule for rule in rules if rule.type is RuleType.MATCH), None)
    if catch_all is not None and catch_all is not rules[-1]:
        yield f"{catch_all.source}:{catch_all.line}: MATCH applies to everything, so rules below it are never used"
    for rule in unreachable[:PROBLEMS_SHOWN]:
        if catch_all is None or rule.line < catch_all.line:
            yield f"{rule.source}:{rule.line}: {rule.type},{rule.value} is never used: an earlier rule is the same"
