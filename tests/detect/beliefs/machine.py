"""A state machine over `Beliefs`: everything that it can be told, in any order, and what must hold after each step.

The clock is the machine's, and no delay is random. A network on which nothing is blocked is in `healthy`.

By hand, longer, and with the shortest history that fails: `python -m tests.detect.beliefs.machine 500 100` (histories,
steps of each; `--same`: not random).
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import (
    Carried,
    CertificateAccepted,
    Circumstance,
    ClockMeasured,
    ComputerResumed,
    ControlAnswered,
    DirectDelivered,
    EventBeside,
    FlightAnswered,
    FlightBroken,
    FlowStalled,
    Intercepted,
    NetworkLeft,
    PageDoubted,
    PlainPageRequested,
    PortalSuspected,
    ResidueAsked,
    ResolverMeasured,
    Retested,
    SpeedNotShown,
    SpeedsCompared,
)
from proxy.detect.beliefs.tables import Key
from proxy.detect.scopes import registrable
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.model import Belief, ConnectivityResult, NetworkId, Outcome, Protocol, Route, Stage, State, Symptom
from tests.detect.beliefs.inside import BUDGETS, beyond, fields_of, held_by, texts, waiting_hosts
from tests.detect.beliefs.told import (
    ALL_HOSTS,
    BACK,
    DAY,
    HOSTS,
    KINDS,
    KNOWN,
    NETWORKS,
    PAGES,
    SLEEPS,
    SMALL,
    SYMPTOMS,
    TUNINGS,
    UNRESOLVED,
    UPLINK,
    Beside,
    Call,
    Told,
    Visit,
    about_host,
    addresses_of,
    as_of,
    empty,
    events_beside,
    hosts,
    keep,
    learn,
    networks,
    note,
    of_one_instant,
    reads,
    visits,
)
from tests.detect.world import T0
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome


class Machine(RuleBasedStateMachine):
    """What both machines have: beliefs and a clock."""

    tuning_names: Sequence[str] = ("default",)
    met: ClassVar[set[object]] = set()
    """The states of sites and networks that all histories have met."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.told = Told(DetectTuning())

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.told = Told(TUNINGS[data.draw(st.sampled_from(self.tuning_names))])

    @property
    def beliefs(self) -> Beliefs:
        return self.told.beliefs

    def learn(self, event: Outcome | EventBeside, network: NetworkId) -> None:
        self.told(learn(event, network, self.now))

    @invariant()
    def holds(self) -> None:
        """I6, and I9: a Byway that starts anew from the Changes believes the same."""
        empty(beyond(self.beliefs, self.told.tuning))
        empty(differing(self.told, max(self.now, self.beliefs._state.latest)))
        state = self.beliefs._state
        self.met.update(belief.state for belief in (*state.stored.values(), *state.transient.values()))
        self.met.update(map(self.beliefs.network_state, NETWORKS))


def differing(told: Told, now: float) -> dict[Key, tuple[Belief | None, Belief | None]]:
    """Beliefs that are stored, as of `now`, and those that the Changes told, where both differ."""
    stored = dict(told.beliefs._state.stored.items())
    known = dict(told.stored)
    if "L4" in KNOWN:
        keep(known, told.beliefs._state.untold)
    found = {}
    for key in stored.keys() | known.keys():
        here, there = stored.get(key), known.get(key)
        if "L7" in KNOWN and here is not None and there is not None:
            until = max(here.until, there.until) if here.state is State.SUSPECT is there.state else there.until
            there = replace(there, retest_at=here.retest_at, retest_step=here.retest_step, until=until)
        seen = as_of(here, now, told.tuning), as_of(there, now, told.tuning)
        if seen[0] != seen[1]:
            found[key] = seen
    return found


