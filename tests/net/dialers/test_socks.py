from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers import relay_handshake
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.socks import Socks4Dialer, Socks5Dialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.stream import Stream
from proxy.wire.relay_url import RelayUrl, parse
from tests.support.lying import SOCKS4, SOCKS5, SOCKS5_AUTH, LyingRelay, Turn, socks4, socks5, socks5_auth
from tests.support.relay import Relay
from tests.support.rows import each_row
from tests.support.streams import listening

SITE = Destination("blocked.test", 443)


class Nowhere:
    """A way that must not be taken."""

    async def dial(self, destination: Destination) -> Stream:
        raise AssertionError(f"{destination} was dialed")


def url(kind: str, relay: LyingRelay, userinfo: str = "") -> RelayUrl:
    return parse(f"{kind}://{userinfo}127.0.0.1:{relay.port}")


async def failure(dialer: Socks4Dialer | Socks5Dialer, destination: Destination = SITE) -> tuple[Symptom, str]:
    async with asyncio.timeout(10):
        with pytest.raises(DialError) as caught:
            await dialer.dial(destination)
    assert caught.value.stage is Stage.RELAY
    return caught.value.symptom, str(caught.value)


@pytest.mark.parametrize("kind", ["socks5h", "socks4a"])
async def test_a_name_is_sent_as_a_name(to_relays: TcpDialer, kind: str) -> None:
    async with LyingRelay(SOCKS5 if kind == "socks5h" else SOCKS4) as relay:
        make = Socks5Dialer if kind == "socks5h" else Socks4Dialer
        (await make(to_relays, url(kind, relay)).dial(SITE)).close()
    expected = {
        #           greeting       CONNECT, name of 12              port 443
        "socks5h": b"\x05\x01\x00\x05\x01\x00\x03\x0cblocked.test\x01\xbb",
        #           CONNECT, port 443   0.0.0.1       no user  the name
        "socks4a": b"\x04\x01\x01\xbb\0\0\0\x01\0blocked.test\0",
    }
    assert relay.received == expected[kind]


async def test_a_request_that_is_remembered_is_for_one_destination_alone(to_relays: TcpDialer) -> None:
    async with LyingRelay(SOCKS5) as relay:
        dialer = Socks5Dialer(to_relays, url("socks5h", relay))
        for port in (443, 443, 80, 443):
            (await dialer.dial(Destination("blocked.test", port))).close()
    request = b"\x05\x01\x00\x05\x01\x00\x03\x0cblocked.test"
    assert relay.received == b"".join(request + port for port in (b"\x01\xbb", b"\x01\xbb", b"\0\x50", b"\x01\xbb"))


async def test_addresses_are_sent_as_addresses(to_relays: TcpDialer) -> None:
    async with LyingRelay(SOCKS5) as relay:
        dialer = Socks5Dialer(to_relays, url("socks5", relay))
        (await dialer.dial(Destination("192.0.2.1", 80))).close()
        (await dialer.dial(Destination("2001:db8::1", 80))).close()
    assert b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50" in relay.received
    assert b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00\x50" in relay.received
    async with LyingRelay(SOCKS4) as relay:
        (await Socks4Dialer(to_relays, url("socks4", relay, "me@")).dial(Destination("192.0.2.1", 80))).close()
    assert relay.received == b"\x04\x01\x00\x50\xc0\x00\x02\x01me\0"


@each_row(
    ("kind", "host", "carried"),
    [
        ("socks5h", "a.test", True),
        ("socks5h", "192.0.2.1", True),
        ("socks5", "a.test", True),
        ("socks5?resolve=local", "a.test", False),
        ("socks5?resolve=local", "192.0.2.1", True),
        ("socks5?resolve=local", "2001:db8::1", True),
        ("socks4a", "a.test", True),
        ("socks4a", "192.0.2.1", True),
        ("socks4a", "2001:db8::1", True),
        ("socks4", "a.test", False),
        ("socks4", "192.0.2.1", True),
        ("socks4", "2001:db8::1", False),
    ],
)
async def test_a_relay_that_wants_addresses_gets_no_name(kind: str, host: str, carried: bool) -> None:
    scheme, question, options = kind.partition("?")
    make = Socks5Dialer if kind.startswith("socks5") else Socks4Dialer
    dialer = make(Nowhere(), parse(f"{scheme}://192.0.2.9{question}{options}"), name="old")
    assert dialer.carries(Destination(host, 80)) is carried
    if not carried:
        symptom, text = await failure(dialer, Destination(host, 80))
        assert symptom is Symptom.SKIPPED
        assert text.startswith("relay old is skipped")


