"""SOCKS both ways: exact replies for clients that get it wrong, typed errors for relays that lie."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.wire.reader import Parser, Reader
from proxy.wire.socks import (
    NO_AUTH,
    PASSWORD,
    SOCKS5_AUTH_FAILED,
    SOCKS5_AUTH_OK,
    SOCKS5_NO_METHOD,
    Socks4Request,
    Socks5Reply,
    read_socks4,
    read_socks4_reply,
    read_socks5_auth,
    read_socks5_credentials,
    read_socks5_method,
    read_socks5_methods,
    read_socks5_reply,
    read_socks5_request,
    socks4_connect,
    socks4_reply,
    socks4a_connect,
    socks5_connect,
    socks5_credentials,
    socks5_greeting,
    socks5_method,
    socks5_reply,
    socks5_reply_for,
)
from tests.support.feeding import bytewise, every_way, feed, parse, refuse
from tests.support.rows import each_row

REFUSED4 = b"\x00\x5b\x00\x00\x00\x00\x00\x00"


def refused5(code: int) -> bytes:
    return bytes((5, code)) + b"\x00\x01\x00\x00\x00\x00\x00\x00"


# -- SOCKS4 and 4a, as clients ask -------------------------------------------------------------------------------------


@each_row(
    ("data", "expected"),
    [
        #  ver cmd  port      address            user
        (b"\x04\x01\x01\xbb\x01\x02\x03\x04\x00", Socks4Request(Destination("1.2.3.4", 443), b"", False)),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01me\x00", Socks4Request(Destination("127.0.0.1", 80), b"me", False)),
        (b"\x04\x01\x00\x50\x00\x00\x01\x00\x00", Socks4Request(Destination("0.0.1.0", 80), b"", False)),
        (
            b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00Example.ORG.\x00",
            Socks4Request(Destination("example.org", 443), b"", True),
        ),
        (b"\x04\x01\x01\xbb\x00\x00\x00\xffu\x00127.1\x00", Socks4Request(Destination("127.0.0.1", 443), b"u", True)),
        (b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00::1\x00", Socks4Request(Destination("::1", 443), b"", True)),
        (
            b"\x04\x01\x00\x50\x00\x00\x00\x01" + b"u" * 255 + b"\x00b\xc3\xbccher.example\x00",
            Socks4Request(Destination("xn--bcher-kva.example", 80), b"u" * 255, True),
        ),
    ],
)
def test_socks4_requests(data: bytes, expected: Socks4Request) -> None:
    assert parse(read_socks4, data) == expected


@each_row(
    "data",
    [
        b"\x04\x02\x00\x50\x01\x02\x03\x04\x00",  # BIND
        b"\x04\x09\x00\x50\x01\x02\x03\x04\x00",
        b"\x04\x00\x00\x50\x01\x02\x03\x04\x00",
        b"\x05\x01\x00\x50\x01\x02\x03\x04\x00",
        b"\x04\x01\x00\x00\x01\x02\x03\x04\x00",  # port 0
        b"\x04\x01\x00\x50\x00\x00\x00\x00\x00",  # 0.0.0.0
        b"\x04\x01\x00\x50\x01\x02\x03\x04" + b"u" * 256,  # no NUL in sight
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\x00",  # 4a, empty name
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"a" * 300 + b"\x00",
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00" + b"a." * 127 + b"a\x00",
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a/b\x00",
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a\r\nb\x00",
        b"\x04\x01\x00\x50\x00\x00\x00\x01\x00\xff\xfe\x00",
    ],
)
def test_B8_socks4_refusals(data: bytes) -> None:
    assert refuse(read_socks4, data).reply == REFUSED4


def test_B8_a_user_id_without_end_is_refused_within_512_bytes() -> None:
    head = b"\x04\x01\x00\x50\x01\x02\x03\x04"
    with pytest.raises(PeerError) as caught:
        feed(read_socks4, bytewise(head + b"u" * (512 - len(head))))
    assert caught.value.reply == REFUSED4
    with pytest.raises(PeerError):
        feed(read_socks4, [head + b"u" * 1_000_000])


# -- SOCKS5, as clients ask --------------------------------------------------------------------------------------------


@each_row(
    ("data", "methods"),
    [
        (b"\x05\x01\x00", {NO_AUTH}),
        (b"\x05\x02\x00\x02", {NO_AUTH, PASSWORD}),
        (b"\x05\x01\x01", {1}),  # GSSAPI alone: the caller answers FF
        (b"\x05\xff" + bytes(range(255)), set(range(255))),
    ],
)
def test_socks5_methods(data: bytes, methods: set[int]) -> None:
    assert parse(read_socks5_methods, data) == methods


@pytest.mark.parametrize(("data", "reply"), [(b"\x05\x00", SOCKS5_NO_METHOD), (b"\x04\x01", b""), (b"\x00\x00", b"")])
def test_B9_socks5_greetings_that_are_none(data: bytes, reply: bytes) -> None:
    assert refuse(read_socks5_methods, data).reply == reply


def test_socks5_credentials_are_read() -> None:
    assert parse(read_socks5_credentials, b"\x01\x04user\x04pass") == (b"user", b"pass")
    longest = b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    assert parse(read_socks5_credentials, longest) == (b"u" * 255, b"p" * 255)


@each_row("data", [b"\x01\x00\x04pass", b"\x01\x04user\x00", b"\x05\x04user\x04pass", b"\x00\x00"])
def test_B10_credentials_that_are_none(data: bytes) -> None:
    assert refuse(read_socks5_credentials, data).reply == SOCKS5_AUTH_FAILED


@each_row(
    ("data", "expected"),
    [
        #  ver cmd rsv atyp
        (b"\x05\x01\x00\x01\x01\x02\x03\x04\x01\xbb", Destination("1.2.3.4", 443)),
        (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50", Destination("::1", 80)),
        (b"\x05\x01\x00\x04" + bytes(10) + b"\xff\xff\x7f\x00\x00\x01\x00\x50", Destination("127.0.0.1", 80)),
        (b"\x05\x01\x00\x03\x0bExample.Org\x01\xbb", Destination("example.org", 443)),
        (b"\x05\x01\x00\x03\x05127.1\x01\xbb", Destination("127.0.0.1", 443)),
        (b"\x05\x01\x00\x03\x03::1\xff\xff", Destination("::1", 65535)),
        (
            b"\x05\x01\x00\x03\xfd" + b".".join([b"a" * 49] * 5) + b".abc\x00\x01",
            Destination(".".join(["a" * 49] * 5) + ".abc", 1),
        ),
    ],
)
def test_socks5_requests(data: bytes, expected: Destination) -> None:
    assert parse(read_socks5_request, data) == expected


def named(name: bytes, port: bytes = b"\x01\xbb") -> bytes:
    return b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port


@each_row(
    ("data", "code"),
    [
        (b"\x04\x01\x00\x01\x01\x02\x03\x04\x01\xbb", 1),  # version
        (b"\x05\x01\x01\x01\x01\x02\x03\x04\x01\xbb", 1),  # reserved byte
        (b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x00", 1),  # port 0
        (b"\x05\x02\x00\x01\x01\x02\x03\x04\x01\xbb", 7),  # BIND
        (b"\x05\x03\x00\x01\x01\x02\x03\x04\x01\xbb", 7),  # UDP ASSOCIATE
        (b"\x05\x00\x00\x01\x01\x02\x03\x04\x01\xbb", 7),
        (b"\x05\x01\x00\x02\x01\x02\x03\x04\x01\xbb", 8),
        (b"\x05\x01\x00\x09\x01\x02\x03\x04\x01\xbb", 8),
        (b"\x05\x01\x00\x00", 8),
        (named(b""), 4),
        (named(b"a" * 255), 4),
        (named(b"a" * 126 + b"\x00" + b"b" * 128), 4),
        (named(b"a" * 126 + b"\r" + b"b" * 128), 4),
        (named(b"a" * 126 + b"/" + b"b" * 128), 4),
        (named(b"a\x00b.example"), 4),
        (named(b"a..b"), 4),
        (named(b"user@example.org"), 4),
        (named(b"\xff\xfe"), 4),
        (named(b"fe80::1%eth0"), 4),
    ],
)
def test_B9_socks5_requests_that_are_refused(data: bytes, code: int) -> None:
    assert refuse(read_socks5_request, data).reply == refused5(code)


@each_row("name", [b"a" * 64 + b".example", b"a..b", b".a", b"-a", b"_dmarc", b"", b"a." * 127 + b"a"])
def test_B11_names_that_are_none(name: bytes) -> None:
    assert refuse(read_socks5_request, named(name)).reply == refused5(4)
    assert refuse(read_socks4, b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00" + name + b"\x00").reply == REFUSED4


@each_row(
    ("make", "data"),
    [
        (read_socks4, b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00example.org\x00"),
        (read_socks5_methods, b"\x05\x02\x00\x02"),
        (read_socks5_credentials, b"\x01\x04user\x04pass"),
        (read_socks5_request, named(b"example.org")),
        (read_socks5_request, b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50"),
    ],
)
def test_B9_a_client_that_leaves_at_any_byte(make: Callable[[Reader], Parser[Any]], data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(PeerError, match="closed in the middle"):
            feed(make, [data[:size]], ended=True)


# -- what we write to clients ------------------------------------------------------------------------------------------


def test_replies_to_the_byte() -> None:
    assert socks5_method(PASSWORD) == b"\x05\x02"
    assert SOCKS5_NO_METHOD == b"\x05\xff"
    assert SOCKS5_AUTH_OK == b"\x01\x00"
    assert SOCKS5_AUTH_FAILED[:1] == b"\x01"
    assert SOCKS5_AUTH_FAILED[1:] != b"\x00"
    assert socks5_reply(Socks5Reply.GRANTED) == b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    assert socks4_reply(granted=True) == b"\x00\x5a\x00\x00\x00\x00\x00\x00"
    assert socks4_reply(granted=False) == REFUSED4


@each_row("symptom", Symptom)
def test_no_symptom_is_a_success(symptom: Symptom) -> None:
    reply = socks5_reply_for(symptom)
    assert len(reply) == 10
    assert 1 <= reply[1] <= 8


@each_row(
    ("symptom", "code"),
    [
        (Symptom.FORBIDDEN, 2),
        (Symptom.OFFLINE, 3),
        (Symptom.UNREACHABLE, 4),
        (Symptom.NO_NAME, 4),
        (Symptom.RESOLVE_FAILED, 4),
        (Symptom.REFUSED, 5),
        (Symptom.TIMEOUT, 6),
        (Symptom.RELAY_DOWN, 1),
        (Symptom.NONE, 1),
    ],
)
def test_replies_for_symptoms(symptom: Symptom, code: int) -> None:
    assert socks5_reply_for(symptom) == refused5(code)


# -- relays: what we send ----------------------------------------------------------------------------------------------

V4, V6, NAME = Destination("1.2.3.4", 443), Destination("2001:db8::1", 80), Destination("example.org", 443)


def test_fields_at_their_limits() -> None:
    assert socks5_credentials("u" * 255, "p" * 255) == b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    assert socks5_connect(Destination("a", 1)) == b"\x05\x01\x00\x03\x01a\x00\x01"
    assert socks4a_connect(Destination("a", 1), "u" * 255)[8:] == b"u" * 255 + b"\x00a\x00"


def test_requests_to_relays_to_the_byte() -> None:
    assert socks5_greeting(with_password=False) == b"\x05\x01\x00"
    assert socks5_greeting(with_password=True) == b"\x05\x02\x00\x02"
    assert socks5_credentials("user", "pä:@%") == b"\x01\x04user\x06p\xc3\xa4:@%"
    assert socks5_credentials("user", "") == b"\x01\x04user\x00"
    assert socks5_connect(V4) == b"\x05\x01\x00\x01\x01\x02\x03\x04\x01\xbb"
    assert socks5_connect(V6) == b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\x00\x50"
    assert socks5_connect(NAME) == b"\x05\x01\x00\x03\x0bexample.org\x01\xbb"
    assert socks4_connect(V4) == b"\x04\x01\x01\xbb\x01\x02\x03\x04\x00"
    assert socks4_connect(V4, "me") == b"\x04\x01\x01\xbb\x01\x02\x03\x04me\x00"
    assert socks4a_connect(V4, "me") == socks4_connect(V4, "me")
    assert socks4a_connect(NAME, "me") == b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00example.org\x00"
    assert socks4a_connect(V6) == b"\x04\x01\x00\x50\x00\x00\x00\x01\x002001:db8::1\x00"


@each_row("destination", [V4, V6, NAME, Destination("a" * 63 + ".example", 1)])
def test_our_requests_are_read_by_our_parsers(destination: Destination) -> None:
    assert parse(read_socks5_request, socks5_connect(destination)) == destination
    assert parse(read_socks4, socks4a_connect(destination, "u")).destination == destination


@each_row(
    "make",
    [
        partial(socks5_credentials, "", "pass"),
        partial(socks5_credentials, "u" * 256, "pass"),
        partial(socks5_credentials, "user", "ä" * 128),
        partial(socks5_connect, Destination("a" * 256, 1)),
        partial(socks4a_connect, Destination("a" * 256, 1)),
        partial(socks4_connect, NAME),
        partial(socks4_connect, V6),
        partial(socks4_connect, Destination("0.0.0.7", 1)),  # would be read as 4a
        partial(socks4_connect, V4, "a\0b"),
        partial(socks4a_connect, NAME, "u" * 256),
    ],
)
def test_E28_what_a_relay_cannot_be_told(make: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError, match=r"SOCKS[45]a? "):
        make()


# -- relays: what they answer ------------------------------------------------------------------------------------------


def failure(make: Callable[[Reader], Parser[Any]], data: bytes, *, ended: bool = False) -> DialError:
    """The DialError that this answer is, however it comes."""
    found = []
    for pieces in every_way(data):
        with pytest.raises(DialError) as caught:
            feed(make, pieces, ended=ended)
        found.append(caught.value)
    assert {error.stage for error in found} == {Stage.RELAY}
    assert len({(error.symptom, str(error)) for error in found}) == 1
    return found[0]


GRANTED = {
    "v4": b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00",
    "v6": b"\x05\x00\x00\x04" + bytes(18),
    "E26 name of 255": b"\x05\x00\x00\x03\xff" + b"b" * 255 + b"\x04\x38",
    "empty name": b"\x05\x00\x00\x03\x00\x04\x38",
    "reserved byte": b"\x05\x00\xff\x01" + bytes(6),
}


@each_row("name", GRANTED)
def test_E26_granted_and_not_a_byte_more(name: str) -> None:
    parse(read_socks5_reply, GRANTED[name])


def test_methods_and_sign_in() -> None:
    assert parse(read_socks5_method, b"\x05\x00") == NO_AUTH
    assert parse(read_socks5_method, b"\x05\x02") == PASSWORD
    assert parse(partial(read_socks5_method, with_password=False), b"\x05\x00") == NO_AUTH
    parse(read_socks5_auth, b"\x01\x00")
    parse(read_socks4_reply, b"\x00\x5a\x01\xbb\x01\x02\x03\x04")


@each_row(
    ("data", "symptom", "words"),
    [
        (b"\x05\xff", Symptom.RELAY_AUTH, "neither"),
        (b"\x05\x01", Symptom.RELAY_GARBAGE, "not offered"),
        (b"\x04\x00", Symptom.RELAY_GARBAGE, "does not speak SOCKS5"),
        (b"HT", Symptom.RELAY_GARBAGE, "does not speak SOCKS5"),
    ],
)
def test_E25_methods_that_are_none(data: bytes, symptom: Symptom, words: str) -> None:
    error = failure(read_socks5_method, data)
    assert error.symptom is symptom
    assert words in str(error)


def test_E25_no_credentials_are_sent_that_are_not_there() -> None:
    without = partial(read_socks5_method, with_password=False)
    assert failure(without, b"\x05\x02").symptom is Symptom.RELAY_AUTH
    assert failure(without, b"\x05\xff").symptom is Symptom.RELAY_AUTH


def test_sign_in_refused() -> None:
    assert failure(read_socks5_auth, b"\x01\x01").symptom is Symptom.RELAY_AUTH
    assert failure(read_socks5_auth, b"\x01\xff").symptom is Symptom.RELAY_AUTH
    assert failure(read_socks5_auth, b"\x05\x00").symptom is Symptom.RELAY_GARBAGE


@each_row("code", [*range(1, 10), 0x5A, 0xFF])
def test_E21_every_reply_code(code: int) -> None:
    error = failure(read_socks5_reply, bytes((5, code)))  # told by two bytes: some relays send no more
    assert error.symptom is Symptom.RELAY_REFUSED
    assert f"reply {code})" in str(error)


def test_E21_the_meaning_in_words() -> None:
    messages = {str(failure(read_socks5_reply, refused5(code))) for code in range(1, 9)}
    assert len(messages) == 8
    assert any("connection refused" in message for message in messages)


@each_row(
    "data", [b"\x04\x00\x00\x01", b"HTTP/1.1 200 OK\r\n\r\n", b"\x05\x00\x00\x02", b"\x05\x00\x00\x00", b"\x00\x5a"]
)
def test_E1_garbage_instead_of_a_reply(data: bytes) -> None:
    assert failure(read_socks5_reply, data).symptom is Symptom.RELAY_GARBAGE


@each_row(
    ("data", "symptom"),
    [
        (b"\x00\x5b", Symptom.RELAY_REFUSED),
        (b"\x00\x5c\x00\x00\x00\x00\x00\x00", Symptom.RELAY_AUTH),
        (b"\x00\x5d", Symptom.RELAY_AUTH),
        (b"\x00\x00", Symptom.RELAY_GARBAGE),
        (b"\x00\x5e", Symptom.RELAY_GARBAGE),
        (b"\x04\x5a", Symptom.RELAY_GARBAGE),
        (b"\x05\x00", Symptom.RELAY_GARBAGE),
    ],
)
def test_E21_socks4_answers(data: bytes, symptom: Symptom) -> None:
    assert failure(read_socks4_reply, data).symptom is symptom


ANSWERS: list[tuple[Callable[[Reader], Parser[Any]], bytes]] = [
    (read_socks5_method, b"\x05\x02"),
    (read_socks5_auth, b"\x01\x00"),
    (read_socks4_reply, b"\x00\x5a\x00\x00\x00\x00\x00\x00"),
    *((read_socks5_reply, data) for data in GRANTED.values()),
]


@each_row(("make", "data"), ANSWERS)
def test_E1_a_relay_that_closes_at_any_byte(make: Callable[[Reader], Parser[Any]], data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(DialError) as caught:
            feed(make, [data[:size]], ended=True)
        refused = make is read_socks5_reply and size == 0  # in the way of `ssh -D`
        symptom = Symptom.RELAY_REFUSED if refused else Symptom.RELAY_DOWN
        assert (caught.value.stage, caught.value.symptom) == (Stage.RELAY, symptom)
        assert not refused or caught.value.evidence == {"relay": Symptom.EOF}, "it may also restart"


@given(st.binary(max_size=600))
def test_fuzz_clients(data: bytes) -> None:
    for make in (read_socks4, read_socks5_methods, read_socks5_credentials, read_socks5_request):
        with contextlib.suppress(PeerError):
            feed(make, [data], ended=True)
        outcomes = [outcome(make, pieces) for pieces in ([data], bytewise(data))]
        assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x05\x00", b"\x05\x00\x00\x03", b"\x00\x5a", b"\x01"]))
def test_fuzz_relays(data: bytes, beginning: bytes) -> None:
    for make in (read_socks5_method, read_socks5_auth, read_socks5_reply, read_socks4_reply):
        outcomes = [outcome(make, pieces) for pieces in ([beginning + data], bytewise(beginning + data))]
        assert outcomes[0] == outcomes[1]


def outcome(make: Callable[[Reader], Parser[Any]], pieces: list[bytes]) -> object:
    try:
        return feed(make, pieces, ended=True)
    except (PeerError, DialError) as error:
        return type(error), getattr(error, "reply", None), getattr(error, "symptom", None)