class Anything(Machine):
    """Beliefs that are told anything, in any order."""

    tuning_names = ("default", "small")
    met: ClassVar[set[object]] = set()

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[tuple[Outcome, NetworkId]] = []

    # -- connections and what is found out beside them -------------------------------------------------------------

    @rule(visit=visits(), network=networks)
    def visit(self, visit: Visit, network: NetworkId) -> None:
        seen = visit.outcome(self.now)
        self.outcomes.append((seen, network))
        self.learn(seen, network)

    @rule(visit=visits(), network=networks, opens=st.booleans())
    def visit_beside_others(self, visit: Visit, network: NetworkId, opens: bool) -> None:
        """Sites are visited more than anything else happens."""
        if opens:
            self.learn(UPLINK, network)
        self.visit(visit, network)

    @rule(host=hosts, network=networks, times=st.integers(2, 4))
    def works_often(self, host: str, network: NetworkId, times: int) -> None:
        for _ in range(times):
            again = Call("works_again", (host, delivered()), {"network": network, "now": self.now})
            if self.told(again) is None:
                self.learn(outcome(delivered(), host=host, at=self.now), network)

    @precondition(lambda self: self.outcomes)
    @rule(back=st.integers(0, 5), ok=st.booleans())
    def judge_late(self, back: int, ok: bool) -> None:
        """A direct attempt that was overtaken is judged, or one that was judged is told of again."""
        seen, network = self.outcomes[-1 - back % len(self.outcomes)]
        self.learn(seen.with_attempt(delivered() if ok else failed(Symptom.DROPPED)), network)

    @rule(beside=hosts.flatmap(events_beside), network=networks)
    def find_out(self, beside: Beside, network: NetworkId) -> None:
        self.learn(beside.event, network)

    @rule(
        page=st.sampled_from(PAGES),
        result=st.sampled_from(list(ConnectivityResult)),
        network=networks,
        portal=st.sampled_from(("", "http://login.portal.test/")),
    )
    def control(self, page: str, result: ConnectivityResult, network: NetworkId, portal: str) -> None:
        issuer = "office" if result is ConnectivityResult.RESIGNED else ""
        is_domestic = page.startswith("domestic")
        self.learn(ControlAnswered(page, result, self.now - 0.2, is_domestic, issuer, portal), network)

    @rule(
        host=hosts,
        status=st.sampled_from((SiteStatus.SITE_DOWN, SiteStatus.WORKS, SiteStatus.BLOCKED)),
        network=networks,
    )
    def measure(self, host: str, status: SiteStatus, network: NetworkId) -> None:
        self.told(Call("measured", (host, LastResult(status, self.now, Source.MEASUREMENT)), {"network": network}))

    # -- what takes several steps to come about --------------------------------------------------------------------

    @rule(apart=st.sampled_from((15.0, 200.0)), relay=st.sampled_from((TOR, VPS)), network=networks)
    def two_hosts_of_a_domain_fail(self, apart: float, relay: Route, network: NetworkId) -> None:
        """Both at one address: less than three minutes apart, the second failure may be residual blocking."""
        for number, host in enumerate(HOSTS[:2]):
            self.now += apart * number
            self.learn(Visit("rescued", host, relay=relay).outcome(self.now), network)
            self.learn(UPLINK, network)

    @rule(network=networks, fault=st.sampled_from((*SYMPTOMS[:2], (Symptom.TIMEOUT, Stage.CONNECT))))
    def a_prefix_fails(self, network: NetworkId, fault: tuple[Symptom, Stage]) -> None:
        """Three hosts of it freeze, are throttled, or do not answer a SYN."""
        kind = "rescued" if fault[0] is Symptom.TIMEOUT else "spoiled"
        for number in range(3):
            host = f"www.cdn{number}.test"
            self.learn(Visit(kind, host, fault, is_shared=True).outcome(self.now), network)
            if kind == "spoiled":
                self.learn(Carried(host, TOR, 10**6), network)

    @rule(network=networks)
    def a_wide_prefix_fails(self, network: NetworkId) -> None:
        for number in range(4):
            visit = Visit("rescued", f"www.cdn{number}.test", (Symptom.TIMEOUT, Stage.CONNECT)).outcome(self.now)
            direct = replace(visit.attempts[0], address=f"192.0.{number}.1:443")
            self.learn(replace(visit, attempts=(direct, *visit.attempts[1:])), network)

    @rule(network=networks, in_vain=st.booleans(), plain=st.sampled_from((False, False, True)))
    def foreign_sites_fail(self, network: NetworkId, in_vain: bool, plain: bool = False) -> None:
        """The network becomes restricted, of HTTPS alone with `plain`; and shut, if relays are tried in vain."""
        for number in range(6):
            self.learn(Visit("rescued", f"www.site{number}.test").outcome(self.now), network)
        self.learn(DirectDelivered("domestic.test"), network)
        for page in PAGES[:2]:
            self.learn(ControlAnswered(page, ConnectivityResult.FAILED, self.now), network)
        self.told(note(PlainPageRequested(came=plain), network, self.now))
        if in_vain:
            self.relays_fail("www.site0.test", network, 6)

    @rule(network=networks)
    def no_way_out(self, network: NetworkId) -> None:
        """This computer has no route to anywhere."""
        self.learn(Visit("alone", HOSTS[0], (Symptom.OFFLINE, Stage.CONNECT)).outcome(self.now), network)

    @rule(network=networks)
    def certificates_are_resigned(self, network: NetworkId) -> None:
        for number in range(3):
            self.learn(Intercepted(f"www.site{number}.test", "office", known=False, trusted=True), network)
        self.learn(ControlAnswered(PAGES[0], ConnectivityResult.RESIGNED, self.now, issuer="office"), network)

    @rule(host=hosts, network=networks, times=st.integers(1, 6))
    def relays_fail(self, host: str, network: NetworkId, times: int) -> None:
        for _ in range(times):
            self.learn(outcome(failed(Symptom.SILENT, route=TOR), host=host, at=self.now), network)

    @rule(network=networks, at_once=st.sampled_from((3, 9)), ok=st.booleans())
    def re_tests_are_due(self, network: NetworkId, at_once: int, ok: bool) -> None:
        """Of more sites than may be re-tested in an hour. One is reported."""
        sites = [f"www.site{number}.test" for number in range(at_once)]
        for host in sites:
            self.learn(Visit("rescued", host).outcome(self.now), network)
        self.now += 125.0
        for host in sites:
            self.learn(Visit("relay", host).outcome(self.now), network)
            self.told(Call("retest_due", (host,), {"network": network, "now": self.now}))
        self.learn(Retested(sites[0], direct_ok=ok, other_ok=True), network)

    @precondition(lambda self: self.told.tuning is SMALL)
    @rule(kind=st.sampled_from(KINDS), fault=st.sampled_from(SYMPTOMS), one_domain=st.booleans(), network=networks)
    def many_hosts(self, kind: str, fault: tuple[Symptom, Stage], one_domain: bool, network: NetworkId) -> None:
        """More than a table may hold."""
        for number in range(30):
            host = f"h{number}.many.test" if one_domain else f"h.many{number}.test"
            self.learn(Visit(kind, host, fault).outcome(self.now), network)

    # -- the network and the computer ------------------------------------------------------------------------------

    @rule(network=networks, what=st.sampled_from(("suspect_portal_if_quiet", "control_wanted")))
    def of_the_network(self, network: NetworkId, what: str) -> None:
        self.told(Call(what, (network, self.now)))

    @rule(
        network=networks,
        event=st.sampled_from((CertificateAccepted(), PortalSuspected(), PlainPageRequested(came=True))),
    )
    def noted(self, network: NetworkId, event: Circumstance) -> None:
        self.told(note(event, network, self.now))

    @rule(network=networks, found=st.lists(st.sampled_from(UNRESOLVED), min_size=1, max_size=4))
    def resolver_measured(self, network: NetworkId, found: list[tuple[str, ...]]) -> None:
        for domains in found:
            self.told(note(ResolverMeasured(frozenset(domains)), network, self.now))

    @rule(host=hosts, network=networks, mark=st.sampled_from((7, 7, 7, 8)))
    def small_page(self, host: str, network: NetworkId, mark: int) -> None:
        """A small page came over plain HTTP. The same one for two sites is doubted."""
        at = f"{addresses_of(host)[0]}:80"
        self.told(Call("page_doubt", (host, mark, at), {"network": network, "now": self.now}))

    @rule(host=hosts, network=networks)
    def other_page_measured(self, host: str, network: NetworkId) -> None:
        self.told(note(PageDoubted(host), network, self.now))

    @rule(host=hosts, network=networks)
    def stall(self, host: str, network: NetworkId) -> None:
        self.told(note(FlowStalled(host), network, self.now))

    @rule()
    def another_network(self) -> None:
        self.told(learn(NetworkLeft(), HOME, self.now))

    @rule()
    def resume(self) -> None:
        self.told(note(ComputerResumed(), HOME, self.now))

    @rule()
    def wrong_clock(self) -> None:
        self.told(note(ClockMeasured(DAY), HOME, self.now))

    @rule(network=networks, protocol=st.sampled_from((Protocol.TLS, Protocol.HTTP)), is_answered=st.booleans())
    def residue(self, network: NetworkId, protocol: Protocol, is_answered: bool) -> None:
        self.told(note(ResidueAsked(protocol, is_answered), network, self.now))

    @rule(host=hosts, network=networks, broke=st.booleans())
    def flight(self, host: str, network: NetworkId, broke: bool) -> None:
        address = str(addresses_of(host)[0])
        event = FlightBroken(address, host) if broke else FlightAnswered(address, host)
        self.told(note(event, network, self.now))

    @rule(seconds=st.sampled_from(SLEEPS))
    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from(BACK))
    def clock_back(self, seconds: float) -> None:
        self.now += seconds

    # -- claims and reads ------------------------------------------------------------------------------------------

    @rule(
        host=hosts,
        network=networks,
        what=st.sampled_from(
            (
                *("retest_due", "proof_due", "search_due", "next_rung", "page_check_due"),
                *("about", "lookup", "may_be_control"),
            )
        ),
    )
    def of_a_host(self, host: str, network: NetworkId, what: str) -> None:
        self.told(about_host(what, host, network, self.now))

    @rule(host=hosts, network=networks)
    def end_of_a_claim(self, host: str, network: NetworkId) -> None:
        self.told(Call("release", (self.told(about_host("claim_of", host, network, self.now)),)))

    @rule(host=hosts, network=networks, bytes_s=st.sampled_from((900_000.0, 900_000.0, 130_000.0)))
    def compare_speeds(self, host: str, network: NetworkId, bytes_s: float) -> None:
        self.told(Call("speed_check_due", (host, (TOR,)), {"network": network, "now": self.now}))
        at = f"{addresses_of(host)[0]}:443"
        self.told(learn(SpeedsCompared(host, at, Protocol.TLS, 130_000.0, TOR, bytes_s), network, self.now))

    @rule(host=hosts, network=networks)
    def no_speed(self, host: str, network: NetworkId) -> None:
        self.told(note(SpeedNotShown(host), network, self.now))

    @rule()
    def read(self) -> None:
        """I7. As long as reads drop what has lapsed, the second of two at one time changes nothing."""
        self.told(Call("claim_of", ("nobody.test",), {"network": HOME, "now": self.now}))  # the clock alone
        before = held_by(self.beliefs)
        self.told(Call("held", (ALL_HOSTS,), {"now": self.now}))
        reads(self.beliefs, self.now, ALL_HOSTS)
        read = held_by(self.beliefs)
        changed = {name for name in before if before[name] != read[name]}
        empty(changed - (_LAPSING if "I7" in KNOWN else set()))
        reads(self.beliefs, self.now, ALL_HOSTS[::-1])
        again = held_by(self.beliefs)
        empty({name for name in read if again[name] != read[name]} - {"Generations._of_domains"})

    # -- forgetting ------------------------------------------------------------------------------------------------

    @rule(
        host=st.sampled_from((*ALL_HOSTS, "example.org", "news.test")),
        network=st.sampled_from((None, HOME)),
        is_troubled=st.booleans(),
    )
    def forget_host(self, host: str, network: NetworkId | None, is_troubled: bool) -> None:
        """I3. Its plan was kept, and it was about to be re-tested."""
        if is_troubled:
            self.learn(Visit("rescued", host).outcome(self.now), HOME)
            self.now += 125.0
            self.learn(Visit("relay", host).outcome(self.now), HOME)
        for method in ("retest_due", "search_due", "about"):
            self.told(about_host(method, host, HOME, self.now))
        self.told(Call("forget", (host, network)))
        if network is None:
            empty(left_of(host, self.beliefs))

    @rule(network=st.sampled_from(NETWORKS))
    def forget_network(self, network: NetworkId) -> None:
        self.told(Call("forget", (None, network)))
        empty({place for place, text in texts(self.beliefs) if text == network} - BUDGETS)

    @rule()
    def forget_all(self) -> None:
        self.told(Call("forget"))
        known = (*ALL_HOSTS, "example.org", "news.test", ".test")
        empty([found for found in texts(self.beliefs) if any(host in found[1] for host in known)])

    @rule()
    def forget_unstored(self) -> None:
        self.told(Call("forget_unstored"))

    # -- two at once -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.told.tuning is not SMALL)
    @rule(pair=of_one_instant, network=networks, opens=st.booleans())
    def two_events_of_one_instant(
        self, pair: tuple[Visit | Beside, Visit | Beside], network: NetworkId, opens: bool
    ) -> None:
        """I4. `opens`: the control gate was open for both just before."""
        if opens:
            self.learn(UPLINK, network)
        self.now += 0.01  # nothing else has happened at this instant
        empty(list(order_shows(self.told, pair, network, self.now)))
        for each in pair:
            self.told(each.call(network, self.now))


