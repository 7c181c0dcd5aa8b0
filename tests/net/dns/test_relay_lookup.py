"""Relays by name: asked of encrypted DNS alone, and remembered for when nobody there answers."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest

from proxy.config.schema import Dns
from proxy.model import IPAddress, NetworkId, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.relay_lookup import RelayLookup
from proxy.net.dns.resolver import EncryptedFor, Resolver, ResolverOptions
from proxy.net.dns.stub_resolver import LookupResult
from proxy.net.knowledge import NothingKnown
from proxy.net.tasks import cancel_all, spawn
from proxy.store.relay_addresses import RelayAddresses
from proxy.wire.dns import Rcode
from tests.support.waiting import until

FIRST, SECOND = (ipaddress.ip_address("192.0.2.7"),), (ipaddress.ip_address("192.0.2.8"),)
HOME, CAFE = NetworkId("home"), NetworkId("cafe")
NOBODY = DialError("all encrypted DNS servers failed: …", stage=Stage.RESOLVE, symptom=Symptom.SKIPPED)


class Encrypted(EncryptedDns):
    """Encrypted DNS that says what a test wants, or nothing until `open` is set."""

    def __init__(self) -> None:
        super().__init__((), (), Dns())
        self.asked: list[str] = []
        self.says: LookupResult | DialError = LookupResult(FIRST, 60)
        self.open = asyncio.Event()
        self.open.set()

    async def ask(self, host: str) -> LookupResult:
        self.asked.append(host)
        await self.open.wait()
        if isinstance(self.says, DialError):
            raise self.says
        return self.says


class World:
    def __init__(
        self,
        encrypted_for: EncryptedFor = EncryptedFor.PUBLIC,
        *,
        patience_s: float = 1.0,
        public_only: Sequence[str] = (),
    ) -> None:
        self.network = HOME
        self.encrypted = Encrypted()
        self.plain: list[str] = []
        self.memory = RelayAddresses(None)
        self.now = 1000.0
        resolver = Resolver(
            options=ResolverOptions(encrypted_for=encrypted_for, local=("lan",)),
            knowledge=NothingKnown(lambda: self.network),
            encrypted=self.encrypted,
            lookup=self._system,
        )
        self.lookup = RelayLookup(
            resolver,
            self.memory,
            network=lambda: self.network,
            patience_s=patience_s,
            now=lambda: self.now,
            public_only=public_only,
            is_public=lambda address: address != INSIDE,
        )

    def _system(self, host: str) -> list[IPAddress]:
        self.plain.append(host)
        return [*SECOND]


async def test_a_name_is_asked_of_encrypted_dns_alone_and_then_known() -> None:
    world = World()
    assert world.lookup.cached("relay.test") is None
    assert await world.lookup.resolve("relay.test") == FIRST
    assert world.lookup.cached("relay.test") == FIRST
    assert await world.lookup.resolve("relay.test") == FIRST
    assert (world.encrypted.asked, world.plain) == (["relay.test"], [])
    world.network = CAFE
    assert world.lookup.cached("relay.test") is None


@pytest.mark.parametrize("host", ["nas", "nas.lan", "nas.local"])
async def test_a_local_name_is_asked_of_the_system(host: str) -> None:
    world = World()
    assert await world.lookup.resolve(host) == SECOND
    assert (world.encrypted.asked, world.plain) == ([], [host])


async def test_with_never_the_system_is_asked() -> None:
    world = World(EncryptedFor.NONE)
    assert await world.lookup.resolve("relay.test") == SECOND
    assert (world.encrypted.asked, world.plain) == ([], ["relay.test"])


async def test_without_an_answer_the_sentence_says_what_to_do() -> None:
    world = World()
    world.encrypted.says = NOBODY
    with pytest.raises(DialError, match=r"\?alt=ADDRESS:PORT\), or add another encrypted DNS server") as caught:
        await world.lookup.resolve("relay.test")
    assert (caught.value.symptom, caught.value.evidence) == (Symptom.RESOLVE_FAILED, {"doh": "doh_down"})
    assert world.plain == []


async def test_who_asks_again_is_told_at_once_while_the_next_query_is_under_way() -> None:
    world = World()
    world.encrypted.says = NOBODY
    with pytest.raises(DialError):
        await world.lookup.resolve("relay.test")
    world.encrypted.open.clear()
    world.encrypted.says = LookupResult(FIRST, 60)
    for _ in range(2):
        with pytest.raises(DialError, match=r"\?alt=ADDRESS:PORT"):
            await world.lookup.resolve("relay.test")
    world.encrypted.open.set()
    await until(lambda: world.lookup.cached("relay.test") == FIRST)
    assert world.encrypted.asked == ["relay.test"] * 2


async def test_a_name_that_does_not_exist_is_told_as_such_whatever_is_remembered() -> None:
    world = World()
    world.memory.remember("relay.test", HOME, FIRST, world.now)
    world.encrypted.says = LookupResult(code=Rcode.NO_NAME)
    with pytest.raises(DialError) as caught:
        await world.lookup.resolve("relay.test")
    assert caught.value.symptom is Symptom.NO_NAME


async def test_a_computer_without_a_network_is_not_told_of_dns_servers() -> None:
    world = World()
    world.encrypted.says = DialError("no route", stage=Stage.RESOLVE, symptom=Symptom.OFFLINE)
    with pytest.raises(DialError) as caught:
        await world.lookup.resolve("relay.test")
    assert caught.value.symptom is Symptom.OFFLINE


async def test_what_was_said_before_serves_when_nobody_answers() -> None:
    world = World()
    assert await world.lookup.resolve("relay.test") == FIRST
    world.encrypted.says = NOBODY
    world.network = CAFE
    assert await world.lookup.resolve("relay.test") == FIRST
    assert world.lookup.cached("relay.test") == FIRST
    world.now += 31 * 86_400
    with pytest.raises(DialError):
        await world.lookup.resolve("other.test")


async def test_a_late_answer_is_waited_for_a_moment_and_used_from_then_on() -> None:
    world = World(patience_s=0.05)
    world.memory.remember("relay.test", HOME, SECOND, world.now)
    world.encrypted.open.clear()
    assert await world.lookup.resolve("relay.test") == SECOND
    world.encrypted.open.set()
    await until(lambda: world.lookup.cached("relay.test") == FIRST)
    await until(lambda: world.memory.addresses("relay.test", HOME, world.now) == FIRST)


async def test_a_quick_answer_is_waited_for() -> None:
    world = World(patience_s=60)
    world.memory.remember("relay.test", HOME, SECOND, world.now)
    assert await world.lookup.resolve("relay.test") == FIRST


async def test_where_the_last_query_failed_nobody_waits_for_the_next() -> None:
    world = World(patience_s=3600)
    for host in ("relay.test", "other.test"):
        world.memory.remember(host, HOME, SECOND, world.now)
    world.encrypted.says = NOBODY
    assert await world.lookup.resolve("relay.test") == SECOND
    world.encrypted.open.clear()
    assert await world.lookup.resolve("other.test") == SECOND
    assert world.encrypted.asked == ["relay.test", "other.test"]
    await cancel_all()


async def test_callers_at_once_share_one_query() -> None:
    world = World()
    world.encrypted.open.clear()
    asking = [spawn(world.lookup.resolve("relay.test"), name=f"{number}") for number in range(3)]
    await until(lambda: bool(world.encrypted.asked))
    asking[0].cancel()
    world.encrypted.open.set()
    assert [await each for each in asking[1:]] == [FIRST] * 2
    assert world.encrypted.asked == ["relay.test"]


INSIDE, OUTSIDE = ipaddress.ip_address("10.77.0.1"), FIRST[0]


@pytest.mark.parametrize("is_remembered", [False, True])
@pytest.mark.parametrize("addresses", [(INSIDE, OUTSIDE), (OUTSIDE,), (INSIDE,)])
async def test_a_name_for_public_addresses_only_leads_nowhere_else(
    addresses: tuple[IPAddress, ...], is_remembered: bool
) -> None:
    """A page may add a relay by a name; where that leads may change at any time."""
    world = World(public_only=("relay.test",))
    world.encrypted.says = NOBODY if is_remembered else LookupResult(addresses, 60)
    if is_remembered:
        world.memory.remember("relay.test", HOME, addresses, world.now)
    for _ in range(2):  # the second time it is cached
        if OUTSIDE in addresses:
            assert await world.lookup.resolve("relay.test") == world.lookup.cached("relay.test") == (OUTSIDE,)
            continue
        with pytest.raises(DialError, match="leads into the local network") as refused:
            await world.lookup.resolve("relay.test")
        assert refused.value.symptom is Symptom.FORBIDDEN
        assert world.lookup.cached("relay.test") is None


async def test_a_relay_of_a_terminal_may_be_anywhere() -> None:
    world = World(public_only=("relay.test",))
    world.encrypted.says = LookupResult((INSIDE,), 60)
    assert await world.lookup.resolve("other.test") == (INSIDE,)
