"""Every field of the objects behind Beliefs is named in `inside`: what it is kept by, and what bounds it.

A new field without a line there fails here, so that nobody adds a table which `forget` does not reach, or which grows.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.aggregation import note_slowed
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import (
    Carried,
    ControlAnswered,
    FlowStalled,
    NetworkLeft,
    PageCompared,
    PageDoubted,
    ResidueAsked,
    ResolverMeasured,
    RungResult,
    RungTried,
    SilenceExplained,
    SpeedsCompared,
)
from proxy.detect.beliefs.network_health import on_unresolved, resigned
from proxy.detect.beliefs.state import ALIKE_MAX, CONTROLS_MAX, WAITING_MAX, NetworkRecord, Working
from proxy.detect.beliefs.tables import HostLru, KeyTable, NameCounter
from proxy.detect.beliefs.transitions import write
from proxy.detect.scopes import is_host
from proxy.model import (
    UNKNOWN_NETWORK,
    Belief,
    Cause,
    ConnectivityResult,
    NetworkId,
    PageDoubt,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
)
from proxy.model.bounded import Bounded
from tests.detect.beliefs.inside import (
    ALIASES,
    BUDGETS,
    CONTAINERS,
    PLAIN,
    TABLES,
    By,
    Table,
    beyond,
    fields_of,
    is_part,
    parts_of,
    sizes,
    tables_of,
    texts,
)
from tests.detect.beliefs.machine import left_of
from tests.detect.beliefs.told import PAGES, SPLIT, SYMPTOMS, UPLINK, Call, Visit, about_host, learn, new_beliefs, note
from tests.detect.world import T0
from tests.support.outcomes import AWAY, HOME, TOR
from tests.support.rows import each_row

MONTH = 29 * 86_400.0
DOCS = Path(__file__).parents[3] / "docs/detection.md"

UNBOUNDED = {
    "BeliefState.untold",
    "BeliefState.ignored",
}
"""Tables without a bound of their own. Take a name away with its mend; none may be added."""


def unnamed(parts: list[object]) -> set[str]:
    """The fields that neither TABLES nor PLAIN names."""
    found = set()
    for part in parts:
        kind = type(part).__name__
        for name, value in fields_of(part):
            path = f"{kind}.{name}"
            is_known = (
                (path in TABLES or path in ALIASES)
                if isinstance(value, CONTAINERS)
                else is_part(value) or name in PLAIN.get(kind, ()) or isinstance(value, DetectTuning)
            )
            if not is_known:
                found.add(path)
    return found


def records() -> list[object]:
    """One of each value that changes in place."""
    return [NetworkRecord(), Working(Belief("a.test", HOME), T0, T0, is_near=False)]


def test_every_field_is_named() -> None:
    assert unnamed([*parts_of(Beliefs(DetectTuning())), *records()]) == set()


def test_every_name_is_a_field() -> None:
    """So that no line outlives its field, or names one that is no table."""
    beliefs = Beliefs(DetectTuning())
    beliefs._state.networks[HOME] = NetworkRecord()
    assert tables_of(beliefs).keys() == TABLES.keys()
    fields = {
        f"{type(part).__name__}.{name}" for part in (*parts_of(beliefs), *records()) for name, _ in fields_of(part)
    }
    assert {f"{kind}.{name}" for kind, names in PLAIN.items() for name in names} | ALIASES <= fields


@pytest.mark.parametrize("kind", ["a table", "a value", "of a part", "of a record"])
def test_a_new_field_without_a_line_is_found(kind: str) -> None:
    """The control."""
    beliefs, record = Beliefs(DetectTuning()), NetworkRecord()

    class WithMore(NetworkRecord):
        more: int

    match kind:
        case "a table":
            vars(beliefs)["more"] = {}
        case "a value":
            vars(beliefs)["more"] = 1.0
        case "of a part":
            vars(beliefs._state)["more"] = set()
        case "of a record":
            record = WithMore()
            record.__class__.__name__ = "NetworkRecord"
            record.more = 1
    assert {path.partition(".")[2] for path in unnamed([*parts_of(beliefs), record])} == {"more"}


def test_tables_without_a_bound_are_those_that_are_known() -> None:
    assert {name for name, table in TABLES.items() if table.most is None} == UNBOUNDED
    assert all(TABLES[name].why for name in UNBOUNDED)


def test_a_table_beyond_its_bound_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of what the state machine checks after each step."""
    tuning = DetectTuning()
    beliefs = learned(*everywhere(HOME), *everywhere(AWAY, T0 + MONTH + 1000), tuning=tuning)
    assert beyond(beliefs, tuning) == []
    fewer = replace(tuning, hosts_max=3, hosts_per_domain_max=1)
    assert {found.split()[0] for found in beyond(beliefs, fewer)} >= {"BeliefState.stored", "one"}
    monkeypatch.setitem(TABLES, "BeliefState.networks", Table(By.NETWORK, lambda _: 1))
    assert beyond(beliefs, tuning) == ["BeliefState.networks has 2 entries, of 1"]


