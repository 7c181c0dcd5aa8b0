"""Relays that work, refuse, lie and are not there, tried through our own dialers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from ipaddress import ip_address

import pytest

from proxy.config.relays import Relay
from proxy.config.schema import RelayConfig
from proxy.detect.relay_faults import RelayFault
from proxy.model import Destination, IPAddress, Stage, Symptom, as_evidence
from proxy.model.errors import DialError
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import AddressLookup, TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import make_poller
from proxy.net.stream import Stream, WrappedStream
from proxy.probe import relay_trial
from proxy.probe.relay_trial import Trial, another, carriable, remembered_tests, try_relay, try_relays
from proxy.wire.tls import sni_offset
from tests.support import relay as lab
from tests.support.clock import run as play
from tests.support.rows import each_row
from tests.support.sockets import descriptors
from tests.support.streams import listening


class Names(AddressLookup):
    """A resolver with one name."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        self.asked.append(host)
        if host != "control.example":
            raise DialError(f"{host} does not exist", stage=Stage.RESOLVE, symptom=Symptom.NO_NAME)
        return [ip_address("::1"), ip_address("127.0.0.1")]


@pytest.fixture
async def tcp() -> Iterator[TcpDialer]:  # type: ignore[misc]  # an async fixture: pytest-asyncio awaits it
    poller = make_poller(asyncio.get_running_loop())
    yield TcpDialer(poller, Resolver(), lambda _destination, _address: None)
    poller.close()


def registry(tcp: TcpDialer, **urls: str) -> Registry:
    return Registry([Relay.parse(name, url) for name, url in urls.items()], direct=tcp, to_relays=tcp)


async def closing_server() -> asyncio.Server:
    """A listener that hangs up on everybody."""
    return await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)


async def test_each_relay_is_judged_for_itself(tcp: TcpDialer) -> None:
    before = descriptors()
    origin = await closing_server()
    liar = await closing_server()
    async with origin, liar, lab.Relay({"open.test": "127.0.0.1"}) as relay:
        port = origin.sockets[0].getsockname()[1]
        relays = registry(
            tcp,
            good=f"socks5h://{relay.address}:{relay.port}",
            http=f"http://{relay.address}:{relay.port}",
            old=f"socks4a://{relay.address}:{relay.port}",
            liar=f"socks5h://127.0.0.1:{liar.sockets[0].getsockname()[1]}",
            gone="socks5h://127.0.0.1:1",
            chain=f"socks5h://{relay.address}:{relay.port}>good",
        )
        results = await try_relays(
            relays, ["good", "http", "old", "liar", "gone"], Destination("open.test", port), resolver=None
        )
        refused = await try_relays(relays, ["good"], Destination("closed.test", port), resolver=None)
    told = {trial.relay: (trial.reachable, trial.handshake, trial.ok, trial.symptom) for trial in results}
    assert told == {
        "good": (True, True, True, ""),
        "http": (True, True, True, ""),
        "old": (True, True, True, ""),
        "liar": (True, False, False, "relay_down"),
        "gone": (False, False, False, "relay_down"),
    }
    assert [trial.relay for trial in results] == ["good", "http", "old", "liar", "gone"]
    assert refused[0].reachable
    assert refused[0].handshake
    assert not refused[0].ok
    assert refused[0].symptom == "relay_refused"
    assert all(bool(trial.error) is not trial.ok for trial in (*results, *refused))
    assert descriptors() == before


async def test_a_relay_that_takes_addresses_gets_no_name_unless_it_may_be_asked_for(tcp: TcpDialer) -> None:
    names = Names()
    origin = await closing_server()
    async with origin, lab.Relay({}) as relay:
        target = Destination("control.example", origin.sockets[0].getsockname()[1])
        relays = registry(
            tcp,
            five=f"socks5://{relay.address}:{relay.port}?resolve=local",
            four=f"socks4://{relay.address}:{relay.port}",
        )
        skipped = await try_relays(relays, ["five", "four"], target, resolver=None)
        assert [(trial.ok, trial.symptom) for trial in skipped] == [(False, "skipped")] * 2
        assert relay.asked == []
        assert await carriable(relays, "four", target, names) == Destination("127.0.0.1", target.port)
        assert await carriable(relays, "five", target, names) == Destination("::1", target.port)
        assert await carriable(relays, "five", Destination("other.example", 1), names) is None
        (four,) = await try_relays(relays, ["four"], target, resolver=names)
        assert four.ok
        assert relay.asked == [f"127.0.0.1:{target.port}"]