_LAPSING = {
    *("BeliefState.stored", "BeliefState.transient", "BeliefState.untold"),
    *("BeliefState.domains", "BeliefState.prefixes", "Generations._of_domains"),
}


def order_shows(
    told: Told, pair: Sequence[Visit | Beside], network: NetworkId, now: float
) -> Iterator[tuple[str, object, object]]:
    """What differs between beliefs that are told two events in one order and in the other, as far as that is not
    known."""
    state = told.beliefs._state
    if is_ordered_today(pair, {host for where, host in state.at_control if where == network}):
        return
    one, other = (each.call(network, now) for each in pair)
    here, there = told.copy(one, other), told.copy(other, one)
    states = here.network_state(network), there.network_state(network)
    if states[0] is states[1] is not told.beliefs.network_state(network):
        return  # what was learned before a network was found at fault is learned no more after it
    if "L20" in KNOWN and states[0].is_restricted is not states[1].is_restricted:
        return
    if not told.beliefs.hellos_are_counted(network, now) and here.hellos_are_counted(network, now):
        return  # what was learned before it was found to punish bursts is withdrawn
    yield from differences(here, there, now)


def is_ordered_today(pair: Sequence[Visit | Beside], waiting: Collection[str]) -> bool:
    """Whether the order of two events shows with the code of today. `waiting`: hosts with signals at the control
    gate."""
    opening = {each.host for each in pair if each.opens_direct}
    if "L19" in KNOWN and opening and any(isinstance(each, Beside) and each.is_of_a_stranger for each in pair):
        return True
    return "L12" in KNOWN and any(each.host in waiting and opening - {each.host} for each in pair)


