from __future__ import annotations

import hashlib
import ssl

import pytest

from tests.lab import messages
from tests.lab.messages import Hello
from tests.lab.recorded_hellos import COVER, ENCRYPTED, GREASE, OWN
from tests.wire.hellos import ALPN, KEY_SHARE, SUPPORTED_VERSIONS, by_hand, extension, real, sni

pytestmark = pytest.mark.slow


def client_hello(name: str) -> bytes:
    """Returns a real ClientHello, of this Python's OpenSSL."""
    context, out = ssl.create_default_context(), ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


def cut_records(hello: bytes, at: int) -> bytes:
    message = hello[5:]
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in (message[:at], message[at:]))


def test_a_hello_is_read_as_soon_as_its_name_is_there() -> None:
    hello = client_hello("Blog.Example.test")
    ends = hello.index(b"Blog.Example.test") + 17
    for size in range(len(hello) + 1):
        found = messages.hello(hello[:size], records=False)
        assert found.name == ("blog.example.test" if size >= ends else None)
    assert messages.hello(hello + b"\x17\x03\x03\0\1x", records=True) == Hello("blog.example.test", over=True)


def test_a_name_over_two_records_is_seen_only_over_records() -> None:
    hello = client_hello("blog.test")
    cut = cut_records(hello, hello.index(b"blog.test") - 5 + 4)
    assert messages.hello(cut, records=False) == Hello(None, over=False)
    assert messages.hello(cut, records=True) == Hello("blog.test", over=True)


@pytest.mark.parametrize(("recorded", "name"), [(ENCRYPTED, COVER), (GREASE, OWN)])
def test_a_recorded_hello_is_read_once_it_is_whole(recorded: bytes, name: str) -> None:
    assert {messages.whole_hello(recorded[:size]) for size in range(len(recorded))} == {None}
    for sent in (recorded, cut_records(recorded, 100)):
        found = messages.whole_hello(sent)
        assert found is not None
        assert (found.name, messages.ENCRYPTED_CLIENT_HELLO in found.extensions) == (name, True)
    plain = messages.whole_hello(client_hello("blog.test"))
    assert plain is not None
    assert messages.ENCRYPTED_CLIENT_HELLO not in plain.extensions


@pytest.mark.parametrize(
    ("head", "strong", "weak"),
    [
        (b"GET / HTTP/1.1\r\nHost: Blog.test:8080\r\n\r\n", "blog.test", "blog.test"),
        (b"GET / HTTP/1.1\r\nAccept: */*\r\nHost: blog.test\r\n", "blog.test", "blog.test"),
        (b"GET / HTTP/1.1\r\nhOSt: blog.test\r\n\r\n", "blog.test", None),
        (b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", "[2001:db8::1]:80", "[2001:db8::1]:80"),
        (b"GET / HTTP/1.1\r\nHost: blog.te", None, None),
        (b"GET / HTTP/1.1\r\n\r\nHost: blog.test\r\n", None, None),
        (b"HELO there\r\nHost: blog.test\r\n", None, None),
    ],
)
def test_the_host_of_a_request(head: bytes, strong: str | None, weak: str | None) -> None:
    assert messages.host(head) == strong
    assert messages.host(head, as_browsers_write_it=True) == weak


# -- fingerprints ------------------------------------------------------------------------------------------------------


def test_the_fingerprint_of_a_recorded_browser() -> None:
    """The second part is that of Chrome in the documentation of JA4, whose cipher suites have not changed since."""
    found = messages.whole_hello(GREASE)
    assert found is not None
    first, ciphers, _ = found.ja4.split("_")
    assert (first[:6], first[-2:], ciphers) == ("t13d15", "h2", "8daaf6152771")


def test_the_fingerprint_of_a_program_is_its_own() -> None:
    said = [messages.whole_hello(hello) for hello in (real("a.test"), real("b.test"), real("a.test", tls12=True))]
    first, same, older = (hello.ja4 for hello in said if hello is not None)
    assert first == same != older
    assert (first[:4], older[:4]) == ("t13d", "t12d")


def test_the_parts_of_a_fingerprint() -> None:
    """Byte by byte, with GREASE that does not count."""
    hello = messages.whole_hello(by_hand(sni(b"a.test"), ALPN, SUPPORTED_VERSIONS, extension(0x2A2A), KEY_SHARE))
    assert hello is not None
    ciphers = hashlib.sha256(b"1301,1302,c02f").hexdigest()[:12]
    extensions = hashlib.sha256(b"002b,0033").hexdigest()[:12]
    assert hello.ja4 == f"t13d0304h2_{ciphers}_{extensions}"
