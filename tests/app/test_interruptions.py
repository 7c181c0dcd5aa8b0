"""What is discarded after a change of network and after a sleep."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app.wiring import on_network_change, on_resumed
from proxy.detect.beliefs import network_health
from proxy.detect.relay_faults import RelayFault
from proxy.model import UNKNOWN_NETWORK, Change, NetworkId
from proxy.net.dialers.road import SharedRelays
from proxy.net.uplink.network_watch import NetworkChange
from proxy.net.uplink.sleep_watch import Resumed
from proxy.session.services import Services
from proxy.wire.flight import Flight
from tests.support.outcomes import AWAY, HOME, HOST, open_uplink, rescued
from tests.support.services import services
from tests.wire.hellos import real


class Parts:
    """The parts that are told, and of what."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.changes: list[Change] = []
        self.upstreams: list[Any] = []
        self.services: Services = services(
            pump=self,
            tcp_info=SimpleNamespace(split_tcp=SimpleNamespace(reset=self.note("split TCP"))),
            flows=SimpleNamespace(reset=self.note("flows")),
            findings=SimpleNamespace(clear_all=self.note("hosts that are down")),
            setup=lambda: SimpleNamespace(
                settings=SimpleNamespace(detect=SimpleNamespace(wake_stale_s=60.0)),
                registry=SimpleNamespace(shared=SharedRelays()),
            ),
            believe=self.changes.extend,
        )
        self.services.health.failed("tor", 999.0, fault=RelayFault.CONNECTION_REFUSED)

    def note(self, what: str) -> Callable[[], None]:
        return lambda: self.told.append(what)

    def abort_where(self, _is_lost: object, why: str) -> int:
        self.told.append(f"tunnels: {why}")
        return 0

    @property
    def blames_relay(self) -> bool:
        return "tor" in self.services.health.faults()


def test_on_another_network_what_was_measured_is_forgotten() -> None:
    parts = Parts()
    beliefs = parts.services.beliefs
    open_uplink(beliefs, UNKNOWN_NETWORK, now=1000.0)
    beliefs.learn(rescued(at=999.0), network=UNKNOWN_NETWORK, now=1000.0)

    flight = Flight()
    flight.receive_data(real(HOST))
    parts.services.kept_hellos.keep(HOST, flight)
    assert parts.services.kept_hellos.of(HOST) is not None

    on_network_change(parts.services, NetworkChange(UNKNOWN_NETWORK, HOME))

    assert parts.told == ["tunnels: its network is gone", "hosts that are down", "flows", "split TCP"]
    assert [change.network for change in parts.changes] == [UNKNOWN_NETWORK]
    assert not parts.blames_relay
    assert not parts.services.findings.may_be_counted
    assert parts.services.kept_hellos.of(HOST) is None


def test_a_network_that_counts_hellos_is_known_again() -> None:
    parts = Parts()
    network_health.record_of(parts.services.beliefs._state, HOME).hellos_counted_at = 900.0
    on_network_change(parts.services, NetworkChange(AWAY, HOME))
    assert parts.services.findings.may_be_counted


@pytest.mark.parametrize(("network", "is_known"), [(HOME, True), (AWAY, True), (UNKNOWN_NETWORK, False)])
def test_another_address_on_the_same_network_only_closes_what_cannot_go_on(network: NetworkId, is_known: bool) -> None:
    parts = Parts()
    on_network_change(parts.services, NetworkChange(network, network))
    assert (parts.told == ["tunnels: its network is gone"]) == is_known
    assert parts.blames_relay == is_known


def test_after_a_sleep_signals_do_not_count_and_the_network_is_read_again() -> None:
    parts = Parts()
    watch: Any = SimpleNamespace(read_now=parts.note("network"))

    on_resumed(parts.services, watch, Resumed(slept_s=30.0))

    assert parts.told == ["flows", "network"]
    assert not parts.blames_relay
    assert not parts.services.beliefs.may_blame_relays(HOME, 1000.0)
