from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.config.schema import Dns
from proxy.model import Destination, NetworkId, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.poller import Poller
from proxy.net.stream import Stream
from proxy.net.tasks import cancel_all, spawn
from proxy.wire.dns import Rcode
from proxy.wire.dns_url import DnsProtocol, SecureServer
from tests.support.authority import Authority
from tests.support.name_servers import LOOPBACK, Asked, NameServer, Speaks, reply, saying, silent, tls_server
from tests.support.waiting import until

FOUR, SIX = "192.0.2.7", "2001:db8::7"
AUTHORITY, OTHER = Authority(), Authority()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(AUTHORITY.write(tmp_path_factory.mktemp("ca")))


@pytest.fixture
async def servers(home: None, best_poller: Poller) -> AsyncIterator[contextlib.AsyncExitStack]:
    """Whatever a test leaves under way is ended before its servers are."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack
        await cancel_all()


class Country:
    """Two servers, the first by DoH and the second by DoT, and the ways to them."""

    def __init__(self, first: NameServer, second: NameServer, ca: str, direct: Dialer) -> None:
        self.first, self.second = first, second
        self.servers = (
            SecureServer(DnsProtocol.DOH, Destination(LOOPBACK, first.port), "/dns-query", None, ca),
            SecureServer(DnsProtocol.DOT, Destination(LOOPBACK, second.port), "", None, ca),
        )
        self.direct = direct
        self.network = NetworkId("home")

    def dns(
        self,
        *ways: Dialer,
        timeout_s: float = 10,
        stagger_s: float = 10,
        down_s: float = 60,
        reserve: EncryptedDns | None = None,
    ) -> EncryptedDns:
        return EncryptedDns(
            self.servers,
            ways or (self.direct,),
            Dns(secure_timeout_s=timeout_s, secure_stagger_s=stagger_s, secure_down_s=down_s),
            network=lambda: self.network,
            reserve=reserve,
        )


@pytest.fixture
async def country(servers: contextlib.AsyncExitStack, ca: str, to_relays: TcpDialer) -> Country:
    return await made(servers, AUTHORITY, ca, to_relays)


async def made(servers: contextlib.AsyncExitStack, first: Authority, ca: str, direct: Dialer) -> Country:
    return Country(
        await servers.enter_async_context(tls_server(saying(FOUR, SIX, ttl=9), first.server(LOOPBACK), Speaks.HTTP2)),
        await servers.enter_async_context(tls_server(saying(FOUR, SIX), AUTHORITY.server(LOOPBACK), Speaks.DOT)),
        ca,
        direct,
    )


class Way:
    """A dialer that counts, and may be closed."""

    def __init__(self, inner: Dialer, symptom: Symptom | None = None) -> None:
        self.dialed = 0
        self.symptom = symptom
        self._inner = inner

    async def dial(self, destination: Destination) -> Stream:
        self.dialed += 1
        if self.symptom is not None:
            raise DialError(f"the way is closed: {self.symptom}", stage=Stage.CONNECT, symptom=self.symptom)
        return await self._inner.dial(destination)


async def test_the_first_server_is_asked_for_both_families(country: Country) -> None:
    found = await country.dns().ask("a.test")
    assert [str(address) for address in found.addresses] == [FOUR, SIX]
    assert found.ttl_s == 9
    assert sorted(asked.kind for asked in country.first.asked) == ["A", "AAAA"]
    assert country.second.asked == []


@pytest.mark.parametrize("kind", ["A", "AAAA"])
async def test_D9_one_family_that_hangs_holds_nothing_up(country: Country, kind: str) -> None:
    country.first.say = lambda asked: [] if asked.kind == kind else [reply(asked, FOUR, SIX)]
    found = await country.dns(timeout_s=1e6, stagger_s=1e6).ask("a.test")
    assert [str(address) for address in found.addresses] == [SIX if kind == "A" else FOUR]


async def test_D1_a_bad_certificate_leads_to_the_next_server(
    servers: contextlib.AsyncExitStack, ca: str, to_relays: TcpDialer
) -> None:
    country = await made(servers, OTHER, ca, to_relays)
    dns = country.dns()
    for name in ("a.test", "b.test"):
        assert (await dns.ask(name)).addresses
    assert country.first.asked == []
    assert country.second.names() == ["a.test", "a.test", "b.test", "b.test"]


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
async def test_D6_a_server_that_knows_nothing_leads_to_the_next_but_is_not_down(country: Country, code: str) -> None:
    country.first.say = saying(code=code)
    dns = country.dns()
    assert (await dns.ask("a.test")).addresses
    country.first.say = saying(FOUR)
    await dns.ask("b.test")
    assert set(country.second.names()) == {"a.test"}


async def test_D6_how_all_failed_is_told(country: Country) -> None:
    country.first.say = saying(code="SERVFAIL")
    country.second.say = saying(code="REFUSED")
    assert (await country.dns().ask("a.test")).code is Rcode.FAILED


async def test_D6_a_name_that_does_not_exist_is_asked_once(country: Country) -> None:
    country.first.say = saying(code="NXDOMAIN")
    assert (await country.dns().ask("a.test")).code is Rcode.NO_NAME
    assert country.second.asked == []


async def test_a_name_without_addresses_exists(country: Country) -> None:
    country.first.say = lambda asked: [reply(asked, code="NOERROR" if asked.kind == "A" else "NXDOMAIN")]
    found = await country.dns().ask("a.test")
    assert (found.code, found.addresses) == (Rcode.OK, ())


async def test_a_late_answer_lets_the_next_be_asked_and_is_passed_over_afterwards(country: Country) -> None:
    country.first.say = silent
    dns = country.dns(stagger_s=0.01, timeout_s=1e6)
    assert (await dns.ask("a.test")).addresses
    country.first.say = saying(FOUR)
    dns._stagger_s = 1e6  # the second one may be late too, on a busy machine
    await dns.ask("b.test")
    assert "b.test" not in country.first.names()


async def test_a_server_that_failed_is_asked_last_for_a_while(country: Country) -> None:
    way = Way(country.direct, Symptom.REFUSED)
    dns = country.dns(way, country.direct, down_s=1e6)
    await dns.ask("a.test")
    dialed = way.dialed
    for _ in range(3):
        await dns.ask("b.test")
    assert way.dialed == dialed
    country.network = NetworkId("train")
    way.symptom = None
    await dns.ask("a.test")
    assert way.dialed > dialed


async def test_after_that_it_is_asked_first_again(country: Country) -> None:
    way = Way(country.direct, Symptom.REFUSED)
    dns = country.dns(way, country.direct, down_s=1e-9)
    await dns.ask("a.test")
    dialed = way.dialed
    way.symptom = None
    await dns.ask("b.test")
    assert way.dialed > dialed


async def test_D11_where_direct_is_closed_a_relay_carries_the_question(country: Country) -> None:
    direct, relay = Way(country.direct, Symptom.REFUSED), Way(country.direct)
    found = await country.dns(direct, relay).ask("a.test")
    assert found.addresses
    assert direct.dialed
    assert relay.dialed


# -- the reserve -------------------------------------------------------------------------------------------------------


async def test_the_reserve_is_asked_once_all_servers_failed_over_all_ways(country: Country) -> None:
    direct, relay = Way(country.direct, Symptom.REFUSED), Way(country.direct, Symptom.REFUSED)
    spare = Way(country.direct)
    dns = country.dns(direct, relay, reserve=country.dns(spare))
    assert (await dns.ask("a.test")).addresses
    assert (direct.dialed, relay.dialed, spare.dialed) == (2, 2, 1)


async def test_the_reserve_is_not_asked_while_a_server_answers(country: Country) -> None:
    direct, relay, spare = Way(country.direct, Symptom.REFUSED), Way(country.direct), Way(country.direct)
    dns = country.dns(direct, relay, reserve=country.dns(spare))
    for host in ("a.test", "b.test"):
        assert (await dns.ask(host)).addresses
    country.first.say = country.second.say = saying(code="SERVFAIL")
    assert (await dns.ask("c.test")).code is Rcode.FAILED
    assert spare.dialed == 0


async def test_within_the_minute_the_reserve_is_asked_first_and_on_another_network_last(country: Country) -> None:
    direct, spare = Way(country.direct, Symptom.REFUSED), Way(country.direct)
    dns = country.dns(direct, down_s=1e6, reserve=country.dns(spare, down_s=1e6))
    await dns.ask("a.test")
    dialed = direct.dialed
    assert (await dns.ask("b.test")).addresses
    assert direct.dialed == dialed
    direct.symptom, country.network = None, NetworkId("train")
    asked = len(country.first.asked)
    spare.symptom = Symptom.REFUSED  # it would say so if it were asked
    assert (await dns.ask("c.test")).addresses
    assert direct.dialed > dialed
    assert len(country.first.asked) > asked


async def test_after_the_minute_the_servers_are_asked_first_again(country: Country) -> None:
    direct, spare = Way(country.direct, Symptom.REFUSED), Way(country.direct)
    dns = country.dns(direct, down_s=1e6, reserve=country.dns(spare))
    await dns.ask("a.test")
    for transport in dns._transports:
        transport.down_until = 0.0
    dialed, direct.symptom = spare.dialed, None
    await dns.ask("b.test")
    assert spare.dialed == dialed


async def test_a_reserve_that_failed_is_left_alone_for_a_minute_by_all_who_share_it(country: Country) -> None:
    """A network that forbids encrypted DNS sees two connections more a minute, whatever is looked up."""
    spare = Way(country.direct, Symptom.REFUSED)
    reserve = country.dns(spare, down_s=1e6)
    closed = Way(country.direct, Symptom.REFUSED)
    for dns in (country.dns(closed, reserve=reserve), country.dns(closed, reserve=reserve)):
        for host in ("a.test", "b.test", "c.test"):
            with pytest.raises(DialError, match="all encrypted DNS servers failed"):
                await dns.ask(host)
    assert spare.dialed == 2


@pytest.mark.parametrize("symptom", [Symptom.OFFLINE, Symptom.LOCAL])
async def test_our_own_troubles_are_no_reason_to_ask_the_reserve(country: Country, symptom: Symptom) -> None:
    direct, spare = Way(country.direct, symptom), Way(country.direct)
    dns = country.dns(direct, reserve=country.dns(spare))
    for _ in range(2):
        with pytest.raises(DialError):
            await dns.ask("a.test")
    assert spare.dialed == 0


async def test_that_all_failed_is_not_said_where_the_reserve_answers(
    country: Country, caplog: pytest.LogCaptureFixture
) -> None:
    dns = country.dns(Way(country.direct, Symptom.REFUSED), reserve=country.dns(Way(country.direct)))
    with caplog.at_level(logging.WARNING):
        await dns.ask("a.test")
    assert caplog.records == []


# -- what is said ------------------------------------------------------------------------------------------------------


async def test_a_message_has_the_first_two_reasons(country: Country) -> None:
    dns = country.dns(Way(country.direct, Symptom.TIMEOUT), Way(country.direct, Symptom.REFUSED))
    with pytest.raises(DialError) as caught:  # two servers, each in two ways
        await dns.ask("a.test")
    first, second, more = str(caught.value).split("; ")
    assert first.startswith("all encrypted DNS servers failed: https://")
    assert second.startswith("tls://")
    assert more == "and 2 more"


async def test_a_reason_is_told_once(country: Country) -> None:
    dns = country.dns(Way(country.direct, Symptom.REFUSED), Way(country.direct, Symptom.REFUSED))
    with pytest.raises(DialError) as caught:  # two servers, each in two ways that fail alike
        await dns.ask("a.test")
    first, second = str(caught.value).split("; ")
    assert (first.count("https://"), second.count("tls://")) == (1, 1)


async def test_D10_when_all_are_down_it_is_said_once_and_nothing_is_to_be_learned(
    country: Country, caplog: pytest.LogCaptureFixture
) -> None:
    way = Way(country.direct, Symptom.TIMEOUT)
    dns = country.dns(way)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(DialError, match=r"all encrypted DNS servers failed: .*the way is closed") as caught:
                await dns.ask("a.test")
            assert (caught.value.stage, caught.value.symptom) == (Stage.RESOLVE, Symptom.SKIPPED)
            assert caught.value.evidence == {"doh": "doh_down"}
    assert len(caplog.records) == 1
    assert "a.test" not in caplog.text
    way.symptom = None
    assert (await dns.ask("a.test")).addresses  # those that are down are better than nothing


@pytest.mark.parametrize("symptom", [Symptom.OFFLINE, Symptom.LOCAL])
async def test_our_own_troubles_stay_ours(country: Country, symptom: Symptom) -> None:
    with pytest.raises(DialError) as caught:
        await country.dns(Way(country.direct, symptom)).ask("a.test")
    assert caught.value.symptom is symptom


@pytest.mark.parametrize(
    "bad",
    [
        lambda asked: reply(asked, FOUR).replace(b"\x01a\x04test", b"\x01b\x04test"),  # to another question
        lambda asked: reply(asked, FOUR)[:-3],
        lambda asked: reply(asked, FOUR, aliases=[f"n{number}.test" for number in range(9)]),
        lambda asked: reply(asked, *[f"192.0.2.{number}" for number in range(200)]),
        lambda asked: asked.message.to_wire(),
        lambda asked: b"",
    ],
)
async def test_D4_D7_an_answer_that_is_none_leads_to_the_next_server(
    country: Country, bad: Callable[[Asked], bytes]
) -> None:
    country.first.say = lambda asked: [bad(asked)] if asked.kind == "A" else [reply(asked)]
    found = await country.dns().ask("a.test")
    assert [str(address) for address in found.addresses] == [FOUR, SIX]
    assert country.second.asked


async def test_who_leaves_ends_his_questions(country: Country) -> None:
    country.first.say = country.second.say = silent
    asking = spawn(country.dns(stagger_s=0.01).ask("a.test"), name="ask")
    await until(lambda: len(country.second.asked) == 2)
    asking.cancel()
    with contextlib.suppress(BaseException):
        await asking
    await cancel_all()


def test_it_says_whom_it_asks(country: Country, tmp_path: Path) -> None:
    assert repr(country.dns()) == f"<EncryptedDns {country.servers[0]} {country.servers[1]}>"
