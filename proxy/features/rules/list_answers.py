"""Answers about lists: their source, their entries, their fetches, and their comparison with visits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from proxy.config.schema import ListConfig
from proxy.model import NetworkState
from proxy.model.feature import Role, SaidBy
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.list_refresh import Refreshed, Remedy, Result, due_at, is_stale
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import DomainList
from proxy.store.list_copies import CopyInfo
from proxy.wire.relay_url import redact
from proxy.wire.url_secrets import hide_secrets

_EXAMPLES = 3
"""The most skipped lines in an answer for each reason."""


@frozen_dataclass
class SkippedJson:
    """Lines of a list that are not used for one reason: their number, and sentences about some of them."""

    reason: str
    text: str
    lines: int
    examples: tuple[str, ...]


@frozen_dataclass
class FetchJson:
    """The fetches of a list. Its source last confirmed the copy at `fetched_at`, and sent it at `changed_at`. The next
    fetch is beside a visit after `due_at` (null: only on request; a past time: at the next visit). `error` is that of
    the last fetch, if it failed."""

    via: str
    refresh: str
    has_copy: bool
    fetched_at: float | None
    changed_at: float | None
    due_at: float | None
    stale: bool
    failed_at: float | None
    failures: int
    error: str

    @classmethod
    def of(cls, item: ListConfig, info: CopyInfo, now: float) -> FetchJson:
        due = due_at(item, info, now)
        return cls(
            via=item.via,
            refresh=item.refresh,
            has_copy=info.has_copy,
            fetched_at=info.fetched_at or None,
            changed_at=info.changed_at or None,
            due_at=None if due == float("inf") else max(due, now),
            stale=is_stale(item, info, now),
            failed_at=info.failed_at or None,
            failures=info.failures,
            error=redact(info.error),
        )


@frozen_dataclass
class ListJson:
    """A configured list. `kinds` counts its entries by kind, and `covers` its domains by the hosts that each covers
    (`site`: itself and its subdomains, `host`: itself alone, `subdomains`: these alone, `children`: those one label
    below). `skipped` are its unused lines by reason, with examples; `problem` is the reason for which it covers almost
    nothing (empty: none). `bytes` is the size of the text, and `written_at` the time of its file. `fetch` is null for a
    file."""

    name: str
    source: str
    in_use: bool
    format: str
    entries: int
    exceptions: int
    kinds: Mapping[str, int]
    covers: Mapping[str, int]
    lines_read: int
    lines_skipped: int
    skipped: tuple[SkippedJson, ...]
    lines_widened: int
    widened: tuple[str, ...]
    problem: str
    bytes: int
    written_at: float | None
    fetch: FetchJson | None

    @classmethod
    def of(cls, item: ListConfig, listed: DomainList | None, info: CopyInfo | None, now: float) -> ListJson:
        """`listed` is None for a list that is not in use, `info` for one whose source is a file."""
        return cls(
            name=item.name,
            source=hide_secrets(redact(item.source)),
            in_use=listed is not None,
            format=item.format if listed is None or listed.absent else listed.format,
            entries=0 if listed is None else len(listed.listed),
            exceptions=0 if listed is None else len(listed.exceptions),
            kinds={} if listed is None else _kinds(listed),
            covers={} if listed is None else _covers(listed),
            lines_read=0 if listed is None else listed.lines_read,
            lines_skipped=0 if listed is None else listed.lines_skipped,
            skipped=() if listed is None else _skips(listed),
            lines_widened=0 if listed is None else listed.lines_widened,
            widened=() if listed is None else tuple(listed.widened[:_EXAMPLES]),
            problem="" if listed is None else listed.problem,
            bytes=0 if listed is None else listed.size,
            written_at=None if listed is None else listed.changed_at or None,
            fetch=None if info is None else FetchJson.of(item, info, now),
        )


def _kinds(listed: DomainList) -> dict[str, int]:
    matcher = listed.listed
    counts = {
        "domain": len(matcher.domains),
        "prefix": len(matcher.prefixes),
        "keyword": len(matcher.keywords),
        "wildcard": len(matcher.wildcards),
    }
    return {kind: count for kind, count in counts.items() if count}


def _covers(listed: DomainList) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for covers, count in listed.listed.domains.counts().items():
        if covers & Covers.SUBDOMAINS:
            counts["site" if covers & Covers.HOST else "subdomains"] += count
        else:
            counts["children" if covers & Covers.CHILDREN else "host"] += count
    return dict(counts)


def _skips(listed: DomainList) -> tuple[SkippedJson, ...]:
    """Returns the reasons, the most frequent first."""
    skips = []
    for reason, count in Counter(listed.skips).most_common():
        sentences = [sentence for sentence in listed.skipped if sentence.endswith(reason.sentence)]
        skips.append(SkippedJson(str(reason), reason.sentence, count, tuple(sentences[:_EXAMPLES])))
    return tuple(skips)


@frozen_dataclass
class ListsAnswer:
    """The configured lists in their order, also those that are not in use yet: a rule may need one that was never
    fetched."""

    lists: tuple[ListJson, ...]


@frozen_dataclass
class RefreshedLine:
    """The result of one fetch. `entries` is the number of entries of the copy in use now, `why` is the error of a
    failed fetch, and `remedy` what may help then, if the user wants it."""

    list: str
    result: Result
    entries: int
    why: str
    remedy: Remedy

    @classmethod
    def of(cls, result: Refreshed) -> RefreshedLine:
        return cls(result.name, result.result, result.entries, redact(result.why), result.remedy)


@frozen_dataclass
class RefreshEndLine:
    """The last line of a refresh. `problem` is the reason for which the configuration with the new lists is not in use;
    empty: it is in use."""

    problem: str


@frozen_dataclass
class FreeHostJson:
    """A host that is listed and worked direct: the entry that covers it, and the last time at which it worked."""

    host: str
    entry: str
    at: float


@frozen_dataclass
class ListDiffJson:
    """A unified diff of the text of a list, and the domains that its format cannot express."""

    text: str
    unwritten: tuple[str, ...]


@frozen_dataclass
class ListReportAnswer:
    """The comparison of a list with the user's own visits on one network. `rules` are the actions of the rules that
    name it. `free` are listed hosts that work direct, the latest first; `blocked` are blocked sites in no list. `diff`
    is null unless it was requested and has changes."""

    name: str
    network: str
    network_state: NetworkState
    rules: tuple[str, ...]
    free: tuple[FreeHostJson, ...]
    blocked: Annotated[tuple[Any, ...], SaidBy(Role.SITES)]
    diff: ListDiffJson | None
