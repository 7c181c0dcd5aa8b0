"""ClientHellos from OpenSSL and by hand: read, refused, and made again so that a real server answers them."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import replace

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.tls import (
    HELLO_LIMIT,
    RANDOMNESS,
    REPLY_HEAD,
    CertificateReply,
    ClientHello,
    Verdict,
    certificate_reply,
    is_server_answer,
    parse_client_hello,
    refreshed,
)
from tests.support.authority import Authority
from tests.wire import hellos

FRESH = bytes(range(100, 100 + RANDOMNESS))

SAMPLES = {
    "plain": hellos.PLAIN,
    "resuming": hellos.RESUMING,
    "encrypted": hellos.ENCRYPTED,
    "post-quantum": hellos.BIG,
    "an empty extension last": hellos.by_hand(hellos.sni(b"www.example.org"), hellos.ALPN, hellos.EARLY_DATA),
    "real": hellos.real(),
    "real, TLS 1.2": hellos.real(tls12=True),
    "five records": hellos.split(hellos.PLAIN, 1, 2, 30, 40),
    "real, three records": hellos.split(hellos.real(), 3, 100),
    "one byte a record": hellos.split(hellos.PLAIN, *[1] * (len(hellos.PLAIN) - 6)),
}


@pytest.fixture(params=sorted(SAMPLES))
def sample(request: pytest.FixtureRequest) -> bytes:
    return SAMPLES[request.param]


def test_whole(sample: bytes) -> None:
    hello = parse_client_hello(sample)
    assert hello is not None
    assert hello.size == len(sample)
    assert hello.server_name in ("www.example.org", "public.example")
    assert hello.alpn == ("h2", "http/1.1")


def test_byte_by_byte(sample: bytes) -> None:
    assert [parse_client_hello(sample[:size]) for size in range(len(sample))] == [None] * len(sample)
    assert parse_client_hello(sample) is not None


def test_with_a_tail(sample: bytes) -> None:
    assert parse_client_hello(sample + b"\x17\x03\x03\x00\x01x") == parse_client_hello(sample)


def test_early_data_and_ech_are_seen() -> None:
    assert parse_client_hello(hellos.PLAIN) == ClientHello(
        "www.example.org", ("h2", "http/1.1"), early_data=False, ech=False, size=len(hellos.PLAIN)
    )
    resuming = parse_client_hello(hellos.RESUMING)
    assert resuming is not None
    assert (resuming.early_data, resuming.ech) == (True, False)
    encrypted = parse_client_hello(hellos.ENCRYPTED)
    assert encrypted is not None
    assert (encrypted.early_data, encrypted.ech, encrypted.server_name) == (False, True, "public.example")


def test_the_post_quantum_sample_does_not_fit_a_packet() -> None:
    assert len(hellos.BIG) > 1500


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        (b"Example.ORG", "example.org"),
        (b"example.org.", "example.org"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"", None),
        (b"127.0.0.1", None),
        (b"0x7f.1", None),
        (b"::1", None),
        (b"[::1]", None),
        (b"a..b", None),
        (b"a\x00.org", None),
        (b"\xff\xfe", None),
        (b"a" * 300, None),
    ],
)
def test_C3_server_name_is_canonical_or_none(name: bytes, canonical: str | None) -> None:
    hello = parse_client_hello(hellos.by_hand(hellos.sni(name)))
    assert hello is not None
    assert hello.server_name == canonical


@pytest.mark.parametrize("body", [b"", b"\x00\x00", b"\x00\x04\x01\x00\x01a", b"\x00\x04\x00\x00\x01ab"])
def test_a_server_name_extension_without_a_name(body: bytes) -> None:
    if not body:
        with pytest.raises(ValueError, match="longer than what holds it"):
            parse_client_hello(hellos.by_hand(hellos.extension(0, body)))
        return
    hello = parse_client_hello(hellos.by_hand(hellos.extension(0, body)))
    assert hello is not None
    assert hello.server_name is None


def test_no_extensions_at_all() -> None:
    body = b"\x03\x01" + b"R" * 32 + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    old = hellos.record(b"\x01" + hellos.vector(body, 3))
    assert parse_client_hello(old) == ClientHello(None, (), early_data=False, ech=False, size=len(old))
    again = refreshed(old, FRESH)
    assert len(again) == len(old)
    assert again[11:43] == FRESH[:32]


START = b"\x03\x03" + b"R" * 32  # version and random


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"\x17\x03\x03",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",  # an empty record
        b"\x16\x03\x01\x40\x01",  # a record of 16 KiB and one
        b"\x16\x03\x01\x00\x20\x02",  # a ServerHello
        hellos.record(b"\x01\x00\x00\x01"[:2]) + b"\x17",  # another kind of record in the middle
        hellos.record(b"\x01" + (HELLO_LIMIT + 1).to_bytes(3, "big")),
        hellos.record(hellos.message() + b"x"),  # more behind the message in its record
        hellos.record(b"\x01\x00\x00\x00"),
        hellos.record(b"\x01" + hellos.vector(b"\x03\x03" + b"R" * 32, 3)),
        hellos.record(hellos.message(version=b"\x02\x00")),
        hellos.record(hellos.message(session_id=bytes(33))),
        hellos.record(b"\x01" + hellos.vector(START + b"\x00" + b"\x00\x03\x13\x01\x13" + b"\x01\x00", 3)),
        hellos.record(b"\x01" + hellos.vector(START + b"\x00" + b"\x00\x02\x13\x01" + b"\x00", 3)),
        hellos.record(b"\x01" + hellos.vector(START + b"\xff" + b"S" * 32, 3)),
        hellos.by_hand(hellos.EARLY_DATA, hellos.EARLY_DATA),
        hellos.by_hand(b"\x00\x10\x00\xff"),
        hellos.by_hand(b"\x00\x10\x00"),
        hellos.by_hand(hellos.extension(16, b"\x00\x05\x09h2")),
        hellos.record(b"\x01" + hellos.vector(hellos.message(hellos.ALPN)[4:] + b"tail", 3)),
    ],
)  # fmt: skip
def test_B12_what_is_no_client_hello(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"TLS|ClientHello|record"):
        parse_client_hello(data)


def server_answers(hello: bytes) -> bytes:
    """What a real OpenSSL server sends back, up to where it waits for the client."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("www.example.org", "public.example").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(hello)
    with pytest.raises(ssl.SSLWantReadError):
        server.do_handshake()
    return outgoing.read()


