"""Which resolver is asked for which name, with real name servers: what each was asked is all that counts."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from proxy.config.schema import Dns
from proxy.model import DnsFinding, IPAddress, NetworkId, SignalId, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.resolver import EncryptedFor, EncryptedLookup, Resolver, ResolverOptions
from proxy.net.dns.stub_resolver import StubResolver
from proxy.net.dns.tampering import FAKE
from proxy.net.knowledge import NothingKnown
from proxy.net.poller import Poller
from proxy.net.tasks import cancel_all, spawn
from proxy.routing.address_guard import Guard
from proxy.wire import dns_url
from tests.support.authority import Authority
from tests.support.name_servers import (
    LOOPBACK,
    Asked,
    NameServer,
    Say,
    Speaks,
    machine_files,
    plain_server,
    reply,
    saying,
    silent,
    tls_server,
)
from tests.support.waiting import until

HONEST, ALSO_HONEST, FORGED, INJECTED = "93.184.216.34", "93.184.216.99", "203.0.114.66", "10.10.34.34"
AUTHORITY = Authority()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(AUTHORITY.write(tmp_path_factory.mktemp("ca")))


_OPTIONS = {item.name for item in fields(ResolverOptions)}


class Place(NothingKnown):
    """A network with its name server, a secure one elsewhere, and a machine with a resolver."""

    def __init__(self, folder: Path, plain: NameServer, secure: NameServer, ca: str, way: TcpDialer) -> None:
        super().__init__()
        self.plain, self.secure = plain, secure
        self.network_id = NetworkId("home")
        self.suspects: set[str] = set()
        self.portal = False
        self.found: list[tuple[str, DnsFinding]] = []
        self.threads: list[str] = []
        self.folder = machine_files(folder, LOOPBACK)
        self._way = way
        self._url = f"tls://{LOOPBACK}:{secure.port}?ca={ca}"

    def is_portal(self) -> bool:
        return self.portal

    def resolver(self, *, allow: tuple[str, ...] = (), secure: bool = True, **more: Any) -> Resolver:
        """`more`: fields of ResolverOptions, and parameters of Resolver."""
        given: dict[str, Any] = {"timeout_s": 10, "encrypted_for": EncryptedFor.SUSPECTS, "local": ("lan",)}
        given |= {"controls": ("control.test",), **more}
        options = ResolverOptions(**{name: given[name] for name in _OPTIONS & given.keys()})
        return Resolver(
            given.get("hosts"),
            options=options,
            knowledge=self,
            guard=Guard(allow, options.local),
            system=given.get("system", StubResolver(folder=self.folder, port=self.plain.port, second_answer_s=0.05)),
            encrypted=EncryptedDns([dns_url.parse(self._url)], [self._way], Dns()) if secure else None,
            lookup=self._lookup,
            now=lambda: 1e9,
        )

    def network(self) -> NetworkId:
        return self.network_id

    def is_suspect(self, host: str) -> bool:
        return host in self.suspects

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        self.found.append((host, finding))

    def _lookup(self, host: str) -> list[IPAddress]:
        self.threads.append(host)
        return [ipaddress.ip_address("192.168.1.9")]

    @property
    def asked_in_the_clear(self) -> set[str]:
        return {*self.plain.names(), *self.threads}


@pytest.fixture
async def place(home: None, best_poller: Poller, tmp_path: Path, ca: str, to_relays: TcpDialer) -> AsyncIterator[Place]:
    async with (
        plain_server(saying(HONEST)) as plain,
        tls_server(saying(HONEST), AUTHORITY.server(LOOPBACK), Speaks.DOT) as secure,
    ):
        yield Place(tmp_path, plain, secure, ca, to_relays)
        await cancel_all()


async def resolved(resolver: Resolver, host: str = "a.test") -> list[str]:
    return [str(address) for address in await resolver.resolve(host)]


def but_for_controls(say: Say) -> Say:
    """A server that answers like this, and honestly for controls."""
    return lambda asked: (saying(HONEST) if asked.name == "control.test" else say)(asked)


async def failure(resolver: Resolver | EncryptedLookup, host: str = "a.test") -> DialError:
    with pytest.raises(DialError) as caught:
        await resolver.resolve(host)
    assert caught.value.stage is Stage.RESOLVE
    assert host in str(caught.value) or caught.value.symptom is Symptom.SKIPPED
    return caught.value


# -- whom to ask -------------------------------------------------------------------------------------------------------


async def test_a_name_that_nobody_suspects_is_asked_of_the_system_alone(place: Place) -> None:
    assert await resolved(place.resolver()) == [HONEST]
    assert place.asked_in_the_clear == {"a.test"}
    assert place.secure.asked == []


async def test_a_suspect_name_is_asked_of_secure_servers_alone(place: Place) -> None:
    place.suspects.add("a.test")
    resolver = place.resolver()
    assert await resolved(resolver) == [HONEST]
    assert await resolved(resolver, "b.test") == [HONEST]
    assert place.asked_in_the_clear == {"b.test"}
    assert set(place.secure.names()) == {"a.test"}


async def test_suspicion_counts_from_the_next_question_on(place: Place) -> None:
    resolver = place.resolver(keep_s=0)
    await resolver.resolve("a.test")
    place.suspects.add("a.test")
    asked = len(place.plain.asked)
    await resolver.resolve("a.test")
    assert len(place.plain.asked) == asked
    assert resolver.known("a.test") == ()  # nothing was kept


@pytest.mark.parametrize("host", ["a.test", "printer", "host.lan", "x.internal", "x.home.arpa", "x.local", "mine.test"])
async def test_always_means_that_nothing_is_asked_in_the_clear(place: Place, host: str) -> None:
    machine_files(place.folder, LOOPBACK, hosts="192.168.1.5 mine.test printer\n")
    resolver = place.resolver(encrypted_for=EncryptedFor.ALL)
    with contextlib.suppress(DialError):
        await resolver.resolve(host)
    with contextlib.suppress(DialError):
        await resolver.secure(host)
    await resolver.compare(host)
    assert place.asked_in_the_clear == set()


async def test_with_always_the_machines_own_files_still_count_for_local_names(place: Place) -> None:
    machine_files(place.folder, LOOPBACK, hosts="192.168.1.5 printer\n")
    resolver = place.resolver(encrypted_for=EncryptedFor.ALL)
    assert await resolved(resolver, "printer") == ["192.168.1.5"]
    assert await resolved(resolver, "app.localhost") == ["127.0.0.1", "::1"]
    error = await failure(resolver, "scanner")
    assert (error.symptom, "set its address in [dns.hosts]" in str(error)) == (Symptom.NO_NAME, True)


@pytest.mark.parametrize("encrypted_for", [EncryptedFor.ALL, EncryptedFor.PUBLIC, EncryptedFor.SUSPECTS])
async def test_the_machines_own_files_come_before_any_server(place: Place, encrypted_for: EncryptedFor) -> None:
    machine_files(place.folder, LOOPBACK, hosts="192.168.1.5 a.test\n")
    place.suspects.add("a.test")
    assert await resolved(place.resolver(encrypted_for=encrypted_for)) == ["192.168.1.5"]
    assert place.asked_in_the_clear == set()
    assert place.secure.asked == []


async def test_D10_with_always_and_nobody_to_ask_names_stay_unresolved(place: Place) -> None:
    place.secure.say = silent
    resolver = place.resolver(encrypted_for=EncryptedFor.ALL, timeout_s=0.2)
    error = await failure(resolver)
    assert (error.symptom, error.evidence) == (Symptom.SKIPPED, {"doh": "doh_down"})
    assert place.asked_in_the_clear == set()


async def test_D10_a_suspect_name_fails_closed(place: Place) -> None:
    place.suspects.add("a.test")
    await place.resolver().resolve("warm.test")
    place.secure.say = silent
    error = await failure(place.resolver(timeout_s=0.2))
    assert error.symptom is Symptom.SKIPPED
    assert "a.test" not in place.asked_in_the_clear


async def test_public_names_are_hidden_whatever_is_believed_of_them(place: Place) -> None:
    resolver = place.resolver(encrypted_for=EncryptedFor.PUBLIC)
    assert not resolver.may_ask_in_plain_text("a.test")
    assert await resolved(resolver) == [HONEST]
    assert (place.asked_in_the_clear, {*place.secure.names()}) == (set(), {"a.test"})
    await resolver.resolve("printer.lan")
    assert place.asked_in_the_clear == {"printer.lan"}


async def test_never_means_never(place: Place) -> None:
    place.suspects.add("a.test")
    resolver = place.resolver(encrypted_for=EncryptedFor.NONE)
    assert await resolved(resolver) == [HONEST]
    assert (await failure(EncryptedLookup(resolver))).symptom is Symptom.SKIPPED
    assert place.secure.asked == []


async def test_without_secure_servers_the_system_is_asked(place: Place) -> None:
    place.suspects.add("a.test")
    resolver = place.resolver(secure=False)
    assert await resolved(resolver) == [HONEST]
    assert (await failure(EncryptedLookup(resolver))).symptom is Symptom.SKIPPED


@pytest.mark.parametrize("host", ["printer", "host.lan", "x.internal", "x.home.arpa", "x.local", "abc.onion"])
async def test_no_secure_server_is_asked_for_local_names(place: Place, host: str) -> None:
    place.suspects.add(host)
    resolver = place.resolver()
    with contextlib.suppress(DialError):
        await resolver.resolve(host)
    assert (await failure(EncryptedLookup(resolver), host)).symptom is Symptom.SKIPPED
    await resolver.compare(host)
    assert place.secure.asked == []
    assert host != "abc.onion" or place.asked_in_the_clear == set()


async def test_fixed_addresses_are_asked_of_nobody(place: Place) -> None:
    place.suspects.add("a.test")
    resolver = place.resolver(hosts={"a.test": "127.0.0.9"}, encrypted_for=EncryptedFor.ALL)
    assert await resolved(resolver) == ["127.0.0.9"]
    assert [str(address) for address in await EncryptedLookup(resolver).resolve("a.test")] == ["127.0.0.9"]
    assert resolver.known("a.test") == (ipaddress.ip_address("127.0.0.9"),)
    assert place.secure.asked == []


@pytest.mark.parametrize(
    ("encrypted_for", "asked"),
    [(EncryptedFor.SUSPECTS, False), (EncryptedFor.PUBLIC, False), (EncryptedFor.ALL, True)],
)
async def test_a_name_below_a_suffix_of_the_search_list_is_the_networks_own(
    place: Place, encrypted_for: EncryptedFor, asked: bool
) -> None:
    """No secure server hears of it, suspect or not; a private address is no forgery."""
    machine_files(place.folder, LOOPBACK, more="search corp.test")
    place.plain.say = saying("10.1.2.3")
    place.suspects.add("intranet.corp.test")
    resolver = place.resolver(encrypted_for=encrypted_for)
    if not asked:
        assert await resolved(resolver, "intranet.corp.test") == ["10.1.2.3"]
        assert (await failure(EncryptedLookup(resolver), "intranet.corp.test")).symptom is Symptom.SKIPPED
    else:
        assert await resolved(resolver, "intranet.corp.test") == [HONEST]
    assert bool(place.secure.asked) is asked


async def test_a_name_of_the_search_list_is_found_by_the_system(place: Place) -> None:
    machine_files(place.folder, LOOPBACK, more="search corp.test")
    place.plain.say = saying(code="NXDOMAIN")
    assert await resolved(place.resolver(local=("a.test",))) == ["192.168.1.9"]
    assert place.threads == ["a.test"]


# -- a second opinion --------------------------------------------------------------------------------------------------


async def opinion(resolver: Resolver, host: str = "a.test") -> bool | None:
    """Resolves the name as direct does, and returns the second opinion on it; None: it may not be asked."""
    with contextlib.suppress(DialError):
        await resolver.resolve(host)
    asked = resolver.second_opinion(host)
    return None if asked is None else await asked


@pytest.mark.parametrize(("said", "elsewhere"), [(HONEST, False), (ALSO_HONEST, False), (FORGED, True)])
async def test_a_second_opinion_says_whether_the_name_leads_elsewhere_and_finds_nothing(
    place: Place, said: str, elsewhere: bool
) -> None:
    place.plain.say = saying(said)
    resolver = place.resolver()
    assert await opinion(resolver) is elsewhere
    assert resolver.finding("a.test") is None
    assert place.found == []
    assert resolver.may_ask_in_plain_text("a.test")
    assert resolver.known("a.test") == (ipaddress.ip_address(said),)


@pytest.mark.parametrize(
    ("said", "hidden", "elsewhere"),
    [
        *[(FORGED, True, FORGED), (HONEST, True, None), (ALSO_HONEST, True, None), (FORGED, False, None)],
        (f"{INJECTED} {FORGED}", True, FORGED),  # no private one: a device at home would see the name
    ],
)
async def test_a_hidden_name_leads_elsewhere_where_the_systems_last_answer_did(
    place: Place, said: str, hidden: bool, elsewhere: str | None
) -> None:
    """Nothing more is asked in clear for it."""
    place.plain.say = saying(*said.split())
    resolver = place.resolver()
    await resolver.resolve("a.test")
    asked = len(place.plain.asked)
    if hidden:
        place.suspects.add("a.test")
    assert await resolver.elsewhere("a.test") == (elsewhere and ipaddress.ip_address(elsewhere))
    assert (len(place.plain.asked), bool(place.secure.asked)) == (asked, hidden)
    assert resolver.finding("a.test") is None


async def test_a_second_opinion_is_shared_while_its_answer_is_kept_and_asked_once_a_day(place: Place) -> None:
    place.plain.say = saying(FORGED)
    resolver = place.resolver()
    await resolver.resolve("a.test")
    first = resolver.second_opinion("a.test")
    assert first is not None
    assert resolver.second_opinion("a.test") is first
    assert await first
    assert resolver.second_opinion("a.test") is first
    resolver._secured.drop((place.network_id, "a.test"))  # as after 30 s
    assert resolver.second_opinion("a.test") is None
    assert sorted(asked.kind for asked in place.secure.asked) == ["A", "AAAA"]
    place.network_id = NetworkId("train")
    assert await opinion(resolver)
    ((until, _), *_) = resolver._opinions.items.values()
    assert until - asyncio.get_running_loop().time() == pytest.approx(86_400, abs=60)
    resolver.forget_hosts()
    assert resolver.second_opinion("a.test") is not None


@pytest.mark.parametrize("encrypted_for", [EncryptedFor.NONE, EncryptedFor.PUBLIC, EncryptedFor.ALL])
async def test_there_is_no_second_opinion_where_one_resolver_alone_is_asked(
    place: Place, encrypted_for: EncryptedFor
) -> None:
    assert await opinion(place.resolver(encrypted_for=encrypted_for)) is None


async def test_there_is_no_second_opinion_without_encrypted_servers(place: Place) -> None:
    assert await opinion(place.resolver(secure=False)) is None


@pytest.mark.parametrize("host", ["printer", "host.lan", "x.internal", "mine.test", "fixed.test", "hidden.test"])
async def test_no_second_opinion_is_asked_about_these(place: Place, host: str) -> None:
    machine_files(place.folder, LOOPBACK, hosts="192.168.1.5 mine.test\n")
    place.suspects.add("hidden.test")
    resolver = place.resolver(hosts={"fixed.test": "127.0.0.9"})
    assert await opinion(resolver, host) is None
    assert {*place.secure.names()} <= {"hidden.test"}  # which is resolved there alone


@pytest.mark.parametrize("say", [saying("192.168.1.9"), saying(code="NXDOMAIN"), silent])
async def test_no_second_opinion_is_asked_about_what_is_no_public_answer(place: Place, say: Say) -> None:
    place.plain.say = but_for_controls(say)
    resolver = place.resolver(allow=("192.168.1.0/24",), timeout_s=0.2)
    assert not await opinion(resolver)
    assert place.secure.asked == []


@pytest.mark.parametrize("say", [saying(code="NXDOMAIN"), silent, saying("192.168.1.9")])
async def test_a_second_opinion_that_does_not_come_or_is_private_leads_nowhere(place: Place, say: Say) -> None:
    """As with split horizon: encrypted DNS has no such name, or is forbidden, or hides nothing."""
    place.secure.say = say
    assert await opinion(place.resolver(timeout_s=0.2)) is False


async def test_a_second_opinion_of_another_network_leads_nowhere(place: Place) -> None:
    place.plain.say = saying(FORGED)
    resolver = place.resolver()
    await resolver.resolve("a.test")
    asked = resolver.second_opinion("a.test")
    place.network_id = NetworkId("train")
    assert asked is not None
    assert not await asked


# -- one query, and what is kept ---------------------------------------------------------------------------------------


async def test_D12_a_thousand_lookups_of_one_name_are_one_query(place: Place) -> None:
    resolver = place.resolver()
    await asyncio.gather(*(resolver.resolve("a.test") for _ in range(1000)))
    await asyncio.gather(*(resolver.secure("a.test") for _ in range(1000)))
    assert sorted(asked.kind for asked in place.plain.asked) == ["A", "AAAA"]
    assert sorted(asked.kind for asked in place.secure.asked) == ["A", "AAAA"]


@pytest.mark.parametrize(("ttl", "until_s"), [(0, 1), (7, 7), (2**31 - 1, 30)])
async def test_D8_how_long_an_answer_is_kept_is_bounded(place: Place, ttl: int, until_s: float) -> None:
    place.plain.say = place.secure.say = saying(HONEST, ttl=ttl)
    resolver = place.resolver()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await resolver.resolve("a.test")
    await resolver.secure("a.test")
    for kept in (resolver._plain, resolver._secured):
        ((until_at, _),) = kept.items.values()
        assert began + until_s <= until_at <= loop.time() + until_s


async def test_D8_that_there_is_no_name_is_not_kept(place: Place) -> None:
    place.plain.say = saying(code="NXDOMAIN")
    resolver = place.resolver()
    assert (await failure(resolver)).symptom is Symptom.NO_NAME
    place.plain.say = saying(HONEST)
    assert await resolved(resolver) == [HONEST]


async def test_what_listens_on_leaves_the_next_query_for_the_name_alone(place: Place) -> None:
    resolver = place.resolver(timeout_s=1e6)
    place.plain.say = saying(code="NXDOMAIN")
    await failure(resolver)
    place.plain.say = silent
    again = spawn(resolver.resolve("a.test"), name="again")
    await until(lambda: len(place.plain.asked) == 4)
    await until(lambda: [task.get_name() for task in asyncio.all_tasks()].count("resolve a.test") == 1)
    assert not again.done()
    place.plain.push(reply(next(asked for asked in place.plain.asked[2:] if asked.kind == "A"), HONEST))
    assert [str(address) for address in await again] == [HONEST]


@pytest.mark.parametrize(
    ("code", "symptom", "evidence"),
    [
        ("NXDOMAIN", Symptom.NO_NAME, "nxdomain"),
        ("SERVFAIL", Symptom.RESOLVE_FAILED, "servfail"),
        ("REFUSED", Symptom.RESOLVE_FAILED, "refused"),
        ("NOERROR", Symptom.NO_NAME, "nodata"),
    ],
)
async def test_D6_how_it_failed_is_told_apart(place: Place, code: str, symptom: Symptom, evidence: str) -> None:
    place.plain.say = place.secure.say = saying(code=code)
    resolver = place.resolver()
    for asked in (resolver, EncryptedLookup(resolver)):
        error = await failure(asked)
        assert (error.symptom, error.evidence) == (symptom, {"code": evidence})


async def test_D6_silence_is_told_apart(place: Place) -> None:
    place.plain.say = silent
    error = await failure(place.resolver(timeout_s=0.1))
    assert (error.symptom, error.evidence) == (Symptom.RESOLVE_FAILED, {"code": "silent"})


# -- what an answer is worth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [INJECTED, "127.0.0.1", "0.0.0.0", "192.168.1.1", "100.64.0.1", "240.0.0.1"])
async def test_D5_an_address_that_no_public_name_has_is_a_forged_answer(place: Place, address: str) -> None:
    place.plain.say = saying(address)
    resolver = place.resolver()
    error = await failure(resolver)
    assert (error.symptom, error.evidence) == (Symptom.FORGED, {"dns": "dns_bogon", "forged": address})
    assert address in str(error)
    assert resolver.finding("a.test") == DnsFinding(SignalId.DNS_BOGON, f"{address} for a public name", 1e9)
    assert await resolved(resolver) == [HONEST]  # from then on a secure server is asked
    place.network_id = NetworkId("train")
    assert resolver.finding("a.test") is None


@pytest.mark.parametrize("more", [{"local": ("test",)}, {"allow": ("a.test",)}, {"allow": ("10.0.0.0/8:443",)}])
async def test_D5_what_the_user_allows_is_not_forged(place: Place, more: dict[str, Any]) -> None:
    place.plain.say = saying(INJECTED)
    assert await resolved(place.resolver(**more)) == [INJECTED]


async def test_D5_the_users_own_file_of_hosts_is_not_forged(place: Place) -> None:
    machine_files(place.folder, LOOPBACK, hosts="192.168.1.9 a.test\n")
    assert await resolved(place.resolver()) == ["192.168.1.9"]
    assert place.threads == ["a.test"]


async def test_one_honest_address_is_enough(place: Place) -> None:
    place.plain.say = saying(INJECTED, HONEST)
    assert sorted(await resolved(place.resolver())) == [INJECTED, HONEST]  # the guard has its own word on each


async def test_a_private_address_that_nobody_else_knows_is_local(place: Place) -> None:
    place.plain.say = saying(INJECTED)
    place.secure.say = saying(code="NXDOMAIN")
    resolver = place.resolver()
    await failure(resolver)
    assert not resolver.is_local_zone("a.test")
    assert await resolver.compare("a.test") is None
    assert resolver.finding("a.test") is None
    assert resolver.is_local_zone("a.test")
    assert await resolved(resolver) == [INJECTED]


async def test_a_name_without_an_address_elsewhere_is_local(place: Place) -> None:
    """It exists in the public DNS, as the names above those of an office do."""
    place.plain.say = saying(INJECTED)
    place.secure.say = saying(code="NOERROR")
    resolver = place.resolver()
    await failure(resolver)
    await failure(EncryptedLookup(resolver))
    assert resolver.is_local_zone("a.test")


async def test_what_encrypted_dns_knows_first_counts_for_a_later_answer(place: Place) -> None:
    place.secure.say = saying(code="NXDOMAIN")
    resolver = place.resolver()
    await failure(EncryptedLookup(resolver))
    assert "a.test" in resolver.zone_names
    assert not resolver.is_local_zone("a.test"), "nobody gave an address"
    place.plain.say = saying(INJECTED)
    assert await resolved(resolver) == [INJECTED]
    assert resolver.is_local_zone("a.test")


@pytest.mark.parametrize(
    "plain",
    [saying("192.168.1.9"), saying("10.9.9.9"), saying("0.0.0.0"), saying(code="NXDOMAIN"), saying(code="REFUSED")],
)
@pytest.mark.parametrize("allow", [(), ("192.168.0.0/16",)])
async def test_a_name_that_leads_into_a_home_network_for_everybody(
    place: Place, plain: Say, allow: tuple[str, ...]
) -> None:
    """As people name their own devices. A router that protects from DNS rebinding hides such an address."""
    place.plain.say, place.secure.say = plain, saying("192.168.1.9")
    resolver = place.resolver(allow=allow)
    with contextlib.suppress(DialError):
        await resolver.resolve("a.test")
    await EncryptedLookup(resolver).resolve("a.test")
    assert resolver.is_local_zone("a.test")
    assert "a.test" in resolver.zone_names
    assert await resolver.compare("a.test") is None
    assert resolver.finding("a.test") is None, "it is no sign of tampering"
    place.network_id = NetworkId("train")
    assert not resolver.is_local_zone("a.test")


@pytest.mark.parametrize("address", [HONEST, "127.0.0.1", "0.0.0.0", "198.18.0.9"])
async def test_other_answers_of_encrypted_dns_lead_to_no_home(place: Place, address: str) -> None:
    """Some servers block names by such addresses. A name may get a public one later."""
    place.plain.say, place.secure.say = saying(INJECTED), saying("10.0.0.9")
    resolver = place.resolver(keep_s=0.0)
    await failure(resolver)
    await EncryptedLookup(resolver).resolve("a.test")
    assert resolver.is_local_zone("a.test")
    place.secure.say = saying(address)
    resolver._secured.items.clear()
    await EncryptedLookup(resolver).resolve("a.test")
    assert not resolver.is_local_zone("a.test")


@pytest.mark.parametrize(
    ("allow", "is_searched"), [(("10.0.0.0/8",), False), (("a.test",), False), (("10.0.0.0/8",), True)]
)
async def test_a_private_address_that_the_user_allows_may_still_be_the_networks_own(
    place: Place, allow: tuple[str, ...], is_searched: bool
) -> None:
    """`[safety] allow` opens it for direct. Encrypted DNS says whether it is a lie; names of the search list are not
    asked of it."""
    host = "db.office.test" if is_searched else "a.test"
    machine_files(place.folder, LOOPBACK, more="search office.test")
    place.plain.say, place.secure.say = saying(INJECTED), saying(code="NXDOMAIN")
    resolver = place.resolver(allow=allow)
    assert resolver.may_be_local_zone(host) is is_searched
    assert [str(address) for address in await resolver.resolve(host)] == [INJECTED]
    assert resolver.may_be_local_zone(host) is not is_searched
    assert resolver.is_local_zone(host) is is_searched
    if not is_searched:
        await failure(EncryptedLookup(resolver))
        assert resolver.is_local_zone(host)
        assert not resolver.may_be_local_zone(host)


async def test_a_public_answer_needs_no_second_opinion(place: Place) -> None:
    resolver = place.resolver(allow=("10.0.0.0/8",))
    assert not resolver.may_be_local_zone("a.test")
    assert await resolved(resolver)
    assert not resolver.may_be_local_zone("a.test")
    assert not resolver.is_local_zone("a.test")


async def test_what_a_captive_portal_answers_is_no_finding(place: Place) -> None:
    """Neither before it is known nor after: once somebody has logged in, all names resolve as before."""
    place.plain.say = saying(INJECTED)
    place.secure.say = saying(code="SERVFAIL")
    resolver = place.resolver()
    assert (await failure(resolver)).symptom is Symptom.FORGED
    assert resolver.finding("a.test") is not None
    place.portal = True
    assert (await failure(resolver)).symptom is Symptom.FORGED
    assert resolver.finding("a.test") is None
    place.portal = False
    place.plain.say = saying(HONEST)
    assert await resolved(resolver) == [HONEST]


async def test_so_it_is_when_it_was_asked_elsewhere_for_another_reason(place: Place) -> None:
    place.plain.say = saying(INJECTED)
    place.secure.say = saying(code="NXDOMAIN")
    resolver = place.resolver()
    assert (await failure(resolver)).symptom is Symptom.FORGED
    assert (await failure(resolver)).symptom is Symptom.NO_NAME
    assert await resolved(resolver) == [INJECTED]


async def test_translated_addresses_are_judged_by_what_is_inside(place: Place) -> None:
    place.plain.say = saying("64:ff9b::10.10.34.34")
    assert (await failure(place.resolver())).symptom is Symptom.FORGED
    place.plain.say = saying(f"64:ff9b::{HONEST}")
    assert await place.resolver().resolve("b.test")


async def test_another_proxys_fake_addresses_are_used_and_said_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.plain.say = lambda asked: [reply(asked, "198.18.0.7" if asked.name == "a.test" else "198.18.0.9")]
    resolver = place.resolver()
    with caplog.at_level(logging.WARNING):
        assert await resolved(resolver) == ["198.18.0.7"]
        assert await resolved(resolver, "b.test") == ["198.18.0.9"]
    assert len(caplog.records) == 1
    assert resolver.finding("a.test") is None
    assert await resolver.compare("a.test") is None
    assert resolver.is_fake(ipaddress.ip_address("198.18.0.7"))
    assert not resolver.is_fake(ipaddress.ip_address("192.168.1.1"))
    place.network_id = NetworkId("train")
    assert not resolver.is_fake(ipaddress.ip_address("198.18.0.7"))


async def test_a_control_that_is_suspect_is_not_asked_for_to_know_them(place: Place) -> None:
    place.plain.say = saying("198.18.0.7")
    place.suspects.add("control.test")
    assert (await failure(place.resolver())).symptom is Symptom.FORGED
    assert place.asked_in_the_clear == {"a.test"}


async def test_addresses_like_those_for_one_name_alone_are_forged(place: Place) -> None:
    place.plain.say = lambda asked: [reply(asked, "198.18.0.7" if asked.name == "a.test" else HONEST)]
    resolver = place.resolver()
    assert (await failure(resolver)).symptom is Symptom.FORGED
    assert not resolver.is_fake(next(FAKE.hosts()))


async def test_a_second_answer_is_told_at_once_and_the_first_forgotten(place: Place) -> None:
    place.plain.say = saying(FORGED)
    resolver = place.resolver(system=StubResolver(folder=place.folder, port=place.plain.port, second_answer_s=60))
    assert await resolved(resolver) == [FORGED]
    assert resolver.known("a.test")
    place.plain.push(reply(next(asked for asked in place.plain.asked if asked.kind == "A"), HONEST))
    await until(lambda: bool(place.found))
    finding = DnsFinding(SignalId.DNS_TWO_ANSWERS, f"first {FORGED}, then {HONEST} to one query", 1e9)
    assert place.found == [("a.test", finding)]
    assert resolver.finding("a.test") == finding
    assert resolver.known("a.test") == ()
    asked = len(place.plain.asked)
    assert await resolved(resolver) == [HONEST]
    assert len(place.plain.asked) == asked


async def test_what_a_query_finds_on_another_network_is_not_told(place: Place) -> None:
    resolver = place.resolver()
    place.plain.say = silent
    asking = spawn(failure(resolver), name="ask")
    await until(lambda: len(place.plain.asked) == 2)
    place.network_id = NetworkId("train")
    (asked,) = [asked for asked in place.plain.asked if asked.kind == "A"]
    for answer in (INJECTED, HONEST):
        place.plain.push(reply(asked, answer))
    assert (await asking).symptom is Symptom.FORGED
    assert place.found == []
    assert resolver.finding("a.test") is None
    assert resolver.known("a.test") == ()


# -- a second opinion --------------------------------------------------------------------------------------------------


async def test_D11_nothing_in_common_is_a_mismatch(place: Place) -> None:
    place.plain.say = saying(FORGED)
    resolver = place.resolver()
    await resolver.resolve("a.test")
    finding = await resolver.compare("a.test")
    assert finding == DnsFinding(SignalId.DNS_MISMATCH, f"{FORGED}, but {HONEST} by encrypted DNS", 1e9)
    assert resolver.finding("a.test") == finding
    assert await resolved(resolver) == [HONEST]


@pytest.mark.parametrize("system", [HONEST, ALSO_HONEST, f"64:ff9b::{HONEST}"])
async def test_the_same_network_is_none(place: Place, system: str) -> None:
    place.plain.say = saying(system)
    resolver = place.resolver()
    await resolver.resolve("a.test")
    assert await resolver.compare("a.test") is None


async def test_a_networks_own_translation_is_none(place: Place) -> None:
    def say(asked: Asked) -> list[bytes]:
        inside = "192.0.0.170" if asked.name == "ipv4only.arpa" else HONEST
        return [reply(asked, str(ipaddress.IPv6Address("2a00:db8:64::") + int(ipaddress.IPv4Address(inside))))]

    place.plain.say = say
    resolver = place.resolver()
    await resolver.resolve("a.test")
    assert await resolver.compare("a.test") is None
    assert place.asked_in_the_clear == {"a.test", "ipv4only.arpa"}


@pytest.mark.parametrize("code", ["NXDOMAIN", "SERVFAIL", "REFUSED", "NOERROR"])
async def test_what_the_system_alone_denies(place: Place, code: str) -> None:
    place.plain.say = but_for_controls(saying(code=code))
    resolver = place.resolver()
    await failure(resolver)
    finding = await resolver.compare("a.test")
    assert finding is not None
    assert finding.signal == "dns_denied"
    assert f"but {HONEST} by encrypted DNS" in finding.detail


async def test_what_the_system_alone_is_silent_about(place: Place) -> None:
    place.plain.say = but_for_controls(silent)
    resolver = place.resolver(timeout_s=0.2)
    await failure(resolver)
    finding = await place_compared(resolver, place)
    assert finding is not None
    assert finding.signal == "dns_silent"


@pytest.mark.parametrize("code", ["NXDOMAIN", "SERVFAIL", "REFUSED"])
async def test_a_resolver_that_is_down_denies_nothing(place: Place, code: str) -> None:
    """Controls are asked once for all the names of a page, and again a minute later, or elsewhere."""
    place.plain.say = saying(code=code)
    resolver = place.resolver(controls=("control.test", "blocked-control.test"))
    place.suspects.add("blocked-control.test")
    names = [f"{letter}.test" for letter in "abc"]
    for name in names:
        await failure(resolver, name)
    assert await asyncio.gather(*map(resolver.compare, names)) == [None] * 3
    assert [resolver.finding(name) for name in names] == [None] * 3
    assert {asked.name for asked in place.plain.asked} == {*names, "control.test"}
    asked = len(place.plain.asked)
    assert await resolver.compare("a.test") is None
    assert len(place.plain.asked) == asked

    place.network_id = NetworkId("away")
    place.plain.say = but_for_controls(saying(code=code))
    await failure(resolver)
    assert await resolver.compare("a.test") is not None


async def test_where_no_control_may_be_asked_a_no_is_a_no(place: Place) -> None:
    place.suspects.add("control.test")
    place.plain.say = saying(code="SERVFAIL")
    resolver = place.resolver()
    await failure(resolver)
    assert await resolver.compare("a.test") is not None
    assert place.asked_in_the_clear == {"a.test"}


async def place_compared(resolver: Resolver, place: Place) -> DnsFinding | None:
    """Asked again until the first handshake with the secure server is over."""
    for _ in range(50):
        if (finding := await resolver.compare("a.test")) is not None:
            return finding
    return None


async def test_what_exists_nowhere_is_no_finding(place: Place) -> None:
    place.plain.say = place.secure.say = saying(code="NXDOMAIN")
    resolver = place.resolver()
    await failure(resolver)
    assert await resolver.compare("a.test") is None


async def test_without_a_second_opinion_there_is_none(place: Place) -> None:
    place.plain.say = saying(FORGED)
    resolver = place.resolver(secure=False)
    await resolver.resolve("a.test")
    assert await resolver.compare("a.test") is None


async def test_what_was_never_asked_cannot_be_compared(place: Place) -> None:
    assert await place.resolver().compare("a.test") is None
    assert place.secure.asked == []
    assert place.asked_in_the_clear == set()


async def test_a_finding_is_kept_by_comparing(place: Place) -> None:
    place.plain.say = saying(INJECTED)
    resolver = place.resolver()
    await failure(resolver)
    finding = await resolver.compare("a.test")
    assert finding is not None
    assert finding.signal == "dns_bogon"
