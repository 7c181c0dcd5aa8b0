from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app.runtime import AppRuntime
from proxy.model import Destination, DnsFinding, NetworkId, SignalId
from proxy.net.race.direct_down import DirectDownCache

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

    def may_go_direct(self, destination: Destination) -> bool:
        return destination.host not in self.relayed


def runtime(known: Any, down: DirectDownCache) -> AppRuntime:
    return AppRuntime(lambda: known, known, known, down, known, known)


@pytest.mark.parametrize("why", ["hidden", "listed", "relayed"])
async def test_a_name_is_suspect_by_belief_by_list_or_by_the_users_word(why: str) -> None:
    known = Believed()
    asked = runtime(known, DirectDownCache(asyncio.get_running_loop().time, lasts_s=1))
    assert asked.network() == HOME
    assert not asked.is_suspect("a.test")
    getattr(known, why).add("a.test")
    assert asked.is_suspect("a.test")
    assert not asked.is_suspect("b.test")


async def test_a_forged_answer_lets_waiting_races_go_on() -> None:
    down = DirectDownCache(asyncio.get_running_loop().time, lasts_s=1)
    runtime(Believed(), down).on_forged("a.test", DnsFinding(SignalId.DNS_TWO_ANSWERS, "", 1.0))
    assert down.is_down("a.test")
    assert not down.is_down("b.test")
