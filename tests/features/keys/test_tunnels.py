"""Keys of WireGuard, to a sing-box, and of SSH, to an sshd; and where WireGuard leads, whose packets have addresses."""

from __future__ import annotations

import asyncio
import ipaddress
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.features.keys.tunnel import asked_of_engine, leads_to
from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.key_relay import DestinationLookup, KeyRelay
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.dns.stub_resolver import lookup_failed
from proxy.net.poller import make_poller
from proxy.wire.keys.reader import read_key
from proxy.wire.keys.values import WireGuard
from tests.features.keys.test_engine import ANSWER_S, World, _no_engine, _pid, answer, fault, page, world
from tests.features.keys.test_network import CALLS, addressed
from tests.support import programs
from tests.support.rows import each_row
from tests.support.tunnel_servers import BEHIND, SshServer, WireGuardServer
from tests.support.waiting import until
from tests.wire.keys.made_keys import WG_KEY, WG_PEER

wireguard = pytest.mark.needs("mihomo", "sing-box")
ssh = pytest.mark.needs("mihomo", "sshd", "ssh-keygen")


ALL = "0.0.0.0/0,::/0"
SIX = "2001:db8::7"


@dataclass
class Names:
    """An encrypted DNS for the tests."""

    addresses: Sequence[str] = (BEHIND,)
    asked: list[Destination] = field(default_factory=list)

    async def __call__(self, destination: Destination) -> Sequence[IPAddress]:
        self.asked.append(destination)
        return [*map(ipaddress.ip_address, self.addresses)]


# -- WireGuard ---------------------------------------------------------------------------------------------------------


@wireguard
async def test_a_page_comes_through_wireguard_by_an_address_that_byway_looked_up(tmp_path: Path) -> None:
    async with world(tmp_path) as here, WireGuardServer(tmp_path) as server:
        names = Names()
        dialer = here.dialer(server.link(), names=names)
        stream = await dialer.dial(here.site.destination)
        assert stream.is_answer_needed
        assert await answer(stream) == b"hello"
        stream.close()
        assert names.asked == [here.site.destination]
        assert await page(dialer, Destination(BEHIND, here.site.port)) == b"hello"
        assert names.asked == [here.site.destination]
        assert here.site.count == 2


@wireguard
@pytest.mark.needs("strace")
async def test_the_engine_asks_no_dns_for_wireguard_and_sends_to_its_server_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as here, WireGuardServer(tmp_path) as server:
        dialer = here.dialer(server.link(more="&dns=198.51.100.53&keepalive=1"), names=Names())
        assert await page(dialer, here.site.destination) == b"hello"
        traced = tmp_path / "trace.txt"
        strace = [programs.require("strace"), "-f", "-e", f"trace={CALLS},write", "-o", str(traced)]
        with subprocess.Popen([*strace, "-p", str(_pid(here))], stderr=subprocess.PIPE) as tracer:  # noqa: ASYNC220
            try:
                assert tracer.stderr is not None
                await asyncio.to_thread(tracer.stderr.readline)
                for number in range(5):
                    assert await page(dialer, Destination(f"blocked{number}.test", here.site.port)) == b"hello"
                await until(lambda: traced.exists() and b"write(" in traced.read_bytes())
            finally:
                tracer.terminate()
        assert addressed(traced.read_text()) <= {("127.0.0.1", server.port)}


@wireguard
async def test_what_wireguard_does_not_answer_is_the_keys_and_what_a_site_refuses_is_not(tmp_path: Path) -> None:
    async with world(tmp_path) as here, WireGuardServer(tmp_path) as server:
        good = here.dialer(server.link(), "good", names=Names())
        refused = await fault(good, Destination("closed.test", 1))
        assert (refused.symptom, relay_fault(refused)) == (Symptom.RELAY_REFUSED, None)
        assert str(refused) == "relay good cannot reach the destination"
        wrong = await fault(here.dialer(server.link(wrong=True), "wrong", names=Names()), here.site.destination)
        assert (wrong.symptom, relay_fault(wrong)) == (Symptom.RELAY_DOWN, RelayFault.KEY_UNANSWERED)
        server.stop()
        down = await fault(good, here.site.destination)
        assert relay_fault(down) is RelayFault.KEY_UNANSWERED
        assert here.site.count == 0


