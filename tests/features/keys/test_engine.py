"""Keys by the engine, with mihomo as the server of each protocol, on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.features.keys import engine as engine_module
from proxy.features.keys.binary import Binary, NoEngine
from proxy.features.keys.engine import MihomoEngine
from proxy.features.keys.engine_config import Entry, configuration
from proxy.features.keys.key_in_use import REFUSED_S
from proxy.features.keys.opening import GIVEN_UP_S
from proxy.model import Destination, Evidence, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.key_relay import AnyServer, DestinationLookup, KeyDialer, KeyRelay
from proxy.net.dialers.tcp import AddressLookup, TcpDialer
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import Poller, make_poller
from proxy.net.stream import Stream
from proxy.wire.keys.reader import read_key
from tests.support import programs
from tests.support.authority import Authority
from tests.support.key_server import COVER, TCP, UDP, UUID, KeyServer
from tests.support.streams import LINGER_0
from tests.support.waiting import until
from tests.wire.keys.made_keys import WG_KEY, WG_PEER

pytestmark = pytest.mark.needs("mihomo")

ANSWER_S = 20.0
"""Seconds for one answer on a busy machine."""

_STALLS = 5
"""Times in a row that a machine may stall for as long as the engine waits."""


@dataclass
class Site:
    """A server that answers b"hello", or is silent. It counts its connections."""

    port: int = 0
    manner: str = "answer"
    count: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        await reader.read(100)
        if self.manner == "silent":
            await reader.read()
        elif self.manner == "answer":
            writer.write(b"hello")
            await writer.drain()
            await reader.read()
        writer.close()

    @property
    def destination(self) -> Destination:
        return Destination("blocked.test", self.port)


@frozen_dataclass
class World:
    """One engine, a server of keys, and a site behind it."""

    engine: MihomoEngine
    server: KeyServer
    site: Site
    poller: Poller
    folder: Path
    ports: set[int]

    def dialer(
        self, link: str, name: str = "key", via: Dialer | None = None, names: DestinationLookup | None = None
    ) -> KeyDialer:
        direct = TcpDialer(self.poller, Resolver(), lambda *_: None)
        return self.engine.dialer(
            KeyRelay(name, read_key(link), via or direct, None, None, ANSWER_S, names and (lambda _: names))
        )


@asynccontextmanager
async def world(folder: Path, *, idle_s: float = 600.0) -> AsyncIterator[World]:
    poller = make_poller(asyncio.get_running_loop())
    site, ports = Site(), set[int]()
    listening = await asyncio.start_server(site.serve, "127.0.0.1", 0)
    site.port = listening.sockets[0].getsockname()[1]
    made = folder / "engines"
    engine = MihomoEngine(
        poller,
        made,
        ports,
        find_binary=lambda: Binary(Path(programs.require("mihomo")), "1.19.32", is_packaged=False),
        idle_s=idle_s,
    )
    try:
        async with KeyServer(folder) as server:
            yield World(engine, server, site, poller, made, ports)
    finally:
        await engine.close()
        listening.close()
        poller.close()


async def answer(stream: Stream) -> bytes:
    async with asyncio.timeout(ANSWER_S):
        await stream.send(b"GET / HTTP/1.1\r\n\r\n")
        return await stream.receive()


async def end_of(stream: Stream) -> None:
    """Waits until the stream has ended, in any way."""
    async with asyncio.timeout(ANSWER_S):
        with suppress(ConnectionError):
            while await stream.receive():
                pass


async def page(dialer: KeyDialer, destination: Destination) -> bytes:
    stream = await dialer.dial(destination)
    try:
        return await answer(stream)
    finally:
        stream.close()


async def fault(dialer: KeyDialer, destination: Destination) -> DialError:
    """Returns the error of the dial, or that of the stream before its first byte, as a race takes it."""
    try:
        stream = await dialer.dial(destination)
    except DialError as error:
        return error
    symptom = Symptom.EOF
    try:
        assert await answer(stream) == b""
    except ConnectionError:
        symptom = Symptom.RESET
    found = stream.fault_before_answer(symptom)
    stream.abort()
    assert found is not None
    return found


async def fault_of_answering(dialer: KeyDialer, destination: Destination) -> DialError:
    """As `fault`, for a server that answers. The engine gives up a handshake after five seconds, and says that no
    answer came: on a machine that stalls for so long, it is asked again."""
    clock = asyncio.get_running_loop().time
    for _ in range(_STALLS):
        began = clock()
        error = await fault(dialer, destination)
        if relay_fault(error) is not RelayFault.SILENT or clock() - began < GIVEN_UP_S:
            break
    return error


async def test_a_page_comes_through_a_key_of_each_protocol(tmp_path: Path) -> None:
    """Names are resolved behind the key, and one process serves all keys."""
    async with world(tmp_path) as here:
        dialers = {name: here.dialer(link, name) for name, link in here.server.links.items()}
        for name in (*TCP, *UDP):
            stream = await dialers[name].dial(here.site.destination)
            assert stream.is_answer_needed
            assert await answer(stream) == b"hello", name
            stream.close()
        assert here.site.count == len(dialers)
        assert len(os.listdir(here.folder)) == 1


async def test_a_wrong_key_is_told_as_far_as_its_protocol_tells(tmp_path: Path) -> None:
    """No site is blamed: each fault is of the relay."""
    said: dict[str, RelayFault | None] = {}
    async with world(tmp_path) as here:
        for name in (*TCP, *UDP):
            if name == "vmess":  # its server reads on, as long as the client sends
                continue
            error = await fault_of_answering(here.dialer(here.server.wrong[name], name), here.site.destination)
            said[name] = relay_fault(error)
            assert str(error).startswith(f"relay {name}: ")
            assert error.symptom.blames_relay
        assert here.site.count == 0
    assert said == {
        "ss": RelayFault.KEY_CLOSED_OR_CLOCK,
        "trojan": RelayFault.KEY_CLOSED,
        "vless": RelayFault.KEY_CLOSED,
        "vless-ws": RelayFault.KEY_CLOSED,
        "vless-xhttp": RelayFault.KEY_CLOSED,
        "anytls": RelayFault.KEY_CLOSED,
        "hysteria2": RelayFault.KEY_REFUSED,
        "tuic": RelayFault.KEY_CLOSED,
    }


async def test_another_certificate_than_the_keys_is_told(tmp_path: Path) -> None:
    """REALITY shows the cover's certificate to a client whose short id is wrong."""
    async with world(tmp_path) as here:
        unpinned = here.server.links["trojan"].partition("&pcs=")[0]
        other_id = here.server.links["vless"].replace("0123456789abcdef", "0123456789abcdee")
        for link in (unpinned, other_id):
            error = await fault_of_answering(here.dialer(link), here.site.destination)
            assert relay_fault(error) is RelayFault.KEY_CERTIFICATE
            assert error.symptom is Symptom.RELAY_AUTH


