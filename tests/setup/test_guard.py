"""What the guard is told of this computer, and what is refused at the moment of dialing."""

from __future__ import annotations

import ipaddress

import pytest

from proxy.config.load import load
from proxy.model import Destination, IPAddress
from proxy.model.errors import ConfigError
from proxy.net.dns.resolver import Resolver
from proxy.net.uplink.network_watch import source_address_for
from proxy.session.setup import refusal_by
from proxy.setup.guard import guard_of, guard_of_relays

LOOPBACK = ipaddress.ip_address("127.0.0.1")
FAKE = ipaddress.ip_address("198.18.0.7")
NAME = Destination("site.test", 443)


class FakesAnswers(Resolver):
    """Of a computer where another proxy answers names."""

    def is_fake(self, address: IPAddress) -> bool:
        return address == FAKE


def test_only_our_own_addresses_are_where_packets_to_them_come_from() -> None:
    elsewhere = ipaddress.ip_address("192.0.2.77")
    assert source_address_for(LOOPBACK) == LOOPBACK
    assert source_address_for(elsewhere) != elsewhere


def test_an_address_that_is_ours_now_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    private = Destination("192.168.77.5", 22)
    assert private.address is not None
    refusal = refusal_by(guard_of(load(None, env={}), ports=(8119,)))
    assert refusal(private, private.address) is None
    monkeypatch.setattr("proxy.session.setup.source_address_for", lambda address: address)
    assert "this computer itself" in (refusal(private, private.address) or "")


def test_a_name_may_lead_to_a_fake_address_and_nothing_else_may() -> None:
    guard = guard_of(load(None, env={}), ports=(8119,))
    assert refusal_by(guard)(NAME, FAKE) is not None
    refusal = refusal_by(guard, FakesAnswers())
    assert refusal(NAME, FAKE) is None
    assert refusal(NAME, LOOPBACK) is not None


def test_a_relay_may_be_anywhere_but_where_we_listen() -> None:
    refusal = refusal_by(guard_of_relays(ports=(8119,)))
    assert refusal(Destination("relay.test", 1080), LOOPBACK) is None
    assert "Byway itself" in (refusal(Destination("relay.test", 8119), LOOPBACK) or "")


def test_what_is_let_past_has_to_make_sense() -> None:
    loaded = load(None, env={}, flags={"safety.allow": ("nonsense/99",)})
    with pytest.raises(ConfigError, match="nonsense"):
        guard_of(loaded, ports=(8119,))