@wireguard
@pytest.mark.parametrize(
    ("is_wrong", "port", "blamed"),
    [
        pytest.param(True, None, RelayFault.KEY_UNANSWERED, id="wrong key"),
        pytest.param(False, 1, None, id="a name server that is not there"),
        pytest.param(False, None, None, id="a name server that answers"),
    ],
)
async def test_a_name_is_not_found_because_of_the_key_only_where_not_even_a_name_server_was_heard_through_it(
    tmp_path: Path, *, is_wrong: bool, port: int | None, blamed: RelayFault | None
) -> None:
    async with world(tmp_path) as here, WireGuardServer(tmp_path) as server:
        names = Destination(BEHIND, port or here.site.port)

        def through(dialer: Dialer) -> DestinationLookup:
            async def fails(_: Destination) -> Sequence[IPAddress]:
                stream = await dialer.dial(names)
                with suppress(ConnectionError):
                    await answer(stream)
                stream.fault_before_answer(Symptom.RESET)
                stream.close()
                raise DialError("all servers failed", stage=Stage.RESOLVE, symptom=Symptom.SKIPPED)

            return fails

        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        key = read_key(server.link(wrong=is_wrong))
        dialer = here.engine.dialer(KeyRelay("wg", key, direct, None, None, ANSWER_S, through))
        found = await fault(dialer, here.site.destination)
    assert relay_fault(found) is blamed, found
    assert found.symptom is (Symptom.SKIPPED if blamed is None else Symptom.RELAY_DOWN)


@wireguard
async def test_why_the_engine_did_not_carry_a_lookup_is_told(tmp_path: Path) -> None:
    def through(key: Dialer) -> DestinationLookup:
        async def unanswered(_: Destination) -> Sequence[IPAddress]:
            try:
                await key.dial(Destination(BEHIND, 443))
            except DialError as error:
                raise lookup_failed(f"no answer: {error}", Symptom.SKIPPED, {"doh": "doh_down"}) from None
            return ()

        return unanswered

    async with world(tmp_path) as here, WireGuardServer(tmp_path) as server:
        here.engine._find = _no_engine
        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        dialer = here.engine.dialer(KeyRelay("wg", read_key(server.link()), direct, None, None, 1.0, through))
        error = await fault(dialer, here.site.destination)
        assert relay_fault(error) is RelayFault.ENGINE
        assert str(error) == "relay wg: no engine here"


@wireguard
async def test_the_packets_that_amneziawg_sends_first_pass_and_the_engine_takes_all_that_it_changes(
    tmp_path: Path,
) -> None:
    """A server of WireGuard ignores the former, and does not know the latter: nothing tests those with traffic."""
    async with world(tmp_path) as here, WireGuardServer(tmp_path) as server:
        first = "&jc=4&jmin=40&jmax=70&i1=%3Cb%200x00ff%3E%3Cr%2010%3E%3Crc%204%3E%3Crd%204%3E%3Cc%3E%3Ct%3E"
        assert await page(here.dialer(server.link(more=first), names=Names()), here.site.destination) == b"hello"
        changed = "&s1=15&s2=18&s3=20&s4=23&h1=5-9&h2=20&h3=30&h4=40-4294967295"
        found = await fault(here.dialer(server.link(more=first + changed), names=Names()), here.site.destination)
        assert relay_fault(found) is RelayFault.KEY_UNANSWERED


def link(addresses: str, allowed: str = ALL) -> str:
    private, public = quote(WG_KEY, safe=""), quote(WG_PEER, safe="")
    return f"wireguard://{private}@relay.example:443?publickey={public}&address={addresses}&allowedips={allowed}"


async def asked(names: DestinationLookup | None, addresses: str, allowed: str, host: str) -> Destination:
    """Returns what the engine is asked for."""
    direct = TcpDialer(make_poller(asyncio.get_running_loop()), Resolver(), lambda *_: None)
    relay = KeyRelay("wg", read_key(link(addresses, allowed)), direct, None, None, 1.0)
    return await asked_of_engine(relay, names, Destination(host, 443))


@each_row(
    ("addresses", "allowed", "found", "taken"),
    [
        ("10.0.0.2/32", ALL, (SIX, BEHIND), BEHIND),
        ("10.0.0.2/32,fd00::2/128", ALL, (SIX, BEHIND), BEHIND),
        ("10.0.0.2/32,fd00::2/128", ALL, (SIX,), SIX),
        ("10.0.0.2/32", "203.0.113.0/24", ("198.51.100.1", BEHIND), BEHIND),
    ],
)
async def test_a_name_becomes_an_address_to_which_the_key_leads(
    addresses: str, allowed: str, found: Sequence[str], taken: str
) -> None:
    assert await asked(Names(found), addresses, allowed, "site.example") == Destination(taken, 443)