async def test_what_has_no_bytes_is_skipped() -> None:
    dialer = Socks5Dialer(Nowhere(), parse("socks5h://192.0.2.9"))
    assert (await failure(dialer, Destination("a" * 256, 80)))[0] is Symptom.SKIPPED


@pytest.mark.parametrize(
    ("user", "password"),
    [("me", "secret"), ("a:b@c", "%41:@ >#/"), ("üser", "pässwörd"), ("me", ""), ("u" * 255, "p" * 255)],
)
async def test_E28_credentials_of_all_kinds_arrive(to_relays: TcpDialer, user: str, password: str) -> None:
    async with LyingRelay(SOCKS5_AUTH) as relay:
        chosen = RelayUrl(parse("socks5h://x").kind, "127.0.0.1", relay.port, user, password)
        (await Socks5Dialer(to_relays, chosen).dial(SITE)).close()
    name, word = user.encode(), password.encode()
    sent = b"\x01" + bytes([len(name)]) + name + bytes([len(word)]) + word
    assert b"\x05\x02\x00\x02" + sent in relay.received


@pytest.mark.parametrize(("user", "password"), [("u" * 256, "p"), ("u", "p" * 256), ("", "p")])
def test_E28_credentials_that_do_not_fit_are_refused_at_once(user: str, password: str) -> None:
    kind = parse("socks5h://x").kind
    with pytest.raises(ValueError, match="SOCKS5 takes"):
        Socks5Dialer(Nowhere(), RelayUrl(kind, "127.0.0.1", 1080, user, password))


def test_E28_a_password_is_not_dropped_in_silence() -> None:
    with pytest.raises(ValueError, match="no password"):
        Socks4Dialer(Nowhere(), RelayUrl(parse("socks4://x").kind, "127.0.0.1", 1080, "me", "secret"))


async def test_a_relay_may_let_us_in_without_the_password(to_relays: TcpDialer) -> None:
    async with LyingRelay(SOCKS5) as relay:
        (await Socks5Dialer(to_relays, url("socks5h", relay, "me:secret@")).dial(SITE)).close()
    assert b"secret" not in relay.received


