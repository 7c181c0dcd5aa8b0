"""One spelling for each name, address and port, and a refusal for all that could be read in two ways."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.model import Destination
from proxy.wire import hostnames as names
from tests.support.rows import each_row

NAMES = [
    ("example.org", "example.org"),
    ("EXAMPLE.Org", "example.org"),
    ("example.org.", "example.org"),
    (b"example.org", "example.org"),
    ("localhost", "localhost"),
    ("user_name.livejournal.com", "user_name.livejournal.com"),
    ("name_.livejournal.com", "name_.livejournal.com"),
    ("r3---sn-4g5e6nz7.googlevideo.com", "r3---sn-4g5e6nz7.googlevideo.com"),
    ("3com.com", "3com.com"),
    ("1.2.3.com", "1.2.3.com"),
    ("0xample.0xcom", "0xample.0xcom"),
    ("a" * 63 + ".com", "a" * 63 + ".com"),
    (".".join(["a" * 49] * 5) + ".abc", ".".join(["a" * 49] * 5) + ".abc"),  # 253 characters
    (".".join(["a" * 49] * 5) + ".abc.", ".".join(["a" * 49] * 5) + ".abc"),
]


@each_row(("text", "canonical"), NAMES)
def test_C3_case_and_trailing_dot(text: str | bytes, canonical: str) -> None:
    assert names.host(text) == canonical


@each_row(
    "text",
    ["bücher.example", "BÜCHER.example", "bu\u0308cher.example", "xn--bcher-kva.example", "XN--BCHER-KVA.Example."],
)
def test_C1_one_spelling_for_an_international_name(text: str) -> None:
    assert names.host(text) == "xn--bcher-kva.example"
    assert names.host(text.encode()) == "xn--bcher-kva.example"


def test_C2_a_homograph_shows_as_punycode() -> None:
    assert names.host("раypal.com") == "xn--ypal-43d9g.com"


@each_row(
    ("text", "canonical"),
    [
        ("exam\u00adple.org", "example.org"),  # soft hyphen
        ("exam\u200bple.org", "example.org"),  # zero-width space
        ("example\u3002org", "example.org"),  # ideographic full stop
        ("example\uff0eorg\uff61", "example.org"),
        ("ｅｘａｍｐｌｅ.org", "example.org"),
        ("user_name.bücher.example", "user_name.xn--bcher-kva.example"),
    ],
)
def test_C5_invisible_and_full_width_characters_are_normalised(text: str, canonical: str) -> None:
    assert names.host(text) == canonical


@each_row("text", ["a\u200db.com", "a／b.com", "a＠b.com", "a：80", "ａ．．b", "\u00ad", "℀.com", "☃.example"])
def test_C5_or_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        names.host(text)


@each_row("text", ["\u0660" * 2000, "xn--" + "a" * 5000, "a" * 10_000_000, b"a." * 5000, "ü" * 255])
def test_C4_length_is_checked_before_anything_slow(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="at most 253 characters"):
        names.host(text)


@each_row("text", ["\u0660" * 253, "xn--" + "9" * 249, "ü" * 64, "ü." * 120, "xn--" + "a" * 60])
def test_C4_at_the_limit(text: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        names.host(text)


@each_row(
    "text",
    [
        "a" * 64,
        "a" * 64 + ".com",
        "a..b",
        ".a",
        ".",
        "..",
        "a..",
        "",
        "-a",
        "a-",
        "a.-b.c",
        "a-.b",
        "_dmarc",
        "_dmarc.example.org",
        ".".join(["a" * 49] * 5) + ".abcd",  # 254 characters
        ".".join(["a" * 62] * 4) + ".a" * 2,
    ],
)
def test_B11_names_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a host name|at most 253"):
        names.host(text)
    with pytest.raises(ValueError, match=r"is not a host name|at most 253"):
        names.host(text.encode())


@each_row("character", [chr(n) for n in range(128) if not re.match(r"[a-zA-Z0-9_.:-]", chr(n))])
def test_B9_no_other_ascii_character(character: str) -> None:
    for text in (f"a{character}b.org", f"{character}a.org", f"a.org{character}", character):
        with pytest.raises(ValueError, match="is not"):
            names.host(text)


@each_row(
    ("text", "canonical"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0X7F.0.0.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("127。0。0。1", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("①②⑦.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("0x0", "0.0.0.0"),
        ("1.2.3.0x4", "1.2.3.4"),
        ("1.65535", "1.0.255.255"),
        ("1.2.772", "1.2.3.4"),
        ("255.255.255.255", "255.255.255.255"),
        ("4294967295", "255.255.255.255"),
    ],
)
def test_C8_every_spelling_of_an_ipv4_address(text: str, canonical: str) -> None:
    assert names.host(text) == canonical


@each_row(
    "text",
    [
        "256.1.1.1",
        "1.256.1.1",
        "1.1.256.1",
        "1.2.3.256",
        "1.2.65536",
        "1.16777216",
        "4294967296",
        "0x100000000",
        "1.2.3.4.5",
        "08.1.1.1",
        "1.2.3.09",
        "0x",
        "1.2.3.0x",
        "0xg.1",
        "example.1",
        "example.0x7f",
        "a.1.2.3.4",
        "1_0.1",
        "0_7.1",
        "1..1",
        "1." * 100 + "1",
    ],
)
def test_C8_a_numeric_last_label_that_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"ends in a number|is not"):
        names.host(text)


@each_row(
    ("text", "canonical"),
    [
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("2001:DB8::0001", "2001:db8::1"),
        ("::", "::"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("[::ffff:7f00:1]", "127.0.0.1"),
        ("64:ff9b::127.0.0.1", "64:ff9b::7f00:1"),
    ],
)
def test_ipv6(text: str, canonical: str) -> None:
    assert names.host(text) == canonical


@each_row("text", ["fe80::1%eth0", "[fe80::1%25lo]", "[fe80::1%]", "::1%0"])
def test_B6_zone_ids_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="zone id"):
        names.host(text)


@each_row("text", ["[", "]", "[]", "[::1", "::1]", "[[::1]]", "[127.0.0.1]", ":", ":::", "1:2", "[::1].", "[a]"])
def test_ipv6_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        names.host(text)


@each_row(("text", "number"), [("1", 1), ("443", 443), (b"80", 80), ("65535", 65535), (8119, 8119)])
def test_port(text: str | bytes | int, number: int) -> None:
    assert names.port(text) == number


@each_row(
    "text",
    [
        "",
        "0",
        "65536",
        "65616",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "0x10",
        "080",
        "http",
        "٣",
        "²",
        "1\n",
        "9" * 5000,
        0,
        -1,
        65536,
    ],
)
def test_B1_ports_that_are_none(text: str | int) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        names.port(text)
    if isinstance(text, str):
        with pytest.raises(ValueError, match="is not a port"):
            names.port(text.encode())


@each_row(
    ("text", "expected"),
    [
        ("example.org:443", Destination("example.org", 443)),
        (b"Example.ORG.:443", Destination("example.org", 443)),
        ("[::1]:80", Destination("::1", 80)),
        ("127.1:80", Destination("127.0.0.1", 80)),
        (".".join(["a" * 49] * 5) + ".abc.:65535", Destination(".".join(["a" * 49] * 5) + ".abc", 65535)),
    ],
)
def test_authority(text: str | bytes, expected: Destination) -> None:
    assert names.authority(text) == expected
    assert names.authority(text, 1) == expected


def test_authority_with_a_default_port() -> None:
    assert names.authority("example.org", 80) == Destination("example.org", 80)
    assert names.authority(b"[::1]", 80) == Destination("::1", 80)


@each_row(
    "text",
    [
        "host",
        "host:",
        "host:0",
        "host:65616",
        "host:-1",
        "host:http",
        "",
        ":443",
        ":",
        "host:443/path",
        "host:443?q",
        "host:443#f",
        "user@host:443",
        "user:pass@host:443",
        "::1:443",
        "::1",
        "[::1]",
        "[::1]443",
        "[::1]:",
        "[::1]:0",
        "a:b:1",
        "http://host:443",
        "host:443 ",
        "host :443",
        "host,other:443",
        "host:443\r\n",
        "\xd7:443",
        "a" * 64 + ":443",
        "a" * 300 + ":443",
    ],
)
def test_B1_authority_refuses(text: str) -> None:
    for given_text in (text, text.encode("latin-1")):
        with pytest.raises(ValueError, match=r"is not|has no port|at most"):
            names.authority(given_text)


@each_row("text", ["host:", "", ":80", "user@host", "host/path", "::1", "a,b", "[::1]x"])
def test_A25_authority_with_a_default_port_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        names.authority(text, 80)


@each_row(
    ("text", "words"),
    [
        ("", "'' is not a host name: it is empty"),
        ("a..b", "'a..b' is not a host name: empty label: two dots in a row, or a leading dot"),
        ("a" * 64, f"'{'a' * 60}\\u2026' is not a host name: a label is longer than 63 characters"),
        ("-a", "'-a' is not a host name: a label starts with - or _, or ends with -"),
        ("a-", "'a-' is not a host name: a label starts with - or _, or ends with -"),
        ("_dmarc.a", "'_dmarc.a' is not a host name: a label starts with - or _, or ends with -"),
        ("a b", "'a b' is not a host name: only letters, digits, -, _ and dots are allowed"),
        ("a" * 255, "a host name can have at most 253 characters, not 255"),
        ("ü." * 100, "'" + "\\xfc." * 30 + "\\u2026' is not a host name: it is longer than 253 characters as A-labels"),
        ("ü" * 64, "'" + "\\xfc" * 60 + "\\u2026' is not a host name: a label is longer than 63 characters"),
        ("1.2.3.4.5", "'1.2.3.4.5' ends in a number but is not an IPv4 address"),
        ("fe80::1%eth0", "'fe80::1%eth0' has a zone id (after %), which is valid on this computer only"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has|ends|can have") as caught:
        names.host(text)
    assert str(caught.value) == words


def test_C10_what_is_wrong_is_said_without_control_characters() -> None:
    for text in ("\x1b[31mred\x1b[0m", "<script>alert(1)</script>\r\n", "\u202eevil", b"\x1b\xff"):
        with pytest.raises(ValueError, match="is not") as caught:
            names.host(text)
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()


def canonical_or_refused(text: str | bytes) -> None:
    try:
        host = names.host(text)
    except ValueError:
        return
    assert len(host) <= names.HOST_LIMIT
    assert host == names.host(host), "canonical is canonical"
    try:
        assert str(ipaddress.ip_address(host)) == host
    except ValueError:
        assert re.fullmatch(r"[a-z0-9_.-]+", host)
        assert not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2])


@given(st.text() | st.text("0123456789abcdefx.:[]%-_①。\u00ad\u200d", max_size=40) | st.binary(max_size=300))
@example("\ud800.com")
@example("a\ud800")
@example("xn--\u00fc")
@example("xn--a.ü")
@example("xn--\u00e9-.com")
def test_fuzz_host(text: str | bytes) -> None:
    canonical_or_refused(text)


@given(st.text() | st.binary() | st.from_regex(r"\[?[a-z0-9.:]{0,20}\]?(:[0-9]{0,6})?", fullmatch=True))
def test_fuzz_authority(text: str | bytes) -> None:
    try:
        found = names.authority(text)
    except ValueError:
        return
    assert names.authority(str(found)) == found


@given(st.text() | st.binary() | st.integers())
def test_fuzz_port(text: str | bytes | int) -> None:
    try:
        assert 1 <= names.port(text) <= 65535
    except ValueError:
        return