async def test_a_certificate_that_is_not_valid_today_may_be_for_this_computers_clock(tmp_path: Path) -> None:
    async def shut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    expired = Authority().server(COVER, expired=True)
    async with world(tmp_path) as here, await asyncio.start_server(shut, "127.0.0.1", 0, ssl=expired) as serving:
        port = serving.sockets[0].getsockname()[1]
        for link in (
            f"trojan://secret@127.0.0.1:{port}?sni={COVER}",
            f"vless://{UUID}@127.0.0.1:{port}?security=tls&sni={COVER}&type=xhttp",
        ):
            error = await fault_of_answering(here.dialer(link), here.site.destination)
            assert (relay_fault(error), error.symptom) == (RelayFault.CERTIFICATE_DATE, Symptom.RELAY_AUTH)


async def test_a_server_that_is_down_is_told_by_byways_own_dial(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["trojan"])
        assert await page(dialer, here.site.destination) == b"hello"
        here.server.stop()
        error = await fault(dialer, here.site.destination)
        assert relay_fault(error) is RelayFault.CONNECTION_REFUSED
        assert error.stage in (Stage.CONNECT, Stage.RELAY)


@pytest.mark.parametrize("ending", ["closes", "resets"])
async def test_a_handshake_of_which_nothing_is_answered_is_cut_off_and_no_wrong_key(
    tmp_path: Path, ending: str
) -> None:
    """As by a network that filters the name in it. A protocol without TLS tells nothing of the kind."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        if ending == "resets":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        writer.transport.abort()

    async with world(tmp_path) as here, await asyncio.start_server(cut, "127.0.0.1", 0) as filtered:
        port = filtered.sockets[0].getsockname()[1]
        said: dict[str, RelayFault | None] = {}
        for name in ("ss", "trojan", "vless", "vless-ws", "vless-xhttp", "anytls"):
            link = here.server.links[name].replace(f":{here.server.ports[name]}", f":{port}")
            said[name] = relay_fault(await fault_of_answering(here.dialer(link, name), here.site.destination))
    assert said.pop("ss") is RelayFault.KEY_CLOSED_OR_CLOCK
    assert set(said.values()) == {RelayFault.KEY_CUT}, said


@pytest.mark.slow
async def test_a_server_over_udp_that_is_down_does_not_answer(tmp_path: Path) -> None:
    """The engine says so in a line and closes, and Byway may see the end first."""
    async with world(tmp_path) as here:
        dialers = {name: here.dialer(here.server.links[name], name) for name in UDP}
        # TUIC has a connection then. Hysteria2 would be silent on one for longer than any visit waits.
        assert await page(dialers["tuic"], here.site.destination) == b"hello"
        here.server.stop()
        faults = await asyncio.gather(
            *(fault(dialer, here.site.destination) for dialer in dialers.values() for _ in range(4))
        )
    assert {relay_fault(error) for error in faults} == {RelayFault.SILENT}


async def test_a_silent_site_is_the_keys_failure_only_if_no_other_just_delivered(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["trojan"])
        here.site.manner = "silent"
        stream = await dialer.dial(here.site.destination)
        await stream.send(b"x")
        error = stream.fault_before_answer(Symptom.SILENT)
        assert error is not None
        assert relay_fault(error) is RelayFault.SILENT
        here.site.manner = "answer"
        assert await page(dialer, Destination("other.test", here.site.port)) == b"hello"
        assert stream.fault_before_answer(Symptom.SILENT) is None
        assert stream.fault_before_answer(Symptom.EOF) is None
        stream.abort()


async def test_a_killed_engine_is_started_again(tmp_path: Path) -> None:
    """What waits for an answer fails as the relay's, so that the race tries it again."""
    async with world(tmp_path) as here:
        dialer = here.dialer(here.server.links["ss"])
        for _ in range(3):
            assert await page(dialer, here.site.destination) == b"hello"
            here.site.manner = "silent"
            waiting = await dialer.dial(here.site.destination)
            await waiting.send(b"x")
            os.kill(_pid(here), signal.SIGKILL)
            await end_of(waiting)
            error = waiting.fault_before_answer(Symptom.RESET)  # at once: Byway has not seen the end of the process yet
            await until(lambda: here.engine._running == [])
            assert error is not None
            assert relay_fault(error) is RelayFault.ENGINE
            assert error.stage is Stage.RELAY
            waiting.abort()
            here.site.manner = "answer"


