"""Answers about subscriptions: their relays, their fetches, and what their servers say of the account."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from proxy.config.relays import enabled_relays
from proxy.config.schema import SubscriptionConfig
from proxy.config.suggestions import quoted, suggestion
from proxy.control.site_reader import ReadableParts
from proxy.features.relays.visits import WINDOW_S
from proxy.languages.amounts import moment, size
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas
from proxy.probe.list_refresh import Refreshed, Remedy, Result, due_at
from proxy.store.list_copies import CopyInfo, ListCopies
from proxy.store.subscriptions import copy_of
from proxy.wire import https_url
from proxy.wire.relay_url import redact
from proxy.wire.url_secrets import hide_paths


@frozen_dataclass
class SubscriptionProblemJson:
    """A sentence about what is wrong with a subscription, and the remedy."""

    text: str
    do: str


@frozen_dataclass
class SubscriptionJson:
    """A subscription. `source` is its address without what is a secret in it, `host` its host. `relays` is the number
    of its relays, `answered` that of those by which a visit or a test came through in the last 24 hours, `not_taken`
    that of the entries of its file that are none. Times are seconds since the epoch; `changed_at` is when another file
    came. `used_bytes`, `total_bytes` and `expires_at` are what its server says of the account, null where it says
    nothing; `account` is that in words. `problems` are the present ones."""

    name: str
    source: str
    host: str
    relays: int
    answered: int
    not_taken: int
    fetched_at: float | None
    changed_at: float | None
    due_at: float | None
    error: str
    used_bytes: int | None
    total_bytes: int | None
    expires_at: int | None
    account: str
    problems: tuple[SubscriptionProblemJson, ...]


@frozen_dataclass
class MemberState:
    """The state of a relay of a subscription. `answered_at`: seconds since the epoch; 0: never. `is_failing`: it failed
    so often that it is used last."""

    is_enabled: bool
    answered_at: float
    is_failing: bool


async def subscriptions_of(parts: ReadableParts, now: float) -> tuple[SubscriptionJson, ...]:
    """Returns all subscriptions, as `relay list`, `status` and the page show them."""
    settings, health = parts.settings, parts.health
    if not settings.subscription:
        return ()
    prefixes = tuple(f"{item.name}/" for item in settings.subscription)
    tests = await asyncio.to_thread(parts.relay_tests.of_all, settings.relay)
    in_use = {relay.name for relay in enabled_relays(settings.relay)}
    members = dict[str, MemberState]()
    for relay in settings.relay:
        name = relay.name
        if name.startswith(prefixes):
            tested = tests.get(name)
            state = health.of(name)
            answered_at = max(state.worked_at, tested.at if tested is not None and tested.ok else 0.0)
            members[name] = MemberState(name in in_use, answered_at, health.is_open(name, now))
    return await asyncio.to_thread(describe, settings.subscription, parts.copies, members, now)


def describe(
    configured: Sequence[SubscriptionConfig], copies: ListCopies, members: Mapping[str, MemberState], now: float
) -> tuple[SubscriptionJson, ...]:
    """Describes subscriptions, by their last good copies and the states of their relays, by name."""
    return tuple(_described(item, copies, members, now) for item in configured)


def _described(
    item: SubscriptionConfig, copies: ListCopies, members: Mapping[str, MemberState], now: float
) -> SubscriptionJson:
    from proxy.config.subscriptions import quota_of  # few have one

    info, (entries, _names) = copies.info(item.url), copy_of(item, copies)
    quota, due = quota_of(info.said), due_at(item, info, now)
    own = [state for name, state in members.items() if name.partition("/")[0] == item.name]
    account = []
    if quota.total:
        account.append(_("{used} of {total} used", used=size(quota.used), total=size(quota.total)))
    if quota.expires_at:
        day = _day(quota.expires_at)
        account.append(_("expired {day}", day=day) if quota.expires_at < now else _("expires {day}", day=day))
    return SubscriptionJson(
        name=item.name,
        source=hide_paths(redact(item.url)),
        host=https_url.parse(item.url).host,
        relays=sum(not entry.why for entry in entries),
        answered=sum(0 <= now - state.answered_at < WINDOW_S for state in own),
        not_taken=sum(bool(entry.why) for entry in entries),
        fetched_at=info.fetched_at or None,
        changed_at=info.changed_at or None,
        due_at=None if due == float("inf") else max(due, now),
        error=redact(info.error),
        used_bytes=quota.used if quota.total else None,
        total_bytes=quota.total or None,
        expires_at=quota.expires_at or None,
        account=commas(account),
        problems=tuple(_problems(item.name, info, quota.used, quota.total, quota.expires_at, own, now)),
    )


def _problems(
    name: str, info: CopyInfo, used: int, total: int, expires_at: int, members: Sequence[MemberState], now: float
) -> Iterator[SubscriptionProblemJson]:
    again = f"byway relay refresh {name}"
    if info.error:
        text = _("Subscription {name} could not be fetched: {error}", name=name, error=redact(info.error))
        yield SubscriptionProblemJson(text, again)
    elif not info.has_copy:
        text = _("Subscription {name} is not fetched yet, so its group has no relays.", name=name)
        yield SubscriptionProblemJson(text, again)
    if info.fetched_at > now + _CLOCKS_DIFFER_S:
        text = _(
            "Subscription {name} was fetched on {day}, which is still to come: this computer's clock is wrong now, or "
            "was wrong then.",
            name=name,
            day=_day(info.fetched_at),
        )
        yield SubscriptionProblemJson(text, _("set the clock, then {command}", command=again))
    if 0 < expires_at < now:
        text = _(
            "The account of subscription {name} expired on {day}, says its server.", name=name, day=_day(expires_at)
        )
        yield SubscriptionProblemJson(text, _("renew it where you got it, then {command}", command=again))
    if 0 < total <= used:
        text = _(
            "The account of subscription {name} has used all of its {total}, says its server.",
            name=name,
            total=size(total),
        )
        yield SubscriptionProblemJson(text, _("renew it where you got it, then {command}", command=again))
    in_use = [state for state in members if state.is_enabled]
    if in_use and all(state.is_failing for state in in_use):
        text = _("Every relay of subscription {name} keeps failing.", name=name)
        yield SubscriptionProblemJson(text, again)


def _day(at: float) -> str:
    """Returns the day of a moment in local time, in ISO 8601."""
    return moment(at)[:10]


_CLOCKS_DIFFER_S = 3600.0
"""Seconds by which a clock may be set back without a word."""


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
    fetch, and `remedy` what may help after it: a fetch that is "direct", by which the provider sees `host`, or with
    `accept_smaller`; empty: nothing that the user could say."""

    subscription: str
    result: Result
    relays: int
    why: str
    remedy: Remedy
    host: str

    @classmethod
    def of(cls, result: Refreshed, configured: Sequence[SubscriptionConfig]) -> SubscriptionLine:
        host = next((https_url.parse(item.url).host for item in configured if item.name == result.name), "")
        return cls(result.name, result.result, result.entries, redact(result.why), result.remedy, host)
