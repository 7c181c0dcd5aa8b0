"""Bytes to text: labels, byte order marks, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.detect.pages.charset import decode
from tests.support.rows import each_row

SENTENCE = "Доступ ограничен"


@each_row(
    ("body", "content_type"),
    [
        (SENTENCE.encode(), ""),
        (SENTENCE.encode(), "text/html; charset=no-such-thing"),
        (SENTENCE.encode("cp1251"), "text/html; charset=windows-1251"),
        (SENTENCE.encode("cp1251"), 'text/html;charset="Windows-1251"'),
        (SENTENCE.encode("koi8-r"), "text/html; CHARSET = KOI8-R"),
        (SENTENCE.encode("utf-8-sig"), "text/html; charset=windows-1251"),
        (b"\xff\xfe" + SENTENCE.encode("utf-16-le"), ""),
        (b"\xfe\xff" + SENTENCE.encode("utf-16-be"), ""),
    ],
)
def test_the_mark_comes_first_and_then_the_header(body: bytes, content_type: str) -> None:
    assert decode(body, content_type) == SENTENCE


@pytest.mark.parametrize(
    "page",
    [
        '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">{}',
        "<meta charset = koi8-r>{}",
        '<?xml version="1.0" encoding="KOI8-R"?>{}',
    ],
)
def test_a_page_names_its_own(page: str) -> None:
    assert SENTENCE in decode(page.format(SENTENCE).encode("koi8-r"))
    assert SENTENCE in decode(page.format(SENTENCE).encode("koi8-r"), "text/html")


def test_a_label_far_down_in_the_page_is_text() -> None:
    page = " " * 2000 + f"<meta charset=koi8-r>{SENTENCE}"
    assert SENTENCE in decode(page.encode())


@each_row("label", ["rot13", "zlib", "idna", "punycode", "utf-7", "unicode_escape", "utf-16"])
def test_what_is_no_charset_of_pages_is_not_believed(label: str) -> None:
    assert decode(b"+ADw-script \\u0041 xn--", f"text/html; charset={label}") == "+ADw-script \\u0041 xn--"


def test_thai() -> None:
    assert decode("ถูกปิดกั้น".encode("cp874"), "text/html; charset=windows-874") == "ถูกปิดกั้น"


def test_bytes_of_no_known_charset_survive() -> None:
    assert len(decode(bytes(range(256)))) == 256


def test_utf_8_that_was_cut_stays_utf_8() -> None:
    assert decode(SENTENCE.encode()[:-1]) == SENTENCE[:-1] + "\ufffd"


@given(st.binary(max_size=300), st.text(max_size=60))
def test_nothing_makes_it_raise(body: bytes, content_type: str) -> None:
    decode(body, content_type)


@each_row(
    ("label", "codec"),
    [
        ("win-1251", "cp1251"),  # of no standard
        ("cskoi8r", "koi8-r"),  # of the standard alone
        ("iso_8859-5:1988", "iso8859-5"),
        ("cp866", "cp866"),
        ("windows-1251", "cp1251"),
    ],
)
def test_labels_of_the_standard_and_of_old_pages(label: str, codec: str) -> None:
    assert decode(SENTENCE.encode(codec), f"text/html; charset={label}") == SENTENCE


@each_row("label", ["gb2312", "gbk", "gb18030", "chinese"])
def test_a_character_of_four_bytes_in_any_chinese_label(label: str) -> None:
    assert decode("網頁㐀𠀀".encode("gb18030"), f"text/html; charset={label}") == "網頁㐀𠀀"


@each_row("label", ["replacement", "hz-gb-2312", "iso-2022-kr", "x-user-defined", "iso-2022-jp"])
def test_encodings_that_hide_plain_text_are_not_believed(label: str) -> None:
    assert decode(b"blocked", f"text/html; charset={label}") == "blocked"
