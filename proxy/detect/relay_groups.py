"""The order among the relays of a group, by its policy (docs/detection.md, "States of a network").

The health of each relay decides, from the user's own visits: nothing is probed, and no timer runs. A group has one
lead, the member that is tried first. When the lead fails, or another member may be better, visits try that one before
it. The lead changes only to a member that has delivered, so several members that die at once cause one change. A change
to a better member waits until the last change is a minute old. A member that failed rests before it may lead again,
longer each time, so a relay that comes and goes moves few visits.

Most members of a large group may be dead, and a dead one costs a visit some seconds. So while its lead works, a trial
that failed is followed by none for a minute, and it comes right behind the first, with those that have worked. After a
restart the one that worked last leads.

Whenever an order may change, the version of Health grows, or `order_until` has the time. Belongs to one thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from proxy.detect.relay_health import MEASURED_S, Health, relay_name
from proxy.detect.scopes import registrable
from proxy.model import GroupPolicy, NetworkId, Outcome, RelayGroup, Symptom
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass

HOLD_S = 60.0
"""Seconds between two changes of the lead, unless it fails; twice as long when all members have failed lately. Also the
time for which a member that failed on trial is not tried before the lead again."""

FASTER_SHARE = 0.7
"""A member replaces a working lead only if it takes at most this share of the lead's time."""

EXIT_S = 3_600.0
"""Seconds for which a site of a sticky group stays with the replacement of a member that failed."""

LARGE = 5
"""Members of a large group at least: more than a visit opens at once."""

SITES_MAX = 4_096
"""Sites with a replacement at most."""


@dataclass(slots=True)
class _Lead:
    """The lead of a group, and the latest order."""

    member: str
    changed_at: float
    candidate: str = ""
    """A member on trial: it is tried before `member` until a visit shows whether it delivers."""
    tried_at: dict[str, float] = field(default_factory=dict)  # when each member last began a trial, or became the lead
    failed_at: dict[str, float] = field(default_factory=dict)  # when each member last failed on trial
    order: tuple[str, ...] = ()


@frozen_dataclass
class _Exit:
    """The member of a sticky group that a site uses in place of its usual one."""

    member: str
    until: float