REPLIES = {
    # E21: each reply code, and some of its own
    **{f"reply {code}": (socks5(b"\x05\x00", bytes((5, code, 0, 1)) + bytes(6)), Symptom.RELAY_REFUSED)
       for code in (1, 2, 3, 4, 5, 6, 7, 8, 9, 0xFF)},
    "E25 no method": (socks5(b"\x05\xff"), Symptom.RELAY_AUTH),
    "another method": (socks5(b"\x05\x01"), Symptom.RELAY_GARBAGE),
    "a password unasked": (socks5_auth(b""), Symptom.RELAY_AUTH),
    "another version": (socks5(b"\x04\x00"), Symptom.RELAY_GARBAGE),
    "an HTTP server": (socks5(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Symptom.RELAY_GARBAGE),
    "reply of another version": (socks5(b"\x05\x00", b"\x04\x00\x00\x01" + bytes(6)), Symptom.RELAY_GARBAGE),
    "an address of no kind": (socks5(b"\x05\x00", b"\x05\x00\x00\x02" + bytes(6)), Symptom.RELAY_GARBAGE),
}  # fmt: skip


@pytest.mark.usefixtures("home")
@each_row(("turns", "symptom"), REPLIES.values(), ids=REPLIES)
async def test_E21_E25_socks5_refusals(to_relays: TcpDialer, turns: tuple[Turn, ...], symptom: Symptom) -> None:
    async with LyingRelay(turns) as relay:
        dialer = Socks5Dialer(to_relays, url("socks5h", relay), name="liar")
        seen, text = await failure(dialer)
    assert seen is symptom
    assert text.startswith("relay liar ")


@pytest.mark.parametrize("verdict", [b"\x01\x01", b"\x01\xff"])
async def test_a_password_that_is_refused(to_relays: TcpDialer, verdict: bytes) -> None:
    async with LyingRelay(socks5_auth(verdict)) as relay:
        symptom, text = await failure(Socks5Dialer(to_relays, url("socks5h", relay, "me:secret@")))
    assert symptom is Symptom.RELAY_AUTH
    assert "secret" not in text


@pytest.mark.parametrize(
    ("reply", "symptom"),
    [
        (b"\x00\x5b" + bytes(6), Symptom.RELAY_REFUSED),
        (b"\x00\x5c" + bytes(6), Symptom.RELAY_AUTH),
        (b"\x00\x5d" + bytes(6), Symptom.RELAY_AUTH),
        (b"\x04\x5a" + bytes(6), Symptom.RELAY_GARBAGE),
        (b"\x00\x00" + bytes(6), Symptom.RELAY_GARBAGE),
    ],
)
async def test_socks4_refusals(to_relays: TcpDialer, reply: bytes, symptom: Symptom) -> None:
    async with LyingRelay(socks4(reply)) as relay:
        assert (await failure(Socks4Dialer(to_relays, url("socks4a", relay))))[0] is symptom


@pytest.mark.parametrize("size", [1, 255])
async def test_E26_a_bound_name_of_any_length(to_relays: TcpDialer, size: int) -> None:
    reply = b"\x05\x00\x00\x03" + bytes((size,)) + b"r" * size + b"\x1f\x90"
    async with LyingRelay(socks5(b"\x05\x00", reply), extra=b"tunnel") as relay:
        stream = await Socks5Dialer(to_relays, url("socks5h", relay)).dial(SITE)
        assert await stream.receive() == b"tunnel"
        stream.close()


@pytest.mark.parametrize("kind", ["socks5h", "socks4a"])
async def test_through_a_relay_that_works(to_relays: TcpDialer, kind: str) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome, " + await reader.readexactly(4))
        writer.close()

    origin = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = origin.sockets[0].getsockname()[1]
    async with asyncio.timeout(10), Relay({"blocked.test": "127.0.0.1"}) as relay:
        make = Socks5Dialer if kind == "socks5h" else Socks4Dialer
        dialer = make(to_relays, parse(f"{kind}://{relay.address}:{relay.port}"))
        stream = await dialer.dial(Destination("blocked.test", port))
        await stream.send(b"user")
        assert await stream.receive() == b"welcome, user"
        stream.close()
        assert relay.asked == [f"blocked.test:{port}"]
        symptom, _ = await failure(dialer, Destination("unknown.test", port))
        assert symptom in (Symptom.RELAY_REFUSED, Symptom.RELAY_DOWN)
    origin.close()
    await origin.wait_closed()


def test_repr() -> None:
    assert repr(Socks5Dialer(Nowhere(), parse("socks5h://me:pw@192.0.2.9"))).count("pw") == 0
    assert repr(Socks4Dialer(Nowhere(), parse("socks4a://192.0.2.9"), name="old")) == "<Socks4Dialer old>"


# -- a network that filters SOCKS --------------------------------------------------------------------------------------


class Elsewhere:
    """Leads to `via`, and says that the relay is at `peer`."""

    def __init__(self, via: Dialer, peer: str) -> None:
        self._via = via
        self._peer = peer

    async def dial(self, destination: Destination) -> Stream:
        stream = await self._via.dial(destination)
        stream.peer = self._peer
        return stream


REMOTE = "203.0.113.9:1080"


@pytest.mark.parametrize(
    ("answer", "peer", "is_greeting"),
    [
        pytest.param(b"", REMOTE, True, id="closed"),
        pytest.param(None, REMOTE, True, id="silent"),
        pytest.param(b"", "[2001:db8::9]:1080", True, id="closed, IPv6"),
        pytest.param(b"", "127.0.0.1:1080", False, id="closed, on this computer"),
        pytest.param(None, "192.168.1.9:1080", False, id="silent, on the home network"),
        pytest.param(b"\x05\x00", REMOTE, False, id="closed after its answer"),
        pytest.param(b"\x05", REMOTE, False, id="closed within its answer"),
    ],
)
async def test_a_greeting_that_dies_beyond_the_home_network_may_be_filtered(
    to_relays: TcpDialer, answer: bytes | None, peer: str, is_greeting: bool
) -> None:
    """TCP opens, and not a byte comes back for the greeting."""
    async with answering_greetings(answer) as port:
        relay = parse(f"socks5h://127.0.0.1:{port}")
        dialer = Socks5Dialer(Elsewhere(to_relays, peer), relay, timeout_s=0.5)
        with pytest.raises(DialError) as caught:
            await dialer.dial(SITE)
    assert ("greeting" in caught.value.evidence) is is_greeting
    assert not caught.value.evidence.get("unacked"), "this computer acknowledges at once"


@pytest.mark.parametrize("unacked", [0, 1])
@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
async def test_a_request_that_is_not_even_acknowledged_does_not_wait_for_the_destination(
    to_relays: TcpDialer, monkeypatch: pytest.MonkeyPatch, scheme: str, unacked: int
) -> None:
    """A filter may let the greeting pass. Where the relay has the request, it may wait for the destination."""
    monkeypatch.setattr(relay_handshake, "unacknowledged", lambda _sock: unacked)
    kind = Socks5Dialer if scheme == "socks5h" else Socks4Dialer
    answers = [b"\x05\x00", None] if scheme == "socks5h" else [None]
    for peer in (REMOTE, "192.168.1.9:1080"):
        is_lost = bool(unacked) and peer == REMOTE
        async with answering_greetings(*answers) as port, asyncio.timeout(10):
            relay = parse(f"{scheme}://127.0.0.1:{port}")
            path_timeout_s = 30.0 if is_lost else 0.8
            dialer = kind(Elsewhere(to_relays, peer), relay, timeout_s=0.3, path_timeout_s=path_timeout_s)
            with pytest.raises(DialError) as caught:
                await dialer.dial(SITE)
        if is_lost:
            assert "did not complete its handshake within 0.3 s" in str(caught.value)
            assert caught.value.symptom is Symptom.RELAY_DOWN
            assert caught.value.evidence == {"relay": Symptom.TIMEOUT, "greeting": 1, "unacked": 1}
        else:
            assert "did not reach the destination within 0.8 s" in str(caught.value)
            assert (caught.value.symptom, caught.value.evidence) == (Symptom.TIMEOUT, {})


@pytest.mark.parametrize(("answer", "may_be"), [(b"", True), (b"\x00", False)])
async def test_a_socks4_request_that_is_cut_off_may_be_filtered(
    to_relays: TcpDialer, answer: bytes, *, may_be: bool
) -> None:
    async with answering_greetings(answer) as port:
        dialer = Socks4Dialer(Elsewhere(to_relays, REMOTE), parse(f"socks4a://127.0.0.1:{port}"), timeout_s=0.5)
        with pytest.raises(DialError) as caught:
            await dialer.dial(SITE)
    assert caught.value.symptom is Symptom.RELAY_DOWN
    assert ("greeting" in caught.value.evidence) is may_be


async def test_the_second_relay_of_a_chain_is_seen_by_no_network(to_relays: TcpDialer) -> None:
    async with answering_greetings(b"\x05\x00", b"\x05\x00\x00\x01\0\0\0\0\0\0", b"") as port:
        first = Socks5Dialer(Elsewhere(to_relays, REMOTE), parse(f"socks5h://127.0.0.1:{port}"))
        second = Socks5Dialer(first, parse("socks5h://198.51.100.7:1080"), timeout_s=0.5)
        with pytest.raises(DialError) as caught:
            await second.dial(SITE)
    assert caught.value.evidence == {"relay": Symptom.EOF}


@contextlib.asynccontextmanager
async def answering_greetings(*answers: bytes | None) -> AsyncIterator[int]:
    """A relay that gives one answer for each message of a client, closes after the last one, and is silent at None."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(512)
            if answer is None:
                await reader.read()  # until the client leaves
            writer.write(answer or b"")
            await writer.drain()

    async with listening(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