def with_real_keys(*more: bytes) -> bytes:
    """OpenSSL's own hello with further extensions at the end."""
    hello = hellos.real(alpn=("h2",))
    start = 5 + 4 + 2 + 32
    start += 1 + hello[start]
    start += 2 + int.from_bytes(hello[start : start + 2], "big")
    start += 1 + hello[start]
    block = hello[start + 2 :] + b"".join(more)
    return hellos.record(b"\x01" + hellos.vector(hello[9:start] + hellos.vector(block, 2), 3))


@pytest.mark.parametrize(
    "hello",
    [
        hellos.real(),
        hellos.real(tls12=True),
        hellos.real("public.example", ()),
        hellos.split(hellos.real(), 1, 50, 90),
        with_real_keys(hellos.ECH),
        with_real_keys(hellos.EARLY_DATA, hellos.PRE_SHARED_KEY),
        with_real_keys(hellos.PADDING, hellos.extension(0x4A4A, bytes(800))),
    ],
    ids=["1.3", "1.2", "no alpn", "records", "ech", "resuming", "big"],
)
def test_a_real_server_answers_what_was_refreshed(hello: bytes) -> None:
    again = refreshed(hello, FRESH)
    answer = server_answers(again)
    assert answer[0] == 0x16
    assert answer[5] == 2
    assert is_server_answer(answer) is Verdict.VALID
    assert answer != hello


