"""What decides about a site: its override, the first rule that matches with its list and the line there, what was
learned, and the routes that follow."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from proxy.model import Destination
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import RuleType, Situation

if TYPE_CHECKING:
    from proxy.config.schema import ListFormatName
    from proxy.control.dependencies import Dependencies


@frozen_dataclass
class DecidingRule:
    """The first rule that matches a site. Of a list, also its name, its entry that covers the site, and the number and
    text of the line of that entry (0: the line spells it in another way, or the copy of the list is gone)."""

    source: str
    line: int
    text: str
    list: str = ""
    entry: str = ""
    list_line: int = 0
    list_text: str = ""


async def deciding_rule(parts: Dependencies, destination: Destination) -> DecidingRule | None:
    """Returns the first rule that matches; None: none does. Rules for a program are not among them: no program asks."""
    rules = parts.setup().router.rules
    rule = rules.match(destination, None, Situation(parts.network(), ""))
    if rule is None:
        return None
    found = DecidingRule(rule.source, rule.line, rule.text)
    if rule.type is not RuleType.LIST or (listed := rules.lists.get(rule.value)) is None:
        return found
    entry = listed.covering(destination.host) or ""
    item = next((item for item in parts.settings.list if item.name == rule.value), None)
    text = ""
    if item is not None:
        with contextlib.suppress(ConfigError):  # its copy is gone, and the list in memory stays in use
            text = await parts.list_text(item)
    number, line = await asyncio.to_thread(_line_of, text, listed.format, entry)
    return DecidingRule(rule.source, rule.line, rule.text, rule.value, entry, number, line)


def _line_of(text: str, list_format: str, entry: str) -> tuple[int, str]:
    from proxy.routing.lists.list_line import line_of  # the parsers of all formats

    with contextlib.suppress(ConfigError):
        if text and entry and (found := line_of(text, cast("ListFormatName", list_format), entry)) is not None:
            return found.number, found.text
    return 0, ""
