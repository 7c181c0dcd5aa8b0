"""AutoProxy lists, as gfwlist is published."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import ConfigError
from proxy.routing.domain_set import Covers
from proxy.routing.lists.autoproxy import parse_autoproxy, recognizes
from proxy.routing.lists.domain_list import DomainList, Skip
from proxy.routing.lists.list_builder import ListBuilder
from tests.support.rows import each_row

LIST = """[AutoProxy 0.2.9]
! Title: blocked
! Last Modified: Thu, 06 Aug 2026 08:35:22 +0000

||blocked.example
|http://page.example/story
.below.example
keyword.example
@@||fine.blocked.example
/^https?:\\/\\/[^\\/]+expression\\.(.*)/
||cdn*.wild.example
! [not a header]
||süd.example
"""


def read(pieces: Sequence[str], source: str = "gfw.txt") -> DomainList:
    builder = ListBuilder(source, size=sum(map(len, pieces)), format="autoproxy")
    parse_autoproxy(iter(pieces), builder)
    return builder.build()


def in_base64(text: str, columns: int = 64) -> str:
    digits = base64.b64encode(text.encode()).decode()
    return "".join(f"{digits[start : start + columns]}\n" for start in range(0, len(digits), columns))


def with_checksum(text: str, *, of: str | None = None) -> str:
    """As the script of gfwlist and Adblock Plus's add one."""
    normal = re.sub("\n+", "\n", (text if of is None else of).replace("\r", ""))
    told = base64.b64encode(hashlib.md5(normal.encode()).digest()).decode().rstrip("=")
    header, rest = text.split("\n", 1)
    return f"{header}\n! Checksum: {told}\n{rest}"


@each_row("published", [LIST, in_base64(LIST), in_base64(LIST, 10**6), "\ufeff" + in_base64(LIST, 76)])
def test_a_list_is_read_plain_and_as_base64(published: str) -> None:
    assert recognizes(published)
    found = read([published])
    listed = ("blocked.example", "a.blocked.example", "page.example", "a.below.example", "xkeyword.example.net",
              "cdn1.wild.example", "a.cdn1.wild.example", "xn--sd-xka.example")  # fmt: skip
    assert [host for host in listed if found.covering(host) is None] == []
    others = ("fine.blocked.example", "a.fine.blocked.example", "a.page.example", "below.example", "wild.example",
              "notblocked.example", "expression.example")  # fmt: skip
    assert [host for host in others if found.covering(host) is not None] == []
    assert found.skips == {Skip.REGULAR_EXPRESSION: 1}
    assert found.skipped[0].startswith('gfw.txt:10: "/^https?')
    assert (found.lines_read, found.lines_widened) == (7, 1)
    assert found.problem == ""


def test_a_right_checksum_is_read_over_and_a_wrong_one_refuses_the_list() -> None:
    for text in (LIST, LIST.replace("\n", "\r\n"), LIST.removesuffix("\n")):
        for published in (with_checksum(text), in_base64(with_checksum(text))):
            assert read([published]).lines_read == 7
    cut = with_checksum(LIST)[:-30]
    with pytest.raises(ConfigError) as caught:
        read([cut])
    assert str(caught.value) == (
        "gfw.txt:2: the checksum is wrong, so the list was cut short or changed; fetch it again, or delete this line "
        "if you changed the list yourself"
    )
    with pytest.raises(ConfigError, match="the checksum is wrong"):
        read([in_base64(cut)])


@given(st.lists(st.sampled_from(["||a.example", "", "", "! note", "||b.example\r", "é"]), max_size=40), st.data())
def test_a_checksum_is_the_same_however_the_text_is_cut(lines: list[str], data: st.DataObject) -> None:
    text = with_checksum("[AutoProxy 0.2.9]\n" + "".join(f"{line}\n" for line in lines))
    ends = [match.end() for match in re.finditer("\n", text)]
    cuts = sorted(data.draw(st.sets(st.sampled_from(ends), max_size=10)) | {0, len(text)})
    read([text[start:end] for start, end in pairwise(cuts)])


def test_base64_is_decoded_a_piece_at_a_time() -> None:
    text = LIST + "".join(f"||site{n}.example\n" for n in range(20_000))
    published = in_base64(with_checksum(text))
    asked: list[int] = []

    def pieces() -> Iterator[str]:
        for start in range(0, len(published), 65 * 256):
            asked.append(start)
            yield published[start : start + 65 * 256]

    added: list[int] = []

    class Noting(ListBuilder):
        def add_lines(self, first_line: int, lines: str, covers: Covers | bytes = Covers.SITE) -> None:
            added.append(len(asked))
            super().add_lines(first_line, lines, covers)

    builder = Noting("gfw.txt", size=len(published))
    parse_autoproxy(pieces(), builder)
    assert added[0] <= 2, "the first lines are read before all of the file was asked for"
    assert len(added) > 10
    assert builder.build().lines_read == 20_007


@each_row(
    "damaged",
    [
        in_base64(LIST)[:-10],
        in_base64(LIST).replace("\n", "\n****", 1),
        in_base64(LIST)[:400] + "=" + in_base64(LIST)[401:],
        base64.b64encode(LIST.encode() + b"\xff\xfe").decode(),
        base64.b64encode(LIST.encode() + b"\xc3").decode(),
    ],
    ids=["cut short", "characters that are no digits", "an end in the middle", "no UTF-8", "half a character"],
)
def test_damaged_base64_is_refused(damaged: str) -> None:
    with pytest.raises(ConfigError, match=r"gfw.txt: its base64 is damaged or cut short; fetch the list again"):
        read([in_base64(LIST)[:65], damaged[65:]])


@each_row(
    ("text", "is_one"),
    [
        ("[AutoProxy 0.2.9]\n", True),
        ("[autoproxy]\n||a.example\n", True),
        (in_base64("||a.example\n" * 5), True),
        (in_base64("||a.example\n||é.example\n" * 9000)[:16384], True),
        (in_base64("a.example\n" * 20), False),
        (in_base64("\x00\x01||" * 20), False),
        ("localhost\nintranet\nwww\n", False),
        ("example.com\n", False),
        ("||a.example^\n", False),
        ("", False),
    ],
)
def test_its_text_is_recognised(text: str, is_one: bool) -> None:
    assert recognizes(text) is is_one