def test_the_server_is_a_judge() -> None:
    """The control: it refuses a hello that is wrong, here with a pre_shared_key that is not the last extension."""
    with pytest.raises(ssl.SSLError, match=r"(?i)extension"):
        server_answers(with_real_keys(hellos.EARLY_DATA, hellos.PRE_SHARED_KEY, hellos.PADDING))


def test_refreshed_keeps_all_but_what_is_old(sample: bytes) -> None:
    before, again = parse_client_hello(sample), refreshed(sample, FRESH)
    after = parse_client_hello(again)
    assert before is not None
    assert after is not None
    assert again[:3] == sample[:3]
    assert int.from_bytes(again[3:5], "big") == len(again) - 5 == after.size - 5
    assert (after.server_name, after.alpn, after.ech) == (before.server_name, before.alpn, before.ech)
    assert not after.early_data
    assert again[11:43] == FRESH[:32]
    assert again[44 : 44 + again[43]] == FRESH[32 : 32 + again[43]]
    assert b"ticket" not in again
    assert refreshed(again, FRESH) == again


@pytest.mark.parametrize("name", ["a.example", "a-longer-name.of-another-site.example.com"])
def test_refreshed_with_another_name_is_otherwise_the_same(sample: bytes, name: str) -> None:
    before, again = parse_client_hello(sample), refreshed(sample, FRESH, server_name=name)
    after = parse_client_hello(again)
    assert before is not None
    assert before.server_name is not None
    assert after == replace(before, server_name=name, early_data=False, size=len(again))
    assert refreshed(again, FRESH, server_name=before.server_name) == refreshed(sample, FRESH)


def test_a_real_server_answers_another_name() -> None:
    assert is_server_answer(server_answers(refreshed(hellos.real(), FRESH, server_name="a.example"))) is Verdict.VALID


def test_a_hello_without_a_name_gets_none() -> None:
    hello = hellos.by_hand(hellos.ALPN, hellos.SUPPORTED_VERSIONS)
    assert refreshed(hello, FRESH, server_name="a.example") == refreshed(hello, FRESH)


def test_refreshed_to_the_byte() -> None:
    expected = hellos.message(
        hellos.sni(b"www.example.org"), hellos.ALPN, hellos.SUPPORTED_VERSIONS, hellos.KEY_SHARE, hellos.PSK_MODES,
        session_id=FRESH[32:],
    )  # fmt: skip
    assert refreshed(hellos.RESUMING, FRESH) == hellos.record(expected.replace(b"R" * 32, FRESH[:32]))


def test_refreshed_asks_for_a_ticket_but_sends_none() -> None:
    hello = hellos.by_hand(hellos.extension(35, b"an old session"), hellos.ALPN)
    assert refreshed(hello, FRESH).endswith(hellos.extension(35) + hellos.ALPN)


