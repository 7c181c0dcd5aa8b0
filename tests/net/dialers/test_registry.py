from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import pytest
import trustme

from proxy.config.detect_tuning import DetectTuning
from proxy.config.relays import Relay
from proxy.model import DIRECT, Destination, IPAddress, Route, Stage, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.key_relay import AnyServer, KeyDialer, KeyRelay, NoEngineDialer, ServerAddresses
from proxy.net.dialers.registry import URL_RELAYS_MAX, Registry, first_hop_is_named
from proxy.net.dialers.relay_ways import RelayWaysDialer
from proxy.net.dialers.road import RoadToRelays
from proxy.net.dialers.tcp import AddressLookup, Choose, Connecting, TcpDialer
from proxy.net.knowledge import NothingKnown
from proxy.net.notify import Notify
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from tests.support.clock import run as play
from tests.support.lying import HTTP, SOCKS5, SOCKS5_AUTH, LyingRelay
from tests.support.relay import Relay as WorkingRelay
from tests.support.rows import each_row
from tests.support.scripted import FakeOracle

SITE = Destination("blocked.test", 443)


class Recorder:
    """A dialer that notes what it is asked, and fails once `go` is set."""

    def __init__(self) -> None:
        self.dialed: list[Destination] = []
        self.go = asyncio.Event()
        self.addresses = [ipaddress.ip_address(text) for text in ("192.0.2.1", "2001:db8::1", "192.0.2.2")]

    def choosing(self, choose: Choose) -> Dialer:
        return Chooser(self, choose)

    def begin(self, destination: Destination, notify: Notify) -> Connecting:
        raise NotImplementedError

    async def dial(self, destination: Destination) -> Stream:
        self.dialed.append(destination)
        await self.go.wait()
        raise DialError("not today", stage=Stage.CONNECT, symptom=Symptom.REFUSED)


class Chooser:
    """A recorder's dialer for a rung: what was chosen among its addresses is what is dialed."""

    def __init__(self, recorder: Recorder, choose: Choose) -> None:
        self.recorder = recorder
        self._choose = choose

    async def dial(self, destination: Destination) -> Stream:
        for address in self._choose(destination, self.recorder.addresses):
            self.recorder.dialed.append(Destination(str(address), destination.port))
        raise DialError("not today", stage=Stage.CONNECT, symptom=Symptom.REFUSED)


def registry(*relays: Relay, to_relays: TcpDialer | Recorder | None = None) -> Registry:
    return Registry(relays, direct=Recorder(), to_relays=to_relays or Recorder())


def relay(name: str, url: str, *, allow_plaintext_credentials: bool = False) -> Relay:
    return Relay.parse(name, url, allow_plaintext_credentials=allow_plaintext_credentials)


def test_a_route_has_one_dialer() -> None:
    direct = Recorder()
    made = Registry([relay("tor", "socks5h://127.0.0.1:9050")], direct=direct, to_relays=Recorder())
    assert made.dialer(DIRECT) is direct
    assert made.dialer(Route(("tor",))) is made.dialer(Route(("tor",)))
    assert repr(made) == "<Registry tor>"
    assert repr(registry()) == "<Registry without relays>"


@each_row(
    ("url", "has_ways"),
    [
        ("socks5h://vps.test:1", False),  # its addresses are the TCP dialer's business
        ("socks5h://192.0.2.1:1?alt=192.0.2.2:1", True),
        ("http://vps.test?alt=192.0.2.2:1", True),
        ("https://vps.test", True),  # the hello can be fragmented
        ("https://192.0.2.1?sni=front.test", True),
        ("https://192.0.2.1", False),  # there is no name in it
        ("https://localhost", False),
        ("https://127.0.0.1?sni=front.test", False),
        ("socks5h://192.0.2.1:1>https://vps.test", False),  # the relay before it is not the one to fragment
        ("socks5h://192.0.2.1:1>https://vps.test?alt=192.0.2.2:1", True),
    ],
)
def test_which_relays_have_several_ways(url: str, has_ways: bool) -> None:
    road = RoadToRelays(tcp_info=FakeOracle(), strategies=("tlsrec",))
    made = Registry([relay("one", url)], direct=Recorder(), to_relays=Recorder(), road=road)
    assert isinstance(made.dialer(Route(("one",)))._via, RelayWaysDialer) is has_ways  # type: ignore[attr-defined]