async def test_a_process_that_never_works_is_started_with_growing_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BACK_OFF_S", 50.0)
    async with world(tmp_path) as here:
        here.engine._find = _no_engine
        dialer = here.dialer(here.server.links["ss"])
        with pytest.raises(DialError, match="relay key: no engine here") as first:
            await dialer.dial(here.site.destination)
        assert relay_fault(first.value) is RelayFault.ENGINE
        with pytest.raises(DialError, match="relay key: no engine here; Byway tries again in 50 s") as second:
            await dialer.dial(here.site.destination)
        assert relay_fault(second.value) is RelayFault.ENGINE


async def test_an_engine_counts_as_started_once_it_works_and_not_when_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In between it closes what comes, as a server does that does not know a key. Here it never asks Byway."""

    def without_ready(entries: Sequence[Entry], port: int, *, outward_port: int, ready_password: str) -> Any:
        return configuration(entries, port, outward_port=outward_port)

    monkeypatch.setattr(engine_module, "configuration", without_ready)
    monkeypatch.setattr(engine_module, "START_S", 0.5)
    async with world(tmp_path) as here:
        with pytest.raises(DialError, match=r"the engine did not begin to work within 0\.5 s") as caught:
            await here.dialer(here.server.links["ss"]).dial(here.site.destination)
        assert relay_fault(caught.value) is RelayFault.ENGINE
        assert os.listdir(here.folder) == []
        assert here.site.count == 0


def _no_engine() -> Binary:
    raise NoEngine("no engine here")


async def test_of_many_keys_those_that_may_be_tried_next_are_in_the_process(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        link = here.server.links["ss"]
        dialers = [here.dialer(link, f"key{n}") for n in range(1, 101)]
        assert await page(dialers[0], here.site.destination) == b"hello"
        assert _users(here) == {f"k{n}" for n in range(1, 65)}
        for n in range(2, 65):  # tried in vain
            here.engine._keys[f"key{n}", read_key(link)].used_at = float(n)
        assert await page(dialers[64], here.site.destination) == b"hello"
        assert _users(here) == {"k1", *(f"k{n}" for n in range(65, 101)), *(f"k{n}" for n in range(2, 29))}
        process = _pid(here)
        assert await page(dialers[99], here.site.destination) == b"hello"
        assert _pid(here) == process, "one more key of those costs no start"


def _users(here: World) -> set[str]:
    return {key.user for key in here.engine._running[-1].entries}


async def test_a_new_key_starts_a_second_process_and_no_tunnel_is_cut(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        first = await here.dialer(here.server.links["ss"], "one").dial(here.site.destination)
        assert await answer(first) == b"hello"
        one = _pid(here)
        other = here.dialer(here.server.links["trojan"], "two")
        assert await page(other, here.site.destination) == b"hello"
        assert _pid(here) != one
        assert len(here.engine._running) == 2
        first.send_eof()
        assert await first.receive() == b""  # the site ends, and not the engine
        first.close()
        await until(lambda: not os.path.exists(f"/proc/{one}"))
        assert await page(here.dialer(here.server.links["ss"], "one"), here.site.destination) == b"hello"
        assert len(here.engine._running) == 1


async def test_an_idle_engine_ends_and_its_ports_are_free_again(tmp_path: Path) -> None:
    async with world(tmp_path, idle_s=0.1) as here:
        dialer = here.dialer(here.server.links["ss"])
        assert await page(dialer, here.site.destination) == b"hello"
        await until(lambda: here.engine._running == [])
        await until(lambda: os.listdir(here.folder) == [])
        assert len(here.ports) == 1  # Byway's own listener
        assert await page(dialer, here.site.destination) == b"hello"
    assert here.ports == set()


async def test_its_ports_take_nobody_without_the_password(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        assert await page(here.dialer(here.server.links["ss"]), here.site.destination) == b"hello"
        assert here.engine._outward is not None
        for port in here.ports:
            for user, password in (("k1", "wrong"), ("", "x"), ("k99", "")):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"\x05\x01\x02" + bytes((1, len(user))) + user.encode())
                writer.write(bytes((len(password),)) + password.encode() + b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
                received = b""
                try:
                    async with asyncio.timeout(ANSWER_S):
                        while data := await reader.read(100):
                            received += data
                except ConnectionError:
                    pass
                writer.close()
                assert received in (b"", b"\x05\x02", b"\x05\x02\x01\x01"), port
        assert here.site.count == 1


async def test_the_engine_may_ask_byway_only_for_what_a_visit_needs(tmp_path: Path) -> None:
    """Otherwise a dial that failed would be repeated ten times by the engine, each with a ClientHello."""
    async with world(tmp_path) as here:
        dialed = _Counting(TcpDialer(here.poller, Resolver(), lambda *_: None))
        dialer = here.dialer(here.server.links["trojan"].partition("&pcs=")[0], "one", via=dialed)
        await fault(dialer, here.site.destination)
        await asyncio.sleep(0)
        assert dialed.count <= 3
        member = next(iter(here.engine._keys.values()))
        with pytest.raises(DialError, match="no visit needs this connection"):
            await member.dial_server(Destination("192.0.2.1", 443))


async def test_a_key_goes_through_the_relay_before_it(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        dialed = _Counting(TcpDialer(here.poller, Resolver(), lambda *_: None))
        dialer = here.dialer(here.server.links["vless"], via=dialed)
        assert await page(dialer, here.site.destination) == b"hello"
        assert dialed.asked == {Destination("127.0.0.1", here.server.ports["vless"])}


async def test_a_key_that_the_engine_refuses_stops_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        damaged = here.dialer(f"vless://{UUID}@127.0.0.1:1?encryption=mlkem768x25519plus.native.0rtt.AAAA", "damaged")
        good = here.dialer(here.server.links["ss"], "good")
        assert await page(good, here.site.destination) == b"hello"
        with pytest.raises(DialError, match="relay damaged: the engine does not take this key"):
            await damaged.dial(here.site.destination)
        assert await page(good, here.site.destination) == b"hello"
        (refused,) = [key for key in here.engine._keys.values() if key.is_refused]
        process = _pid(here)
        refused._refused_until -= REFUSED_S
        assert refused.is_ready
        with pytest.raises(DialError, match="relay damaged: the engine does not take this key"):
            await damaged.dial(here.site.destination)
        assert refused.is_refused, "it was asked again"
        assert await page(good, here.site.destination) == b"hello"
        assert _pid(here) == process


async def test_a_key_for_which_the_engine_crashes_at_its_start_stops_no_other(tmp_path: Path) -> None:
    """It does not say which key it was. As long as it runs with another key, the fault is the key's."""
    mihomo = programs.require("mihomo")
    crashing = tmp_path / "crashing"
    crashing.write_text(f"""#!/bin/sh
config=$(/bin/cat)
case "$config" in *crash.example*) echo "panic: runtime error: index out of range [7]"; exit 2;; esac
exec {mihomo} "$@" <<END
$config
END
""")
    crashing.chmod(0o700)
    async with world(tmp_path) as here:
        here.engine._find = lambda: Binary(crashing, "1.19.32", is_packaged=False)
        links = [here.server.links["ss"], "trojan://x@192.0.2.7:1?sni=crash.example", here.server.links["trojan"]]
        first, bad, second = (here.dialer(link, f"key{n}") for n, link in enumerate(links))
        assert await page(first, here.site.destination) == b"hello"
        assert _users(here) == {"k1"}
        for _ in range(3):
            with pytest.raises(DialError, match="relay key1: the engine does not take this key"):
                await bad.dial(here.site.destination)
        assert await page(second, here.site.destination) == b"hello"
        assert _users(here) == {"k1", "k3"}, "the bad one is left out from then on"


