"""What is known about lists, as JSON objects: where each comes from, what it names, how its fetches go.

A list that is configured and not yet in use is shown too: if a rule needs it and it was never fetched, that is the one
to fetch.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from proxy.config.schema import ListConfig, ListFormatName
from proxy.config.suggestions import quoted, suggestion
from proxy.control.serialize import Document
from proxy.detect.verdict.site_status import SiteStatus
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.list_refresh import Refreshed, due_at, is_stale
from proxy.routing.domain_set import Covers
from proxy.routing.lists.changes import write_diff
from proxy.routing.lists.domain_list import DomainList
from proxy.store.list_copies import CopyInfo, ListCopies
from proxy.wire.relay_url import redact

_BLOCKED = (SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED, SiteStatus.SLOW, SiteStatus.INTERCEPTED)

_EXAMPLES = 3
"""Skipped lines that are shown for each reason."""


def wanted_lists(configured: Sequence[ListConfig], names: Sequence[str]) -> list[ListConfig]:
    """Returns the lists to fetch: those that are named, or all whose source is a URL. Raises ValueError with a
    sentence."""
    known = {item.name: item for item in configured}
    for name in names:
        if name not in known:
            raise ValueError(f"unknown list {quoted(name)}{suggestion(name, known)}")
        if not known[name].url:
            raise ValueError(f"list {name} is a file: it is read again whenever it changes, and never fetched")
    wanted = [known[name] for name in dict.fromkeys(names)] if names else [item for item in configured if item.url]
    if not wanted:
        raise ValueError("no list has an https:// source, so there is nothing to fetch")
    return wanted


async def describe(
    configured: Sequence[ListConfig], in_use: Mapping[str, DomainList], copies: ListCopies, now: float
) -> list[Document]:
    """Returns `serialize_list` of each configured list, in order."""
    infos = await asyncio.to_thread(lambda: [copies.info(item.url) if item.url else None for item in configured])
    return [
        serialize_list(item, in_use.get(item.name), info, now) for item, info in zip(configured, infos, strict=True)
    ]


def serialize_list(item: ListConfig, listed: DomainList | None, info: CopyInfo | None, now: float) -> Document:
    """Serializes a list. `listed` is None for one that is not in use, `info` for one whose source is a file.

    `kinds` counts its entries, `covers` its domains by what each stands for (`site`: itself and its subdomains, `host`:
    itself alone, `subdomains`: these alone, `children`: those one label below), `skipped` its unused lines by reason,
    with examples; `problem` says why it covers almost nothing. `fetch` is null, or: when its copy was last confirmed by
    the source (`fetched_at`) and when it came (`changed_at`), when it is fetched again beside a visit (`due_at`; null:
    only when asked for, and at a time that is over: at the next visit), whether it is `stale`, and why the last fetch
    failed (`error`)."""
    return {
        "name": item.name,
        "source": redact(item.source),
        "in_use": listed is not None,
        "format": item.format if listed is None or listed.absent else listed.format,
        "entries": 0 if listed is None else len(listed.listed),
        "exceptions": 0 if listed is None else len(listed.exceptions),
        "kinds": {} if listed is None else _kinds(listed),
        "covers": {} if listed is None else _covers(listed),
        "lines_read": 0 if listed is None else listed.lines_read,
        "lines_skipped": 0 if listed is None else listed.lines_skipped,
        "skipped": [] if listed is None else _skips(listed),
        "lines_widened": 0 if listed is None else listed.lines_widened,
        "widened": [] if listed is None else list(listed.widened[:_EXAMPLES]),
        "problem": "" if listed is None else listed.problem,
        "fetch": None if info is None else _fetch(item, info, now),
    }


def refreshed(result: Refreshed) -> Document:
    """Serializes the result of one fetch. `result` is "replaced", "unchanged" or "failed"; `entries` are those of the
    copy in use now."""
    return {"list": result.name, "result": str(result.result), "entries": result.entries, "why": redact(result.why)}


@frozen_dataclass
class Compared:
    """A list beside the user's own visits on one network."""

    free: tuple[Document, ...]
    """Hosts that are listed and worked direct: `host`, the `entry` that lists it, and when (`at`). The latest first."""
    blocked: tuple[Document, ...]
    """Sites that are blocked and in no list, as `serialize.belief` writes them."""
    remove: tuple[str, ...]
    """Domains of the list below which only such hosts are known."""
    add: tuple[str, ...]
    """The blocked sites of which there is no doubt."""


def compare(
    name: str, in_use: Mapping[str, DomainList], open_hosts: Mapping[str, float], sites: Sequence[Document]
) -> Compared:
    """Compares list `name` with what is known on one network. `open_hosts` worked direct, at these times, and are not
    in trouble; `sites` are those with a status. Hosts are in canonical spelling."""
    listed = in_use[name]
    free = [
        {"host": host, "entry": entry, "at": at}
        for host, at in sorted(open_hosts.items(), key=lambda item: -item[1])
        if (entry := listed.covering(host)) is not None
    ]
    blocked = [site for site in sites if site["words"] in _BLOCKED and "/" not in site["scope"]]
    needed = {listed.covering(site["scope"]) for site in blocked}
    unlisted = [site for site in blocked if all(it.covering(site["scope"]) is None for it in in_use.values())]
    return Compared(
        tuple(free),
        tuple(unlisted),
        tuple(sorted({str(it["entry"]) for it in free} - needed)),
        tuple(sorted(site["scope"] for site in unlisted if site["words"] == SiteStatus.BLOCKED)),
    )


def diff(name: str, text: str, listed: DomainList, compared: Compared) -> Document:
    """Serializes the diff of a list's text, and what it leaves out."""
    made = write_diff(name, text, cast(ListFormatName, listed.format), remove=compared.remove, add=compared.add)
    return {"text": made.text, "unwritten": list(made.unwritten)}


def _fetch(item: ListConfig, info: CopyInfo, now: float) -> Document:
    due = due_at(item, info, now)
    return {
        "via": item.via,
        "refresh": item.refresh,
        "has_copy": info.has_copy,
        "fetched_at": info.fetched_at or None,
        "changed_at": info.changed_at or None,
        "due_at": None if due == float("inf") else max(due, now),
        "stale": is_stale(item, info, now),
        "failed_at": info.failed_at or None,
        "failures": info.failures,
        "error": redact(info.error),
    }


def _kinds(listed: DomainList) -> Document:
    matcher = listed.listed
    counts = {
        "domain": len(matcher.domains),
        "prefix": len(matcher.prefixes),
        "keyword": len(matcher.keywords),
        "wildcard": len(matcher.wildcards),
    }
    return {kind: count for kind, count in counts.items() if count}


def _covers(listed: DomainList) -> Document:
    counts: Counter[str] = Counter()
    for covers, count in listed.listed.domains.counts().items():
        if covers & Covers.SUBDOMAINS:
            counts["site" if covers & Covers.HOST else "subdomains"] += count
        else:
            counts["children" if covers & Covers.CHILDREN else "host"] += count
    return dict(counts)


def _skips(listed: DomainList) -> list[Document]:
    """The reasons, the most frequent first."""
    return [
        {
            "reason": str(reason),
            "text": reason.sentence,
            "lines": count,
            "examples": _first(sentence for sentence in listed.skipped if sentence.endswith(reason.sentence)),
        }
        for reason, count in Counter(listed.skips).most_common()
    ]


def _first(sentences: Iterable[str]) -> list[str]:
    return list(sentences)[:_EXAMPLES]
