"""Damaged relay URLs: the part that is wrong, what to write, and nothing of what may be a password."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.relay_url import parse
from proxy.wire.url_spelling import explain, many_colons, unknown_scheme
from tests.support.rows import each_row

SEVERAL = "these are several URLs: add one at a time, or put one a line in a file and name the file"
LIKE = "write it like socks5h://HOST:PORT or socks5h://USER:PASSWORD@HOST:PORT"


@each_row(
    ("text", "sentence"),
    [
        ('"socks5://h:1"', "the URL stands in quotation marks: remove them"),
        ("“socks5://h:1”", "the URL stands in quotation marks: remove them"),
        ("'h:1", "the URL stands in quotation marks: remove them"),
        ("`h:1`", "the URL stands in quotation marks: remove them"),
        ("«h:1»", "the URL stands in quotation marks: remove them"),
        ("<socks5://h:1>", "the URL stands in brackets: remove them"),
        ("socks5://a:1,socks5://b:1", SEVERAL),
        ("socks5://h\u200b:1", "the URL contains an invisible character (U+200B): type it again by hand"),
        ("socks5://h\u00a0:1", "the URL contains an invisible character (U+00A0): type it again by hand"),
        ("h 1080", "a colon stands between host and port: write socks5h://HOST:PORT"),
        ("socks5 h 1080", "the parts of a URL stand without spaces: write socks5h://HOST:PORT"),
        ("HTTP h 8080 me hunter2", "the parts of a URL stand without spaces: write http://USER:PASSWORD@HOST:PORT"),
        ("socks5://h :1", "the URL contains a space: remove it, or write it as %20 in a user or password"),
        ("socks5://h:1;", 'the URL ends with ";": remove it'),
        ("socks5://h:1,", 'the URL ends with ",": remove it'),
        ("socks5://h:1.", 'the URL ends with ".": remove it'),
        ("socks5:/h:1", "the URL lacks its ://; did you mean socks5h://h:1?"),
        ("http//proxy:8080", "the URL lacks its ://; did you mean http://proxy:8080?"),
        ("http//proxy:8080/", "the URL lacks its ://; did you mean http://proxy:8080?"),
        ("https//[2001:db8::1]:443", "the URL lacks its ://; did you mean https://[2001:db8::1]:443?"),
        ("http//u:secret@h:1", "the URL lacks its ://; write it like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"),
        ("http//h:1:u:secret", "the URL lacks its ://; write it like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"),
        ("socks5:secret:1", "the URL lacks its ://; write it like socks5h://HOST:PORT or socks5h://USER:PASSWORD@HOST:PORT"),
        ("socks5:h:1:", "the URL lacks its ://; write it like socks5h://HOST:PORT or socks5h://USER:PASSWORD@HOST:PORT"),
        ("https;//h", "the URL lacks its ://; write it like https://HOST:PORT or https://USER:PASSWORD@HOST:PORT"),
        ("http：//h:1", "the URL lacks its ://; did you mean http://h:1?"),
        ("socks5://u:a#hunter2@h:1", "the URL contains #, which begins a name: in a user or password write # as %23"),
        ("socks5://h:99999", ""),
    ],
)  # fmt: skip
def test_damage(text: str, sentence: str) -> None:
    assert explain(text) == sentence


@each_row(
    ("location", "sentence"),
    [
        ("192.0.2.1:1080:me:hunter2", "this reads HOST:PORT:USER:PASSWORD: write it as http://USER:PASSWORD@HOST:PORT"),
        ("192.0.2.1:1080:abc:dead", "this reads HOST:PORT:USER:PASSWORD: write it as http://USER:PASSWORD@HOST:PORT"),
        ("me:hunter2:relay.example:1080", "this reads USER:PASSWORD:HOST:PORT: write it as http://USER:PASSWORD@HOST:PORT"),
        ("2001:db8::1:1080", "an IPv6 address needs brackets: write it like http://[2001:db8::1]:1080"),
        ("fe80:0:0:0:0:0:0:1", "an IPv6 address needs brackets: write it like http://[2001:db8::1]:1080"),
        ("h:1080:1080", f"there is more than one colon after the host: {LIKE}"),
    ],
)  # fmt: skip
def test_many_colons(location: str, sentence: str) -> None:
    assert many_colons(location, "http") == sentence


@each_row(
    ("scheme", "sentence"),
    [
        ("sock5", 'unknown scheme "sock5"; did you mean socks5h?'),
        ("sokcs5", 'unknown scheme "sokcs5"; did you mean socks5h?'),
        ("socks6", 'unknown scheme "socks6"; did you mean socks5h?'),
        ("htps", 'unknown scheme "htps"; did you mean https?'),
        ("ftp", 'unknown scheme "ftp"; use socks5h, http, https or socks4a'),
        ("x" * 50, f'unknown scheme "{"x" * 20}"; use socks5h, http, https or socks4a'),
    ],
)
def test_unknown_schemes(scheme: str, sentence: str) -> None:
    assert unknown_scheme(scheme) == sentence


@given(st.text(min_size=1) | st.text("socks5h:/ ;,.\"'#@[]1a", min_size=1))
def test_fuzz_what_is_refused_raises_nothing_else(text: str) -> None:
    explain(text)
    with contextlib.suppress(ValueError):
        parse(text)