async def test_an_engine_that_crashes_with_each_key_is_no_fault_of_a_key(tmp_path: Path) -> None:
    crashing = tmp_path / "crashing"
    crashing.write_text('#!/bin/sh\necho "panic: out of memory"\nexit 2\n')
    crashing.chmod(0o700)
    async with world(tmp_path) as here:
        find = here.engine._find
        here.engine._find = lambda: Binary(crashing, "1.19.32", is_packaged=False)
        dialers = [here.dialer(here.server.links["ss"], name) for name in ("one", "two")]
        with pytest.raises(DialError, match="relay one: the engine ended at its start"):
            await dialers[0].dial(here.site.destination)
        here.engine._find = find
        for dialer in dialers:
            assert await page(dialer, here.site.destination) == b"hello"


async def test_the_server_of_a_key_over_udp_hears_nothing_before_the_key_is_used(tmp_path: Path) -> None:
    """Its packets are the engine's own. The key is in the process from its start, where its server has an address."""
    async with world(tmp_path) as here:
        links = {name: here.server.links[name].replace(str(here.server.ports[name]), "{port}") for name in UDP}
        private, public = (quote(key, safe="") for key in (WG_KEY, WG_PEER))
        fields = f"publickey={public}&address=10.0.0.2/32&allowedips=0.0.0.0/0&keepalive=1"
        links["wireguard"] = f"wireguard://{private}@127.0.0.1:{{port}}?{fields}"
        with ExitStack() as sockets:
            servers = [sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in links]
            dialers = []
            for server, (name, link) in zip(servers, links.items(), strict=True):
                server.setblocking(False)
                server.bind(("127.0.0.1", 0))
                dialers.append(here.dialer(link.format(port=server.getsockname()[1]), name))
            used = here.dialer(here.server.links["ss"])
            for _ in range(10):
                assert await page(used, here.site.destination) == b"hello"
            assert _users(here) == {"k1", "k2", "k3", "k4"}
            process = _pid(here)
            for server in servers:
                with pytest.raises(BlockingIOError):
                    server.recv(1)
            for server, dialer in zip(servers, dialers, strict=True):  # the control
                stream = await dialer.dial(Destination("192.0.2.7", 80))
                assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(server, 2000), ANSWER_S)
                stream.abort()
            assert _pid(here) == process


