"""What the objects of the beliefs hold, and how much of it: each table with what it is kept by, and its bound.

A field that is not named here fails `test_reflection`. The state machine checks the bounds after each step, and
compares what all tables hold before and after a call that may not write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from enum import Enum

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import generations, network_health, state
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.state import BeliefState, NetworkRecord, Working
from proxy.detect.beliefs.tables import HostLru, Key, NameCounter
from proxy.detect.verdict import results

CONTAINERS = (dict, list, set, frozenset, deque, HostLru, NameCounter)
RECORDS = (NetworkRecord, Working)
"""Values that change in place, and have fields of their own."""

Bound = Callable[[DetectTuning], int]


class By(Enum):
    """What `forget` must find in a table."""

    HOST = "hosts, domains or scopes, on a network"
    NETWORK = "networks"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Table:
    by: By
    most: Bound | None
    """Entries at most. None: the code has no bound; `why` says what bounds it in practice."""
    each: Bound | None = None
    """Of a table of tables: entries of each at most. Of a HostLru: of one domain."""
    why: str = ""


def _fixed(number: int) -> Bound:
    return lambda _: number


def _claims(settings: DetectTuning) -> int:
    return settings.retest_per_hour * state.NETWORKS_MAX


def _searches(settings: DetectTuning) -> int:
    return settings.search_per_hour * state.NETWORKS_MAX


def _lru(by: By = By.HOST) -> Table:
    return Table(by, lambda settings: settings.hosts_max, lambda settings: settings.hosts_per_domain_max)


def _counter(places: int, names: int) -> Table:
    return Table(By.HOST, _fixed(places), _fixed(names))


_NETWORKS = _fixed(state.NETWORKS_MAX)
_FAILING = _fixed(state.FAILING_MAX)

TABLES: Mapping[str, Table] = {
    # What is believed.
    "BeliefState.stored": _lru(),
    "BeliefState.works": _lru(),
    "BeliefState.worked_at": _lru(),
    "BeliefState.transient": _lru(),
    "BeliefState.priors": _lru(),
    "BeliefState.untold": Table(By.HOST, None, why="the next call of `learn` returns it"),
    # What waits.
    "BeliefState.unexplained": _lru(),
    "BeliefState.unproven": _lru(),
    "BeliefState.at_control": Table(By.HOST, _fixed(state.WAITING_MAX)),
    # Scopes.
    "BeliefState.domains": Table(By.HOST, lambda settings: settings.hosts_max),
    "BeliefState.prefixes": Table(By.HOST, _fixed(state.PREFIXES_MAX)),
    "BeliefState.failed_under": _counter(state.DOMAINS_MAX, state.FAILED_MAX),
    "BeliefState.failing_in": _counter(state.PREFIXES_MAX, state.PREFIX_HOSTS_MAX),
    "BeliefState.frozen_in": _counter(state.PREFIXES_MAX, state.PREFIX_HOSTS_MAX),
    "BeliefState.froze_at": _lru(),
    "BeliefState.slow_in": _counter(state.PREFIXES_MAX, state.PREFIX_HOSTS_MAX),
    "BeliefState.worked_in": Table(By.HOST, _fixed(state.PREFIXES_MAX)),
    "BeliefState.worked_around": Table(By.HOST, _fixed(state.PREFIXES_MAX)),
    # Signals.
    "BeliefState.shared": _counter(state.SHARED_PLACES_MAX, state.SHARED_DOMAINS_MAX),
    "BeliefState.pages": Table(By.HOST, _fixed(state.PAGES_MAX)),
    "BeliefState.own_pages": Table(By.HOST, _fixed(state.PAGES_MAX)),
    "BeliefState.unlike_pages": Table(By.HOST, _fixed(state.COMPARED_PAGES_MAX)),
    "BeliefState.compared_pages": Table(By.HOST, _fixed(state.COMPARED_PAGES_MAX)),
    "BeliefState.page_checks": Table(By.NETWORK, _NETWORKS, lambda s: s.page_per_hour),
    "BeliefState.counted": Table(By.NEITHER, _fixed(state.COUNTED_MAX)),
    "BeliefState.residual": Table(By.HOST, _fixed(state.ADDRESSES_MAX)),
    "BeliefState.cut_unanswered": Table(By.HOST, _fixed(state.CUTS_MAX)),
    "BeliefState.cut_silenced": Table(By.HOST, _fixed(state.CUTS_MAX)),
    "BeliefState.whole_unanswered": Table(By.HOST, _fixed(state.CUTS_MAX)),
    "BeliefState.early_resets": _lru(),
    "BeliefState.cuts": _lru(),
    "BeliefState.statuses": _lru(),
    # Networks.
    "BeliefState.networks": Table(By.NETWORK, _NETWORKS),
    "BeliefState.unresolved": Table(By.HOST, _NETWORKS, _fixed(network_health.UNRESOLVED_DOMAINS + 1)),
    "NetworkRecord.failing": Table(By.HOST, _FAILING),
    "NetworkRecord.stalls": Table(By.HOST, _FAILING),
    "NetworkRecord.bursts": Table(By.HOST, _fixed(state.BURSTS_MAX)),
    "NetworkRecord.counted": Table(By.HOST, _fixed(state.PUNISHED_MAX)),
    "NetworkRecord.punished_cuts": Table(By.HOST, _fixed(state.PUNISHED_MAX)),
    "NetworkRecord.resigned": Table(By.HOST, _NETWORKS, _FAILING),
    "NetworkRecord.rungs": Table(By.NEITHER, _fixed(state.CAUSES_MAX)),
    "NetworkRecord.residue": Table(By.NEITHER, _fixed(state.RESIDUE_MAX)),
    "NetworkRecord.control_results": Table(By.HOST, _fixed(state.CONTROLS_MAX)),
    # Re-tests.
    "BeliefState.claims": Table(By.HOST, _claims),
    "BeliefState.spent": Table(By.NETWORK, _NETWORKS, lambda s: s.retest_per_hour),
    "BeliefState.proofs": Table(By.HOST, _fixed(state.PROOFS_MAX)),
    "BeliefState.other_hellos": Table(By.HOST, _fixed(state.PROOFS_MAX)),
    "BeliefState.speeds": Table(By.HOST, _fixed(state.SPEEDS_MAX)),
    "BeliefState.speed_checks": Table(By.NETWORK, _NETWORKS, lambda s: s.compared_per_hour),
    # Local strategies.
    "BeliefState.searches": Table(By.HOST, _searches, lambda s: s.search_per_hour_host),
    "BeliefState.searched": Table(By.NETWORK, _NETWORKS, lambda s: s.search_per_hour),
    "BeliefState.fares": _lru(),
    "BeliefState.unserved": Table(By.HOST, _fixed(state.UNSERVED_MAX), lambda settings: settings.hosts_per_domain_max),
    # Results, and what is kept of visits.
    "Results._results": _lru(),
    "Results._visited": _lru(),
    "Results.waiting": Table(By.HOST, _fixed(results.WAITING_MAX)),
    "BeliefState.settled": Table(By.HOST, _fixed(state.SETTLED_MAX)),
    "Generations._of_domains": Table(By.HOST, _fixed(generations.DOMAINS_MAX)),
    "BeliefState.ignored": Table(By.NEITHER, None, why="one for each time that a user forgets"),
}  # fmt: skip

BUDGETS = frozenset(f"BeliefState.{name}" for name in ("spent", "searched", "page_checks", "speed_checks"))
"""Tables by network that forgetting leaves: else it would renew the budgets of the hour."""

PLAIN: Mapping[str, frozenset[str]] = {
    "Beliefs": frozenset(
        {
            *("is_near", "needs_control", "portal_page", "delivered_at", "stall_waits", "awaits_proof"),
            *(
                "may_blame_relays",
                "resolver_fails",
                "clock_ahead",
                "in_residual_window",
                "cuts_are_punished",
                "hellos_are_counted",
                "results_since",
                "generation",
            ),
        }
    ),
    "BeliefState": frozenset(
        {
            "rng",
            "listed",
            "is_near",
            "addresses",
            "refine",
            "now",
            "latest",
            "quiet_until",
            "clock_ahead",
            "holds_until",
        }
    ),
    "NetworkRecord": frozenset(
        {
            "last",  # its domain counts as a host: see LOOSE
            "before_at",
            "state",
            "passes",
            "failed_relay_count",
            "relays_tried_at",
            "control_at",
            "delivered_before_control",
            "asked_all",
            "is_undecided",
            "plain_works",
            "portal_page",
            "portal_suspected",
            "trusted_at",
            "cuts_punished_at",
            "cut_answered_at",
            "hellos_counted_at",
        }
    ),
    "Working": frozenset({"at", "belief", "domain", "is_near", "is_undisturbed", "renew_at"}),
    "Generations": frozenset({"_latest", "_of_others"}),
    "Results": frozenset({"_store"}),
}
"""By class: the fields that hold neither a table nor another part. `settings` may be in each."""

ALIASES = frozenset({"Beliefs.prefixes"})
"""Fields that name a table of another part."""


def fields_of(part: object) -> Iterator[tuple[str, object]]:
    """The fields of an object with their values, also where it has slots."""
    names = [*getattr(part, "__dict__", ())]
    for kind in type(part).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    yield from ((name, getattr(part, name)) for name in names if hasattr(part, name))


def is_part(value: object) -> bool:
    """Whether a value is one of the objects that the beliefs are made of: a class of `detect` that can be changed."""
    kind = type(value)
    return (
        kind.__module__.startswith("proxy.detect.")
        and not isinstance(value, (*CONTAINERS, Enum))
        and "__dataclass_fields__" not in vars(kind)
        and not isinstance(value, RECORDS)
    )


def parts_of(beliefs: Beliefs) -> list[object]:
    """All objects that the beliefs are made of, each once."""
    found: dict[int, object] = {}
    left: list[object] = [beliefs]
    while left:
        part = left.pop()
        if id(part) not in found:
            found[id(part)] = part
            left += [value for _, value in fields_of(part) if is_part(value)]
    return [*found.values()]


def tables_of(beliefs: Beliefs) -> dict[str, list[object]]:
    """Every table by its name, `Class.field`; those of the records of networks, one for each."""
    found: dict[str, list[object]] = {}
    parts = parts_of(beliefs)
    parts += beliefs._state.networks.values()
    for part in parts:
        for name, value in fields_of(part):
            path = f"{type(part).__name__}.{name}"
            if isinstance(value, CONTAINERS) and path not in ALIASES:
                found.setdefault(path, []).append(value)
    return found


def sizes(table: object) -> tuple[int, int]:
    """The entries of a table, and those of the largest table in it (of a HostLru: of one domain)."""
    if isinstance(table, HostLru):
        assert sum(map(len, table._domains.values())) == len(table._values), "both halves of a HostLru differ"
        return len(table), max(map(len, table._domains.values()), default=0)
    if isinstance(table, NameCounter):
        return len(table._places), max(map(len, table._places.values()), default=0)
    assert isinstance(table, dict | list | set | frozenset | deque)
    inner = table.values() if isinstance(table, dict) else ()
    return len(table), max((len(each) for each in inner if isinstance(each, Sized)), default=0)


def beyond(beliefs: Beliefs, settings: DetectTuning) -> list[str]:
    """The tables that hold more than they may, in words."""
    found = []
    for name, tables in tables_of(beliefs).items():
        table = TABLES[name]
        for held in tables:
            entries, inner = sizes(held)
            if table.most is not None and entries > table.most(settings):
                found.append(f"{name} has {entries} entries, of {table.most(settings)}")
            if table.each is not None and inner > table.each(settings):
                found.append(f"one of {name} has {inner} entries, of {table.each(settings)}")
    return found


def held_by(beliefs: Beliefs) -> dict[str, object]:
    """All that the tables hold, by their names, as values that can be compared later. The order in which tables drop
    their entries belongs to it."""
    return {name: tuple(map(_value, tables)) for name, tables in tables_of(beliefs).items()}


def _value(held: object) -> object:
    if isinstance(held, HostLru):
        return _value(held._values), tuple((domain, tuple(hosts)) for domain, hosts in held._domains.items())
    if isinstance(held, NameCounter):
        return _value(held._places)
    if isinstance(held, dict):
        return tuple((key, _value(value)) for key, value in held.items())
    if isinstance(held, set):
        return frozenset(held)
    if isinstance(held, list | tuple | deque):
        return tuple(map(_value, held))
    if isinstance(held, RECORDS):
        return type(held).__name__, tuple((name, _value(value)) for name, value in fields_of(held))
    return held


def texts(root: object) -> Iterator[tuple[str, str]]:
    """Every string that can be reached from an object, with the fields that lead to it. Of mappings both keys and
    values are searched; of methods, the object."""
    seen = set[int]()
    left: list[tuple[object, str]] = [(root, "")]
    while left:
        it, path = left.pop()
        if isinstance(it, int | float | bytes | type | Enum):
            continue
        if isinstance(it, str):
            yield path, it
            continue
        if id(it) in seen:
            continue
        seen.add(id(it))
        if isinstance(it, dict):
            left += [(part, path) for item in it.items() for part in item]
        elif isinstance(it, list | tuple | set | frozenset | deque):
            left += [(part, path) for part in it]
        elif type(it).__module__.startswith(("proxy.detect", "proxy.model")):
            kind = type(it).__name__
            for name, value in fields_of(it):
                if is_part(it) or isinstance(it, NetworkRecord):
                    left.append((value, f"{kind}.{name}"))
                else:
                    left.append((value, path if isinstance(it, HostLru | NameCounter) else f"{path} {kind}.{name}"))


def waiting_hosts(state: BeliefState) -> set[Key]:
    """The hosts about which any signal waits."""
    return {*state.unexplained, *state.unproven, *state.at_control}