def learned(*calls: Call, tuning: DetectTuning | None = None) -> Beliefs:
    beliefs = new_beliefs(tuning or DetectTuning())
    for call in calls:
        call(beliefs)
    return beliefs


def test_a_domain_leaves_the_index_with_its_belief() -> None:
    """Also if nobody looks it up: it is evicted, or lapses."""
    calls, now = [], T0
    for number in range(60):
        for host in (f"a.dom{number}.test", f"b.dom{number}.test"):
            now += 15.0
            calls += [learn(UPLINK, HOME, now), Visit("rescued", host).call(HOME, now)]
        now += 2400.0
    beliefs = learned(*calls, tuning=replace(DetectTuning(), hosts_max=20))
    state = beliefs._state
    assert state.domains == {key for key in state.stored if key[1].startswith("*.")}
    assert 0 < len(state.domains) <= 20
    beliefs.all(now=now + 20 * 86_400.0)
    assert state.domains == set()


def test_signals_of_many_networks_wait_within_a_bound() -> None:
    networks = [NetworkId(f"network-{number}") for number in range(WAITING_MAX + 5)]
    beliefs = learned(*(Visit("rescued", "waits.test").call(network, T0) for network in networks))
    assert [*beliefs._state.at_control] == [(network, "waits.test") for network in networks[5:]]


def test_results_of_many_control_pages_are_kept_within_a_bound() -> None:
    """The pages of a configuration that changes."""
    pages = [f"page{number}.control.test" for number in range(CONTROLS_MAX + 5)]
    beliefs = learned(*(learn(ControlAnswered(page, ConnectivityResult.FAILED, T0), HOME, T0) for page in pages))
    assert [*beliefs._state.networks[HOME].control_results] == pages[5:]


FULL = replace(DetectTuning(), hosts_max=1100, hosts_per_domain_max=5)
"""So many hosts that these name more prefixes than are remembered."""

KEPT = Belief("", HOME, State.BLOCKED, Cause.SNI_RESET, until=math.inf, signal_at=T0)


def put_into(name: str, table: Any, beliefs: Beliefs, number: int) -> None:
    """Puts the entry of a number into a table: directly if the table drops others by itself, else as the code does."""
    state, host = beliefs._state, f"www.site{number}.test"
    match name, table:
        case "BeliefState.domains", _:
            write(state, (HOME, f"*.site{number}.test"), KEPT, KEPT, T0)
        case "BeliefState.prefixes", _:
            address = ipaddress.ip_address(f"203.{number // 256}.{number % 256}.1")
            for each in range(FULL.prefix_hosts):
                note_slowed(state, (HOME, f"www.{each}.site{number}.test"), Cause.FROZEN, {address}, "tor", T0)
        case "NetworkRecord.resigned", _:
            resigned(state, HOME, host, f"issuer {number}", control=False)
        case "Generations._of_domains", _:
            state.generations.on_scope_changed((HOME, host))
        case _, HostLru():
            table.put((HOME, host), 0)
        case _, NameCounter():
            table.note((HOME, f"place {number}"), "www.site.test", T0)
        case _, Bounded():
            table[number] = 0
        case _:
            raise AssertionError(f"{name} has no limit of its own")