async def test_a_server_over_udp_keeps_its_address_as_long_as_its_name_has_it(tmp_path: Path) -> None:
    """Another address is another process, and answers of DNS come in any order and part by part."""
    async with world(tmp_path) as here:
        link = here.server.links["hysteria2"].replace("127.0.0.1", "server.test")
        lookup = _Addresses(["127.0.0.1", "127.0.0.2"])
        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        dialer = here.engine.dialer(KeyRelay("key", read_key(link), direct, lookup, None, ANSWER_S))
        assert await page(dialer, here.site.destination) == b"hello"
        first = _pid(here)
        for texts in (["127.0.0.3", "127.0.0.1"], ["127.0.0.1"]):
            lookup.set(texts)
            assert await page(dialer, here.site.destination) == b"hello"
            assert _pid(here) == first
        lookup.set(["127.0.0.2"])
        error = await fault(dialer, here.site.destination)
        assert relay_fault(error) in (RelayFault.UNREACHABLE, RelayFault.SILENT)
        assert _pid(here) != first


async def test_the_alternative_of_a_key_is_used_where_its_server_is_down(tmp_path: Path) -> None:
    """It has the name of the server in TLS."""
    async with world(tmp_path) as here:
        link = here.server.links["trojan"].replace("127.0.0.1", "127.0.0.2")
        real = Destination("127.0.0.1", here.server.ports["trojan"])
        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        key = read_key(link)
        dialer = here.engine.dialer(KeyRelay("key", key, AnyServer(direct, (key.server, real)), None, None, ANSWER_S))
        assert await page(dialer, here.site.destination) == b"hello"


