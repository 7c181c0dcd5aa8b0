"""Turns what another program's configuration says into relays, groups and rules of Byway, and says of each entry
whether it is taken, and why not.

Nothing is weakened silently: a rule is taken if a rule of Byway means the same, and else listed. Since the first rule
that matches decides, the sites of a rule that is not taken are left to the rules after it: what that costs is a
warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from proxy.config.edit import NewGroup, NewRelay, free_name, identity
from proxy.config.relays import is_local_address, is_loopback, is_name, relay_names, withheld_credentials
from proxy.config.schema import RelayConfig, Settings
from proxy.features.imports.foreign import (
    ADDRESSES_ONLY,
    LIST_TYPES,
    Foreign,
    ForeignGroup,
    ForeignRelay,
    ForeignRule,
    named,
)
from proxy.model import Action, GroupPolicy
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.address_guard import Guard
from proxy.wire import relay_url
from proxy.wire.keys.fields import clean_name

if TYPE_CHECKING:
    from proxy.wire.relay_url import RelayUrl

RELAYS_MAX = 256
GROUPS_MAX = 256
_DEPTH_LIMIT = 16
_TEST_LIMIT = 1000
_COMMENT = re.compile(r"\s(?:#|//)")
"""What begins a comment in rules.txt: a value with it would change the rest of its line."""
_WARNED = 12
"""Rules that a warning names; the table has all."""


class Taken(StrEnum):
    """What became of an entry."""

    YES = "taken"
    PART = "taken in part"
    THERE = "is there already"
    NO = "not taken"
    NOT_NEEDED = "not needed"


@frozen_dataclass
class Row:
    """An entry of the file: what it is or where it stands, its name, and what it is now, or why it is not taken."""

    what: str
    name: str
    taken: Taken
    text: str


@frozen_dataclass
class Options:
    """What the person says. `lists`: by a test of LIST_TYPES in upper case, the list that stands for it. `relay`: the
    relay or group in the place of those that are not taken; empty: there is none. `local`: servers in the local network
    are meant."""

    lists: Mapping[str, str]
    relay: str = ""
    local: bool = False


@frozen_dataclass
class Plan:
    """The additions to the configuration and to rules.txt, and what is said about them. The rules are not checked yet:
    `review.checked` does that."""

    relays: tuple[NewRelay, ...]
    groups: tuple[NewGroup, ...]
    rules: tuple[PlannedRule, ...]
    rows: tuple[Row, ...]
    """Of relays and groups."""
    warnings: tuple[str, ...]


@frozen_dataclass
class PlannedRule:
    """A rule of the file: the lines that say the same, or why there are none. `action` is what it does; None: that is
    not known."""

    foreign: ForeignRule
    lines: tuple[str, ...] = ()
    action: Action | None = None
    why: str = ""
    note: str = ""


@frozen_dataclass
class _Policy:
    """What a name in the file does. With `why` it cannot be used; then `action` is what it would do, if that is
    known."""

    action: Action | None
    relay: str = ""
    why: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        return f"{self.action}{f':{self.relay}' if self.relay else ''}"


def plan(found: Foreign, settings: Settings, options: Options) -> Plan:
    """Plans the import of a configuration. `settings` are those in use now."""
    return _Planner(found, settings, options).plan()


class _Planner:
    def __init__(self, found: Foreign, settings: Settings, options: Options) -> None:
        self._found = found
        self._settings = settings
        self._options = options
        self._own = relay_names(settings)
        self._taken_names = set(self._own)
        self._by_place = {identity(relay.url): relay for relay in settings.relay}
        self._guard = Guard((), settings.dns.local, own_ports=(settings.listen.port,))
        self._relays: list[NewRelay] = []
        self._groups: list[NewGroup] = []
        self._rows: list[Row] = []
        self._warnings: list[str] = []
        self._names: dict[str, str] = {}  # by the name in the file, that of the relay
        self._policies: dict[str, _Policy] = {}
        self._foreign_groups = {group.name: group for group in reversed(found.groups)}
        self._resolving: set[str] = set()

    def plan(self) -> Plan:
        for relay in self._found.relays:
            self._rows.append(self._relay(relay))
        names = set(self._names)
        for group in self._found.groups:
            if self._foreign_groups[group.name] is not group or group.name in names:
                self._add_row(group, Taken.NO, "an entry before it has the same name")
            else:
                self._resolve(group.name)
        rules = tuple(self._rules())
        return Plan(tuple(self._relays), tuple(self._groups), rules, tuple(self._rows), tuple(self._warnings))

    # -- relays --------------------------------------------------------------------------------------------------------

    def _relay(self, relay: ForeignRelay) -> Row:
        shown = clean_name(relay.name)
        there = self._by_place.get(identity(relay.url)) if relay.url else None
        why = relay.why if not relay.url else "" if there is not None else self._why_not(relay.url)
        if why:
            if relay.name not in self._names:
                self._policies.setdefault(relay.name, self._instead(f"{named(relay.name)} is not taken"))
            return Row("relay", shown, Taken.NO, why)
        note = f"; {relay.why}" if relay.why else ""
        if there is not None:
            self._names.setdefault(relay.name, there.name)
            disabled = "" if there.enabled else ", which is disabled"
            return Row("relay", shown, Taken.THERE, f"{there.name}{disabled}{note}")
        new = NewRelay(relay.url, label=relay.name)
        has_key = any(hop.key is not None for hop in _hops(relay.url))
        new = NewRelay(
            relay.url,
            self._free(new),
            public_only=not has_key and not self._options.local and _has_name(relay.url),
            local=has_key and self._options.local,
        )
        assert new.name is not None
        made = RelayConfig(new.name, new.url)
        self._relays.append(new)
        self._by_place[identity(new.url)] = made
        self._names.setdefault(relay.name, new.name)
        if sentence := withheld_credentials(made):
            self._warnings.append(sentence)
        return Row("relay", shown, Taken.YES, f"{new.name}: {relay_url.shown(new.url)}{note}")

    def _free(self, new: NewRelay) -> str:
        name = free_name(new, self._taken_names)
        self._taken_names.add(name)
        return name

    def _why_not(self, url: str) -> str:
        """Returns why a relay is not taken; empty: it is."""
        if len(self._settings.relay) + len(self._relays) >= RELAYS_MAX:
            return f"a configuration has at most {RELAYS_MAX} relays"
        for hop in _hops(url):
            if hop.ca is not None:
                return "it names a file of this computer (ca=)"
            if hop.key is not None and is_local_address(hop.host) and not self._options.local:
                return f"the server of its key, {hop.host}, is in the local network; to take it all the same: --local"
            for endpoint in hop.endpoints:
                if is_loopback(endpoint.host):
                    if endpoint.port == self._settings.listen.port:
                        return f"{endpoint} is Byway itself; requests would loop"
                elif sentence := self._guard.refuse_host(endpoint):
                    return sentence
                elif self._guard.is_near(endpoint.host) and not self._options.local:
                    return f"{endpoint} is in the local network; to take it all the same: --local"
        return ""

    # -- policies ------------------------------------------------------------------------------------------------------

    def _instead(self, why: str) -> _Policy:
        """Returns the policy for servers that are not taken."""
        if self._options.relay:
            return _Policy(Action.RELAY, self._options.relay, note=f"by {self._options.relay}, since {why}")
        return _Policy(Action.RELAY, why=why)

    def _resolve(self, name: str) -> _Policy:
        """Returns what a name in the file does; that of a group adds the group."""
        if (policy := self._policies.get(name)) is None:
            policy = self._policies[name] = self._resolved(name)
        return policy

    def _resolved(self, name: str) -> _Policy:
        if (relay := self._names.get(name)) is not None:
            return _Policy(Action.RELAY, relay)
        if name in self._resolving:
            return _Policy(Action.RELAY, why=f"group {named(name)} contains itself")
        if len(self._resolving) > _DEPTH_LIMIT:
            return _Policy(Action.RELAY, why=f"group {named(name)} is in too many groups, one in the other")
        if (group := self._foreign_groups.get(name)) is not None:
            self._resolving.add(name)
            try:
                return self._group(group)
            finally:
                self._resolving.discard(name)
        given = self._found.policies.get(name)
        if given is Action.RELAY:
            return _Policy(Action.RELAY, self._options.relay)
        if isinstance(given, Action):
            return _Policy(given)
        if given is not None:
            return _Policy(None, why=f"{named(name)}: {given}")
        if name in self._own:
            return _Policy(Action.RELAY, name)
        return _Policy(None, why=f"the file does not say what {named(name)} is")

    def _add_row(self, group: ForeignGroup, taken: Taken, text: str) -> None:
        note = f"; {group.note}" if group.note and taken is not Taken.NO else ""
        self._rows.append(Row("group", clean_name(group.name), taken, f"{text}{note}"))

    def _unused(self, group: ForeignGroup, why: str) -> _Policy:
        self._add_row(group, Taken.NO, why)
        return self._instead(f"group {named(group.name)} is not taken")

    def _group(self, group: ForeignGroup) -> _Policy:
        if group.why:
            return self._unused(group, group.why)
        members = [(name, self._resolve(name)) for name in group.members]
        if group.is_chain:
            return self._chain(group, members)
        first_name, first = members[0]
        if group.policy is GroupPolicy.SELECT:
            in_groups = first_name in self._foreign_groups and first.relay
            if not first.why and (first.action in (Action.DIRECT, Action.BLOCK) or in_groups):
                self._add_row(group, Taken.PART, f"{first.text}: its first choice, {named(first_name)}")
                return _Policy(first.action, first.relay)
            usable, left = self._plain(members)
        else:
            is_last = len(members) > 1 and members[-1][1].action is Action.DIRECT and not members[-1][1].why
            ends_direct = group.policy is GroupPolicy.FALLBACK and is_last
            relays = members[:-1] if ends_direct else members
            if other := next((name for name, it in relays if it.action not in (Action.RELAY, None)), ""):
                return self._unused(
                    group, f"it chooses between relays and {named(other)}, which no group of Byway does"
                )
            usable, left = self._plain(relays, flatten=True)
            if ends_direct and usable:
                made = self._new_group(group, usable, left, ", then direct (PREFER-RELAY)")
                return _Policy(Action.PREFER_RELAY, made) if made else self._full(group)
        if not usable:
            count = len(members)
            return self._unused(
                group, f"none of its {count} members is taken" if count > 1 else "its member is not taken"
            )
        made = self._new_group(group, usable, left)
        return _Policy(Action.RELAY, made) if made else self._full(group)

    def _full(self, group: ForeignGroup) -> _Policy:
        return self._unused(group, f"a configuration has at most {GROUPS_MAX} groups")

    def _plain(self, members: Sequence[tuple[str, _Policy]], *, flatten: bool = False) -> tuple[list[str], list[str]]:
        """Returns the relays among members, and the names of members that a group of Byway does not have. `flatten`:
        with the relays of groups in the place of these."""
        groups = {group.name: group.relays for group in self._settings.group}
        groups |= {group.name: group.relays for group in self._groups}
        usable: dict[str, None] = {}
        left = []
        for name, policy in members:
            if policy.why or policy.note or policy.action is not Action.RELAY or not policy.relay:
                left.append(name)
            elif policy.relay not in groups:
                usable[policy.relay] = None
            elif flatten:
                usable |= dict.fromkeys(groups[policy.relay])
            else:
                left.append(name)
        return [*usable], left

    def _new_group(self, group: ForeignGroup, relays: Sequence[str], left: Sequence[str], more: str = "") -> str:
        """Adds a group, unless there is the same. Returns its name; empty: there are too many groups."""
        shown = ", ".join(map(named, left[:5])) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        text = f"{group.policy} of {', '.join(relays)}{more}{f'; without {shown}' if left else ''}"
        same = next(
            (it for it in self._settings.group if it.relays == tuple(relays) and it.policy == group.policy), None
        )
        if same is not None:
            self._add_row(group, Taken.THERE, f"{same.name}: {text}")
            return same.name
        if len(self._settings.group) + len(self._groups) >= GROUPS_MAX:
            return ""
        name = self._free(NewRelay("socks5h://group:1080", label=clean_name(group.name)))
        self._groups.append(NewGroup(name, tuple(relays), str(group.policy)))
        self._add_row(group, Taken.PART if left else Taken.YES, f"{name}: {text}")
        return name

    def _chain(self, group: ForeignGroup, members: Sequence[tuple[str, _Policy]]) -> _Policy:
        usable, left = self._plain(members)
        if left or len(usable) < 2:
            return self._unused(group, "Byway has no chain of these members: one of them is no relay that is taken")
        url = ">".join(usable)
        if len(self._settings.relay) + len(self._relays) >= RELAYS_MAX:
            return self._unused(group, f"a configuration has at most {RELAYS_MAX} relays")
        try:
            there = self._by_place.get(identity(url))
        except ValueError as error:
            return self._unused(group, str(error))
        if there is not None:
            self._add_row(group, Taken.THERE, f"{there.name}: a chain, {url}")
            return _Policy(Action.RELAY, there.name)
        name = self._free(NewRelay(url, label=clean_name(group.name)))
        self._relays.append(NewRelay(url, name))
        self._add_row(group, Taken.YES, f"{name}: a chain, {url}")
        return _Policy(Action.RELAY, name)

    # -- rules ---------------------------------------------------------------------------------------------------------

    def _rules(self) -> Iterator[PlannedRule]:
        is_closed = False
        for rule in self._found.rules:
            if is_closed and not rule.idle:
                rule = replace(rule, idle=True, why="no site is left for it: a rule before it is for all sites")
            is_closed = is_closed or (not rule.idle and "MATCH" in rule.tests)
            yield self._rule(rule)

    def _rule(self, rule: ForeignRule) -> PlannedRule:
        policy = self._resolve(rule.policy) if rule.policy else _Policy(None)
        if rule.idle:
            return PlannedRule(rule, why=rule.why)
        if why := rule.why or policy.why:
            return PlannedRule(rule, action=policy.action, why=why)
        try:
            tests = [self._test(test) for test in rule.tests]
        except ValueError as error:
            return PlannedRule(rule, action=policy.action, why=str(error))
        lines = tuple(f"{test},{policy.text}" for test in tests)
        return PlannedRule(rule, lines, policy.action, note="; ".join(filter(None, (rule.note, policy.note))))

    def _test(self, test: str) -> str:
        """Returns a test; in place of a list that the file does not have, the one that the person names. Raises
        ValueError with half a sentence."""
        kind, _, name = test.partition(",")
        if kind not in LIST_TYPES:
            if not test.isprintable() or len(test) > _TEST_LIMIT or _COMMENT.search(test):
                raise ValueError(
                    "it has what no rule of Byway can have: a control character, a comment, or 1,000 letters"
                )
            return test
        listed = self._options.lists.get(test.upper())
        if listed is None:
            raise ValueError(f'it needs a list: name one with --list "{kind},{clean_name(name)}=NAME"')
        return f"LIST,{listed}"


def _hops(url: str) -> Iterator[RelayUrl]:
    return (relay_url.parse(item) for item in relay_url.parse_chain(url) if not is_name(item))


def _has_name(url: str) -> bool:
    """Whether a relay has a host name that is looked up."""
    return any(it.address is None and not is_loopback(it.host) for hop in _hops(url) for it in hop.endpoints)


# -- what is said of rules ---------------------------------------------------------------------------------------------


def rows_of(rules: Sequence[PlannedRule], own: frozenset[str]) -> Iterator[Row]:
    """Yields the rows of rules. `own` are the rules that were there before."""
    for rule in rules:
        place, name = rule.foreign.place, rule.foreign.text
        if rule.foreign.idle:
            yield Row(place, name, Taken.NOT_NEEDED, rule.why)
        elif not rule.lines:
            yield Row(place, name, Taken.NO, rule.why)
        elif own.issuperset(rule.lines):
            yield Row(place, name, Taken.THERE, rule.lines[0])
        else:
            taken, said = (Taken.PART, f" ({rule.why or rule.note})") if rule.why or rule.note else (Taken.YES, "")
            for number, line in enumerate(rule.lines):
                yield Row(place, name, taken, line if number else f"{line}{said}")


_DOES = {
    Action.DIRECT: ("keeps sites off relays", "keep sites off relays"),
    Action.BLOCK: ("blocks sites", "block sites"),
    Action.RELAY: ("sends sites through relays only", "send sites through relays only"),
    Action.PREFER_RELAY: ("sends sites through relays first", "send sites through relays first"),
    None: ("does what is not known", "do what is not known"),
}


def warnings_of(rules: Sequence[PlannedRule], last: str) -> Iterator[str]:
    """Yields a warning about the rules of each kind whose sites are left, as a whole or in part, to the rules after
    them: a sentence, and a line for each rule. `last` is what decides about all other sites."""
    for action, (one, several) in _DOES.items():
        lost = [it for it in rules if not it.foreign.idle and it.action is action and (it.why or not it.lines)]
        if lost:
            count = f"1 rule that {one} is" if len(lost) == 1 else f"{len(lost):,} rules that {several} are"
            yield f"{count} not taken; other rules decide, in the end {last}:{_listed(lost)}"
    if part := [it for it in rules if it.lines and ADDRESSES_ONLY in it.note]:
        count = "1 rule applies" if len(part) == 1 else f"{len(part):,} rules apply"
        yield f"{count} {ADDRESSES_ONLY}:{_listed(part)}"


def _listed(rules: Sequence[PlannedRule]) -> str:
    lines = [f"\n  {it.foreign.place}: {it.foreign.text}" for it in rules[:_WARNED]]
    return "".join(lines) + (f"\n  and {len(rules) - _WARNED:,} more" if len(rules) > _WARNED else "")