async def test_without_knowledge_of_ways_an_alternative_is_tried_as_well(to_relays: TcpDialer) -> None:
    async with WorkingRelay({}, user="me", password="secret") as server:
        url = f"socks5h://me:secret@127.0.0.1:1?alt={server.address}:{server.port}"
        made = registry(relay("one", url), to_relays=to_relays)
        with pytest.raises(DialError, match="host unreachable") as caught:
            await made.dialer(Route(("one",))).dial(Destination("unknown.test", 1))
        assert caught.value.symptom is Symptom.RELAY_REFUSED, "so the password was accepted"


@each_row(
    ("url", "named"),
    [
        ("socks5h://192.0.2.1:1", False),
        ("socks5h://localhost:1", False),
        ("socks5h://vps.test:1", True),
        ("socks5h://192.0.2.1:1?alt=192.0.2.2:1", False),
        ("socks5h://192.0.2.1:1?alt=vps.test:1", True),
        ("socks5h://192.0.2.1:1>socks5h://vps.test:1", False),
        ("by-address>socks5h://vps.test:1", False),
        ("by-name>socks5h://192.0.2.1:1", True),
        ("unknown>socks5h://192.0.2.1:1", True),
        ("one>socks5h://192.0.2.1:1", True),
        ("addon://mine", True),
    ],
)
def test_whose_first_hop_needs_a_lookup(url: str, named: bool) -> None:
    relays = [relay("by-address", "socks5h://192.0.2.9:1"), relay("by-name", "http://vps.test"), relay("one", url)]
    assert first_hop_is_named("one", relays) is named


def test_which_relays_have_alternatives_on_the_first_leg() -> None:
    made = registry(
        relay("one", "socks5h://192.0.2.1:1"),
        relay("vps", "https://vps.test?alt=192.0.2.2:1"),
        relay("chain", "vps>one"),
        relay("behind", "one>vps"),
    )
    assert made.with_alternatives == {"vps": Destination("vps.test", 443), "chain": Destination("vps.test", 443)}


def test_names_keep_the_order_of_the_configuration() -> None:
    made = registry(relay("b", "192.0.2.1:1080"), relay("a", "http://192.0.2.2"), relay("c", "b>a"))
    assert made.relay_names == ("b", "a", "c")


@each_row(
    ("url", "name", "address", "addresses_only"),
    [
        ("socks5h://192.0.2.1", True, True, ""),
        ("socks5://192.0.2.1", True, True, ""),
        ("socks5://192.0.2.1?resolve=local", False, True, "?resolve=local"),
        ("socks4a://192.0.2.1", True, True, ""),
        ("socks4://192.0.2.1", False, True, "socks4"),
        ("http://192.0.2.1", True, True, ""),
        ("https://192.0.2.1", True, True, ""),
        ("socks5://192.0.2.1?resolve=local>socks5h://192.0.2.2", True, True, ""),
        ("socks5h://192.0.2.1>socks5://192.0.2.2?resolve=local", False, True, "?resolve=local"),
    ],
)
def test_what_a_route_carries_is_what_its_last_relay_takes(
    url: str, name: bool, address: bool, addresses_only: str
) -> None:
    made = registry(relay("r", url))
    route = Route(("r",))
    assert made.carries(route, SITE) is name
    assert made.carries(route, Destination("192.0.2.7", 443)) is address
    assert made.addresses_only("r") == addresses_only
    assert made.carries(DIRECT, SITE)


