"""The catalogue's faults of CONNECT and SOCKS, said to a real Byway: where nobody is let in, and what a tunnel bears.

As in `test_faults`: after each test Byway must be as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.watched import PATIENCE_S, Watched, break_off, connection, say, sock_of, status
from tests.support import programs
from tests.support.origin import pattern
from tests.support.relay import Relay
from tests.support.streams import Serve, listening
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

HOSTS = """
[dns.hosts]
"one.test" = "127.0.0.1"
"me.test" = "127.0.0.1"
"six.test" = "::1"
"""
PATIENT = "[limits]\nlinger_s = 30\n"
"""As in `test_faults`."""
HASTE = f"{PATIENT}head_timeout_s = 0.5\n{HOSTS}"
HALF_OPEN = f"[limits]\nhalf_open_timeout_s = 0.5\n{HOSTS}"
PASSWORD = '[listen]\nuser = "alice"\npassword_cmd = "echo opensesame"\n' + HOSTS
BY_RELAY = "DOMAIN,me.test,RELAY\n"

_FUZZ_S = 7.0
_FUZZ_CONNECTIONS = range(500, 20_000)
"""At least as many, however long they take, and no more."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One that may go to all of loopback, in a Python of its own: its memory is measured."""
    async with Watched(tmp_path_factory.mktemp("open"), config=PATIENT + HOSTS, forked=False) as it:
        await it.settle_in()
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def with_guard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One with its guard as it comes."""
    async with Watched(tmp_path_factory.mktemp("guarded"), config=PATIENT + HOSTS, allow=()) as it:
        await it.settle_in()
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def byway(running: Watched) -> AsyncIterator[Watched]:
    yield running
    await running.is_unharmed()


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(with_guard: Watched) -> AsyncIterator[Watched]:
    yield with_guard
    await with_guard.is_unharmed()


@contextlib.asynccontextmanager
async def serving(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """A server on loopback; its port."""
    async with listening(serve, host, 0) as server:
        yield server.sockets[0].getsockname()[1]


async def repeat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says what it is told, and ends when its client does."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@contextlib.asynccontextmanager
async def tunnel(
    byway: Watched, authority: str, early: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with connection(byway.proxy) as (reader, writer):
        writer.write(connect(authority) + early)
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
        yield reader, writer


# -- how a place is asked for, and the answer that means no ------------------------------------------------------------


def connect(authority: str | bytes, *lines: bytes) -> bytes:
    target = authority.encode() if isinstance(authority, str) else authority
    return b"CONNECT " + target + b" HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in (b"Host: x", *lines)) + b"\r\n"


def absolute(authority: str) -> bytes:
    return f"GET http://{authority}/canary HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()


def socks4a(host: str, port: int) -> bytes:
    return b"\x04\x01" + port.to_bytes(2, "big") + b"\0\0\0\x01\0" + host.strip("[]").encode() + b"\0"


def socks5(host: str, port: int) -> bytes:
    name = host.strip("[]").encode()
    return b"\x05\x01\0" + b"\x05\x01\0\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big")


def says_no(answer: bytes) -> str:
    """How a client was refused; an empty string when it was not."""
    if answer.startswith(b"HTTP/1.1 "):
        return str(status(answer)) if status(answer) in (400, 403) else ""
    if answer.startswith(b"\x05\0\x05"):
        return f"REP {answer[3]:02x}" if answer[3] in (2, 4) else ""
    return "5b" if answer[:2] == b"\0\x5b" else ""


# -- B1 to B4 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [b"one.test", b"one.test:0", b"one.test:65616", b"one.test:-1", b"one.test:http", b":443", b"one.test:443/p"],
)
async def test_B1_connect_to_what_is_no_authority(byway: Watched, target: bytes) -> None:
    assert status(await say(byway.proxy, connect(target))) == 400


async def test_B2_a_body_of_connect_is_never_sent_into_the_tunnel(byway: Watched) -> None:
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            heard.extend(data)

    async with serving(listen) as port:
        for line in (b"Content-Length: 5", b"Transfer-Encoding: chunked"):
            answer = await say(byway.proxy, connect(f"one.test:{port}", line) + b"smuggled")
            assert status(answer) == 400
        assert heard == b""
        async with tunnel(byway, f"one.test:{port}", b"through"):
            await until(lambda: heard == b"through")


@pytest.mark.parametrize("size", [1, 517, 16_385, 60_000, 300_000])
async def test_B3_what_is_sent_before_the_200_arrives_in_order(byway: Watched, size: int) -> None:
    early = b"\x16\x03\x01" + pattern(size)
    async with serving(repeat) as port, tunnel(byway, f"one.test:{port}", early) as (reader, writer):
        writer.write(b"after")
        writer.write_eof()
        assert await reader.read() == early + b"after"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "[::1]", "0x7f.1", "me.test", "six.test"])
async def test_B4_our_own_port_is_refused_though_loopback_is_allowed(byway: Watched, host: str) -> None:
    before = await accepted(byway)
    for opening in (
        connect(f"{host}:{byway.port}"), absolute(f"{host}:{byway.port}"),
        socks4a(host, byway.port), socks5(host, byway.port),
    ):  # fmt: skip
        assert says_no(await say(byway.proxy, opening)) in ("403", "5b", "REP 02")
    assert await accepted(byway) == before + 4, "nobody came but these clients"


async def test_B4_through_a_relay_we_are_met_once_and_serve_nothing(tmp_path: Path) -> None:
    async with Relay({"me.test": "127.0.0.1"}) as relay:
        config = f'{HOSTS}[[relay]]\nname = "vps"\nurl = "socks5h://{relay.address}:{relay.port}"\n'
        async with Watched(tmp_path, config=config, rules=BY_RELAY) as byway:
            await byway.settle_in()
            before = await accepted(byway)
            ask = b"GET / HTTP/1.1\r\nHost: me.test:%d\r\n\r\n" % byway.port
            async with tunnel(byway, f"me.test:{byway.port}") as (reader, writer):
                writer.write(ask)
                assert status(await reader.read()) == 421
            answer = await say(byway.proxy, absolute(f"me.test:{byway.port}"))
            assert status(answer) == 421
            assert await accepted(byway) == before + 4, "two clients, and the relay twice"
            await byway.is_unharmed()


async def accepted(byway: Watched) -> int:
    found: int = (await byway.read("status"))["live"]["accepted"]
    return found


# -- B5 to B7 ----------------------------------------------------------------------------------------------------------

OURSELVES = [
    "127.0.0.1", "127.1", "127.0.1", "127.0.0.2", "127.255.255.254", "0x7f.1", "0x7f000001", "0177.0.0.1",
    "017700000001", "2130706433", "0.0.0.0", "0", "0x0", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2001:0:808:808::80ff:fffe]",
    "localhost", "localhost.", "LOCALHOST", "foo.localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback",
    "127。0。0。1", "①②⑦.0.0.1", "127.0.0.1.", "me.test", "six.test",
]  # fmt: skip
ELSEWHERE = [
    "169.254.169.254", "2852039166", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "fe80::1%eth0",
    "[fe80::1%25lo]", "[fe80::1]", "224.0.0.1", "[ff02::1]", "255.255.255.255", "100.100.100.200", "[fd00:ec2::254]",
]  # fmt: skip


def own_addresses() -> list[str]:
    """Where this machine is to be found by others, and what it is called."""
    found = [socket.gethostname()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # sends nothing
        found.append(sock.getsockname()[0])
    return found


async def refusals(byway: Watched, hosts: list[str], port: int) -> dict[tuple[str, str], bytes]:
    """What each host in each of the four protocols is answered with."""
    askings = {
        "CONNECT": lambda host: connect(f"{host}:{port}"),
        "absolute-form": lambda host: absolute(f"{host}:{port}"),
        "SOCKS4a": lambda host: socks4a(host, port),
        "SOCKS5": lambda host: socks5(host, port),
    }
    cases = [(name, host) for name in askings for host in hosts]
    answers = await asyncio.gather(*(say(byway.proxy, askings[name](host)) for name, host in cases))
    return dict(zip(cases, answers, strict=True))


async def test_B5_this_computer_is_reached_in_no_spelling_and_no_protocol(guarded: Watched) -> None:
    hosts = [*OURSELVES, *own_addresses()]
    assert len(hosts) >= 25
    async with canary() as (port, visitors):
        for where in (port, guarded.port):
            before = await accepted(guarded)
            answers = await refusals(guarded, hosts, where)
            assert [case for case, answer in answers.items() if not says_no(answer)] == []
            assert await accepted(guarded) == before + len(answers)
            plain = [answer for (_, host), answer in answers.items() if host.isascii()]
            assert {says_no(answer) for answer in plain} == {"403", "REP 02", "5b"}
        assert visitors == []


async def test_B6_nor_are_the_addresses_that_are_nobodys(guarded: Watched) -> None:
    answers = await refusals(guarded, ELSEWHERE, 80)
    assert [case for case, answer in answers.items() if not says_no(answer)] == []


async def test_B5_the_canary_is_reached_where_it_is_allowed(byway: Watched) -> None:
    """The control: the same askings, and only the guard is another."""
    async with canary() as (port, visitors):
        for opening in (connect(f"127.1:{port}"), socks4a("me.test", port), socks5("localhost", port)):
            async with connection(byway.proxy) as (_, writer):
                writer.write(opening)
                await until(lambda: len(visitors) > 0)
                visitors.clear()
        assert b"200" in await say(byway.proxy, absolute(f"127.0.0.1:{port}"))
        assert len(visitors) == 1


@contextlib.asynccontextmanager
async def canary() -> AsyncIterator[tuple[int, list[str]]]:
    """A server on every address of this machine; who came."""
    visitors: list[str] = []

    async def sing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(str(writer.get_extra_info("peername")))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    both = socket.has_dualstack_ipv6()
    sock = socket.create_server(
        ("::" if both else "", 0), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
    )
    async with listening(sing, sock=sock):
        yield sock.getsockname()[1], visitors


@pytest.mark.namespaces
@pytest.mark.parametrize("open_first", [True, False])
async def test_B7_a_name_with_a_forbidden_address_beside_an_open_one(tmp_path: Path, open_first: bool) -> None:
    """127.0.0.2 stands for the public address: it is allowed, and 127.0.0.1 is not."""
    visitors: list[str] = []

    async def sing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visitors.append(writer.get_extra_info("sockname")[0])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    hosts = tmp_path / "hosts"
    addresses = ["127.0.0.2", "127.0.0.1"] if open_first else ["127.0.0.1", "127.0.0.2"]
    hosts.write_text("".join(f"{address} rebinding.example\n" for address in addresses))
    prefix = (programs.require("unshare"), "-Urm", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts))
    with socket.socket() as held:
        # The open address has another port, and refuses this one: a kernel may give both servers the same.
        held.bind(("127.0.0.2", 0))
        port = held.getsockname()[1]
        async with (
            listening(sing, "127.0.0.1", port),
            listening(sing, "127.0.0.2", 0) as server,
            Watched(tmp_path, allow=("127.0.0.2:*",), prefix=prefix) as byway,
        ):
            await byway.settle_in()
            open_port = server.sockets[0].getsockname()[1]
            assert status(await say(byway.proxy, absolute(f"rebinding.example:{open_port}"))) == 200
            assert visitors == ["127.0.0.2"]
            for opening in (absolute(f"rebinding.example:{port}"), connect(f"rebinding.example:{port}")):
                assert status(await say(byway.proxy, opening)) in (403, 502)
            assert visitors == ["127.0.0.2"], "what was not checked, or was refused, is never dialed"
            await byway.is_unharmed()


# -- B8 to B12 ---------------------------------------------------------------------------------------------------------

REFUSED4 = b"\0\x5b\0\0\0\0\0\0"
LONG = "a." * 127 + "a"


def rep(code: int) -> bytes:
    return b"\x05\0" + b"\x05" + bytes((code,)) + b"\0\x01" + bytes(6)


def named(name: bytes) -> bytes:
    return b"\x05\x01\0" + b"\x05\x01\0\x03" + bytes((len(name),)) + name + b"\x01\xbb"


BAD_SOCKS = [
    ("B8-user-without-end", b"\x04\x01\0\x50\x7f\0\0\x01" + b"u" * 1_000_000, REFUSED4),
    ("B8-no-name", b"\x04\x01\0\x50\0\0\0\x01\0\0", REFUSED4),
    ("B8-long-name", b"\x04\x01\0\x50\0\0\0\x01\0" + b"a" * 300 + b"\0", REFUSED4),
    ("B8-unspecified", b"\x04\x01\0\x50\0\0\0\0\0", REFUSED4),
    ("B8-bind", b"\x04\x02\0\x50\x7f\0\0\x01\0", REFUSED4),
    ("B8-command-9", b"\x04\x09\0\x50\x7f\0\0\x01\0", REFUSED4),
    ("B9-no-methods", b"\x05\0", b"\x05\xff"),
    ("B9-gssapi-alone", b"\x05\x01\x01", b"\x05\xff"),
    ("B9-version", b"\x05\x01\0" + b"\x04\x01\0\x01\x7f\0\0\x01\0\x50", rep(1)),
    ("B9-reserved", b"\x05\x01\0" + b"\x05\x01\x01\x01\x7f\0\0\x01\0\x50", rep(1)),
    ("B9-bind", b"\x05\x01\0" + b"\x05\x02\0\x01\x7f\0\0\x01\0\x50", rep(7)),
    ("B9-udp", b"\x05\x01\0" + b"\x05\x03\0\x01\x7f\0\0\x01\0\x50", rep(7)),
    ("B9-atyp-2", b"\x05\x01\0" + b"\x05\x01\0\x02\x7f\0\0\x01\0\x50", rep(8)),
    ("B9-atyp-9", b"\x05\x01\0" + b"\x05\x01\0\x09\x7f\0\0\x01\0\x50", rep(8)),
    ("B9-no-name", named(b""), rep(4)),
    ("B9-nul", named(b"a" * 100 + b"\0" + b"b" * 154), rep(4)),
    ("B9-cr", named(b"a.example\r\nX: y"), rep(4)),
    ("B9-slash", named(b"a.example/b"), rep(4)),
    ("B11-255", named(b"a" * 255), rep(4)),
    *((f"B11-{name[:8]}", named(name.encode()), rep(4)) for name in ("a" * 64, "a..b", ".a", "-a", "_dmarc")),
    ("B12-tls", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(512), b""),
    ("B12-0xff", b"\xff" * 64, b""),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "answer"), [pytest.param(*rest, id=name) for name, *rest in BAD_SOCKS])
async def test_B8_B9_B11_B12_what_is_no_request_is_never_granted(byway: Watched, sent: bytes, answer: bytes) -> None:
    assert await say(byway.proxy, sent) == answer
    if answer and len(sent) < 1000:  # and in as many pieces as it has bytes
        assert await say(byway.proxy, *(bytes((byte,)) for byte in sent)) == answer


@pytest.mark.parametrize("name", ["a" * 64, "a..b", ".a", "-a", "_dmarc", LONG, "a" * 300])
async def test_B11_names_that_are_none_in_http(byway: Watched, name: str) -> None:
    for opening in (connect(f"{name}:443"), absolute(name)):
        assert status(await say(byway.proxy, opening)) == 400


async def test_B9_a_request_in_single_bytes_and_one_with_its_payload_glued_on(byway: Watched) -> None:
    async with serving(repeat) as port:
        whole = socks5("one.test", port) + b"glued"
        for pieces in ([whole], [bytes((byte,)) for byte in whole]):
            answer = await say(byway.proxy, *pieces, finish=True)
            assert answer[:4] == b"\x05\0\x05\0"
            assert answer.endswith(b"glued")


async def test_B10_passwords_are_asked_of_each_connection(tmp_path: Path) -> None:
    async with serving(repeat) as port, Watched(tmp_path, config=PASSWORD) as byway:
        await byway.settle_in()

        def sign_in(user: bytes, password: bytes) -> bytes:
            words = b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password
            return b"\x05\x01\x02" + words + socks5("one.test", port)[3:]

        for _ in range(2):
            good = await say(byway.proxy, sign_in(b"alice", b"opensesame"), b"hello", finish=True)
            assert good.startswith(b"\x05\x02\x01\0\x05\0")
            assert good.endswith(b"hello")
            for user, password in (
                (b"", b"opensesame"),
                (b"alice", b""),
                (b"alice", b"wrong"),
                (b"bob", b"opensesame"),
            ):
                bad = await say(byway.proxy, sign_in(user, password))
                assert len(bad) == 4
                assert bad.startswith(b"\x05\x02\x01")
                assert bad[3] != 0
            assert await say(byway.proxy, socks5("one.test", port)) == b"\x05\xff"
            assert await say(byway.proxy, socks4a("one.test", port)) == REFUSED4
            assert status(await say(byway.proxy, connect(f"one.test:{port}"))) == 407
        await byway.is_unharmed()


STRANGERS = [b"SSH-2.0-OpenSSH_9.6\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x80\x2e\x01\0\x02", b"EHLO x\r\n",
             random.Random(1).randbytes(1024)]  # fmt: skip


async def test_B12_strangers_and_halves_are_sent_away_at_the_deadline(tmp_path: Path) -> None:
    async with Watched(tmp_path, config=HASTE) as byway:
        await byway.settle_in()
        halves = [b"\x04", b"\x05", b"\x05\x02\0", b"\x05\x01\0\x05\x01", b"\x04\x01\0\x50\x7f\0\0\x01abc", b"GET"]
        answers = await asyncio.gather(*(say(byway.proxy, sent) for sent in (*STRANGERS, *halves)))
        assert not any(b" 200 " in answer or answer[2:4] == b"\x05\0" for answer in answers)
        await byway.is_unharmed()


async def test_B12_a_crowd_of_short_connections_with_anything_in_them(tmp_path: Path) -> None:
    """Random bytes, and good openings with bytes changed, cut off or doubled; ended, reset, or left to us."""
    dice = random.Random(20081007)
    seeds = [connect("one.test:9"), absolute("one.test:9"), socks4a("one.test", 9), socks5("one.test", 9),
             socks5("127.0.0.1", 9), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", *STRANGERS]  # fmt: skip
    counted: Counter[str] = Counter()

    def anything() -> bytes:
        data = bytearray(dice.choice(seeds) if dice.random() < 0.8 else dice.randbytes(dice.randrange(1, 200)))
        for _ in range(dice.randrange(4)):
            place = dice.randrange(len(data) + 1)
            match dice.randrange(3):
                case 0:
                    data[place : place + 1] = dice.randbytes(1)
                case 1:
                    del data[place : place + dice.randrange(8)]
                case _:
                    data[place:place] = data[: dice.randrange(len(data) + 1)]
        return bytes(data) or b"\0"  # who says nothing would be waited for

    async def visit(byway: Watched) -> None:
        reader, writer = await asyncio.open_connection(*byway.proxy)
        with contextlib.suppress(OSError):
            writer.write(anything())
            match dice.randrange(3):
                case 0:
                    writer.write_eof()
                    await reader.read()
                case 1:
                    break_off(writer)
                case _:
                    await reader.read(1)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        counted["visits"] += 1

    async def crowd(byway: Watched, ends_at: float) -> None:
        while (visits := counted["visits"]) < _FUZZ_CONNECTIONS.start or (
            visits in _FUZZ_CONNECTIONS and asyncio.get_running_loop().time() < ends_at
        ):
            await visit(byway)

    async with Watched(tmp_path, config=HASTE) as byway:
        await byway.settle_in()
        ends_at = asyncio.get_running_loop().time() + _FUZZ_S
        async with asyncio.TaskGroup() as visitors:
            for _ in range(32):
                visitors.create_task(crowd(byway, ends_at))
        await byway.is_unharmed()
        async with serving(repeat) as port:

            async def still_serves() -> bool:
                try:
                    async with tunnel(byway, f"one.test:{port}", b"still there") as (reader, _):
                        return await reader.readexactly(11) == b"still there"
                except (OSError, asyncio.IncompleteReadError):  # this client was too slow for a head
                    return False

            await until_read(still_serves)


# -- B13 and B14 -------------------------------------------------------------------------------------------------------


async def test_B13_one_client_that_does_not_read_harms_nobody(byway: Watched) -> None:
    idle = 200
    sent = [0]

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(0)
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent[0] += 65536

    async with serving(repeat) as echo, serving(pour) as flood, contextlib.AsyncExitStack() as tunnels:
        others = [await tunnels.enter_async_context(tunnel(byway, f"one.test:{echo}")) for _ in range(idle)]
        for reader, writer in others:
            writer.write(b"a")
            assert await reader.readexactly(1) == b"a"
        before = byway.memory()
        _, slow = await tunnels.enter_async_context(tunnel(byway, f"one.test:{flood}"))
        slow.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        last = -1

        async def stands_still() -> None:
            nonlocal last
            while last != sent[0] or not last:
                last = sent[0]
                await asyncio.sleep(0.2)

        await asyncio.wait_for(stands_still(), PATIENCE_S)
        for number, (reader, writer) in enumerate(others):
            word = b"%06d" % number
            writer.write(word)
            assert await reader.readexactly(6) == word
        assert byway.memory() - before < 8 * 1024 * 1024, "what is in the way is in the kernel, and 128 KiB with us"


async def test_B14_each_side_may_finish_before_the_other(byway: Watched) -> None:
    """The client first, the server first, and each hears the other's end once."""

    async def greet_and_finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"greeting")
        writer.write_eof()
        heard.append(await reader.read())

    heard: list[bytes] = []
    async with serving(repeat) as port, tunnel(byway, f"one.test:{port}") as (reader, writer):
        writer.write(b"all I have to say")
        writer.write_eof()
        assert await reader.read() == b"all I have to say"
        assert await reader.read() == b""
    async with serving(greet_and_finish) as port, tunnel(byway, f"one.test:{port}") as (reader, writer):
        assert await reader.read() == b"greeting"
        for word in (b"still ", b"", b"talking"):
            writer.write(word)
            await writer.drain()
        writer.write_eof()
        await until(lambda: heard == [b"still talking"])


async def test_B14_a_reset_after_the_end_and_an_urgent_byte(byway: Watched) -> None:
    heard = bytearray()
    ended = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go")
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                heard.extend(data)
        ended.set()

    async with serving(listen) as port, tunnel(byway, f"one.test:{port}", b"first ") as (reader, writer):
        await reader.readexactly(2)
        sock_of(writer).send(b"!", socket.MSG_OOB)
        writer.write(b"second")
        await until(lambda: heard.endswith(b"second"))
        writer.write_eof()
        await asyncio.wait_for(ended.wait(), PATIENCE_S)
        break_off(writer)
    assert heard.replace(b"!", b"") == b"first second"


async def test_B14_a_half_open_tunnel_ends_at_its_limit(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go")
        try:
            while await reader.read(65536):
                pass
            await asyncio.sleep(PATIENCE_S)  # never finishes its own side
        except OSError:
            left.set()

    async with serving(hold) as port, Watched(tmp_path, config=HALF_OPEN) as byway:
        await byway.settle_in()
        async with tunnel(byway, f"one.test:{port}", b"x") as (reader, writer):
            await reader.readexactly(2)
            writer.write_eof()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        await byway.is_unharmed()