def differences(here: Beliefs, there: Beliefs, now: float) -> Iterator[tuple[str, object, object]]:
    """What is not the same in the answers of two beliefs, and among what waits. Sentences may differ: they tell of the
    order in which things happened."""
    for network in NETWORKS:
        for host in ALL_HOSTS:
            one, other = (
                beliefs.lookup(host, network=network, now=now, addresses=addresses_of(host))
                for beliefs in (here, there)
            )
            for name, value in fields_of(one) if one != other else ():
                if name != "why" and value != getattr(other, name):
                    yield f"{host}: {name}", value, getattr(other, name)
        if here.network_state(network) is not there.network_state(network):
            yield network, here.network_state(network), there.network_state(network)
    waiting = waiting_hosts(here._state), waiting_hosts(there._state)
    if waiting[0] != waiting[1]:
        yield "waiting", waiting[0] - waiting[1], waiting[1] - waiting[0]


def left_of(host: str, beliefs: Beliefs) -> list[tuple[str, str]]:
    """The texts that name a host that was forgotten, each with the field in which it stands; and those that are its
    domain, where no other host of that is left."""
    domain = registrable(host)
    found = [each for each in texts(beliefs) if domain in each[1]]
    own = [each for each in found if each[1] == host or f".{host}" in each[1] or (host != domain and host in each[1])]
    if any(text.endswith(f".{domain}") and not text.startswith("*.") for _, text in found):
        return own
    return own + [each for each in found if each[1] in (domain, f"*.{domain}")]


def run(
    machine: type[RuleBasedStateMachine], histories: int, steps: int, *, is_random: bool = False, shrinks: bool = False
) -> None:
    """Raises what a history raises, with its steps. By itself the histories are the same in each run. `shrinks`: the
    shortest history is looked for, which takes minutes."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            derandomize=not is_random,
            database=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
        ),
    )


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description="Looks for histories that break what must hold of Beliefs.")
    asked.add_argument("histories", type=int, nargs="?", default=500)
    asked.add_argument("steps", type=int, nargs="?", default=100)
    asked.add_argument("--same", action="store_true", help="those of the tests, in place of random ones")
    given = asked.parse_args()
    from tests.detect.beliefs.healthy import Healthy  # it imports this module

    for each in (Anything, Healthy):
        run(each, given.histories, given.steps, is_random=not given.same, shrinks=True)
        print(f"{each.__name__}: nothing found")
