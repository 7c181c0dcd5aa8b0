from __future__ import annotations

import asyncio
import base64

import pytest

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.http_connect import INTERIM_LIMIT, HttpConnectDialer
from proxy.net.dialers.tcp import TcpDialer
from proxy.wire.relay_url import RelayKind, RelayUrl, parse
from tests.support.lying import HTTP, Lie, LyingRelay, http
from tests.support.rows import each_row

SITE = Destination("blocked.test", 443)


def dialer(to_relays: TcpDialer, relay: LyingRelay, userinfo: str = "") -> HttpConnectDialer:
    return HttpConnectDialer(to_relays, parse(f"http://{userinfo}127.0.0.1:{relay.port}"), name="liar")


async def failure(made: HttpConnectDialer) -> tuple[Symptom, str]:
    async with asyncio.timeout(10):
        with pytest.raises(DialError) as caught:
            await made.dial(SITE)
    assert caught.value.stage is Stage.RELAY
    return caught.value.symptom, str(caught.value)


@pytest.mark.parametrize(
    ("destination", "authority"),
    [
        (SITE, "blocked.test:443"),
        (Destination("192.0.2.1", 80), "192.0.2.1:80"),
        (Destination("2001:db8::1", 80), "[2001:db8::1]:80"),
    ],
)
async def test_what_is_asked(to_relays: TcpDialer, destination: Destination, authority: str) -> None:
    async with LyingRelay(HTTP) as relay:
        made = dialer(to_relays, relay)
        assert made.carries(destination)
        (await made.dial(destination)).close()
    assert relay.received.decode() == f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"


@pytest.mark.parametrize(
    ("user", "password"),
    [("me", "secret"), ("a@b%c", "%41:@:>"), ("üser", "pässwörd"), ("me", "CR\r\nLF: evil\r\n\r\n"), ("me", "")],
)
async def test_E28_credentials_of_all_kinds_arrive_and_break_nothing(
    to_relays: TcpDialer, user: str, password: str
) -> None:
    async with LyingRelay(HTTP) as relay:
        url = RelayUrl(RelayKind.HTTP, "127.0.0.1", relay.port, user, password)
        (await HttpConnectDialer(to_relays, url).dial(SITE)).close()
    head = relay.received.decode()
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    assert head.endswith(f"\r\nProxy-Authorization: Basic {token}\r\n\r\n")
    assert head.count("\r\n") == 4


def test_E28_a_user_with_a_colon_is_refused_at_once(to_relays: TcpDialer) -> None:
    with pytest.raises(ValueError, match="colon"):
        HttpConnectDialer(to_relays, RelayUrl(RelayKind.HTTP, "127.0.0.1", 8080, "a:b", "c"))


OPENS = {
    "200": b"HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\n\r\n",
    "another 2xx": b"HTTP/1.1 204 No Content\r\n\r\n",
    "the last 2xx": b"HTTP/1.1 299 Odd\r\n\r\n",
    "E22 a length of none": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "E22 a coding that means nothing": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "E24 100 before 200": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "E24 the last 1xx": b"HTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "E24 some 1xx": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\n\r\n",
}


@each_row("answer", OPENS.values(), ids=OPENS)
async def test_E22_E24_answers_that_open_the_path(to_relays: TcpDialer, answer: bytes) -> None:
    async with asyncio.timeout(10), LyingRelay(http(answer), extra=b"tunnel") as relay:
        stream = await dialer(to_relays, relay).dial(SITE)
        assert await stream.receive() == b"tunnel"
        stream.close()


