"""The rules of one file, kept as columns.

A file may have many thousands of rules, of which few ever decide about a connection. A Rule object takes a hundred
bytes beside its value, and making all of them would take a tenth of a start. In columns a rule takes 16 bytes; a Rule
is made when it is needed.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import repeat
from typing import overload

from proxy.model import Action
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import Rule, RuleType


@frozen_dataclass
class RuleKind:
    """The values that many rules of a file have in common."""

    type: RuleType
    action: Action
    relay: str
    intercept: bool


class RuleTable(Sequence[Rule]):
    """Rules in the order of their file, whose name in messages is `source`. Immutable once it is filled."""

    __slots__ = ("_numbers", "_written", "kind_numbers", "kinds", "lines", "source", "values")

    def __init__(self, source: str) -> None:
        self.source = source
        self.kinds: list[RuleKind] = []
        """The kinds of the rules, each once."""
        self.kind_numbers = array("I")
        """For each rule, the index of its kind in `kinds`."""
        self.values: list[str] = []
        self.lines = array("I")
        self._numbers: dict[RuleKind, int] = {}
        self._written: dict[int, str] = {}

    @classmethod
    def of(cls, rule: Rule) -> RuleTable:
        table = cls(rule.source)
        kind = RuleKind(rule.type, rule.action, rule.relay, rule.intercept)
        table.add(rule.line, kind, rule.value, written=rule.written)
        return table

    def add(self, line: int, kind: RuleKind, value: str, *, written: str = "") -> int:
        """Adds the rule of a line after the last one. `written` is as in Rule. Returns the number of its kind."""
        if written:
            self._written[len(self.values)] = written
        number = self._numbers.setdefault(kind, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(kind)
        self.add_alike((line,), number, (value,))
        return number

    def add_alike(self, lines: Collection[int], kind_number: int, values: Collection[str]) -> None:
        """Adds rules of a kind that the table already has; their lines are in canonical spelling."""
        self.kind_numbers.extend(repeat(kind_number, len(values)))
        self.values.extend(values)
        self.lines.extend(lines)

    def of_kind(self, test: Callable[[RuleKind], bool]) -> Iterator[Rule]:
        """Yields the rules of the kinds that pass the test. If no kind does, the rules are not searched."""
        wanted = {number for kind, number in self._numbers.items() if test(kind)}
        if wanted:
            yield from (self[place] for place, number in enumerate(self.kind_numbers) if number in wanted)

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Rule: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Rule]: ...
    def __getitem__(self, place: int | slice) -> Rule | Sequence[Rule]:
        if isinstance(place, slice):
            return tuple([self[each] for each in range(*place.indices(len(self)))])
        place = range(len(self))[place]  # from the end, if it is negative
        line, value, written = self.lines[place], self.values[place], self._written.get(place, "")
        kind = self.kinds[self.kind_numbers[place]]
        return Rule(line, kind.type, value, kind.action, kind.relay, kind.intercept, self.source, written)