@pytest.mark.parametrize(
    ("hello", "randomness", "words"),
    [
        (hellos.PLAIN, bytes(63), "random bytes"),
        (hellos.PLAIN, bytes(65), "random bytes"),
        (hellos.PLAIN[:-1], FRESH, "exactly one"),
        (hellos.PLAIN + b"x", FRESH, "exactly one"),
        (b"", FRESH, "exactly one"),
        (b"GET / HTTP/1.1\r\n\r\n", FRESH, "TLS"),
        (hellos.split(hellos.record(hellos.message(hellos.extension(21, bytes(17_000)))), 9_000), FRESH, "one record"),
    ],
)
def test_refreshed_refuses(hello: bytes, randomness: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        refreshed(hello, randomness)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"", Verdict.MORE),
        (b"\x16", Verdict.MORE),
        (b"\x16\x03\x03\x00\x7a", Verdict.MORE),
        (b"\x16\x03\x03\x00\x7a\x02", Verdict.VALID),
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76", Verdict.VALID),
        (b"\x15\x03\x03\x00", Verdict.MORE),
        (b"\x15\x03\x03\x00\x02", Verdict.MORE),
        (b"\x15\x03\x03\x00\x02\x02\x28", Verdict.ALERT),  # handshake_failure
        (b"\x15\x03\x03\x00\x02\x01\x00", Verdict.ALERT),  # close_notify
        (b"\x15\x03\x03\x00\x02\x02\x70", Verdict.ALERT),  # unrecognized_name
        (b"\x15\x03\x03\x00\x02\x01\x70", Verdict.MORE),  # the same as a warning: it may go on
        (b"\x15\x03\x03\x00\x02\x01\x70\x16\x03", Verdict.MORE),
        (b"\x15\x03\x03\x00\x02\x01\x70\x16\x03\x03\x00\x7a\x02", Verdict.VALID),
        (b"\x15\x03\x03\x00\x02\x01\x70\x15", Verdict.ALERT),
        (b"\x15\x03\x03\x00\x02\x01\x70HTTP", Verdict.GARBAGE),
        (b"\x15\x03\x03\x00\x09", Verdict.GARBAGE),
        (b"\x16\x03\x03\x00\x00", Verdict.GARBAGE),
        (b"\x16\x03\x03\xff\xff", Verdict.GARBAGE),
        (b"\x16\x03\x03\x00\x7a\x01", Verdict.GARBAGE),  # our own hello, echoed
        (b"\x16\x02", Verdict.GARBAGE),
        (b"\x17\x03\x03\x00\x10", Verdict.GARBAGE),
        (b"HTTP/1.1 400 Bad Request\r\n", Verdict.GARBAGE),
        (b"\x00", Verdict.GARBAGE),
    ],
)
def test_server_answers(answer: bytes, verdict: Verdict) -> None:
    assert is_server_answer(answer) is verdict


@given(st.sampled_from([b"", hellos.PLAIN[:5], hellos.PLAIN[:43]]), st.binary(max_size=600))
def test_fuzz_bytes(beginning: bytes, data: bytes) -> None:
    parses_or_refuses(beginning + data)


@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_fuzz_damaged(name: str, data: st.DataObject) -> None:
    hello = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        hello[data.draw(st.integers(0, len(hello) - 1))] = data.draw(st.integers(0, 255))
    parses_or_refuses(bytes(hello))


@given(st.binary(max_size=40))
def test_fuzz_answer(data: bytes) -> None:
    verdict = is_server_answer(data)
    if verdict is not Verdict.MORE:
        assert is_server_answer(data + b"more") is verdict, "a verdict is final"


def parses_or_refuses(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert parse_client_hello(refreshed(data, FRESH)) is not None
    try:
        hello = parse_client_hello(data)
    except ValueError:
        return
    if hello is not None:
        assert parse_client_hello(data[: hello.size - 1]) is None
        assert parse_client_hello(data[: hello.size]) == hello


# -- what a client made of a certificate -------------------------------------------------------------------------------

BOTH_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def client_says(version: ssl.TLSVersion, *, trusted: bool, again: bool, request: bytes) -> bytes:
    """What a real client sends behind its ClientHello, with `request` where it accepts. `again`: the server asks for
    another ClientHello first (HelloRetryRequest), since it knows none of the key shares in the first."""
    shown, other = Authority(), Authority()
    server_side = shown.server("site.test")
    if again:
        server_side.set_ecdh_curve("secp521r1")
    client_side = (shown if trusted else other).client()
    client_side.minimum_version = client_side.maximum_version = version
    to_client, to_server, from_client = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
    out, server_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, out, server_hostname="site.test")
    server = server_side.wrap_bio(to_server, server_out, server_side=True)
    for _ in range(6):
        is_over = True
        try:
            client.do_handshake()
            client.write(request)
        except ssl.SSLWantReadError:
            is_over = False
        except ssl.SSLCertVerificationError:
            assert not trusted
        sent = out.read()
        from_client += sent
        if is_over:
            break
        to_server.write(sent)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        to_client.write(server_out.read())
    assert is_over
    return from_client[5 + int.from_bytes(from_client[3:5], "big") :]