@pytest.mark.parametrize(
    ("symptom", "do"),
    [
        (Symptom.RELAY_REFUSED, "test another destination: byway relay test vps --to HOST:PORT"),
        (Symptom.FORBIDDEN, "correct its host and port in config.toml, then byway relay test vps"),
        (Symptom.OFFLINE, "byway relay test vps"),
    ],
)
async def test_what_to_do_after_a_failure_that_is_not_the_relays(symptom: Symptom, do: str) -> None:
    class Fails:
        async def dial(self, destination: Destination) -> Stream:
            raise DialError("no", stage=Stage.RELAY, symptom=symptom)

    assert (await try_relay("vps", Fails(), Destination("h", 1))).do == do


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"", RelayFault.PROTOCOL_FILTERED),
        (b"\x05\xff", RelayFault.PROTOCOL_FILTERED),
        (b"\x15\x03\x03\x00\x02\x02\x46", RelayFault.WRONG_PROTOCOL),
        (None, RelayFault.SILENT),
    ],
)
async def test_a_socks_relay_that_does_not_answer_gets_a_hello_without_a_name(
    tcp: TcpDialer, monkeypatch: pytest.MonkeyPatch, answer: bytes | None, fault: RelayFault
) -> None:
    said = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.append(await reader.read(4096))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
        writer.close()

    class Unanswered:
        async def dial(self, destination: Destination) -> Stream:
            evidence = {"relay": Symptom.TIMEOUT, "greeting": 1, "unacked": 1}
            raise DialError("no", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence=as_evidence(evidence))

    monkeypatch.setattr(relay_trial, "HELLO_S", 0.2 if answer is None else 10.0)
    before = descriptors()
    async with listening(serve, "127.0.0.1", 0) as server:
        place = Destination("127.0.0.1", server.sockets[0].getsockname()[1])
        trial = await try_relay("vps", Unanswered(), Destination("h", 1), connect=partial(tcp.dial, place))
    assert (trial.fault, trial.is_relays_fault, trial.ok) == (fault.text, True, False)
    assert trial.do == fault.fix("vps")
    (hello,) = said
    assert hello.startswith(b"\x16\x03")
    assert sni_offset(hello) is None
    assert descriptors() == before


async def test_where_no_hello_can_be_sent_the_fault_stays(tcp: TcpDialer) -> None:
    class Unanswered:
        async def dial(self, destination: Destination) -> Stream:
            evidence = {"relay": Symptom.TIMEOUT, "greeting": 1, "unacked": 1}
            raise DialError("no", stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence=as_evidence(evidence))

    nowhere = partial(tcp.dial, Destination("127.0.0.1", 1))
    for connect in (nowhere, None):
        trial = await try_relay("vps", Unanswered(), Destination("h", 1), connect=connect)
        assert trial.fault == RelayFault.SOCKS_UNANSWERED.text


async def test_a_relay_with_another_fault_gets_no_hello() -> None:
    class Refuses:
        async def dial(self, destination: Destination) -> Stream:
            evidence = as_evidence({"relay": Symptom.REFUSED})
            raise DialError("no", stage=Stage.CONNECT, symptom=Symptom.RELAY_DOWN, evidence=evidence)

    async def connect() -> Stream:
        raise AssertionError("a connection more")

    trial = await try_relay("vps", Refuses(), Destination("h", 1), connect=connect)
    assert trial.fault == RelayFault.CONNECTION_REFUSED.text


async def test_a_shortage_of_ours_is_an_error_and_no_crash() -> None:
    class Short:
        async def dial(self, destination: Destination) -> object:
            raise OSError(24, "Too many open files")

    from proxy.probe.relay_trial import try_relay

    trial = await try_relay("x", Short(), Destination("h", 1))  # type: ignore[arg-type]  # it never returns
    assert isinstance(trial, Trial)
    assert (trial.ok, trial.symptom) == (False, "local")


def test_what_is_remembered_of_trials() -> None:
    relays = [RelayConfig(name=name, url="h:1") for name in ("ok", "down", "refusing", "offline", "picky")]
    trials = [
        Trial("ok", True, True, True, 0.1),
        Trial("down", False, False, False, 0.1, "relay_down", "x", "connection refused", is_relays_fault=True),
        Trial("refusing", True, True, False, 0.1, "relay_refused", "x", "refuses this destination"),
        Trial("offline", False, False, False, 0.1, "offline", "x", "this computer has no network"),
        Trial("picky", False, False, False, 0.0, "skipped", "x", "takes addresses only"),
        Trial("gone", True, True, True, 0.1),  # it was removed meanwhile
    ]

    def remembered(**how: bool) -> list[str]:
        return [test.relay for test in remembered_tests(trials, relays, 1.0, **how)]

    assert remembered(whatever_target=False) == ["ok", "down", "refusing"]
    assert remembered(whatever_target=True) == ["ok", "down"]
    assert remembered(whatever_target=False, may_blame=False) == ["ok"]


def test_a_silent_relay_is_tested_for_twenty_seconds() -> None:
    """A visit waits longer; who tests a relay wants to know."""

    class Silent:
        async def dial(self, destination: Destination) -> Stream:
            await asyncio.sleep(99)
            raise AssertionError("it was waited for")

    async def story() -> Trial:
        return await try_relay("tor", Silent(), Destination("site.test", 443), clock=asyncio.get_running_loop().time)

    trial = play(story())
    assert (trial.ok, trial.reachable, trial.symptom, trial.elapsed_s) == (False, True, "timeout", 20)
    assert trial.error == "relay tor did not reach the destination within 20 s"