class RelayGroups:
    """Orders the members of groups."""

    def __init__(self, health: Health, selected: Mapping[str, str] | None = None) -> None:
        """`selected`: the members that the user chose with `byway relay use`, by group."""
        self._health = health
        self.selected = dict(selected or {})
        self.in_use = False
        """True once `order` was called for a group from which `learn` learns."""
        self._leads: dict[str, _Lead] = {}
        self._led: dict[str, RelayGroup] = {}  # the groups that have a lead
        self._sticky: dict[str, RelayGroup] = {}  # the sticky groups whose order was needed
        self._exits: Bounded[tuple[str, NetworkId, str], _Exit] = Bounded(SITES_MAX)  # the oldest first

    def order(self, group: RelayGroup, host: str, *, network: NetworkId, now: float) -> tuple[str, ...]:
        """Returns the members to use for `host`, in the order of tries: all of them, or for a group with the policy
        `select` the selected one."""
        if not group.members:
            return ()
        if group.policy is GroupPolicy.SELECT:
            return (self.selection(group),)
        self.in_use = True
        if group.policy is GroupPolicy.STICKY:
            self._sticky[group.name] = group
            return self._order_for_site(group, (group.name, network, registrable(host)), now)
        self._led[group.name] = group
        return self._update(group, now)

    def arrange(
        self, relays: Sequence[str], groups: Sequence[RelayGroup], host: str, *, network: NetworkId, now: float
    ) -> list[str]:
        """Returns all relays in the user's order, except that the members of a group change places among themselves.
        The first group of a relay decides about its place."""
        arranged = list(relays)
        place_of = {name: place for place, name in enumerate(relays)}  # a member changes its place once
        placed = set[str]()
        for group in groups:
            order = dict.fromkeys((*self.order(group, host, network=network, now=now), *group.members))
            members = [name for name in order if name in place_of and name not in placed]
            places = sorted(place_of[name] for name in members)
            for place, name in zip(places, members, strict=True):
                arranged[place] = name
            placed.update(members)
        return arranged

    def order_until(self, now: float) -> float:
        """Returns until when `order` and `arrange` return the same as now, if the version of Health stays the same.
        `now` itself: they may change at any time."""
        until = math.inf
        for group in (*self._led.values(), *self._sticky.values()):
            for member in group.members:
                until = min(until, self._health.standing_until(member, now))
        for name, group in self._led.items():
            lead = self._leads[name]
            until = min(until, _end_of(lead.changed_at, HOLD_S, now), _end_of(lead.changed_at, 2 * HOLD_S, now))
            for member in group.members:
                until = min(until, _end_of(lead.failed_at.get(member, -math.inf), HOLD_S, now))
                if group.policy is GroupPolicy.FASTEST:
                    until = min(until, _end_of(self._health.of(member).timed_at, MEASURED_S, now))
                    for for_s in (HOLD_S, MEASURED_S):
                        until = min(until, _end_of(lead.tried_at.get(member, -math.inf), for_s, now))
        for exit_ in self._exits.values():
            until = min(until, _end_of(exit_.until - EXIT_S, EXIT_S, now))
        return until

    def learn(self, outcome: Outcome, *, network: NetworkId, now: float) -> None:
        """Learns from a connection, after Health has learned from it: the lead may change, and a site whose member
        failed stays with the member that delivered."""
        won = relay_name(outcome.winner) if outcome.winner is not None else ""
        failed = {
            relay_name(attempt.route)
            for attempt in outcome.attempts
            if not attempt.delivered and attempt.symptom not in (Symptom.NONE, Symptom.ABANDONED)
        } - {won}
        for group in self._led.values():
            self._settle(group, won, failed, now)
            self._update(group, now)
        if not won:
            return
        for group in self._sticky.values():
            key = (group.name, network, registrable(outcome.host))
            if won in group.members and self._order_for_site(group, key, now)[0] in failed:
                self._keep_exit(key, won, now)

    def selection(self, group: RelayGroup) -> str:
        """Returns the member that the user selected; the first member if the selection is not in the group."""
        chosen = self.selected.get(group.selected_in, "")
        return group.members[group.choices.index(chosen) if chosen in group.choices else 0]

    def lost_selections(self, groups: Sequence[RelayGroup]) -> dict[str, str]:
        """Returns a sentence for each selection that is no longer in its group, by group."""
        return {
            group.name: f"relay {chosen}, selected for group {group.name}, is not in it any more; its first relay, "
            f"{group.members[0]}, is used until you select another with `byway relay use {group.name} RELAY`"
            for group in groups
            if group.policy is GroupPolicy.SELECT and group.selected_in == group.name
            for chosen in (self.selected.get(group.name, ""),)
            if chosen and chosen not in group.choices
        }

    def leading(self, group: RelayGroup, now: float) -> str:
        """Returns the present lead, without a new choice; empty for a sticky group, where it depends on the site, and
        for a group without members."""
        if not group.members or group.policy is GroupPolicy.STICKY:
            return ""
        if group.policy is GroupPolicy.SELECT:
            return self.selection(group)
        lead = self._leads.get(group.name)
        return lead.member if lead is not None and lead.member in group.members else self._ranked(group, now)[0]

    def select(self, name: str, choice: str) -> None:
        """Selects a member of the group `name` for connections from now on."""
        self.selected[name] = choice
        self._health.version += 1

    def keep(self, groups: Sequence[RelayGroup]) -> None:
        """Forgets all other groups, after a reload."""
        in_use = [group for group in groups if group.members]
        sticky = [group for group in in_use if group.policy is GroupPolicy.STICKY]
        self._led = {group.name: group for group in in_use if group.name in self._led and group not in sticky}
        self._sticky = {group.name: group for group in sticky if group.name in self._sticky}
        self._leads = {name: lead for name, lead in self._leads.items() if name in self._led}
        self.in_use = bool(self._led or self._sticky)
        for key in [key for key in self._exits if key[0] not in self._sticky]:
            del self._exits[key]
        self._health.version += 1

    # -- fallback and fastest: one lead for all sites --------------------------------------------------------------

    def _update(self, group: RelayGroup, now: float) -> tuple[str, ...]:
        """Chooses the member to try first, the lead or a member on trial, and returns the order."""
        lead = self._leads.get(group.name)
        if lead is None or lead.member not in group.members:
            first = self._first(group, now)
            lead = self._leads[group.name] = _Lead(first, now, tried_at={first: now})
        lead.changed_at = min(lead.changed_at, now)  # the clock may have been set back
        better = self._better(group, lead, now)
        candidate = better if better != lead.member else ""
        if candidate and candidate != lead.candidate:
            lead.tried_at[candidate] = now
        lead.candidate = candidate
        rest = [member for member in self._ranked(group, now) if member != better]
        if len(group.members) >= LARGE:
            rest.sort(
                key=lambda member: (
                    self._health.standing(member, now),
                    member != lead.member,
                    not self._health.of(member).worked_at,
                )
            )
        order = (better, *rest)
        if order != lead.order:
            lead.order = order
            self._health.version += 1
        return order

    def _first(self, group: RelayGroup, now: float) -> str:
        """Returns the first lead of a run. Of many members, none of which was measured yet, it is the one that worked
        last, before the restart too, and has not failed since: most of the others may be dead, and each of them costs a
        visit `hedge_relay_s`."""
        ranked = self._ranked(group, now)
        if len(ranked) < LARGE or self._was_measured(ranked[0], now):
            return ranked[0]

        def fitness(member: str) -> tuple[int, bool, float]:
            health = self._health.of(member)
            return -self._health.standing(member, now), not health.failures, health.worked_at

        return max(ranked, key=fitness)

    def _settle(self, group: RelayGroup, won: str, failed: Collection[str], now: float) -> None:
        """Changes the lead to the member that delivered, if that was on trial or the lead fails."""
        lead = self._leads[group.name]
        if lead.candidate in failed:
            lead.failed_at[lead.candidate] = now
        if won not in group.members or won == lead.member:
            return
        present, other = self._health.standing(lead.member, now), self._health.standing(won, now)
        if won == lead.candidate or other == 0 < present:
            lead.member, lead.changed_at, lead.candidate = won, now, ""
            lead.tried_at[won] = now

    def _better(self, group: RelayGroup, lead: _Lead, now: float) -> str:
        """Returns the member to try first: a better one, else the lead."""
        ranked = [  # without those that failed on trial lately; the lead is never on trial
            member
            for member in self._ranked(group, now)
            if member == lead.member or not _is_within(lead.failed_at.get(member, -math.inf), HOLD_S, now)
        ]
        best = ranked[0] if ranked else lead.member
        present, standing = self._health.standing(lead.member, now), self._health.standing(best, now)
        if standing == 0 < present:
            return best  # the lead failed, and `best` has not
        if now < lead.changed_at + (2 * HOLD_S if present else HOLD_S):
            return lead.member
        is_large = len(group.members) >= LARGE
        if is_large and not present and any(_is_within(at, HOLD_S, now) for at in lead.failed_at.values()):
            return lead.member
        if present:
            return best if standing < present else lead.member  # all have failed lately
        return best if group.policy is GroupPolicy.FALLBACK else self._faster(group, lead, ranked, now)

    def _faster(self, group: RelayGroup, lead: _Lead, ranked: Sequence[str], now: float) -> str:
        """Returns the member of a `fastest` group to try first while the lead works: for a minute one that was not
        measured lately, else one that is clearly faster."""
        steady = [member for member in ranked if self._health.standing(member, now) == 0]
        for member in group.members:
            may_be_tried = (
                _is_within(lead.tried_at.get(member, -math.inf), HOLD_S, now)
                if member == lead.candidate
                else not _is_within(lead.tried_at.get(member, -math.inf), MEASURED_S, now)
            )
            if may_be_tried and not self._was_measured(member, now) and member in steady and member != lead.member:
                return member
        measured = [member for member in steady if self._was_measured(member, now)]
        if not measured or lead.member == measured[0]:
            return lead.member
        if lead.member not in measured:
            return measured[0]
        limit_s = FASTER_SHARE * self._health.median_s(lead.member)
        return measured[0] if self._health.median_s(measured[0]) <= limit_s else lead.member

    def _ranked(self, group: RelayGroup, now: float) -> list[str]:
        """Returns the members: those that may go first, then those that rest, then those with an open breaker. Within
        each part they have the order of the configuration, or the fastest is first."""
        if group.policy is GroupPolicy.FALLBACK:
            return sorted(group.members, key=lambda member: self._health.standing(member, now))
        return sorted(
            group.members,
            key=lambda member: (
                self._health.standing(member, now),
                self._health.median_s(member) if self._was_measured(member, now) else math.inf,
            ),
        )

    def _was_measured(self, member: str, now: float) -> bool:
        return _is_within(self._health.of(member).timed_at, MEASURED_S, now)

    # -- sticky: one member for a site -----------------------------------------------------------------------------

    def _order_for_site(self, group: RelayGroup, key: tuple[str, NetworkId, str], now: float) -> tuple[str, ...]:
        """Returns the order for the site of `key`: its replacement if it has one, then the others by standing and by
        rendezvous hashing, which moves few sites when a member is added or removed."""
        hashed = sorted(group.members, key=lambda member: _weight(*key, member))
        ranked = sorted(hashed, key=lambda member: self._health.standing(member, now))
        kept = self._exits.get(key)
        if (
            kept is not None
            and now < kept.until <= now + EXIT_S
            and kept.member in group.members
            and self._health.standing(kept.member, now) < 2
        ):
            first = kept.member
        else:
            first = ranked[0]
            if first != hashed[0]:
                self._keep_exit(key, first, now)
            elif kept is not None:
                del self._exits[key]
                self._health.version += 1
        return (first, *(member for member in ranked if member != first))

    def forget_sites(self, covers: Callable[[str], bool]) -> None:
        """Forgets the replacements of these sites."""
        for key in [key for key in self._exits if covers(key[2])]:
            del self._exits[key]
            self._health.version += 1

    def _keep_exit(self, key: tuple[str, NetworkId, str], member: str, now: float) -> None:
        for other in [other for other, exit_ in self._exits.items() if exit_.until <= now]:
            del self._exits[other]
        self._exits[key] = _Exit(member, now + EXIT_S)
        self._health.version += 1


def _weight(group: str, network: NetworkId, site: str, member: str) -> bytes:
    return blake2b("\0".join((group, network, site, member)).encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _is_within(at: float, for_s: float, now: float) -> bool:
    """Whether `at` is at most `for_s` ago. A time in the future, from before the clock was set back, is not."""
    return at <= now < at + for_s


def _end_of(at: float, for_s: float, now: float) -> float:
    """Returns when the result of `_is_within` changes by time alone; infinity: never."""
    if now < at:
        return at
    return at + for_s if now < at + for_s else math.inf