@each_row(
    ("relays", "problem"),
    [
        ([("a", "b")], "relay a: there is no relay 'b'"),
        ([("a", "b"), ("b", "a")], r"relay a: the chain contains itself \(a>b>a\)"),
        ([("a", "a")], "relay a: the chain contains itself"),
        (
            [("a", "socks5://192.0.2.1?resolve=local>http://relay.test")],
            "relay a: the relay before relay.test in",
        ),
        (
            [("a", "socks4://192.0.2.1>http://[2001:db8::1]")],
            "relay a: the relay before 2001:db8::1 in",
        ),
        ([("a", "https://192.0.2.1?ca=/nowhere.pem")], "relay a: no certificates can be read from /nowhere.pem"),
    ],
)
def test_what_cannot_work_is_said_at_once(relays: list[tuple[str, str]], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        registry(*(relay(name, url) for name, url in relays))
    assert len(caught.value.problems) == len(relays)


def test_all_problems_are_said_and_no_password() -> None:
    with pytest.raises(ConfigError) as caught:
        registry(relay("a", "missing"), relay("b", "socks5h://192.0.2.1").with_password("only-a-password"))
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["relay a", "relay b"]
    assert "only-a-password" not in str(caught.value)


def test_routes_that_there_are_not() -> None:
    made = registry(relay("tor", "127.0.0.1:9050"))
    with pytest.raises(ConfigError, match="there is no relay 'vps'"):
        made.dialer(Route(("vps",)))
    with pytest.raises(ConfigError, match="'nosuch'"):
        made.dialer(Route((), ("nosuch",)))


async def test_a_chain_reaches_one_relay_through_the_other(to_relays: TcpDialer) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        writer.close()

    origin = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = origin.sockets[0].getsockname()[1]
    async with (
        asyncio.timeout(20),
        WorkingRelay({"second.test": "127.0.0.10"}) as first,
        WorkingRelay({"blocked.test": "127.0.0.1"}, address="127.0.0.10") as second,
    ):
        made = registry(
            relay("first", f"socks5h://127.0.0.9:{first.port}"),
            relay("second", f"http://second.test:{second.port}"),
            relay("both", f"first>http://second.test:{second.port}"),
            to_relays=to_relays,
        )
        for route in (Route(("both",)), Route(("first", "second"))):
            stream = await made.dialer(route).dial(Destination("blocked.test", port))
            assert await stream.receive() == b"welcome"
            stream.close()
        assert first.asked == [f"second.test:{second.port}"] * 2
        assert second.asked == [f"blocked.test:{port}"] * 2
        await second.stop()
        with pytest.raises(DialError, match=r"second.* cannot be reached") as caught:
            await made.dialer(Route(("both",))).dial(Destination("blocked.test", port))
        assert caught.value.symptom is Symptom.RELAY_DOWN
    origin.close()
    await origin.wait_closed()


async def test_a_relay_is_connected_to_where_the_first_one_of_its_chain_listens_and_an_addons_nowhere() -> None:
    recorder = Recorder()
    recorder.go.set()
    relays = (relay("near", "https://192.0.2.7:443"), relay("far", "near>socks5h://192.0.2.9"), relay("a", "addon://a"))
    made = registry(*relays, to_relays=recorder)
    for name, symptom in (("near", Symptom.REFUSED), ("far", Symptom.REFUSED), ("a", Symptom.SKIPPED)):
        with pytest.raises(DialError) as caught:
            await made.connect(name)
        assert caught.value.symptom is symptom
    assert recorder.dialed == [Destination("192.0.2.7", 443)] * 2


async def test_credentials_of_a_further_relay_do_not_pass_the_first_in_the_clear(to_relays: TcpDialer) -> None:
    """The first hop is on loopback, but the path does not end there."""

    async with LyingRelay(HTTP) as first:
        url = f"http://127.0.0.1:{first.port}>socks5h://me:secret@192.0.2.1"
        with pytest.raises(DialError, match="unencrypted"):
            await registry(relay("r", url), to_relays=to_relays).dialer(Route(("r",))).dial(SITE)
    assert b"secret" not in first.received
    async with LyingRelay((*HTTP, *SOCKS5_AUTH)) as first:
        url = f"http://127.0.0.1:{first.port}>socks5h://me:secret@192.0.2.1"
        made = registry(relay("r", url, allow_plaintext_credentials=True), to_relays=to_relays)
        (await made.dialer(Route(("r",))).dial(SITE)).close()
    assert b"secret" in first.received


async def test_no_relay_gets_anothers_credentials(to_relays: TcpDialer) -> None:
    async with LyingRelay(SOCKS5_AUTH) as mine, LyingRelay(SOCKS5) as other:
        made = registry(
            relay("mine", f"socks5h://me:secret@127.0.0.1:{mine.port}"),
            relay("other", f"socks5h://127.0.0.1:{other.port}"),
            to_relays=to_relays,
        )
        for name in ("mine", "other"):
            (await made.dialer(Route((name,))).dial(SITE)).close()
    assert b"secret" in mine.received
    assert b"secret" not in other.received


async def test_few_handshakes_at_a_time_with_a_remote_relay() -> None:
    recorder = Recorder()
    made = Registry(
        [relay("far", "socks5h://192.0.2.1"), relay("also far", "http://192.0.2.1:1080>socks5h://192.0.2.2")],
        direct=Recorder(),
        to_relays=recorder,
        detect=DetectTuning(relay_handshakes_max=3),
    )
    dialing = [spawn(made.dialer(Route((name,))).dial(SITE), name="dial") for name in ("far", "also far") * 5]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(recorder.dialed) == 3
    recorder.go.set()
    results = await asyncio.gather(*dialing, return_exceptions=True)
    assert len(recorder.dialed) == 10
    assert all(isinstance(result, DialError) for result in results)


class SilentRelays:
    """Dials remote relays, which take every connection and never answer a request: their greetings they answer."""

    def __init__(self) -> None:
        self.streams: list[SilentStream] = []

    async def dial(self, destination: Destination) -> Stream:
        self.streams.append(SilentStream(f"{destination}"))
        return self.streams[-1]


class SilentStream(Stream):
    """SOCKS5 up to the reply, which does not come until `opens` is called."""

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self.inbox = b""
        self.asked = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        self.asked = bytes(data[:3]) == b"\x05\x01\x00" and len(data) > 3
        if not self.asked:
            self.arrive(b"\x05\x00")
        return len(data)

    def opens(self) -> None:
        self.arrive(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90")

    def arrive(self, data: bytes) -> None:
        self.inbox += data
        self._wake(receiver=True, sender=True)

    def receive_nowait(self, limit: int = 65536) -> bytes | None:
        data, self.inbox = self.inbox[:limit], self.inbox[limit:]
        return data or None

    def send_eof(self) -> None:
        pass

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._resume(receiver=True, sender=True)

    @property
    def plain_socket(self) -> None:
        return None

    @property
    def lowest_socket(self) -> socket.socket:
        raise NotImplementedError


def far_relay(via: Dialer, *, handshakes_max: int = 8, paths_max: int = 128, path_timeout_s: float = 10) -> Registry:
    return Registry(
        [relay("far", "socks5h://192.0.2.1")],
        direct=Recorder(),
        to_relays=via,
        handshake_timeout_s=10,
        path_timeout_s=path_timeout_s,
        detect=DetectTuning(relay_handshakes_max=handshakes_max, relay_paths_max=paths_max),
    )


def test_nine_hosts_that_are_silent_behind_a_relay_do_not_delay_the_tenth() -> None:
    """A slot is free once the relay has the request: from then on it is the destination that is waited for."""

    async def story() -> None:
        relays = SilentRelays()
        dialer = far_relay(relays, handshakes_max=8).dialer(Route(("far",)))
        silent = [spawn(dialer.dial(Destination(f"silent-{n}.test", 443)), name="dial") for n in range(9)]
        await asyncio.sleep(0.1)
        healthy = spawn(dialer.dial(SITE), name="dial")
        await asyncio.sleep(0.1)
        assert [stream.asked for stream in relays.streams] == [True] * 10
        relays.streams[-1].opens()
        await healthy
        assert asyncio.get_running_loop().time() < 1
        await cancelled(silent)

    play(story())


def test_paths_that_are_being_opened_have_a_larger_bound_of_their_own() -> None:
    async def story() -> None:
        relays = SilentRelays()
        dialer = far_relay(relays, handshakes_max=2, paths_max=5).dialer(Route(("far",)))
        dialing = [spawn(dialer.dial(SITE), name="dial") for _ in range(7)]
        await asyncio.sleep(0.1)
        assert len(relays.streams) == 5
        relays.streams[0].opens()
        await dialing[0]
        await asyncio.sleep(0.1)
        assert len(relays.streams) == 6
        await cancelled(dialing[1:])
        await asyncio.wait_for(opened_by(dialer, relays), 1)

    async def opened_by(dialer: Dialer, relays: SilentRelays) -> None:
        dialing = spawn(dialer.dial(SITE), name="dial")
        await asyncio.sleep(0.1)
        relays.streams[-1].opens()
        await dialing

    play(story())


def test_a_relay_that_has_the_request_may_take_longer_than_its_handshake() -> None:
    async def opened_after(seconds: float) -> None:
        relays = SilentRelays()
        dialer = far_relay(relays, path_timeout_s=30).dialer(Route(("far",)))
        dialing = spawn(dialer.dial(SITE), name="dial")
        await asyncio.sleep(seconds)
        relays.streams[0].opens()
        await dialing

    play(opened_after(11))
    with pytest.raises(DialError, match="did not reach the destination within 30 s") as caught:
        play(opened_after(31))
    assert (caught.value.stage, caught.value.symptom) == (Stage.RELAY, Symptom.TIMEOUT)


def test_waiting_for_a_slot_is_no_failure_of_the_relay() -> None:
    """It lasts as long as a path may take, and what it ends with blames nobody but ourselves."""

    async def story() -> None:
        dialer = far_relay(Recorder(), handshakes_max=1, path_timeout_s=30).dialer(Route(("far",)))
        first = spawn(dialer.dial(SITE), name="dial")
        await asyncio.sleep(0)
        with pytest.raises(DialError, match="too many connections to it are being opened") as caught:
            await dialer.dial(SITE)
        assert asyncio.get_running_loop().time() == pytest.approx(30)
        assert (caught.value.stage, caught.value.symptom) == (Stage.RELAY, Symptom.LOCAL)
        await cancelled([first])

    play(story())


async def cancelled(tasks: Iterable[asyncio.Task[Stream]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_relay_on_loopback_has_no_such_limit() -> None:
    recorder = Recorder()
    detect = DetectTuning(relay_handshakes_max=1)
    made = Registry([relay("tor", "socks5h://127.0.0.1:9050")], direct=Recorder(), to_relays=recorder, detect=detect)
    dialing = [spawn(made.dialer(Route(("tor",))).dial(SITE), name="dial") for _ in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(recorder.dialed) == 5
    for task in dialing:
        task.cancel()
    await asyncio.gather(*dialing, return_exceptions=True)


def test_an_https_relay_takes_its_own_authority(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    made = registry(relay("vps", f"https://me:pw@relay.test?sni=front.test&ca={tmp_path}/ca.pem"))
    assert repr(made.dialer(Route(("vps",)))) == "<Http2ConnectDialer vps>"


# -- the local ladder --------------------------------------------------------------------------------------------------


def rung(text: str) -> Route:
    return Route.parse(f"direct|{text}")


async def chosen(made: Registry, route: Route, recorder: Recorder) -> list[str]:
    """The addresses that a rung dials, in order."""
    recorder.dialed.clear()
    with pytest.raises(DialError, match="not today"):
        await made.dialer(route).dial(SITE)
    return [destination.host for destination in recorder.dialed]


def test_a_rung_has_one_dialer_with_the_wrappers_around_each_other() -> None:
    made = Registry([], direct=Recorder(), to_relays=Recorder(), secure=Recorder())
    for text in (
        "tlsrec",
        "split",
        "disorder",
        "hostcase",
        "doh",
        "doh|tlsrec",
        "doh|ipv6|tlsrec|split-at-name|pace-200",
    ):
        assert made.dialer(rung(text)) is made.dialer(rung(text))
    assert repr(made.dialer(rung("tlsrec|split"))).startswith("<FragmentingDialer tlsrec <FragmentingDialer split ")


@each_row(
    ("route", "problem"),
    [
        ("direct|nosuch", "there is no 'nosuch'"),
        ("direct|doh|nosuch", "there is no 'nosuch'"),
        ("direct|split|tlsrec", "has words in another order than tlsrec, "),
        ("direct|tlsrec|doh", "doh, ipv4, ipv6 come first"),
        ("direct|pace-200", "no segments to pace"),
        ("direct|tlsrec-by-2", "there is no 'tlsrec-by-2'"),
        ("direct|tlsrec|tlsrec", "each once"),
        ("tor|doh", "'doh' is for direct routes"),
        ("tor|disorder", "'disorder' is for direct routes"),
        ("gone|tlsrec", "there is no relay 'gone'"),
    ],
)
def test_wrappers_that_cannot_be(route: str, problem: str) -> None:
    made = registry(relay("tor", "127.0.0.1:9050"))
    with pytest.raises(ConfigError, match=problem):
        made.dialer(Route.parse(route))


def test_a_flight_through_a_relay_may_be_cut_too() -> None:
    made = registry(relay("tor", "127.0.0.1:9050"))
    assert repr(made.dialer(Route.parse("tor|tlsrec"))).startswith("<FragmentingDialer tlsrec <Socks5Dialer tor")


async def test_doh_dials_what_the_secure_resolver_says() -> None:
    direct, secure = Recorder(), Recorder()
    made = Registry([], direct=direct, to_relays=Recorder(), secure=secure)
    for text in ("doh", "doh|tlsrec"):
        assert await chosen(made, rung(text), secure) == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    assert direct.dialed == []
    assert await chosen(made, rung("tlsrec"), direct) == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]


async def test_without_a_secure_resolver_its_rungs_are_skipped() -> None:
    with pytest.raises(DialError, match="no encrypted DNS server") as caught:
        await registry().dialer(rung("doh|tlsrec")).dial(SITE)
    assert caught.value.symptom is Symptom.SKIPPED


async def test_one_address_family_alone() -> None:
    direct = Recorder()
    made = Registry([], direct=direct, to_relays=Recorder())
    assert await chosen(made, rung("ipv4"), direct) == ["192.0.2.1", "192.0.2.2"]
    assert await chosen(made, rung("ipv6|tlsrec"), direct) == ["2001:db8::1"]
    direct.addresses = direct.addresses[:1]
    with pytest.raises(DialError, match=r"no address for direct\|ipv6") as caught:
        await made.dialer(rung("ipv6")).dial(SITE)
    assert caught.value.symptom is Symptom.SKIPPED


class Known(NothingKnown):
    """Which addresses have a residual block, and which relays fail."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self.residual = set(addresses)
        self.failing: set[str] = set()

    def in_residual_window(self, address: IPAddress) -> bool:
        return str(address) in self.residual

    def is_failing(self, route: Route) -> bool:
        return not self.failing.isdisjoint(route.relays)


async def test_a_rung_stays_away_from_where_a_censor_was_just_seen() -> None:
    direct = Recorder()
    known = Known("192.0.2.1")
    relays = [Relay.parse("tor", "socks5h://127.0.0.1:9050")]
    made = Registry(relays, direct=direct, to_relays=Recorder(), knowledge=known)
    assert await chosen(made, rung("tlsrec"), direct) == ["2001:db8::1", "192.0.2.2", "192.0.2.1"]
    known.residual |= {"192.0.2.2"}
    assert await chosen(made, rung("split"), direct) == ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
    with pytest.raises(DialError, match="was reset moments ago") as caught:
        await made.dialer(rung("ipv4")).dial(SITE)
    assert (caught.value.stage, caught.value.symptom) == (Stage.CONNECT, Symptom.SKIPPED)
    known.residual |= {"2001:db8::1"}
    with pytest.raises(DialError, match="was reset moments ago"):
        await made.dialer(rung("tlsrec")).dial(SITE)
    known.failing = {"tor"}
    assert await chosen(made, rung("tlsrec"), direct) == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    assert made.dialer(DIRECT) is direct, "direct itself is not held back"


@pytest.mark.parametrize(
    ("urls", "may_relay", "failing"),
    [
        ([], True, ""),
        (["socks5h://127.0.0.1:9050"], False, ""),
        (["socks5h://127.0.0.1:9050"], True, "r0"),
        (["socks4://127.0.0.1:9050"], True, ""),  # takes addresses only
        (["socks4://127.0.0.1:9050", "socks5h://127.0.0.1:9051"], True, "r1"),
    ],
)
async def test_where_no_relay_may_serve_a_rung_goes_where_a_censor_was_seen(
    urls: list[str], may_relay: bool, failing: str
) -> None:
    direct, known = Recorder(), Known("192.0.2.1", "192.0.2.2", "2001:db8::1")
    known.failing = {failing}
    asked: list[str] = []

    def may(host: str) -> bool:
        asked.append(host)
        return may_relay

    made = Registry(
        [Relay.parse(f"r{number}", url) for number, url in enumerate(urls)],
        direct=direct,
        to_relays=Recorder(),
        knowledge=known,
        may_relay=may,
    )
    assert await chosen(made, rung("tlsrec"), direct) == ["192.0.2.1", "2001:db8::1", "192.0.2.2"]
    assert asked == [SITE.host]


KEY = "trojan://correct-horse@relay.example:443"


class Keys:
    """Notes the keys whose dialers are made, and those that are retired."""

    def __init__(self) -> None:
        self.made: list[KeyRelay] = []
        self.retired: list[str] = []

    def dialer(self, relay: KeyRelay) -> KeyDialer:
        self.made.append(relay)
        return Retiring(self, relay.name)

    async def close(self) -> None:
        raise AssertionError("a registry closes no engine")


class Retiring(NoEngineDialer):
    def __init__(self, keys: Keys, name: str) -> None:
        super().__init__(name)
        self._keys, self._name = keys, name

    def retire(self) -> None:
        self._keys.retired.append(self._name)


def keyed(keys: Keys | None, to_relays: Dialer, **urls: str) -> Registry:
    relays = [Relay.parse(name, url) for name, url in urls.items()]
    return Registry(relays, direct=Recorder(), to_relays=to_relays, keys=keys, path_timeout_s=7.0)


def test_the_dialer_of_a_key_is_made_with_its_way() -> None:
    keys, to_relays = Keys(), Recorder()
    made = keyed(keys, to_relays, tor="socks5h://127.0.0.1:9050", key=KEY, chain=f"tor>{KEY}")
    alone, behind = keys.made
    assert (alone.name, alone.key.server, alone.via, alone.timeout_s) == (
        *("key", Destination("relay.example", 443)),
        *(to_relays, 7.0),
    )
    assert alone.slots is not None
    assert behind.name == "chain at relay.example:443"
    assert repr(behind.via) == "<Socks5Dialer tor>"
    assert behind.slots is None
    assert made.first_endpoint("key") == Destination("relay.example", 443)
    assert made.carries(Route(("key",)), SITE)
    assert first_hop_is_named("key", [Relay.parse("key", KEY)])


def test_alternatives_of_a_key_are_dialed_by_its_own_dialer() -> None:
    """Not as ways of the relay: no page and no test measures them."""
    keys, lookup = Keys(), cast(AddressLookup, object())
    made = Registry(
        [
            Relay.parse("tcp", f"{KEY}?alt=192.0.2.1:8443"),
            Relay.parse("udp", "hy2://x@relay.example:443?alt=192.0.2.1:443"),
        ],
        direct=Recorder(),
        to_relays=Recorder(),
        keys=keys,
        key_lookup=lookup,
    )
    tcp, udp = keys.made
    assert isinstance(tcp.via, AnyServer)
    assert isinstance(udp.lookup, ServerAddresses)
    assert made.with_alternatives == {}


async def test_without_the_feature_a_key_is_a_relay_that_is_down_with_a_reason() -> None:
    made = keyed(None, Recorder(), key=KEY)
    with pytest.raises(DialError, match="relay key: keys need the feature keys, which is not here") as caught:
        await made.dialer(Route(("key",))).dial(SITE)
    assert (caught.value.stage, caught.value.symptom) == (Stage.RELAY, Symptom.RELAY_DOWN)


async def test_a_key_over_udp_is_first_in_a_chain_and_nobody_connects_to_it_over_tcp() -> None:
    udp, bytes_32 = "hysteria2://correct-horse@relay.example:443", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8%3D"
    wireguard = f"wireguard://{bytes_32}@relay.example:443?publickey={bytes_32}&address=10.0.0.2"
    for key in (udp, wireguard):
        sentence = "must be first in the chain: no relay carries its packets, which are UDP"
        with pytest.raises(ConfigError, match=sentence):
            keyed(Keys(), Recorder(), tor="socks5h://127.0.0.1:9050", key=f"tor>{key}")
    made = keyed(Keys(), Recorder(), key=udp, chain="key>socks5h://192.0.2.1:1080")
    with pytest.raises(DialError, match="relay key is reached over UDP"):
        await made.connect("key")


def test_a_password_command_is_not_for_a_key() -> None:
    with pytest.raises(ValueError, match="password_cmd is not for keys"):
        Relay.parse("key", KEY).with_password("x")


def test_all_keys_of_a_registry_are_retired_also_those_that_an_addon_named() -> None:
    keys = Keys()
    made = keyed(keys, Recorder(), key=KEY, other="trojan://battery-staple@other.example:443")
    made.dialer_for_url("trojan://horse@third.example:443")
    assert keys.retired == []
    made.retire_keys()
    assert set(keys.retired) == {relay.name for relay in keys.made}
    assert len(keys.retired) == len(keys.made) == 5, "the addon's has a registry with all relays"


def test_keys_that_an_addon_named_are_retired_when_their_registries_are_forgotten() -> None:
    keys = Keys()
    made = keyed(keys, Recorder())
    for number in range(URL_RELAYS_MAX):
        made.dialer_for_url(f"trojan://horse@relay{number}.example:443")
    assert keys.retired == []
    made.dialer_for_url("trojan://horse@last.example:443")
    assert len(keys.retired) == URL_RELAYS_MAX
    made.retire_keys()
    assert len(keys.retired) == len(keys.made) == URL_RELAYS_MAX + 1
