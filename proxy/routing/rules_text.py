"""The text of rules.txt as a list of rules, and edits of one rule that return the new text. Pure.

A rule that is off is a comment that has a rule in it and nothing else before: `# DOMAIN,example.org,DIRECT`. Comments
directly above a rule belong to it, unless they begin the file. An edit leaves all other lines with their line ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.model import Action
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import INSPECT, RuleType

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_COMMENT = re.compile(r"\s*(?:#|//)")
_COMMENT_AT_END = re.compile(r"\s(?:#|//)(?P<words>.*)")

_TYPES = "|".join((*RuleType, "IP-CIDR6"))
_ACTIONS = "|".join(Action)
_OFF = re.compile(
    rf"(?:{_TYPES})\s*,(?:[^\r\n]*,)?\s*(?:{_ACTIONS})(?:\s*:\s*[^\s,]+)?(?:\s*,\s*{INSPECT})?",
    re.IGNORECASE,
)


@frozen_dataclass
class RuleLine:
    """A rule in a text. `number` is that of its line, from 1 on; `text` is the rule without the comment at its end,
    which is `comment`."""

    number: int
    text: str
    is_on: bool
    comment: str = ""


def split_lines(text: str) -> list[str]:
    """Returns the lines of a text, each with its line end."""
    return _LINE.findall(text)


def rule_lines(text: str) -> Sequence[RuleLine]:
    """Returns the rules of a text, in order. They are not checked."""
    found = (_rule_in(number, line) for number, line in enumerate(split_lines(text), 1))
    return [rule for rule in found if rule is not None]


def _rule_in(number: int, line: str) -> RuleLine | None:
    """Returns the rule of a line; None: it has none."""
    content = line.strip()
    if not content:
        return None
    is_on = _COMMENT.match(content) is None
    if not is_on:
        content = content.removeprefix("#").lstrip()  # what follows `//` is never a rule
    found = _COMMENT_AT_END.search(content) if "#" in content or "//" in content else None
    rule, comment = (content, "") if found is None else (content[: found.start()].rstrip(), found["words"].strip())
    if not is_on and _OFF.fullmatch(rule) is None:
        return None
    return RuleLine(number, rule, is_on=is_on, comment=comment)


def switched(text: str, number: int) -> str:
    """Returns the text with the rule of this line on, if it is off, else off. Raises LookupError when the line has no
    rule."""
    lines = split_lines(text)
    rule = _rule_at(lines, number)
    line = lines[number - 1]
    lines[number - 1] = f"# {line.lstrip()}" if rule.is_on else line.lstrip().removeprefix("#").lstrip(" \t")
    return "".join(lines)


def removed(text: str, number: int) -> str:
    """Returns the text without the rule of this line; comments above it stay. Raises LookupError when the line has no
    rule."""
    lines = split_lines(text)
    _rule_at(lines, number)
    del lines[number - 1]
    return "".join(lines)


def added(text: str, rule: str) -> str:
    """Returns the text with one more rule: before the first MATCH that is on, with the comments that belong to it, or
    at the end."""
    lines = split_lines(text)
    end = usual_end(lines)
    matches = (each.number for each in rule_lines(text) if each.is_on and each.text.upper().startswith("MATCH,"))
    match = next(matches, 0)
    place = top_of(lines, match - 1) if match else len(lines)
    if place and lines[place - 1].rstrip("\r\n") == lines[place - 1]:
        lines[place - 1] += end
    return "".join((*lines[:place], rule + end, *lines[place:]))


def moved(text: str, number: int, before: int) -> tuple[str, int]:
    """Returns the text with the rule of line `number`, and the comments that belong to it, before the rule of line
    `before` and its comments; 0: after the last rule. Also returns the new number of the rule's line. Raises
    LookupError when one of the lines has no rule."""
    lines = split_lines(text)
    _rule_at(lines, number)
    if before:
        _rule_at(lines, before)
    if before == number:
        return text, number
    top = top_of(lines, number - 1)
    block, place = lines[top:number], top_of(lines, before - 1) if before else rule_lines(text)[-1].number
    end = usual_end(lines)
    if lines[-1].rstrip("\r\n") == lines[-1]:  # else the line that becomes the last one would have no end
        lines[-1] += end
        block = lines[top:number]
    if place > top:
        place -= len(block)
    del lines[top:number]
    lines[place:place] = block
    return "".join(lines), place + len(block)


def top_of(lines: Sequence[str], place: int) -> int:
    """Returns the index of the first comment that belongs to the rule with the index `place`; without one, `place`."""
    top = place
    while top > 0 and _COMMENT.match(lines[top - 1]) and _rule_in(top, lines[top - 1]) is None:
        top -= 1
    return top or place


def usual_end(lines: Sequence[str]) -> str:
    """Returns the line end of the first line that has one; a line feed without any."""
    return next((line[len(line.rstrip("\r\n")) :] for line in lines), "") or "\n"


def _rule_at(lines: Sequence[str], number: int) -> RuleLine:
    rule = _rule_in(number, lines[number - 1]) if 0 < number <= len(lines) else None
    if rule is None:
        raise LookupError(number)
    return rule