def put_into_one(name: str, table: Any, beliefs: Beliefs, number: int) -> None:
    """The same for one of the tables in a table; for a HostLru, one domain."""
    state, host = beliefs._state, f"www{number}.site.test"
    here: dict[str, Any] = {"network": HOME, "now": T0}
    match name, table:
        case "NetworkRecord.resigned", _:
            resigned(state, HOME, f"www.site{number}.test", "issuer", control=False)
        case "BeliefState.unresolved", _:
            on_unresolved(state, HOME, *(f"{each}.site{number}.test" for each in range(1 + bool(number))))
        case "BeliefState.spent", _:
            beliefs.proof_due(host, **here)
        case "BeliefState.speed_checks", _:
            beliefs.speed_check_due(f"www.site{number}.test", (TOR,), **here)
        case "BeliefState.page_checks", _:
            beliefs.page_check_due(host, **here)
        case (("BeliefState.searched" | "BeliefState.searches"), _):
            host = host if name == "BeliefState.searched" else "www.site.test"
            state.stored.put((HOME, host), replace(KEPT, scope=host))
            about_host("search_due", host, HOME, T0)(beliefs)
            beliefs.release(beliefs.claim_of(host, **here))
        case _, HostLru():
            table.put((HOME, host), 0)
        case _, NameCounter():
            table.note((HOME, "place"), host, T0)
        case _:
            raise AssertionError(f"{name} holds no tables")


@each_row("name", [name for name, table in TABLES.items() if table.most is not None])
def test_no_table_holds_more_than_its_bound(name: str) -> None:
    beliefs = new_beliefs(FULL)
    beliefs._state.networks[HOME] = NetworkRecord()
    [table], most = tables_of(beliefs)[name], TABLES[name].most
    assert most is not None
    for number in range(most(FULL)):
        put_into(name, table, beliefs, number)
    assert sizes(table)[0] == most(FULL), "else the code has another bound"
    for number in range(most(FULL), most(FULL) + 5):
        put_into(name, table, beliefs, number)
    assert sizes(table)[0] <= most(FULL)


@each_row("name", [name for name, table in TABLES.items() if table.each is not None])
def test_no_table_in_a_table_holds_more_than_its_bound(name: str) -> None:
    beliefs = new_beliefs(FULL)
    beliefs._state.networks[HOME] = NetworkRecord()
    [table], each = tables_of(beliefs)[name], TABLES[name].each
    assert each is not None
    for number in range(each(FULL) + 5):
        put_into_one(name, table, beliefs, number)
    assert sizes(table)[1] == each(FULL)


def test_routes_that_were_no_faster_are_kept_within_a_bound() -> None:
    beliefs = new_beliefs(DetectTuning())
    routes = [Route((f"relay{number}",)) for number in range(ALIKE_MAX + 5)]
    beliefs.speed_check_due("www.site.test", routes, network=HOME, now=T0)
    for route in routes:
        event = SpeedsCompared("www.site.test", "203.0.113.5:443", Protocol.TLS, 130_000.0, route, 130_000.0)
        learn(event, HOME, T0)(beliefs)
    assert beliefs._state.speeds[HOME, "www.site.test"].alike == tuple(routes[5:])


def test_the_bounds_stand_in_the_docs() -> None:
    """A HostLru has the bound of a domain as well, which stands above the table."""
    stated = dict[str, str]()
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        stated |= {name: cells[2] for name in re.findall(r"`([\w.]+)`", cells[0]) if len(cells) == 5}
    tuning = DetectTuning()
    bounds = dict[str, str]()
    for name, table in TABLES.items():
        if table.most is not None:
            is_nested = table.each is not None and table.each(tuning) != tuning.hosts_per_domain_max
            each = f" × {table.each(tuning):,}" if table.each is not None and is_nested else ""
            bounds[name.removeprefix("BeliefState.")] = f"{table.most(tuning):,}{each}"
    assert {name: stated.get(name) for name in bounds} == bounds


