"""Answers about rules, overrides with their hits, and the plan for a URL."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from proxy.config.schema import ListFormatName
from proxy.control.answers.mode import ModeJson
from proxy.control.answers.overrides import OverrideJson
from proxy.control.answers.plans import PlanJson
from proxy.model import Action, Override
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.router import override_text
from proxy.routing.rule import Rule, RuleType
from proxy.routing.rules import Rules
from proxy.session.rule_hits import Hits, RuleHits

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList


@frozen_dataclass
class RuleJson:
    """A rule, with its place. `entries` is the number of entries of its list, null without a list. `hits` is the number
    of connections that it decided about since the start, null without a running Byway; `last_hit_at` is null before the
    first one."""

    source: str
    line: int
    text: str
    type: RuleType
    value: str
    action: Action
    relay: str
    entries: int | None
    hits: int | None
    last_hit_at: float | None

    @classmethod
    def of(cls, value: Rule, entries: int | None = None, hits: Hits | None = None) -> RuleJson:
        return cls(
            source=value.source,
            line=value.line,
            text=value.text,
            type=value.type,
            value=value.value,
            action=value.action,
            relay=value.relay,
            entries=entries,
            hits=_count(hits),
            last_hit_at=_last_at(hits),
        )


@frozen_dataclass
class CountedOverrideJson(OverrideJson):
    """An override with its hits, like those of a rule."""

    hits: int | None
    last_hit_at: float | None


def counted_overrides(
    overrides: Mapping[str, Override], counted: RuleHits | None = None
) -> tuple[CountedOverrideJson, ...]:
    """Returns the overrides with their hits, by host. `counted` is None without a running Byway."""
    found = []
    for host, each in sorted(overrides.items()):
        hits = None if counted is None else counted.of(override_text(host, each))
        found.append(
            CountedOverrideJson(host, each.action, each.relay, each.until or None, _count(hits), _last_at(hits))
        )
    return tuple(found)


@frozen_dataclass
class RulesAnswer:
    """All rules in order, and the overrides, which take precedence over rules."""

    rules: tuple[RuleJson, ...]
    overrides: tuple[CountedOverrideJson, ...]
    notices: tuple[str, ...]

    @classmethod
    def of(cls, value: Rules, overrides: Mapping[str, Override], counted: RuleHits | None = None) -> RulesAnswer:
        """`counted` is None without a running Byway. Of two rules with the same text only the first ever decides, so
        that one has the hits."""
        all_rules = tuple(value.rules)
        counts = {each.text: None if counted is None else counted.of(each.text) for each in all_rules}
        none = None if counted is None else Hits()
        rules = [RuleJson.of(each, value.entries(each), counts.pop(each.text, none)) for each in all_rules]
        return cls(tuple(rules), counted_overrides(overrides, counted), tuple(value.notices))


@frozen_dataclass
class ListedJson:
    """A list that names a host: its entry that covers the host, and the line of the list that it comes from. `line` is
    null, and `text` empty, when the line spells the entry in another way."""

    list: str
    entry: str
    line: int | None
    text: str

    @classmethod
    def of(cls, name: str, entry: str, listed: DomainList, text: str) -> ListedJson:
        """`text` is that of the list; empty when it cannot be read."""
        from proxy.routing.lists.list_line import line_of  # the parsers of all formats

        found = None
        with contextlib.suppress(ConfigError):
            found = line_of(text, cast(ListFormatName, listed.format), entry)
        return cls(name, entry, None, "") if found is None else cls(name, entry, found.number, found.text)


@frozen_dataclass
class RuleTestAnswer:
    """The plan for a URL. `trace` explains it, one sentence a step, the deciding one first. `listed` are the lists that
    name the host, also those that no rule uses."""

    host: str
    port: int
    plan: PlanJson
    trace: tuple[str, ...]
    listed: tuple[ListedJson, ...]
    mode: ModeJson


def _count(hits: Hits | None) -> int | None:
    return None if hits is None else hits.count


def _last_at(hits: Hits | None) -> float | None:
    return None if hits is None else hits.last_at or None
