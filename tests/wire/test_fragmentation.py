"""First flights in another shape: what a server reads stays the same, and no piece holds the name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model import Protocol
from proxy.model.strategy import SEGMENTS_MAX, parse_word
from proxy.wire import fragmentation
from proxy.wire import hostnames as names
from proxy.wire.flight import Flight
from proxy.wire.tls import FIRST_PIECE, cut_records, parse_client_hello, sni_end, sni_offset
from tests.support.rows import each_row
from tests.wire import hellos

NAME = b"ivanov.livejournal.test"
REQUEST = b"GET / HTTP/1.1\r\nUser-Agent: x\r\nhost: ivanov.livejournal.test\r\nAccept: */*\r\n\r\n"
NAMED = [
    hellos.real(NAME.decode()),
    hellos.real(NAME.decode(), tls12=True),
    hellos.by_hand(hellos.sni(NAME), hellos.ALPN),
    hellos.by_hand(hellos.ALPN, hellos.POST_QUANTUM, hellos.PADDING, hellos.sni(NAME)),  # behind the first segment
    hellos.split(hellos.by_hand(hellos.ALPN, hellos.sni(NAME), hellos.KEY_SHARE), 60, 40),  # in records already
]


def flight(data: bytes) -> Flight:
    made = Flight()
    made.receive_data(data)
    return made


def pieces(word: str, data: bytes) -> tuple[bytes, ...]:
    return fragmentation.pieces(parse_word(word), flight(data))


def records(data: bytes) -> list[bytes]:
    """The payloads of all records."""
    found = []
    while data:
        assert data[:1] == b"\x16"
        end = 5 + int.from_bytes(data[3:5], "big")
        found.append(data[5:end])
        assert len(found[-1]) == end - 5 > 0
        data = data[end:]
    return found


# -- where to cut ------------------------------------------------------------------------------------------------------


@each_row(
    ("name", "first"),
    [
        ("www.example.org", "www.exam"),
        ("example.org", "exam"),
        ("ivanov.livejournal.test", "ivanov.livejo"),
        ("news.bbc.co.uk", "news.bb"),
        ("www.meduza.com.tr.", "www.med"),
        ("www.dw.de", "www.d"),
        ("news.com.example", "news.co"),
        ("t.co", "t"),
        ("co.uk", "c"),
        ("localhost", "local"),
        ("x", "x"),
    ],
)
def test_a_name_is_cut_in_the_label_that_is_registered(name: str, first: str) -> None:
    assert name[: names.middle(name.encode())] == first


@each_row("hello", NAMED)
def test_the_cut_is_inside_the_name(hello: bytes) -> None:
    at = sni_offset(hello)
    assert at is not None
    assert hello[:at].endswith(b"livejo")
    assert hello[at:].startswith(b"urnal")
    last = sni_end(hello)
    assert last is not None
    assert hello[: last + 1].endswith(NAME)


def test_where_a_hello_names_nobody_there_is_no_cut() -> None:
    assert sni_offset(hellos.real(None)) is None
    assert sni_offset(hellos.by_hand(hellos.sni(b"192.0.2.1"))) is None
    assert sni_offset(hellos.PLAIN[:-1]) is None  # not whole
    with pytest.raises(ValueError, match="ClientHello"):
        sni_offset(b"GET / HTTP/1.1\r\n\r\n")


# -- records -----------------------------------------------------------------------------------------------------------


@each_row("hello", NAMED)
def test_a_cut_hello_says_the_same_in_one_record_more(hello: bytes) -> None:
    at = sni_offset(hello)
    assert at is not None
    cut = cut_records(hello + b"\x14rest", at)
    assert cut.endswith(b"\x14rest")
    before, after = records(hello), records(cut[:-5])
    assert b"".join(after) == b"".join(before)
    assert len(after) == len(before) + 1
    assert len(after[0]) >= FIRST_PIECE
    assert not any(b"livejournal" in piece for piece in after)
    told = parse_client_hello(hello)
    assert told is not None
    assert parse_client_hello(cut[:-5]) == replace(told, size=told.size + 5)
    assert sni_offset(cut[:-5]) == at + 5, "the cut stays where it is"


@each_row("at", [0, 5, 5 + FIRST_PIECE - 1, len(hellos.PLAIN), 10_000])
def test_what_would_leave_a_piece_too_short_is_not_cut(at: int) -> None:
    with pytest.raises(ValueError, match="cannot be cut"):
        cut_records(hellos.PLAIN, at)
    assert cut_records(hellos.PLAIN, 5 + FIRST_PIECE)


@given(st.data())
def test_fuzz_any_cut_is_read_as_the_same_message(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 60), max_size=2))
    hello = hellos.split(hellos.PLAIN, *sizes)
    at = data.draw(st.integers(0, len(hello) + 5))
    try:
        cut = cut_records(hello, at)
    except ValueError:
        return
    assert b"".join(records(cut)) == b"".join(records(hello))


@given(st.binary(max_size=200))
def test_fuzz_where_to_cut_is_found_or_refused(data: bytes) -> None:
    for sample in (data, b"\x16\x03\x01" + data, hellos.PLAIN[:50] + data):
        try:
            at = sni_offset(sample)
        except ValueError:
            continue
        assert at is None or 0 < at < len(sample)


# -- pieces ------------------------------------------------------------------------------------------------------------

CUTTING = ("tlsrec", "tlsrec-at-4", "tlsrec-by-4", "split", "split-at-name", "split-at-1", "split-by-8", "disorder")


@each_row("hello", NAMED)
def test_tlsrec_is_one_piece_with_a_cut_record(hello: bytes) -> None:
    (piece,) = pieces("tlsrec", hello)
    assert len(records(piece)) == len(records(hello)) + 1
    assert not any(b"livejournal" in fragment for fragment in records(piece))


@each_row("hello", NAMED)
@each_row("size", [4, 8, 32])
def test_records_are_small_up_to_the_end_of_the_name(hello: bytes, size: int) -> None:
    (piece,) = pieces(f"tlsrec-by-{size}", hello)
    assert b"".join(records(piece)) == b"".join(records(hello))
    sizes = [len(record) for record in records(piece)]
    said = 0
    while NAME not in b"".join(records(piece)[:said]):
        said += 1
    assert max(sizes[: said - 1]) <= 2 * size, "where the client's own record ends, a small one may be left whole"
    if len(records(hello)) == 1:
        assert set(sizes[: said - 1]) == {size}
    assert len(sizes) <= said + len(records(hello)), "the rest is not cut"


def test_the_first_record_has_as_many_bytes_as_asked() -> None:
    (piece,) = pieces("tlsrec-at-4", NAMED[0])
    assert [len(record) for record in records(piece)] == [4, len(NAMED[0]) - 5 - 4]
    assert pieces("tlsrec-at-1000", NAMED[2]) == (NAMED[2],), "it is shorter"


@each_row("data", [*NAMED, REQUEST])
def test_split_is_three_pieces_of_which_none_holds_the_name(data: bytes) -> None:
    cut = pieces("split", data)
    assert b"".join(cut) == data
    assert len(cut) == 3
    assert len(cut[0]) == 1
    assert not any(b"livejournal" in piece for piece in cut)


@each_row("data", [*NAMED, REQUEST])
@each_row("word", ["disorder", "split-at-name"])
def test_two_pieces_inside_the_name(data: bytes, word: str) -> None:
    first, second = pieces(word, data)
    assert first + second == data
    assert first.endswith(b"livejo")


@each_row("data", [*NAMED, REQUEST])
@each_row("number", [1, 40])
def test_two_pieces_at_a_place(data: bytes, number: int) -> None:
    assert pieces(f"split-at-{number}", data) == (data[:number], data[number:])
    assert pieces("split-at-1000", REQUEST) == (REQUEST,), "it is shorter"


@each_row("data", [*NAMED, REQUEST])
@each_row("size", [8, 40, 1000])
def test_segments_of_a_size_up_to_the_end_of_the_name(data: bytes, size: int) -> None:
    cut = pieces(f"split-by-{size}", data)
    assert b"".join(cut) == data
    assert len(cut) <= SEGMENTS_MAX
    before = {len(piece) for piece in cut[:-1]}
    assert len(before) <= 1
    assert not before or min(before) >= size
    if size == 8:
        is_last = data.endswith(NAME)  # then there is no rest
        assert len(cut) == SEGMENTS_MAX - is_last
        end = data.index(b"urnal.test") + len(b"urnal.test")
        assert is_last or sum(map(len, cut[:-1])) >= end


def test_hostcase_changes_four_letters() -> None:
    for spelling in (b"host", b"Host", b"HOST"):
        request = REQUEST.replace(b"host", spelling) + b"host: of.the.body"
        assert pieces("hostcase", request) == (REQUEST.replace(b"host", b"hOSt") + b"host: of.the.body",)


@each_row(
    "data",
    [
        hellos.real(None),
        hellos.PLAIN[:100],
        b"SSH-2.0-OpenSSH\r\n",
        b"GET / HTTP/1.0\r\n\r\nhost: of.the.body",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: un.fin",
    ],
)
def test_where_no_name_is_seen_nothing_is_cut(data: bytes) -> None:
    for word in CUTTING:
        assert pieces(word, data) == (data,)
    assert pieces("hostcase", data)[0].lower() == data.lower()


def test_each_protocol_has_its_own() -> None:
    assert pieces("tlsrec", REQUEST) == (REQUEST,)
    assert pieces("hostcase", hellos.PLAIN) == (hellos.PLAIN,)


def test_what_a_rung_does() -> None:
    rungs = ("doh", "tlsrec", "split", "tlsrec|split", "disorder", "hostcase", "split|pace-200")
    assert [rung for rung in rungs if fragmentation.cuts_hello(rung)] == [*rungs[1:5], rungs[6]]
    assert [rung for rung in rungs if fragmentation.is_cut(rung.split("|"))] == [*rungs[1:5], rungs[6]]
    assert [rung for rung in rungs if fragmentation.is_idle(rung.split("|"), Protocol.TLS)] == ["hostcase"]
    assert [rung for rung in rungs if fragmentation.is_idle(rung.split("|"), Protocol.HTTP)] == [
        "tlsrec",
        "tlsrec|split",
    ]


@given(
    st.sampled_from([*NAMED, REQUEST]),
    st.sampled_from(["tlsrec-at", "tlsrec-by", "split-at", "split-by"]),
    st.integers(8, 1000),
)
def test_fuzz_any_pieces_say_the_same(data: bytes, kind: str, number: int) -> None:
    sent = b"".join(pieces(f"{kind}-{number}", data))
    assert sent == data or b"".join(records(sent)) == b"".join(records(data))