def everywhere(network: NetworkId = HOME, start: float = T0) -> Iterator[Call]:
    """What puts something into each table, on one network, in a month from `start`."""
    now = start + MONTH

    def visit(kind: str, host: str, *fault: object, **more: Any) -> Call:
        return Visit(kind, host, *fault, **more).call(network, now)  # type: ignore[arg-type]

    yield learn(UPLINK, network, start)
    yield Visit("rescued", "long.ago.test").call(network, start)
    for host in ("alpha.example.org", "beta.example.org"):
        yield learn(UPLINK, network, now)
        yield visit("rescued", host)
        now += 15
    yield learn(UPLINK, network, now)
    yield visit("rescued", "listed.news.test", (Symptom.REDIRECTED, Stage.FIRST_BYTE), protocol=Protocol.HTTP)
    for number in range(3):
        yield visit("rescued", f"www.cdn{number}.test", (Symptom.TIMEOUT, Stage.CONNECT), is_shared=True)
        for host, fault in ((f"www.slow{number}.test", SYMPTOMS[0]), (f"www.throttled{number}.test", SYMPTOMS[1])):
            yield visit("spoiled", host, fault)
            yield learn(Carried(host, TOR, 10**6), network, now)
    now += 125
    yield visit("down", "down.test")
    yield visit("spoiled", "freezes.test")
    yield visit("spoiled", "resets.test", SYMPTOMS[2])
    yield visit("cut", "cuts.test")
    yield visit("refused", "refuses.test")
    for host in ("cut.test", "again.test"):
        yield visit("works", host)
        yield visit("rung", host)
        now += 2
        yield learn(UPLINK, network, now)
        yield visit("rescued", host, SYMPTOMS[1])
    yield visit("works", "cut.test")
    for host in ("six.test", "seven.test"):
        yield learn(UPLINK, network, now)
        yield visit("rescued", host, SYMPTOMS[1], hellos=6)
    yield visit("works", "six.test", hellos=1)
    yield visit("works", "works.test")
    for page in PAGES[:2]:
        yield learn(ControlAnswered(page, ConnectivityResult.RESIGNED, now, issuer="office"), network, now)
    now += 100  # no site works any more
    yield visit("alone", "shell.test", (Symptom.TIMEOUT, Stage.CONNECT), port=22, protocol=Protocol.NONE)
    yield visit("alone", "unserved.test")
    yield visit("rescued", "waits.test")
    yield note(ResolverMeasured(frozenset({"unresolved.test"})), network, now)
    yield note(FlowStalled("stalls.test"), network, now)
    for method in ("retest_due", "about"):
        yield Call(method, ("alpha.example.org",), {"network": network, "now": now})
    yield Call("proof_due", ("silent.test",), {"network": network, "now": now})
    yield learn(SilenceExplained("silent.test", now, TOR, 3.1, 0.1, math.inf, math.inf, 0.1), network, now)
    yield Call("page_doubt", ("page.test", 7, "192.0.2.9:80"), {"network": network, "now": now})
    yield Call("page_check_due", ("own.test",), {"network": network, "now": now})
    yield learn(PageCompared("own.test", 7, "", now, PageDoubt.SHARED, TOR, is_unlike=False), network, now)
    yield note(PageDoubted("unlike.test"), network, now)
    yield Call("page_check_due", ("compared.test",), {"network": network, "now": now})
    yield Call("speed_check_due", ("works.test", (TOR,)), {"network": network, "now": now})
    for _ in range(2):
        yield visit("relay", "alpha.example.org")
    yield note(ResidueAsked(Protocol.TLS, is_answered=True), network, now)
    yield about_host("search_due", "waits.test", network, now)
    yield learn(RungTried("seven.test", SPLIT, RungResult.FAILED), network, now)
    yield Call("ignore", ({1, 2},))
    yield Call("lookup", ("long.ago.test",), {"network": network, "now": now})


def held_in(table: object) -> int:
    return len(table._places) if isinstance(table, NameCounter) else len(table)  # type: ignore[arg-type]


def filled(beliefs: Beliefs, by: By) -> set[str]:
    """The tables that hold anything."""
    return {name for name, held in tables_of(beliefs).items() if TABLES[name].by is by and any(map(held_in, held))}


def test_what_is_kept_by_host_is_empty_when_all_is_forgotten() -> None:
    beliefs = learned(*everywhere())
    for by in By:
        assert filled(beliefs, by) == {name for name, table in TABLES.items() if table.by is by}, "else it shows little"
    beliefs.forget()
    assert filled(beliefs, By.HOST) == set()


def named_hosts() -> list[str]:
    """Every host of `everywhere`, and a domain."""
    beliefs = learned(*everywhere())
    return sorted({text for _, text in texts(beliefs) if is_host(text) and text.endswith((".test", ".org"))})


@pytest.mark.parametrize("host", named_hosts())
def test_of_each_host_nothing_is_left(host: str) -> None:
    beliefs = learned(*everywhere())
    assert any(host in text for _, text in texts(beliefs))
    beliefs.forget(host)
    assert left_of(host, beliefs) == []


