"""What a Setup learns of the running Byway."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import ControlAnswered
from proxy.detect.relay_health import Health
from proxy.detect.relay_ways import RelayWays
from proxy.extend.dispatch import Addons
from proxy.model import ConnectivityResult, Destination, DnsFinding, NetworkId, Route, SignalId, Symptom
from proxy.model.relay_way import RelayWay
from proxy.net.race.shared_findings import SharedFindings
from proxy.setup.runtime import AppRuntime, WaysHere

HOME = NetworkId("home")


class Believed:
    """Beliefs, rules and the network in one: what each says is set by the test."""

    def __init__(self) -> None:
        self.hidden: set[str] = set()
        self.listed: set[str] = set()
        self.relayed: set[str] = set()
        self.router = self
        self.rules = self

    def current(self) -> NetworkId:
        return HOME

    def lookup(self, host: str, *, network: NetworkId, now: float) -> Any:
        assert network == HOME
        assert now > 0
        return SimpleNamespace(hide_name_from_dns=host in self.hidden)

    def is_listed(self, host: str) -> bool:
        return host in self.listed

    def may_go_direct(self, destination: Destination, network: NetworkId, now: float) -> bool:
        return destination.host not in self.relayed


def runtime(known: Any, down: SharedFindings) -> AppRuntime:
    return AppRuntime(lambda: known, known, known, down, known, known, known)


@pytest.mark.parametrize("why", ["hidden", "listed", "relayed"])
async def test_a_name_is_suspect_by_belief_by_list_or_by_the_users_word(why: str) -> None:
    known = Believed()
    asked = runtime(known, SharedFindings(asyncio.get_running_loop().time, lasts_s=1))
    assert asked.network() == HOME
    assert not asked.is_suspect("a.test")
    getattr(known, why).add("a.test")
    assert asked.is_suspect("a.test")
    assert not asked.is_suspect("b.test")


async def test_a_forged_answer_lets_waiting_races_go_on() -> None:
    down = SharedFindings(asyncio.get_running_loop().time, lasts_s=1)
    runtime(Believed(), down).on_forged("a.test", DnsFinding(SignalId.DNS_TWO_ANSWERS, "", 1.0))
    assert down.is_down("a.test")
    assert not down.is_down("b.test")


async def test_it_reports_what_is_believed_now() -> None:
    known: Any = Believed()
    beliefs, health, addons = Beliefs(DetectTuning()), Health(DetectTuning()), Addons()
    down = SharedFindings(asyncio.get_running_loop().time, lasts_s=1)
    asked = AppRuntime(lambda: known, known, beliefs, down, health, RelayWays(DetectTuning()), addons)
    address = ipaddress.ip_address("192.0.2.1")
    assert not asked.in_residual_window(address)
    asked.report_broken_flight("192.0.2.1:443", "a.test")
    assert asked.in_residual_window(address)
    asked.report_answered_flight("192.0.2.1:443", "a.test")
    assert not asked.in_residual_window(address)
    assert not asked.is_portal()
    now = time.time()
    beliefs.learn(ControlAnswered("control.test", ConnectivityResult.PORTAL, started=now - 1), network=HOME, now=now)
    assert asked.is_portal()
    assert not asked.is_failing("tor")


async def test_addons_classify_and_dial_only_where_one_has_the_hook() -> None:
    known: Any = Believed()
    addons = Addons()
    down = SharedFindings(asyncio.get_running_loop().time, lasts_s=1)
    asked = AppRuntime(lambda: known, known, known, down, known, known, addons)
    assert asked.page_classifier() is None
    assert await asked.dial_by_addon("none", Route(("none",)), Destination("a.test", 1)) is None
    addons.classifies = True
    assert asked.page_classifier() == addons.classify


def test_ways_to_relays_are_believed_of_the_current_network_at_the_time() -> None:
    relay, other = Destination("vps.test", 443), Destination("192.0.2.9", 8443)
    main, second = RelayWay(relay, "192.0.2.1"), RelayWay(other, other.host)
    network, now = [HOME], [1_700_000_000.0]
    here = WaysHere(RelayWays(DetectTuning()), lambda: network[0], lambda: now[0])
    here.used(relay, second)
    assert here.order(relay, [main, second], ()).first == [second, main]
    network[0] = NetworkId("cafe")
    assert here.order(relay, [main, second], ()).first == [main, second]
    network[0] = HOME
    assert here.due(relay, [main, second]) == main
    here.failed(relay, main, Symptom.TIMEOUT)
    now[0] += 2000
    assert here.order(relay, [main, second], ()).first == [second, main]
    assert here.due(relay, [main, second]) == main
    here.worked(relay, main)
    assert here.order(relay, [main, second], ()).first == [main, second]
    here.overtaken(relay, main)
    assert here.order(relay, [main, second], ()).first == [second, main]
    here.used(relay, second)
    here.avoid(relay, str(other))
    assert here.order(relay, [main, second], ()).first == [main, second]
