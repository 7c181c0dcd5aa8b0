"""What an edit of rules.txt did, as values, for those who ask for it: `app.rule_edits` does it."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import Rule

_COVERED_SHOWN = 5


class NotInUse(ConfigError):
    """Raised when rules are saved, and the configuration has a problem elsewhere: what was in use before stays so."""


@frozen_dataclass
class RulesText:
    """The text of rules.txt, "" when there is no file. `version` differs when its content does; "" without a file."""

    text: str
    version: str


@frozen_dataclass
class AddedRule:
    """A rule that is in the file now, as number `number` (from 1)."""

    number: int
    rule: Rule
    following: Rule | None
    """The rule that it was put before; None: it is the last one."""
    covered_by: Rule | None
    """An earlier rule that matches whatever it matches, so that it never decides."""
    covers: tuple[Rule, ...]
    """Later rules that can no longer decide."""

    def notices(self) -> Iterator[str]:
        """Yields a sentence when the rule never decides, and one for each rule that it keeps from deciding."""
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
    """A rule that is no longer in the file: its number, and its line there with the comment at its end."""

    number: int
    rule: Rule
    line: str