@BOTH_VERSIONS
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("size", [1, 40, 140, 4000])
def test_a_client_that_accepts_a_certificate_is_known_however_short_its_request(
    version: ssl.TLSVersion, again: bool, size: int
) -> None:
    said = client_says(version, trusted=True, again=again, request=bytes(size))
    assert certificate_reply(said[:REPLY_HEAD], len(said)) is CertificateReply.ACCEPTED


@BOTH_VERSIONS
@pytest.mark.parametrize("again", [False, True])
def test_a_client_that_rejects_a_certificate_is_known(version: ssl.TLSVersion, again: bool) -> None:
    said = client_says(version, trusted=False, again=again, request=b"")
    assert certificate_reply(said[:REPLY_HEAD], len(said)) is CertificateReply.REJECTED


def tls_record(kind: int, fragment: bytes) -> bytes:
    return bytes([kind]) + b"\x03\x03" + len(fragment).to_bytes(2, "big") + fragment


DUMMY = tls_record(0x14, b"\x01")  # ChangeCipherSpec, for middleboxes
HIDDEN_ALERT = tls_record(0x17, bytes(2 + 1 + 16))  # level and description, content type, tag
FINISHED = tls_record(0x17, bytes(4 + 32 + 1 + 16))
END_OF_EARLY_DATA = tls_record(0x17, bytes(4 + 1 + 16))
SECOND_HELLO = tls_record(0x16, b"\x01" + bytes(511))

REPLIES: dict[str, tuple[bytes, CertificateReply]] = {
    "nothing": (b"", CertificateReply.NOTHING_SENT),
    "a part of a header": (DUMMY + b"\x17\x03", CertificateReply.NONE),
    "the dummy record alone": (DUMMY, CertificateReply.NONE),
    "an alert in the clear": (tls_record(0x15, b"\x02\x30"), CertificateReply.REJECTED),  # fatal, unknown_ca
    "that it closes, in the clear": (tls_record(0x15, b"\x01\x00"), CertificateReply.NONE),  # warning, close_notify
    "an encrypted alert": (HIDDEN_ALERT, CertificateReply.REJECTED),
    "an encrypted alert behind the dummy": (DUMMY + HIDDEN_ALERT, CertificateReply.REJECTED),
    "a Finished and no request": (DUMMY + FINISHED, CertificateReply.ACCEPTED),
    "a Finished, and that it closes": (DUMMY + FINISHED + HIDDEN_ALERT, CertificateReply.ACCEPTED),
    "early data's end before the Finished": (END_OF_EARLY_DATA + FINISHED, CertificateReply.ACCEPTED),
    "a second hello, then an alert": (DUMMY + SECOND_HELLO + HIDDEN_ALERT, CertificateReply.REJECTED),
    "a second hello, then an alert in the clear": (
        SECOND_HELLO + tls_record(0x15, b"\x02\x2a"), CertificateReply.REJECTED,
    ),
    "a second hello, then a Finished": (SECOND_HELLO + FINISHED, CertificateReply.ACCEPTED),
    "a second hello alone": (DUMMY + SECOND_HELLO, CertificateReply.NONE),
    "a key exchange of TLS 1.2": (tls_record(0x16, b"\x10" + bytes(36)), CertificateReply.ACCEPTED),
    "something else": (b"GET / HTTP/1.1\r\n\r\n", CertificateReply.NONE),
}  # fmt: skip


@pytest.mark.parametrize("what", REPLIES)
def test_what_a_client_made_of_a_certificate(what: str) -> None:
    said, reply = REPLIES[what]
    assert certificate_reply(said[:REPLY_HEAD], len(said)) is reply


@given(st.binary(max_size=REPLY_HEAD), st.integers(0, 5000))
def test_fuzz_reply(head: bytes, more: int) -> None:
    assert certificate_reply(head, len(head) + (more if len(head) == REPLY_HEAD else 0)) in CertificateReply
