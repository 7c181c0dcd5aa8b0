"""The results of an edit of rules.txt as values. `app.rule_edits` makes the edits."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import Rule

_COVERED_SHOWN = 5


class NotInUse(ConfigError):
    """The rules are saved, but the configuration has a problem elsewhere, so the earlier rules stay in use."""


@frozen_dataclass
class RulesText:
    """The text of rules.txt, and a `version` that differs for each content; both are "" without a file."""

    text: str
    version: str


@frozen_dataclass
class AddedRule:
    """A rule that was added to the file; `number` counts from 1."""

    number: int
    rule: Rule
    following: Rule | None
    """The next rule in the file; None: the added rule is the last one."""
    covered_by: Rule | None
    """An earlier rule that matches whenever the added rule does, so that the added rule never decides."""
    covers: tuple[Rule, ...]
    """Later rules that can no longer decide."""

    def notices(self) -> Iterator[str]:
        """Yields a sentence if the rule never decides, and one for each rule that can no longer decide."""
        rule, earlier = self.rule, self.covered_by
        if earlier is not None:
            same = (rule.action, rule.relay, rule.intercept) == (earlier.action, earlier.relay, earlier.intercept)
            result = "It changes nothing" if same else "It is never used"
            yield f"{result}: {earlier.why} comes first and matches all that it matches."
        for later in self.covers[:_COVERED_SHOWN]:
            yield f"{later.why} is not used any more: the new rule comes first and matches all that it matches."
        if (more := len(self.covers) - _COVERED_SHOWN) > 0:
            yield f"So it is with {more} more."


@frozen_dataclass
class RemovedRule:
    """A rule that was removed from the file: its number from 1, and its line with the comment at its end."""

    number: int
    rule: Rule
    line: str