PAGE = b"<html>not the site</html>"
REFUSES = {
    "E22 a page": (b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n" + PAGE, Symptom.RELAY_GARBAGE),
    "E22 two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", Symptom.RELAY_GARBAGE),
    "E23 301": (b"HTTP/1.1 301 Moved\r\nLocation: http://evil/\r\n\r\n", Symptom.RELAY_REFUSED),
    "E23 302": (b"HTTP/1.1 302 Found\r\nContent-Length: 25\r\n\r\n" + PAGE, Symptom.RELAY_REFUSED),
    "E23 403": (b"HTTP/1.1 403 Filtered\r\nContent-Length: 25\r\n\r\n" + PAGE, Symptom.RELAY_REFUSED),
    "E23 407": (b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n', Symptom.RELAY_AUTH),
    "E23 405": (b"HTTP/1.1 405 Not Allowed\r\nContent-Length: 25\r\n\r\n" + PAGE, Symptom.RELAY_GARBAGE),
    "E23 501": (b"HTTP/1.1 501 Not Implemented\r\n\r\n", Symptom.RELAY_GARBAGE),
    "E23 502": (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", Symptom.RELAY_REFUSED),
    "E23 503": (b"HTTP/1.1 503 Unavailable\r\nRetry-After: 5\r\n\r\n", Symptom.RELAY_REFUSED),
    "E24 101": (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", Symptom.RELAY_GARBAGE),
    "E24 1xx for ever": (b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_LIMIT + 5), Symptom.RELAY_GARBAGE),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Symptom.RELAY_GARBAGE),
    "HTTP/2": (b"HTTP/2 200 OK\r\n\r\n", Symptom.RELAY_GARBAGE),
    "a TLS alert": (b"\x15\x03\x03\x00\x02\x02\x28\r\n\r\n", Symptom.RELAY_GARBAGE),
    "a status of two digits": (b"HTTP/1.1 20 OK\r\n\r\n", Symptom.RELAY_GARBAGE),
    "a head without end": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, Symptom.RELAY_GARBAGE),
    "thousands of fields": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", Symptom.RELAY_GARBAGE),
    "NUL": (b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", Symptom.RELAY_GARBAGE),
}


@pytest.mark.usefixtures("home")
@each_row(("answer", "symptom"), REFUSES.values(), ids=REFUSES)
async def test_E22_E23_E24_answers_that_do_not(to_relays: TcpDialer, answer: bytes, symptom: Symptom) -> None:
    async with LyingRelay(http(answer)) as relay:
        seen, text = await failure(dialer(to_relays, relay, "me:secret@"))
    assert seen is symptom
    assert text.startswith("relay liar")
    assert not any(word in text for word in ("secret", "html", "evil"))  # nothing of the relay's is shown


async def test_E23_407_says_whether_a_password_was_sent(to_relays: TcpDialer) -> None:
    """A relay of an office that wants NTLM refuses a password that is right."""
    answer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 0\r\n\r\n"
    for userinfo, said in (
        ("", "requires a user and password (407)"),
        ("me:secret@", "rejects the user and password, or wants another method than Basic, such as NTLM (407)"),
    ):
        async with LyingRelay(http(answer)) as relay:
            assert await failure(dialer(to_relays, relay, userinfo)) == (Symptom.RELAY_AUTH, f"relay liar {said}")


async def test_E23_401_says_that_our_password_is_wrong(to_relays: TcpDialer) -> None:
    """What tinyproxy answers to a wrong password. Without one it is the relay's own business."""
    answer = b'HTTP/1.0 401 Unauthorized\r\nServer: tinyproxy/1.11.2\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'
    async with LyingRelay(http(answer)) as relay:
        assert await failure(dialer(to_relays, relay, "me:secret@")) == (
            Symptom.RELAY_AUTH,
            "relay liar rejects the user and password (401)",
        )
    async with LyingRelay(http(answer)) as relay:
        assert (await failure(dialer(to_relays, relay)))[0] is Symptom.RELAY_REFUSED


async def test_E23_200_and_then_a_reset_is_the_tunnels_fault(to_relays: TcpDialer) -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n"
    async with asyncio.timeout(10), LyingRelay(http(answer + b"x"), lie=Lie.CLOSE, after=len(answer)) as relay:
        stream = await dialer(to_relays, relay).dial(SITE)
        assert await stream.receive() == b""
        stream.close()


def test_repr_shows_no_password(to_relays: TcpDialer) -> None:
    made = HttpConnectDialer(to_relays, parse("http://me:secret@192.0.2.1"))
    assert "secret" not in repr(made)
    assert "192.0.2.1" in repr(made)