@each_row(
    ("addresses", "allowed", "destination", "words"),
    [
        ("10.0.0.2/32", ALL, SIX, "relay wg does not lead to [2001:db8::7]:443"),
        ("10.0.0.2/32", "10.0.0.0/8", BEHIND, "relay wg does not lead to 203.0.113.7:443"),
        ("10.0.0.2/32", "10.0.0.0/8", "site.example", "relay wg leads to no address of site.example: its allowed IPs"),
    ],
)
async def test_where_the_key_does_not_lead_is_skipped(
    addresses: str, allowed: str, destination: str, words: str
) -> None:
    with pytest.raises(DialError) as caught:
        await asked(Names(), addresses, allowed, destination)
    assert str(caught.value).startswith(words)
    assert (caught.value.symptom, caught.value.stage) == (Symptom.SKIPPED, Stage.RELAY)


async def test_without_encrypted_dns_no_name_is_looked_up_at_all() -> None:
    with pytest.raises(
        DialError, match="relay wg takes addresses only, and no encrypted DNS server is configured"
    ) as it:
        await asked(None, "10.0.0.2/32", ALL, "site.example")
    assert it.value.symptom is Symptom.SKIPPED


@each_row(
    ("raised", "symptom"),
    [(Symptom.NO_NAME, Symptom.SKIPPED), (Symptom.FORBIDDEN, Symptom.FORBIDDEN), (Symptom.OFFLINE, Symptom.SKIPPED)],
)
async def test_a_name_without_an_address_blames_neither_the_relay_nor_the_site(
    raised: Symptom, symptom: Symptom
) -> None:
    async def fails(_: Destination) -> Sequence[IPAddress]:
        raise DialError("no address", stage=Stage.RESOLVE, symptom=raised)

    with pytest.raises(DialError, match="relay wg takes addresses only: no address") as caught:
        await asked(fails, "10.0.0.2/32", ALL, "site.example")
    assert caught.value.symptom is symptom


def test_other_protocols_lead_everywhere() -> None:
    assert leads_to(read_key("trojan://x@relay.example:443"), ipaddress.ip_address(SIX))
    key = read_key(link("10.0.0.2/24"))
    assert isinstance(key, WireGuard)
    assert leads_to(key, ipaddress.ip_address("203.0.113.9"))
    assert not leads_to(replace(key, allowed_ips=("10.0.0.0/8",)), ipaddress.ip_address("203.0.113.9"))


# -- SSH ---------------------------------------------------------------------------------------------------------------


def _site(here: World) -> Destination:
    """A name that the server resolves."""
    return Destination("localhost", here.site.port)


@ssh
async def test_a_page_comes_through_ssh_and_all_pages_through_one_connection(tmp_path: Path) -> None:
    async with world(tmp_path) as here, SshServer() as server:
        dialer = here.dialer(server.link())
        streams = [await dialer.dial(_site(here)) for _ in range(3)]
        assert [await answer(stream) for stream in streams] == [b"hello"] * 3
        assert here.engine._keys[("key", read_key(server.link()))]._open == 1
        for stream in streams:
            stream.close()
        assert here.site.count == 3


@ssh
async def test_a_server_with_another_host_key_gets_no_secret(tmp_path: Path) -> None:
    async with world(tmp_path) as here, SshServer() as server:
        error = await fault(here.dialer(server.link(host="other")), _site(here))
        assert (error.symptom, relay_fault(error)) == (Symptom.RELAY_AUTH, RelayFault.KEY_HOST_KEY)
        assert here.site.count == 0


@ssh
async def test_a_key_that_the_server_of_ssh_refuses_is_told_apart_from_a_site_that_it_cannot_reach(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as here, SshServer() as server:
        refused = await fault(here.dialer(server.link(user="other"), "other"), _site(here))
        assert (refused.symptom, relay_fault(refused)) == (Symptom.RELAY_AUTH, RelayFault.KEY_REFUSED)
        for closed in (Destination("localhost", 1), Destination("no-such-name.invalid", 80)):
            error = await fault(here.dialer(server.link()), closed)
            assert (error.symptom, relay_fault(error)) == (Symptom.RELAY_REFUSED, None), closed


@ssh
async def test_a_server_of_ssh_that_forwards_nothing_refuses_the_key(tmp_path: Path) -> None:
    async with world(tmp_path) as here, SshServer(forwards=False) as server:
        error = await fault(here.dialer(server.link()), _site(here))
        assert relay_fault(error) is RelayFault.KEY_REFUSED