class OfKey:
    """Dials a stream that needs an answer."""

    def __init__(self, via: TcpDialer, fault: DialError | None) -> None:
        self._via = via
        self._fault = fault
        self.dialed: list[Destination] = []

    async def dial(self, destination: Destination) -> Stream:
        self.dialed.append(destination)
        stream = _Unproven(await self._via.dial(destination))
        stream.fault = self._fault
        return stream


class _Unproven(WrappedStream):
    is_answer_needed = True
    fault: DialError | None = None

    def fault_before_answer(self, symptom: Symptom) -> DialError | None:
        return self.fault


async def test_a_key_works_only_with_an_answer_of_the_destination(tcp: TcpDialer) -> None:
    """The path through it counts as open before it is."""
    got: list[bytes] = []

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(1000))
        writer.write(b"x")
        writer.close()

    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    here = Destination("127.0.0.1", server.sockets[0].getsockname()[1])
    assert (await try_relay("key", OfKey(tcp, None), here)).ok
    assert got == [f"HEAD / HTTP/1.1\r\nHost: {here}\r\nConnection: close\r\n\r\n".encode()]
    server.close()

    closing = await closing_server()
    there = Destination("127.0.0.1", closing.sockets[0].getsockname()[1])
    evidence = as_evidence({"relay": "key_closed"})
    fault = DialError("relay key: …", stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_DOWN, evidence=evidence)
    trial = await try_relay("key", OfKey(tcp, fault), there)
    assert (trial.ok, trial.reachable, trial.is_relays_fault) == (False, True, True)
    assert trial.fault == f"{RelayFault.KEY_CLOSED.text}; or it cannot reach this destination"
    assert trial.do == "ask for a new key and add it, then byway relay test key"
    trial = await try_relay("key", OfKey(tcp, None), there)
    assert (trial.ok, trial.is_relays_fault) == (False, False)
    assert trial.error == "relay key brought no answer of the destination"
    closing.close()


@each_row("fault", ["key_closed", "key_closed_or_clock", "key_unanswered", ""])
async def test_another_destination_tells_a_wrong_key_from_one_whose_server_cannot_reach_the_first(
    tcp: TcpDialer, fault: str
) -> None:
    """`fault` is empty where the key has just brought another page."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"x")
        writer.close()

    closing, server = await closing_server(), await asyncio.start_server(answering, "127.0.0.1", 0)
    closed, open_ = (Destination("127.0.0.1", each.sockets[0].getsockname()[1]) for each in (closing, server))
    evidence = as_evidence({"relay": fault})
    error = DialError("…", stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_DOWN, evidence=evidence)
    dialer = OfKey(tcp, error if fault else None)
    said = RelayFault(fault).text if fault else "did not reach the destination in time"
    async with closing, server:
        trial = await try_relay("key", dialer, closed, other=open_)
        assert (trial.ok, trial.fault) == (True, "")
        trial = await try_relay("key", dialer, closed, other=open_, is_given=True)
        assert (trial.ok, trial.handshake, trial.is_relays_fault) == (False, True, False)
        assert trial.fault == "does not reach this destination, but another"
        assert trial.error == f"relay key reaches {open_}, and not {closed}"
        assert trial.do == "test another destination: byway relay test key --to HOST:PORT"
        assert remembered_tests([trial], [RelayConfig("key", "x")], 0.0, whatever_target=True) == []
        for is_given in (False, True):
            trial = await try_relay("key", dialer, closed, other=closed, is_given=is_given)
            assert (trial.fault, trial.is_relays_fault) == (said, bool(fault))


async def test_what_no_destination_changes_is_tried_once(tcp: TcpDialer) -> None:
    closing = await closing_server()
    there = Destination("127.0.0.1", closing.sockets[0].getsockname()[1])
    evidence = as_evidence({"relay": "key_refused"})
    fault = DialError("…", stage=Stage.FIRST_BYTE, symptom=Symptom.RELAY_AUTH, evidence=evidence)
    dialer = OfKey(tcp, fault)
    async with closing:
        trial = await try_relay("key", dialer, there, other=Destination("127.0.0.1", 1))
    assert (trial.fault, dialer.dialed) == (RelayFault.KEY_REFUSED.text, [there])


def test_the_other_destination_is_a_control_page_of_another_host() -> None:
    controls = ("https://a.example/", "http://b.example:81/x")
    assert another(controls, Destination("a.example", 443)) == Destination("b.example", 81)
    assert another(controls, Destination("a.example", 80)) == Destination("b.example", 81)
    assert another(controls, Destination("c.example", 443)) == Destination("a.example", 443)
    assert another(controls[:1], Destination("a.example", 443)) is None


async def test_at_the_port_of_https_a_key_is_tested_with_a_client_hello(
    tcp: TcpDialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[bytes] = []

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(1000))
        writer.write(b"x")
        writer.close()

    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    here = Destination("127.0.0.1", server.sockets[0].getsockname()[1])
    monkeypatch.setattr(relay_trial, "_HTTPS", here.port)
    assert (await try_relay("key", OfKey(tcp, None), here)).ok
    assert got[0].startswith(b"\x16\x03\x01")
    assert sni_offset(got[0]) is None
    server.close()