def test_what_is_kept_by_host_or_network_goes_with_the_network() -> None:
    beliefs = learned(*everywhere(HOME), *everywhere(AWAY, T0 + MONTH + 1000))
    beliefs.forget(network=HOME)
    kept = {place for place, text in texts(beliefs) if text == HOME}
    assert kept == BUDGETS, "else forgetting would renew the budgets"
    assert filled(beliefs, By.HOST) >= {name for name, table in TABLES.items() if table.by is By.HOST} - EMPTIED


EMPTIED = {"Generations._of_domains"}
"""Tables that forgetting empties of all networks: each next visit is planned anew."""


UNLISTED = {
    *("BeliefState.stored", "BeliefState.domains", "BeliefState.prefixes"),  # with the Changes of `forget_stored`
    "BeliefState.untold",
    "BeliefState.unresolved",  # with the records of networks
    *("Results._results", "Results._visited", "Results.waiting"),  # with the results that are stored
    "Generations._of_domains",
}
"""Tables of hosts that no list of `state` has. Each has a function that forgets hosts in it."""


def listed(beliefs: Beliefs, lists: str) -> set[str]:
    """The names of the tables in these lists, of the state and of all records of networks."""
    state = beliefs._state
    found = {id(table) for part in (state, *state.networks.values()) for table in getattr(part, lists)}
    # Of a table of tables, those in it are in the list.
    return {
        name
        for name, held in tables_of(beliefs).items()
        for table in held
        if id(table) in found or (isinstance(table, dict) and any(id(each) in found for each in table.values()))
    }


def unlisted(beliefs: Beliefs) -> set[str]:
    """The tables that the code knows and no list has."""
    return tables_of(beliefs).keys() - listed(beliefs, "host_tables")


def test_each_table_of_hosts_is_in_the_list() -> None:
    by_host = {name for name, table in TABLES.items() if table.by is By.HOST}
    assert listed(learned(*everywhere()), "host_tables") == by_host - UNLISTED


def test_a_new_table_that_is_not_in_the_list_is_found() -> None:
    """The control."""
    beliefs = learned(*everywhere())
    before = unlisted(beliefs)
    vars(beliefs._state)["more"] = KeyTable(3)
    assert unlisted(beliefs) - before == {"BeliefState.more"}


KEEPS_DATES = {
    *("BeliefState.stored", "BeliefState.works", "BeliefState.priors"),  # their dates move with the clock
    *("BeliefState.domains", "BeliefState.prefixes", "BeliefState.unresolved", "Results._visited"),  # they have none
    *("BeliefState.failed_under", "BeliefState.fares"),  # they are not read, or there are none
    "BeliefState.untold",  # the Changes of what moved
    "NetworkRecord.resigned",
}
"""Tables of hosts that keep their entries when the clock is set."""


@pytest.mark.parametrize("set_s", [-7200.0, 2 * MONTH])
def test_dates_that_do_not_move_with_the_clock_are_dropped_when_it_is_set(set_s: float) -> None:
    beliefs = learned(*everywhere())
    by_host = {name for name, table in TABLES.items() if table.by is By.HOST}
    assert filled(beliefs, By.HOST) == by_host
    beliefs.all(now=beliefs._state.now + set_s)
    assert filled(beliefs, By.HOST) - KEEPS_DATES == set()
    assert filled(beliefs, By.HOST) >= {"BeliefState.stored", "BeliefState.works", "BeliefState.failed_under"}


def test_of_an_unidentified_network_that_was_left_only_results_stay() -> None:
    """The next one may be unidentified, too."""
    beliefs = learned(*everywhere(UNKNOWN_NETWORK), *everywhere(HOME, T0 + MONTH + 1000))
    learn(NetworkLeft(), HOME, beliefs._state.now)(beliefs)
    assert {place for place, text in texts(beliefs) if text == UNKNOWN_NETWORK} == {
        *BUDGETS,
        "Results._results",
        "Results._visited",
    }
    assert HOME in {text for place, text in texts(beliefs) if place == "BeliefState.works"}


def test_what_is_kept_by_neither_holds_no_name() -> None:
    beliefs = learned(*everywhere())
    named = {place for place, text in texts(beliefs) if "." in text or text == HOME}
    assert named & {name for name, table in TABLES.items() if table.by is By.NEITHER} == set()
