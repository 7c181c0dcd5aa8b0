"""The text of rules.txt in the editor: its mistakes, and its differences to a file that was changed meanwhile. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext
from proxy.routing.edited_rules import RulesText

EDITOR_LIMIT = 256 * 1024
"""The most bytes of the text in the editor."""

_DIFF_LINES = 200

_PLACE = re.compile(r"[^:]*:(?P<line>\d+): (?P<text>.*)", re.DOTALL)


@frozen_dataclass
class Mistake:
    """A mistake in rules. `line` is the number of its line, 0 for none; `content` is the text of that line."""

    line: int
    content: str
    text: str


@frozen_dataclass
class CheckedRules:
    """The result of a check of a text: the number of its rules and the notices about them, or its mistakes. `is_good`:
    it can be saved. `into` is the id of the field with the text."""

    sentence: str
    is_good: bool = False
    mistakes: Sequence[Mistake] = ()
    notices: Sequence[str] = ()
    into: str = "rules-text"


@frozen_dataclass
class RulesEditor:
    """The editor: a text, and the version of the file that it replaces. `unreadable` is the reason for which there is
    no editor; `differences` are those to a file that was changed meanwhile."""

    text: str = ""
    version: str = ""
    checked: CheckedRules | None = None
    differences: Sequence[str] = ()
    unreadable: str = ""


def mistakes_in(error: ConfigError, text: str, into: str = "rules-text") -> CheckedRules:
    """Returns the mistakes in a text, each with its line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = []
    for problem in error.problems:
        place = _PLACE.fullmatch(problem)
        number = int(place["line"]) if place is not None else 0
        content = lines[number - 1] if 0 < number <= len(lines) else ""
        found.append(Mistake(number, content, problem if place is None else place["text"]))
    many = ngettext("{count} problem. Solve it to save.", "{count} problems. Solve them to save.", len(found))
    return CheckedRules(many, mistakes=found, into=into)


def changed_meanwhile(text: str, file: RulesText) -> RulesEditor:
    """Returns the editor with a text whose file was changed since the text was opened. To save it again replaces the
    changed file."""
    diff = difflib.unified_diff(file.text.splitlines(), text.splitlines(), lineterm="", n=1)
    differences = [line for line in diff if not line.startswith(("---", "+++"))][:_DIFF_LINES]
    sentence = _("The file has changed since you opened it. Nothing is saved. To replace the changed file, save again.")
    return RulesEditor(text, file.version, CheckedRules(sentence), differences)


def too_large() -> str:
    """Returns the sentence about a text that the editor does not take."""
    return _("rules.txt is too large for this page. Edit it with a text editor.")