async def test_the_next_address_of_a_server_over_udp_is_taken_when_one_is_silent(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        link = here.server.links["hysteria2"].replace("127.0.0.1", "server.test")
        lookup = _Addresses(["127.0.0.2", "127.0.0.1"])
        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        dialer = here.engine.dialer(KeyRelay("key", read_key(link), direct, lookup, None, ANSWER_S))
        error = await fault(dialer, here.site.destination)
        assert relay_fault(error) in (RelayFault.UNREACHABLE, RelayFault.SILENT)
        assert await page(dialer, here.site.destination) == b"hello"


class _Addresses(AddressLookup):
    def __init__(self, texts: list[str]) -> None:
        self.set(texts)

    def set(self, texts: list[str]) -> None:
        self._addresses = [ipaddress.ip_address(text) for text in texts]

    async def resolve(self, host: str) -> list[IPAddress]:
        assert host == "server.test"
        return [*self._addresses]


class _Counting:
    def __init__(self, via: Dialer) -> None:
        self._via = via
        self.count = 0
        self.asked: set[Destination] = set()

    async def dial(self, destination: Destination) -> Stream:
        self.count += 1
        self.asked.add(destination)
        return await self._via.dial(destination)


def _pid(here: World) -> int:
    return here.engine._running[-1].process.pid


class _Unresolved(AddressLookup):
    """No encrypted DNS server answers."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        raise DialError(f"nothing for {host}", stage=Stage.RESOLVE, symptom=Symptom.RESOLVE_FAILED, evidence=_SILENT)


_SILENT: Evidence = {"doh": "doh_down"}


@pytest.mark.parametrize(
    "link",
    [
        "hysteria2://pw@relay.example:443",
        f"tuic://{UUID}:pw@relay.example:443",
        f"wireguard://{quote(WG_KEY, safe='')}@relay.example:443?publickey={quote(WG_PEER, safe='')}&address=10.0.0.2",
    ],
    ids=["hysteria2", "tuic", "wireguard"],
)
async def test_a_server_over_udp_whose_name_has_no_address_is_a_relay_whose_name_is_unresolved(
    tmp_path: Path, link: str
) -> None:
    """Whatever the destination: that of WireGuard would be asked through the key."""

    def through(_: Dialer) -> DestinationLookup:
        async def asked(_: Destination) -> Sequence[IPAddress]:
            raise AssertionError("nothing is asked through a key that has no server")

        return asked

    async with world(tmp_path) as here:
        direct = TcpDialer(here.poller, Resolver(), lambda *_: None)
        dialer = here.engine.dialer(KeyRelay("key", read_key(link), direct, _Unresolved(), None, ANSWER_S, through))
        for host in ("site.example", "203.0.113.7"):
            error = await fault(dialer, Destination(host, 443))
            assert relay_fault(error) is RelayFault.NAME_UNRESOLVED
            assert str(error) == "relay key cannot be reached: nothing for relay.example"
        assert not here.engine._running, "nothing was started"
