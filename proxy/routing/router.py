"""Plans the routes of a request: which, in which order, and why.

The user's decision comes first: the `site set` override of the most specific host, then the first rule that matches,
else AUTO. Under AUTO the stored status of the host decides the order: usually direct, then local strategies, then
relays; for a blocked host, the routes that help against the cause come first. Under AUTO, the home network goes direct
only. The other actions are promises: RELAY without an available relay gives a plan without routes, which fails closed.
Nothing is resolved or tried here.

The same reason with the same relays in the same order gives the same Plan object, so a usual request, which no rule
matches, costs two lookups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from proxy.config.schema import Settings
from proxy.model import (
    DIRECT,
    NAME_CAUSES,
    SURVIVES_FIRST_BYTE,
    Action,
    AutoMode,
    Belief,
    Cause,
    Destination,
    GroupPolicy,
    NetworkId,
    NetworkState,
    Override,
    Plan,
    Protocol,
    RelayGroup,
    Request,
    Route,
    State,
)
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import DomainSet
from proxy.routing.home_network import Home
from proxy.routing.match import NO_RULE
from proxy.routing.rule import ANYWHERE, Rule, RuleType, Situation
from proxy.routing.rules import Rules
from proxy.routing.strategies import (
    IPV4,
    IPV6,
    RELAY_CAUSES,
    flight_strategies,
    searched_strategies,
    strategy_routes,
    uses_doh,
)

PLANS_LIMIT = 4096
"""Plans in the cache at most. The order of relays changes with their health, so each rule has several plans."""

_ONE_RELAY_S = 60.0
"""On a network where no relay gets through, one relay is tried; after this time, the next one."""

NO_RULE_MATCHES = "AUTO (no rule matches): direct first"

_ON_NETWORK = {
    NetworkState.RESTRICTED: "only domestic sites are reachable on this network; trying direct first, then relays",
    NetworkState.NO_HTTPS: "HTTPS is blocked on this network for most sites; trying direct first, then relays",
    NetworkState.SHUT: "restricted network and no relay gets through: trying direct, then one relay",
    NetworkState.INSPECTED: "this network intercepts TLS, so AUTO does not use relays on its own",
}

_FAILS_DIRECT = {
    NetworkState.RESTRICTED: (
        "only domestic sites are reachable on this network, and this one is not; using relays first"
    ),
    NetworkState.NO_HTTPS: "HTTPS is blocked on this network, also to this site; using relays first",
}

_MODES = {
    AutoMode.PAUSED: (Action.DIRECT, "paused, so direct only"),
    AutoMode.DIRECT: (Action.DIRECT, "mode direct, so direct only"),
    AutoMode.RELAY: (Action.RELAY, "mode relay, so relays only"),
}
"""The action that replaces AUTO during `byway pause` or `byway mode`, and the reason in words."""

_AT_HOME = "on the local network, so direct only"

_BROUGHT_FALSELY = SURVIVES_FIRST_BYTE | {Cause.BLOCK_PAGE}
"""Causes for which direct has an answer that no client shall get because a relay is slow."""

_STATUS = {State.SUSPECT: "likely blocked", State.BLOCKED: "blocked"}


@frozen_dataclass
class RelayInfo:
    """The facts about a relay that planning needs."""

    name: str
    addresses_only: str = ""
    """The reason why it accepts addresses only ("socks4", "?resolve=local"). Byway does not resolve names for it, so it
    is skipped for names. Empty: it accepts names too."""


HasEnded = Callable[[str], bool]
"""Returns whether the override of this host has ended, by a clock that nobody can set."""

OrderGroup = Callable[[RelayGroup], Sequence[str]]
"""Returns the usable members of a group in the order in which to try them."""


@frozen_dataclass
class _Reason:
    """The reason for a plan if no rule decides: an override, a mode, the home network, or that no rule matches. A Rule
    that decides is itself the reason."""

    action: Action
    relay: str = ""
    why: str = NO_RULE_MATCHES
    intercept: bool = False
    text: str = ""
    until: float = 0.0  # seconds since the epoch; 0: it has no end
    scope: str = ""
    """The host of the override."""
    replaces: _Reason | Rule | None = None
    """The reason for AUTO, if a mode or the home network decides in its place."""


_NO_RULE = _Reason(Action.AUTO)


@frozen_dataclass
class Decision:
    """The user's decision about a destination, before what was learned: the override with its host, else the rule; both
    None: there is none. `is_replaced`: a mode or the home network decides in place of its AUTO."""

    override: tuple[str, Override] | None = None
    rule: Rule | None = None
    is_replaced: bool = False


def override_text(host: str, override: Override) -> str:
    """Returns an override in words: `site set example.org RELAY:tor`."""
    relay = f":{override.relay}" if override.relay else ""
    return f"site set {host} {override.action}{relay}"


def covering(host: str, overrides: Mapping[str, Override]) -> tuple[str, Override] | None:
    """Returns the most specific override that decides for a host, with its own host before it; None: none does."""
    while host:
        if host in overrides:
            return host, overrides[host]
        host = host.partition(".")[2]
    return None


def _reason_of(host: str, override: Override) -> _Reason:
    text = override_text(host, override)
    return _Reason(override.action, override.relay, text, text=text, until=override.until, scope=host)


def _in_place_of(reason: _Reason | Rule, action: Action, why: str) -> _Reason:
    """Returns a reason with another action in place of AUTO."""
    why = f"{'AUTO' if reason is _NO_RULE else reason.why}: {why}"
    return _Reason(action, "", why, reason.intercept, reason.text, replaces=reason)


class Router:
    """Plans requests. Immutable except for its cache of plans; a reload makes a new router."""

    __slots__ = (
        "_addresses_only", "_groups", "_has_ended", "_http_strategies", "_info", "_last_good_s", "_literal_strategies",
        "_mode", "_never_relay", "_override_reasons", "_plans", "_searched", "_settings", "_strategies",
        "is_home", "overrides", "overrides_end", "rules",
    )  # fmt: skip

    def __init__(
        self,
        rules: Rules,
        overrides: Mapping[str, Override],
        relays: Sequence[RelayInfo],
        settings: Settings,
        groups: Sequence[RelayGroup] = (),
        mode: AutoMode = AutoMode.AUTO,
        is_home: Home = lambda destination, name: False,
        has_ended: HasEnded | None = None,
    ) -> None:
        """`relays` are those in use, in the user's order; `groups` have only such members. `mode` replaces AUTO, except
        for the home network, which `is_home` recognizes. `has_ended` decides whether an override has ended; without it,
        the time of day decides."""
        self._mode = mode
        self._has_ended = has_ended
        self.is_home = is_home
        """See Home."""
        self.rules = rules
        """The rules in effect."""
        self._settings = settings
        self.overrides: Mapping[str, Override] = dict(overrides)
        """The overrides of `byway site set`, by host."""
        self.overrides_end = min((each.until for each in overrides.values() if each.until), default=math.inf)
        """When the first override ends, seconds since the epoch; infinity: none does."""
        self._override_reasons = {host: _reason_of(host, override) for host, override in overrides.items()}
        self._info = {relay.name: relay for relay in relays}
        self._groups = {group.name: group for group in groups}
        self._addresses_only = frozenset(relay.name for relay in relays if relay.addresses_only)
        self._never_relay = DomainSet.of(settings.auto.never_relay)
        self._last_good_s = settings.detect.last_good_s
        self._strategies = strategy_routes(settings.auto.ladder, doh=settings.dns.secure == "on-suspicion")
        self._literal_strategies = tuple(
            route for route in self._strategies if not uses_doh(route)
        )  # nothing to resolve
        self._http_strategies = flight_strategies(settings.auto.ladder, Protocol.HTTP)
        self._searched = frozenset(
            route
            for protocol in (Protocol.TLS, Protocol.HTTP)
            for route in searched_strategies(settings.auto.ladder, protocol)
        )
        self._plans: dict[
            tuple[str | tuple[int, str], tuple[str, ...], bool, bool, bool, bool, NetworkState, tuple[Route, ...]], Plan
        ] = {}

    @property
    def closing(self) -> str:
        """The mode, rule or override, in words, that keeps sites from going direct (RELAY, BLOCK); empty: there is
        none."""
        if self._mode is AutoMode.RELAY:
            return "byway mode relay"
        if (rule := self.rules.closing) is not None:
            return rule.why
        reasons = self._override_reasons.values()
        return next((reason.why for reason in reasons if reason.action in (Action.RELAY, Action.BLOCK)), "")

    def plan(
        self,
        request: Request,
        belief: Belief,
        *,
        relays: Sequence[str],
        now: float,
        host: str | None = None,
        network_state: NetworkState = NetworkState.OK,
        fails_direct: bool = False,
        compare: bool = False,
        rungs: tuple[Route, ...] = (),
        situation: Situation = ANYWHERE,
        order_group: OrderGroup | None = None,
    ) -> Plan:
        """Returns the plan for a request.

        `belief`: the stored status of the host. `relays`: the usable ones, the healthiest first. `now`: seconds since
        the epoch. `host`: the name in the flight, if the destination is a literal. `network_state`: the state of the
        network, as far as it concerns this host. `fails_direct`: on a restricted network, direct failed for this host
        lately. `compare`: an earlier request failed on direct and, like this one, could not be sent on a second route.
        `rungs`: local strategies that pass on this network, against the trouble of the host or against any.
        `order_group` orders the members of a group; without it they have the order of the configuration."""
        destination = request.destination
        name = host or destination.host
        reason = self._reason(destination, name, situation, now)
        group = self._groups.get(reason.relay) if self._groups else None
        if group is not None:
            relays = group.members if order_group is None else order_group(group)
        is_home = reason.action is Action.DIRECT and self.is_home(destination, name)
        is_onion = name.endswith(".onion")
        is_literal = destination.address is not None
        skips = self._addresses_only and not is_literal
        usable = tuple(relay for relay in relays if relay not in self._addresses_only) if skips else tuple(relays)
        if group is not None:  # a disabled relay may be selected
            usable = tuple(relay for relay in usable if relay in self._info)
        state = network_state if reason.action is Action.AUTO and network_state in _ON_NETWORK else NetworkState.OK
        if reason.action is Action.AUTO and not is_onion:
            strategies = self._literal_strategies if is_literal else self._strategies
            if rungs:
                rungs = tuple(route for route in rungs if route in self._searched)
                strategies = _unique((*rungs, *strategies))
            is_blocked = belief.state in _STATUS and belief.until > now
            if self._settings.auto.never_relay and self._never_relay.covering(name) is not None:
                return _plan_without_relays(reason, strategies, intercepted=is_blocked and _is_intercepted(belief))
            if is_blocked and state is NetworkState.OK:
                return self._plan_blocked(reason, belief, usable, strategies, rungs, destination, now)
            if is_blocked and _is_intercepted(belief):  # the network's state must not send it direct either
                return self._plan_blocked(reason, belief, usable, (), (), destination, now)
            if compare and state is NetworkState.OK and (usable or self._http_strategies):
                return self._plan_unrepeatable(reason, usable)
            fails_direct = state in _FAILS_DIRECT and (fails_direct or is_blocked)
        else:
            fails_direct, rungs = False, ()
        if state is NetworkState.SHUT:
            place = int(now // _ONE_RELAY_S)  # where no relay gets through, one is enough to detect a change
            usable = (usable[place % len(usable)],) if usable else ()
        # The line identifies a rule. Its `why` is not used: it is a new string at each call.
        words = (reason.line, reason.note) if isinstance(reason, Rule) else reason.why
        named = usable if usable or group is None else tuple(relays)  # without a usable relay, `why` names members
        key = (words, named, is_home, is_onion, is_literal, fails_direct, state, rungs)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= PLANS_LIMIT:
                self._plans.clear()
            plan = self._plans[key] = self._plan_by_action(
                reason,
                usable,
                is_home=is_home,
                is_onion=is_onion,
                is_literal=is_literal,
                fails_direct=fails_direct,
                state=state,
                rungs=rungs,
                offered=relays,
            )
        return plan

    def may_go_direct(self, destination: Destination, network: NetworkId, now: float) -> bool:
        """Whether rules and overrides allow Byway itself a direct connection to this destination, on this network, now.
        It is checked before every probe that Byway sends of its own accord, also for control pages."""
        action = self._reason(destination, destination.host, Situation(network), now).action
        return action not in (Action.RELAY, Action.BLOCK) and not destination.host.endswith(".onion")

    def may_relay(self, host: str) -> bool:
        """Whether `[auto] never_relay` lets AUTO use relays for a host."""
        return self._never_relay.covering(host) is None

    def with_overrides(self, overrides: Mapping[str, Override]) -> Router:
        return self._copy(overrides, self._mode)

    def with_mode(self, mode: AutoMode) -> Router:
        return self._copy(self.overrides, mode)

    def _copy(self, overrides: Mapping[str, Override], mode: AutoMode) -> Router:
        relays, groups = tuple(self._info.values()), tuple(self._groups.values())
        return Router(self.rules, overrides, relays, self._settings, groups, mode, self.is_home, self._has_ended)

    def with_ends(self, has_ended: HasEnded) -> Router:
        """Returns this router with another test for the end of overrides."""
        router = self._copy(self.overrides, self._mode)
        router._has_ended = has_ended
        return router

    def depends_on_program(self, destination: Destination, name: str, network: NetworkId, now: float) -> bool:
        """Whether the plan depends on the client's program."""
        reason = self._reason(destination, name, Situation(network), now)
        if isinstance(reason, _Reason) and reason.replaces is not None:
            reason = reason.replaces
        decides_at = reason.line if isinstance(reason, Rule) else NO_RULE
        return (isinstance(reason, Rule) or reason is _NO_RULE) and self.rules.first_program_line < decides_at

    def decision(self, destination: Destination, situation: Situation = ANYWHERE, *, now: float) -> Decision:
        """Returns the user's decision about a destination."""
        reason, is_replaced = self._reason(destination, destination.host, situation, now), False
        if isinstance(reason, _Reason) and reason.replaces is not None:
            reason, is_replaced = reason.replaces, True
        if isinstance(reason, Rule):
            return Decision(rule=reason, is_replaced=is_replaced)
        override = (reason.scope, self.overrides[reason.scope]) if reason.scope else None
        return Decision(override, is_replaced=is_replaced)

    def trace(self, destination: Destination, situation: Situation = ANYWHERE, *, now: float) -> list[str]:
        """Explains the plan for a destination in sentences, the deciding step first; for `byway rule test`."""
        reason = self._reason(destination, destination.host, situation, now)
        action = f"{reason.action}:{reason.relay}" if reason.relay else str(reason.action)
        steps = [f"{action} by {reason.why}" if reason is not _NO_RULE else NO_RULE_MATCHES]
        if isinstance(reason, _Reason) and reason.replaces is not None:
            steps[0] = f"{action}: {reason.why}"
            reason = reason.replaces
        later = [rule.why for rule in self.rules.trace(destination, situation) if rule.why != reason.why]
        steps += [f"{why} also matches, but an earlier rule decides" for why in later]
        steps += self._other_situations(reason)
        entry = self._never_relay.covering(destination.host)
        if reason.action is Action.AUTO and entry is not None:
            steps.append(f"[auto] never_relay contains {entry}: no relay is tried if direct fails")
        if destination.host.endswith(".onion"):
            steps.append(".onion names need a relay; direct is never tried")
        skipped = sorted(self._addresses_only) if destination.address is None else []
        if skipped and reason.action not in (Action.DIRECT, Action.BLOCK):
            steps += [self._skipped(relay) for relay in skipped]
        return steps

    def _other_situations(self, reason: _Reason | Rule) -> Iterator[str]:
        """Yields a sentence for each rule that would decide before `reason` for another program or on another
        network."""
        if isinstance(reason, _Reason) and reason is not _NO_RULE:
            return
        for rule in self.rules.rules:
            if rule == reason:
                return
            if rule.type is RuleType.PROCESS_NAME:
                yield f"{rule.why} decides for that program"
            elif rule.type is RuleType.NETWORK:
                yield f"{rule.why} decides on that network"

    def _reason(self, destination: Destination, name: str, situation: Situation, now: float) -> _Reason | Rule:
        """Returns the override that decides, else the rule, else _NO_RULE. If that says AUTO, the home network or a
        mode may replace it. An override that ended before `now` does not decide; the application removes it a moment
        later."""
        decided: _Reason | Rule | None = None
        if by_host := self._override_reasons:
            for host in (name,) if name == destination.host else (name, destination.host):
                scope = host
                while scope and decided is None:
                    if scope in by_host and not self._is_over(scope, by_host[scope].until, now):
                        decided = by_host[scope]
                    scope = scope.partition(".")[2]
        if decided is None:
            decided = (self.rules.match(destination, name, situation) if self.rules.has_rules else None) or _NO_RULE
        if decided.action is not Action.AUTO:
            return decided
        if self.is_home(destination, name):
            return _in_place_of(decided, Action.DIRECT, _AT_HOME)
        return decided if self._mode is AutoMode.AUTO else self._by_mode(decided, name)

    def _is_over(self, scope: str, until: float, now: float) -> bool:
        if not until:
            return False
        return until <= now if self._has_ended is None else self._has_ended(scope)

    def _by_mode(self, reason: _Reason | Rule, name: str) -> _Reason:
        """Returns the reason that a mode puts in place of AUTO."""
        action, why = _MODES[self._mode]
        if action is Action.RELAY and not self.may_relay(name):
            action, why = Action.DIRECT, "mode relay, but [auto] never_relay contains it"
        return _in_place_of(reason, action, why)

    def _plan_blocked(
        self,
        reason: _Reason | Rule,
        belief: Belief,
        usable: tuple[str, ...],
        strategies: tuple[Route, ...],
        rungs: tuple[Route, ...],
        destination: Destination,
        now: float,
    ) -> Plan:
        """Plans AUTO for a blocked host: the route that last worked, then routes that fit the cause, then direct. A
        strategy that passes for other hosts (`rungs`) comes before a relay that last worked. TLS interception leaves
        relays only."""
        relays = [Route((relay,)) for relay in usable]
        failed: tuple[str, ...] = ()
        if belief.rungs_failed and belief.rungs_failed_at + self._last_good_s > now:
            failed = belief.rungs_failed
        local = tuple(route for route in strategies if str(route) not in failed)
        good = self._last_good(belief, usable, local, failed, now)
        if rungs and not (good and good[0].is_direct):
            good = (*(route for route in rungs if route in local), *good)
        if _is_intercepted(belief):
            routes = _unique([*(route for route in good if not route.is_direct), *relays])
        elif belief.cause in RELAY_CAUSES:
            routes = _unique([*_other_family(belief, destination), *good, *relays, DIRECT, *(() if relays else local)])
        elif good or belief.cause not in (*NAME_CAUSES, Cause.DNS):
            routes = _unique([*good, *relays, *local, DIRECT])
        else:
            fitting = [route for route in local if uses_doh(route) == (belief.cause == Cause.DNS)]
            routes = _unique([*fitting, *relays, *local, DIRECT])
        word = "refused" if belief.cause == Cause.REFUSED else _STATUS[belief.state]
        status = f"{word}: {belief.why}" if belief.why else word
        if not routes:
            status += "; direct is intercepted and no relay is available"
        return _plan_auto(reason, routes, status, direct_waits=belief.cause in _BROUGHT_FALSELY)

    def _plan_unrepeatable(self, reason: _Reason | Rule, usable: tuple[str, ...]) -> Plan:
        """Plans AUTO for a request that cannot be sent twice, after direct has just failed with another one."""
        routes = (*(Route((relay,)) for relay in usable), *self._http_strategies, DIRECT)
        why = "direct failed moments ago and this request cannot be sent twice: trying another route first"
        return _plan_auto(reason, routes, why)

    def _last_good(
        self, belief: Belief, usable: tuple[str, ...], local: tuple[Route, ...], failed: tuple[str, ...], now: float
    ) -> tuple[Route, ...]:
        """Returns the route that last worked for the host, if that is recent and the route may be used; else empty."""
        if not belief.last_good or belief.last_good_at + self._last_good_s <= now:
            return ()
        good = Route.parse(belief.last_good)
        if good.is_direct:
            is_searched = good in self._searched and belief.last_good not in failed
            return (good,) if good in local or is_searched else ()
        return (good,) if set(good.relays) <= set(usable) and not good.wrap else ()

    def _plan_by_action(
        self,
        reason: _Reason | Rule,
        usable: tuple[str, ...],
        *,
        is_home: bool,
        is_onion: bool,
        is_literal: bool,
        fails_direct: bool,
        state: NetworkState,
        rungs: tuple[Route, ...],
        offered: Sequence[str],
    ) -> Plan:
        """Plans by the action and the state of the network, without the stored status of the host."""
        chosen = usable
        if reason.relay and reason.relay not in self._groups:
            chosen = tuple(relay for relay in usable if relay == reason.relay)
        relayed = tuple(Route((relay,)) for relay in chosen)
        strategies = _unique((*rungs, *(self._literal_strategies if is_literal else self._strategies)))
        routes: tuple[Route, ...] = {
            Action.AUTO: (DIRECT, *strategies, *relayed),
            Action.DIRECT: (DIRECT,),
            Action.RELAY: relayed,
            Action.PREFER_RELAY: (*relayed, DIRECT),
            Action.BLOCK: (),
        }[reason.action]
        why = reason.why
        if fails_direct:
            routes = (*relayed, DIRECT)
        elif state.is_restricted:  # a domestic site, such as a bank, must not see the address of a relay
            routes = (DIRECT, *relayed)
        elif state is NetworkState.INSPECTED:
            routes = (DIRECT,)
        if state in _ON_NETWORK:
            sentence = (_FAILS_DIRECT if fails_direct else _ON_NETWORK)[state]
            why = f"{'AUTO' if reason is _NO_RULE else why}; {sentence}"
        if is_onion and reason.action is not Action.BLOCK:
            routes = tuple(route for route in routes if not route.is_direct)
            why += "; .onion names need a relay"
        if not routes and reason.action is not Action.BLOCK:
            why += f"; {self._why_no_relay(reason, offered)}"
        learns = self._mode is AutoMode.AUTO
        is_home = is_home and bool(routes)
        return Plan(
            reason.action, routes, why, reason.intercept, decided_by=reason.text, learns=learns, is_home=is_home
        )

    def _skipped(self, relay: str) -> str:
        return f"{relay} ({self._info[relay].addresses_only}) takes addresses only; skipped for names"

    def _why_no_relay(self, reason: _Reason | Rule, offered: Sequence[str]) -> str:
        """Explains why a plan that needs a relay has none."""
        if reason.action is Action.DIRECT:
            return "DIRECT does not use relays"
        if reason.relay in self._groups:
            return self._why_no_member(self._groups[reason.relay], offered)
        if not self._info:
            return "all relays are disabled" if self._settings.relay else "no relay is configured"
        if reason.relay and reason.relay not in self._info:
            configured = any(relay.name == reason.relay for relay in self._settings.relay)
            return f"relay {reason.relay} is disabled" if configured else f"relay {reason.relay} is not configured"
        wanted = [relay for relay in offered if reason.relay in ("", relay)]
        if wanted:
            return "; ".join(map(self._skipped, wanted))
        return f"relay {reason.relay} is not available" if reason.relay else "no relay is available"

    def _why_no_member(self, group: RelayGroup, offered: Sequence[str]) -> str:
        """Explains why a plan that needs a relay of a group has none. `offered` are the usable members."""
        in_use = [member for member in offered if member in self._info]
        if in_use:
            return "; ".join(map(self._skipped, in_use))
        if group.policy is GroupPolicy.SELECT and offered:
            return f"relay {offered[0]}, selected in group {group.name}, is disabled"
        return f"all relays of group {group.name} are disabled"


