"""Answers about subscriptions: their fetches, and what their servers say of the account."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config.schema import SubscriptionConfig
from proxy.config.suggestions import quoted, suggestion
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.list_refresh import Refreshed, Result, due_at
from proxy.store.list_copies import ListCopies
from proxy.store.subscriptions import copy_of
from proxy.wire.relay_url import redact
from proxy.wire.url_secrets import hide_paths


@frozen_dataclass
class SubscriptionJson:
    """A subscription. `relays` is the number of its relays, `not_taken` that of the entries of its file that are none.
    Times are seconds since the epoch. `used_bytes`, `total_bytes` and `expires_at` are what its server says of the
    account, null where it says nothing."""

    name: str
    source: str
    relays: int
    not_taken: int
    fetched_at: float | None
    due_at: float | None
    error: str
    used_bytes: int | None
    total_bytes: int | None
    expires_at: int | None


def describe(configured: Sequence[SubscriptionConfig], copies: ListCopies, now: float) -> tuple[SubscriptionJson, ...]:
    """Describes subscriptions, by their last good copies."""
    return tuple(_described(item, copies, now) for item in configured)


def _described(item: SubscriptionConfig, copies: ListCopies, now: float) -> SubscriptionJson:
    from proxy.config.subscriptions import quota_of  # few have one

    info, (entries, _) = copies.info(item.url), copy_of(item, copies)
    quota, due = quota_of(info.said), due_at(item, info, now)
    return SubscriptionJson(
        name=item.name,
        source=hide_paths(redact(item.url)),
        relays=sum(not entry.why for entry in entries),
        not_taken=sum(bool(entry.why) for entry in entries),
        fetched_at=info.fetched_at or None,
        due_at=None if due == float("inf") else max(due, now),
        error=redact(info.error),
        used_bytes=quota.used if quota.total else None,
        total_bytes=quota.total or None,
        expires_at=quota.expires_at or None,
    )


def wanted(configured: Sequence[SubscriptionConfig], names: Sequence[str]) -> list[SubscriptionConfig]:
    """Returns the subscriptions to fetch: the named ones, or all. Raises ValueError with a sentence."""
    by_name = {item.name: item for item in configured}
    for name in names:
        if name not in by_name:
            hint = suggestion(name, by_name) if by_name else "; no subscription is configured"
            raise ValueError(f"unknown subscription {quoted(name)}{hint}")
    if not by_name:
        raise ValueError("no subscription is configured, so there is nothing to fetch")
    return [by_name[name] for name in dict.fromkeys(names)] if names else [*configured]


@frozen_dataclass
class SubscriptionLine:
    """The result of one fetch. `relays` is the number of relays of the copy in use now, `why` the error of a failed
    fetch."""

    subscription: str
    result: Result
    relays: int
    why: str

    @classmethod
    def of(cls, result: Refreshed) -> SubscriptionLine:
        return cls(result.name, result.result, result.entries, redact(result.why))
