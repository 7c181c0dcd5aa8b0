"""Answers about relays and groups: their state, their tests, and their visits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from proxy.config.relays import enabled_relays, shown_url
from proxy.config.schema import RelayConfig
from proxy.control.answers.relay_faults import RelayFaultJson, RelayObstacleJson
from proxy.control.site_reader import ReadableParts
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import RelayObstacle
from proxy.features.relays.subscription_answers import SubscriptionJson, subscriptions_of
from proxy.features.relays.visits import NO_VISITS, WINDOW_S, RelayVisits, read_visits, together
from proxy.model import Destination, GroupPolicy
from proxy.model.document import fields_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, pgettext
from proxy.probe.relay_trial import Trial, result_words
from proxy.store.relay_tests import RelayTest
from proxy.wire.relay_url import redact


@frozen_dataclass
class RelayTestJson:
    """The last `byway relay test` of a relay. `words` is "works", "slow" or "fails: …" with the fault; `fault` is that
    alone."""

    at: float
    ok: bool
    words: str
    elapsed_s: float
    fault: str

    @classmethod
    def of(cls, test: RelayTest) -> RelayTestJson:
        words = result_words(ok=test.ok, elapsed_s=test.elapsed_s, fault=test.fault)
        return cls(test.at, test.ok, words, round(test.elapsed_s, 4), test.fault)


@frozen_dataclass
class VisitsJson:
    """The visits of the last `hours` through a relay or a group: how many it delivered, how many failed at it, the
    share that it delivered (null without a visit), and the median seconds in which it opened a path (null: not
    measured)."""

    hours: int
    delivered: int
    failed: int
    share: float | None
    handshake_s: float | None

    @classmethod
    def of(cls, visits: RelayVisits) -> VisitsJson:
        count = visits.delivered + visits.failed
        return cls(
            hours=int(WINDOW_S / 3600),
            delivered=visits.delivered,
            failed=visits.failed,
            share=round(visits.delivered / count, 4) if count else None,
            handshake_s=round(visits.handshake_s, 4) or None,
        )


class RelayState(StrEnum):
    """The state of a relay, by visits."""

    UNTRIED = "untried"
    WORKS = "works"
    FAILED = "failed"  # the last time
    FAILING = "failing"  # it has a fault, or failed so often that it is used last


@frozen_dataclass
class RelayJson:
    """A configured relay. `words` is its status ("works", "slow", "fails: …", "last visit failed: …", "not tested",
    "disabled"), found at `found_at` by visits and measurements, or by the last test if that is newer. `fault` is the
    present one; `last_fault` may be over. `enabled` is false for a relay that is not used."""

    name: str
    url: str
    words: str
    found_at: float | None
    state: RelayState
    failures: int
    error: str
    usual_s: float | None
    worked_at: float | None
    failed_at: float | None
    fault: RelayFaultJson | None
    obstacle: RelayObstacleJson | None
    enabled: bool
    test: RelayTestJson | None
    visits: VisitsJson
    last_fault: RelayFaultJson | None

    @classmethod
    def of(
        cls,
        configured: RelayConfig,
        health: RelayHealth,
        visits: RelayVisits = NO_VISITS,
        *,
        failing: bool,
        in_use: bool = True,
        test: RelayTest | None = None,
        obstacle: RelayObstacle | None = None,
        network_allows_few: bool = False,
    ) -> RelayJson:
        """`failing`: whether it failed so often that it is used last. `network_allows_few`: see `RelayFault.fix`."""
        if failing or health.fault is not None:
            state = RelayState.FAILING
        elif health.failures:
            state = RelayState.FAILED
        else:
            state = RelayState.WORKS if health.worked_at else RelayState.UNTRIED
        text, found_at = _relay_words(state, health, test, visits) if in_use else (pgettext("relay", "disabled"), 0.0)
        last = max(filter(None, (visits.last_fault, health.last_fault)), key=lambda fault: fault.seen_at, default=None)
        name = configured.name
        return cls(
            name=name,
            url=shown_url(configured),
            words=text,
            found_at=found_at or None,
            state=state,
            failures=health.failures,
            error=redact(health.last_error),
            usual_s=round(health.usual_s, 4) or None,
            worked_at=health.worked_at or None,
            failed_at=health.failed_at or None,
            fault=(
                None
                if health.fault is None
                else RelayFaultJson.of(name, health.fault, network_allows_few=network_allows_few)
            ),
            obstacle=None if obstacle is None else RelayObstacleJson.of(name, obstacle),
            enabled=in_use,
            test=None if test is None else RelayTestJson.of(test),
            visits=VisitsJson.of(visits),
            last_fault=None if last is None else RelayFaultJson.of(name, last),
        )


def _relay_words(
    state: RelayState, health: RelayHealth, test: RelayTest | None, visits: RelayVisits
) -> tuple[str, float]:
    """Returns a relay's latest status in words, and its time; 0: never. A fault that may be the network's is no status,
    but it says more than "not tested" when all visits failed."""
    results = []
    if state in (RelayState.FAILING, RelayState.FAILED):
        fault = health.fault.fault.text if health.fault is not None else redact(health.last_error)
        results.append((health.failed_at, result_words(ok=False, elapsed_s=0, fault=fault)))
    elif state is RelayState.WORKS:
        results.append((health.worked_at, result_words(ok=True, elapsed_s=health.usual_s, fault="")))
    elif visits.last_fault is not None and not visits.delivered:
        last = visits.last_fault
        results.append((last.seen_at, _("last visit failed: {fault}", fault=last.fault.text)))
    if test is not None:
        results.append((test.at, result_words(ok=test.ok, elapsed_s=test.elapsed_s, fault=test.fault)))
    at, text = max(results, default=(0.0, pgettext("relay", "not tested")))
    return text, at


def relays_json(
    parts: ReadableParts, tests: Mapping[str, RelayTest], visits: Mapping[str, RelayVisits], now: float
) -> tuple[RelayJson, ...]:
    """Returns the configured relays in their order, with the last test and the visits of each."""
    configured, health, obstacles = parts.settings.relay, parts.health, parts.relay_obstacles()
    in_use = {each.name for each in enabled_relays(configured)}
    network_allows_few = parts.beliefs.network_state(parts.network()).is_restricted
    return tuple(
        RelayJson.of(
            each,
            health.of(each.name),
            visits.get(each.name, NO_VISITS),
            failing=health.is_open(each.name, now),
            in_use=each.name in in_use,
            test=tests.get(each.name),
            obstacle=obstacles.get(each.name),
            network_allows_few=network_allows_few,
        )
        for each in configured
    )


@frozen_dataclass
class GroupJson:
    """A group. `relays` are its members, `first` is the present first one (null for a sticky group, where it depends on
    the site, and for one without a member in use), and `words` its state. `selects_by` is the group in which `byway
    relay use` selects for it. `problem` is a sentence if the selected relay is no member any more."""

    name: str
    policy: GroupPolicy
    relays: tuple[str, ...]
    first: str | None
    selects_by: str | None
    words: str
    problem: str
    visits: VisitsJson
    last_fault: RelayFaultJson | None


def groups_json(
    parts: ReadableParts, relays: Sequence[RelayJson], visits: Mapping[str, RelayVisits], now: float
) -> tuple[GroupJson, ...]:
    """Returns the groups. `relays` are all relays."""
    groups, lost = parts.configured_groups, parts.groups.lost_selections(parts.configured_groups)
    by_name = {relay.name: relay for relay in relays}
    made = []
    for group in groups:
        first = parts.groups.leading(group, now=now)
        members = [by_name[name] for name in group.members if name in by_name]
        if not group.members or (first in by_name and not by_name[first].enabled):
            text = (
                _("{relay}: {state}", relay=first, state=pgettext("relay", "disabled"))
                if group.members
                else _("all relays disabled")
            )
        elif group.policy is GroupPolicy.STICKY:
            usable = len(group.members) - sum(relay.words.startswith("fails") for relay in members)
            text = _("{count} of {all} relays usable", count=usable, all=len(group.members))
        else:
            state = by_name[first].words if first in by_name else pgettext("relay", "not tested")
            text = _("{relay}: {state}", relay=first, state=state)
        faults = [relay.last_fault for relay in members if relay.last_fault is not None]
        made.append(
            GroupJson(
                name=group.name,
                policy=group.policy,
                relays=tuple(group.members),
                first=first or None,
                selects_by=group.selected_in if group.policy is GroupPolicy.SELECT else None,
                words=text,
                problem=lost.get(group.selected_in, ""),
                visits=VisitsJson.of(together([visits.get(name, NO_VISITS) for name in group.members])),
                last_fault=max(faults, key=lambda fault: fault.seen_at, default=None),
            )
        )
    return tuple(made)


@frozen_dataclass
class TrialJson(Trial):
    """A test of a relay. `words` is "works", "slow" or "fails: …" with the fault; `fault` is that alone.
    `is_relays_fault`: whatever the destination is. `do` is the remedy, which ends with a command."""

    words: str = ""
    obstacle: RelayObstacleJson | None = None

    @classmethod
    def of(cls, value: Trial, obstacle: RelayObstacle | None = None) -> TrialJson:
        shown = replace(value, elapsed_s=round(value.elapsed_s, 4), error=redact(value.error))
        return cls(
            **fields_of(shown),
            words=result_words(ok=value.ok, elapsed_s=value.elapsed_s, fault=value.fault),
            obstacle=None if obstacle is None else RelayObstacleJson.of(value.relay, obstacle),
        )


@frozen_dataclass
class RelaysAnswer:
    """The configured relays in their order, the groups, and the subscriptions."""

    relays: tuple[RelayJson, ...]
    groups: tuple[GroupJson, ...]
    subscriptions: tuple[SubscriptionJson, ...] = ()


async def answer(parts: ReadableParts, now: float) -> RelaysAnswer:
    """Returns the relays and groups, with their state."""
    visits = await parts.read(lambda db: read_visits(db, now))
    tests = await asyncio.to_thread(parts.relay_tests.of_all, parts.settings.relay)
    relays = relays_json(parts, tests, visits, now)
    groups = groups_json(parts, relays, visits, now)
    return RelaysAnswer(relays, groups, await subscriptions_of(parts, now))


async def list_relays(parts: ReadableParts) -> RelaysAnswer:
    """As `answer`, with all visits that have ended by now."""
    await parts.flush()
    return await answer(parts, time.time())


@frozen_dataclass
class SelectionAnswer:
    """The relay that a group uses from now on."""

    group: str
    use: str


@frozen_dataclass
class RelayTestsAnswer:
    """The results of a test of relays, and the destination of the test."""

    to: Destination
    results: tuple[TrialJson, ...]