def _plan_auto(reason: _Reason | Rule, routes: tuple[Route, ...], why: str, *, direct_waits: bool = False) -> Plan:
    """Returns a plan for AUTO with the reason why its routes are in another order than usual."""
    why = f"AUTO: {why}" if reason is _NO_RULE else f"{reason.why}; {why}"
    return Plan(Action.AUTO, routes, why, reason.intercept, decided_by=reason.text, direct_waits=direct_waits)


def _plan_without_relays(reason: _Reason | Rule, strategies: tuple[Route, ...], *, intercepted: bool) -> Plan:
    """Plans AUTO for a host of `[auto] never_relay`."""
    why = "AUTO" if reason is _NO_RULE else reason.why
    why += ": relays are not allowed ([auto] never_relay)"
    routes: tuple[Route, ...] = (DIRECT, *strategies)
    if intercepted:
        why, routes = f"{why} and direct is intercepted", ()
    return Plan(Action.AUTO, routes, why, reason.intercept, decided_by=reason.text)


def _is_intercepted(belief: Belief) -> bool:
    """Whether TLS to the host is intercepted, so that it never goes direct. A mere suspicion only puts relays first."""
    return belief.state is State.BLOCKED and belief.cause == Cause.INTERCEPTION


def _other_family(belief: Belief, destination: Destination) -> tuple[Route, ...]:
    """Returns direct by the address family that is not blocked; empty if it is not known that only one is."""
    if belief.cause != Cause.IP or not belief.family or destination.address is not None:
        return ()
    return (IPV4 if belief.family == 6 else IPV6,)


def _unique(routes: Iterable[Route]) -> tuple[Route, ...]:
    return tuple(dict.fromkeys(routes))
