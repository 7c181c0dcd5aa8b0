from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Iterator
from itertools import pairwise

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.model.errors import PeerError
from proxy.wire.dns import (
    ALIASES_LIMIT,
    MESSAGE_LIMIT,
    PADDING,
    RECORDS_LIMIT,
    Answer,
    Rcode,
    RecordType,
    nat64_prefixes,
    query,
    read_answer,
    related,
    unmapped,
)
from tests.support.rows import each_row

NUMBER = 0x1234


def made(
    *records: str,
    name: str = "a.test",
    kind: RecordType = RecordType.A,
    rcode: int = 0,
    flags: int = 0,
    number: int = NUMBER,
) -> bytes:
    """An answer of these records: "name ttl type data"."""
    asked = dns.message.from_wire(query(name, kind, number=number))
    message = dns.message.make_response(asked)
    message.set_rcode(dns.rcode.Rcode(rcode))
    message.flags |= flags
    for record in records:
        owner, ttl, rdtype, data = record.split(" ", 3)
        message.answer.append(dns.rrset.from_text(f"{owner}.", int(ttl), "IN", rdtype, data))
    return message.to_wire(max_size=65535)


def read(data: bytes, name: str = "a.test", kind: RecordType = RecordType.A) -> Answer:
    return read_answer(data, name, kind, number=NUMBER)


def addresses(*texts: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, ...]:
    return tuple(map(ipaddress.ip_address, texts))


# -- questions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RecordType)
def test_a_question_is_read_by_another_as_it_was_meant(kind: RecordType) -> None:
    message = dns.message.from_wire(query("a.test", kind, number=7))
    (question,) = message.question
    assert (question.name.to_text(), int(question.rdtype), message.id) == ("a.test.", kind, 7)
    assert message.flags == dns.flags.RD
    assert message.edns < 0  # as glibc asks


@pytest.mark.parametrize("name", ["a.test", "x" * 63 + ".test", ".".join(["x" * 49] * 5)])
def test_D13_padding_hides_the_length_and_no_subnet_is_sent(name: str) -> None:
    data = query(name, RecordType.A, padded=True)
    assert len(data) % 128 == 0
    assert [option.otype for option in dns.message.from_wire(data).options] == [12]


@each_row("name", ["x" * 64 + ".test", ".".join(["x" * 50] * 5), "a..test", ""])
def test_what_is_too_long_for_the_dns_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a DNS name"):
        query(name, RecordType.A)


LABELS = st.text("abcxyz019-_", min_size=1, max_size=63)


@given(st.lists(LABELS, min_size=1, max_size=8), st.sampled_from(RecordType), st.integers(0, 65535), st.booleans())
def test_queries_are_those_of_another_program(labels: list[str], kind: RecordType, number: int, padded: bool) -> None:
    name = ".".join(labels)[:253].strip(".-")
    assume(name)
    theirs = dns.message.make_query(
        f"{name}.", kind.name, id=number, use_edns=0 if padded else False, pad=PADDING if padded else 0
    )
    assert query(name, kind, number=number, padded=padded) == theirs.to_wire()


# -- answers -----------------------------------------------------------------------------------------------------------


def test_addresses_of_the_kind_asked_for() -> None:
    assert read(made("a.test 60 A 192.0.2.1", "a.test 60 A 192.0.2.2", "a.test 9 AAAA 2001:db8::1")) == Answer(
        Rcode.OK, addresses("192.0.2.1", "192.0.2.2"), ttl_s=60
    )
    assert read(made("a.test 9 AAAA 2001:db8::1", kind=RecordType.AAAA), kind=RecordType.AAAA).addresses == addresses(
        "2001:db8::1"
    )


def test_capitals_mean_nothing() -> None:
    assert read(made("A.tESt 60 A 192.0.2.1").replace(b"\x01a\x04test", b"\x01A\x04TesT")).addresses


def test_aliases_are_followed_and_the_shortest_life_counts() -> None:
    found = read(
        made("a.test 60 CNAME B.test.", "c.test 30 A 192.0.2.1", "b.test 20 CNAME c.test.", "x.test 1 A 1.1.1.1")
    )
    assert found == Answer(Rcode.OK, addresses("192.0.2.1"), ttl_s=20)


def test_an_alias_that_leads_to_nothing_has_no_addresses() -> None:
    assert read(made("a.test 60 CNAME b.test.")) == Answer(Rcode.OK, ttl_s=60)


def chain(length: int) -> Iterator[str]:
    names = ["a.test", *(f"n{number}.test" for number in range(length))]
    for owner, target in pairwise(names):
        yield f"{owner} 60 CNAME {target}."
    yield f"{names[-1]} 60 A 192.0.2.1"


def test_D7_so_many_aliases_and_no_more() -> None:
    assert read(made(*chain(ALIASES_LIMIT))).addresses
    for length in (ALIASES_LIMIT + 1, 50):
        with pytest.raises(PeerError, match="aliases"):
            read(made(*chain(length)))


def test_D7_aliases_in_a_circle_end() -> None:
    with pytest.raises(PeerError, match="aliases"):
        read(made("a.test 60 CNAME b.test.", "b.test 60 CNAME a.test."))


@each_row(
    ("rcode", "code"), [(0, Rcode.OK), (2, Rcode.FAILED), (3, Rcode.NO_NAME), (5, Rcode.REFUSED), (4, Rcode.OTHER)]
)
def test_D6_how_it_was_answered(rcode: int, code: Rcode) -> None:
    assert read(made(rcode=rcode)) == Answer(code)
    assert code.is_final is (code in (Rcode.OK, Rcode.NO_NAME))


@each_row(("ttl", "held"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)])
def test_D8_lives_at_their_bounds(ttl: int, held: int) -> None:
    data = made("a.test 11259375 A 192.0.2.1").replace(bytes.fromhex("00abcdef"), ttl.to_bytes(4, "big"))
    assert read(data).ttl_s == held


def test_what_was_cut_short_says_so() -> None:
    whole = made(*(f"a.test 60 A 192.0.2.{number}" for number in range(60)), flags=dns.flags.TC)
    assert read(whole[:300]) == Answer(Rcode.OK, truncated=True)


def test_a_refusal_may_leave_the_question_out() -> None:
    header = NUMBER.to_bytes(2, "big") + bytes.fromhex("8005 0000 0000 0000 0000")
    assert read(header).code is Rcode.REFUSED
    with pytest.raises(PeerError):
        read(header.replace(b"\x80\x05", b"\x80\x00"))


GOOD = made("a.test 60 CNAME b.test.", "b.test 60 A 192.0.2.1")


@each_row(
    "data",
    [
        b"",
        GOOD[:11],
        GOOD[:-1],
        GOOD + b"\0",
        GOOD + bytes(MESSAGE_LIMIT),
        made("a.test 60 A 192.0.2.1", number=NUMBER ^ 1),
        made("b.test 60 A 192.0.2.1", name="b.test"),
        made("a.test 60 AAAA 2001:db8::1", kind=RecordType.AAAA),
        query("a.test", RecordType.A, number=NUMBER),
        made("a.test 60 A 192.0.2.1", flags=dns.flags.QR | 0x0800),  # another opcode
        GOOD[:4] + b"\0\2" + GOOD[6:],  # two questions
        GOOD[:6] + b"\xff\xff" + GOOD[8:],  # 65535 answers
        made(*(f"a.test 60 A 192.0.2.{number}" for number in range(RECORDS_LIMIT + 1))),
        GOOD[:12] + b"\xc0\x0c" + GOOD[20:],  # a name that points to itself
        GOOD.replace(b"\x01b\xc0\x0e", b"\x01b\xc0\xff"),  # forward
        GOOD.replace(b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04", b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x05"),
    ],
)
def test_D4_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        read(data)


@given(st.binary(max_size=600))
def test_D4_it_parses_or_raises_what_the_docstring_says(data: bytes) -> None:
    for message in (data, GOOD[:12] + data):
        try:
            read(message)
        except PeerError:
            continue


def test_D4_so_do_damaged_answers() -> None:
    chance = random.Random(5)
    for _ in range(5000):
        data = bytearray(GOOD)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(12, len(data))] = chance.randrange(256)
        for kind in RecordType:
            try:
                read(bytes(data), kind=kind)
            except PeerError:
                continue


# -- beside another program -------------------------------------------------------------------------------------------


def by_dnspython(data: bytes, name: str, kind: RecordType) -> Answer | None:
    """The answer as dnspython reads it, of data that passed `read`'s checks of the header; None when it cannot."""
    try:
        message = dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError):
        return None
    asked = [(it.name.to_text().lower(), int(it.rdclass), int(it.rdtype)) for it in message.question]
    if asked != [(f"{name}.", 1, int(kind))]:
        return None
    if message.rcode() == 3:
        return Answer(Rcode.NO_NAME)
    sets = {(it.name.to_text().lower(), int(it.rdtype)): it for it in message.answer if it.rdclass == 1}
    owner, ttls = f"{name}.", list[int]()
    for _ in range(ALIASES_LIMIT + 1):
        if (records := sets.get((owner, kind))) is not None:
            return Answer(Rcode.OK, addresses(*(it.address for it in records)), min([*ttls, records.ttl]))
        if (alias := sets.get((owner, 5))) is None:
            return Answer(Rcode.OK, ttl_s=min(ttls, default=0))
        ttls.append(alias.ttl)
        owner = alias[0].target.to_text().lower()
    return None


NAMES = ("a.test", "A.Test", "b.test", "c.b.test", "test", "x.example", "a\\.test")
TARGETS = st.sampled_from(NAMES[:-1]).map("{}.".format)
RECORDS = st.tuples(
    st.sampled_from(NAMES),
    st.integers(0, 2**31 - 1),
    st.one_of(
        st.sampled_from(("A 192.0.2.1", "A 192.0.2.2", "AAAA 2001:db8::1", "AAAA 2001:db8::2", "TXT hello", "MX 1 a.")),
        TARGETS.map("CNAME {}".format),
        TARGETS.map(lambda name: f"SOA {name} {name} 1 2 3 4 5"),
    ),
).map(lambda parts: "{} {} {}".format(*parts))


@given(st.lists(RECORDS, max_size=8), st.sampled_from(RecordType), st.sampled_from((0, 0, 3)))
def test_answers_are_read_as_by_another_program(records: list[str], kind: RecordType, rcode: int) -> None:
    data = made(*records, kind=kind, rcode=rcode)
    theirs = by_dnspython(data, "a.test", kind)
    if theirs is None:
        with pytest.raises(PeerError):
            read(data, kind=kind)
    else:
        assert read(data, kind=kind) == theirs


@given(st.lists(RECORDS, min_size=1, max_size=4), st.sampled_from(RecordType), st.randoms(use_true_random=False))
def test_D4_damage_is_read_as_by_another_program_or_not_at_all(
    records: list[str], kind: RecordType, chance: random.Random
) -> None:
    data = bytearray(made("a.test 60 CNAME b.test.", *records, kind=kind))
    for _ in range(chance.randrange(1, 4)):
        data[chance.randrange(12 + 12, len(data))] = chance.randrange(256)
    theirs = by_dnspython(bytes(data), "a.test", kind)
    try:
        ours = read(bytes(data), kind=kind)
    except PeerError:
        assert theirs is None
    else:
        assert theirs in (None, ours), "what dnspython refuses may be in records that do not count here"


# -- records byte by byte ----------------------------------------------------------------------------------------------

QUESTION = query("a.test", RecordType.A)[12:]
START = 12 + len(QUESTION)
"""Where the first record begins."""


def built(*records: bytes, answers: int | None = None) -> bytes:
    """An answer of these records, of which the first `answers` (None: all) are in the section for them."""
    counts = (1, len(records) if answers is None else answers, 0, 0 if answers is None else len(records) - answers)
    return struct.pack("!6H", NUMBER, 0x8000, *counts) + QUESTION + b"".join(records)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c") -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


ADDRESS = record(1, bytes((192, 0, 2, 1)))


def test_records_that_are_built_here_are_read() -> None:
    """A control for the tests below."""
    assert read(built(ADDRESS)).addresses == addresses("192.0.2.1")
    assert read(built(record(5, b"\1B\xc0\x0e"), record(1, bytes(4), b"\1b\4test\0"))).addresses == addresses("0.0.0.0")


def test_a_name_may_point_far_back() -> None:
    alias = record(16, bytes(600)) + record(5, b"\1b\xc0\x0e")
    far_back = (0xC000 + START + len(alias) - 4).to_bytes(2, "big")
    found = read(built(record(16, bytes(600)), record(5, b"\1b\xc0\x0e"), record(1, bytes(4), far_back)))
    assert found.addresses == addresses("0.0.0.0")


def test_addresses_beside_the_answer_do_not_count() -> None:
    assert read(built(record(5, b"\1b\xc0\x0e"), record(1, bytes(4), b"\1b\xc0\x0e"), answers=1)) == Answer(
        Rcode.OK, ttl_s=60
    )


def test_of_two_aliases_the_last_counts_as_with_dnspython() -> None:
    data = built(
        record(5, b"\1x\xc0\x0e"), record(5, b"\1b\xc0\x0e"), record(1, b"\xc0\0\2\1", b"\1b\4test\0"), ADDRESS[:0]
    )
    data = data[:6] + b"\0\3" + data[8:]
    assert read(data) == by_dnspython(data, "a.test", RecordType.A) == Answer(Rcode.OK, addresses("192.0.2.1"), 60)


@each_row(
    ("data", "why"),
    [
        (built(record(5, b"\1b\xc0\x0e\0")), "an alias is no name"),
        (built(record(5, b"\1b"), record(1, bytes(4), b"\0")), "an alias is no name"),
        (built(record(1, bytes(16))), "16 bytes are no address"),
        (built(ADDRESS, ADDRESS[:-1]), "ends too early"),
        (built(ADDRESS, ADDRESS[:5]), "ends too early"),
        (built(record(1, bytes(4), b"\xc0" + bytes((START + 16,))), ADDRESS), "points forward"),
        (built(record(1, bytes(4), b"\xc0" + bytes((START,)))), "points forward"),
        (built(record(1, bytes(4), b"\x40" + b"a" * 64 + b"\0")), "a label of an unknown kind"),
        (built(record(1, bytes(4), 127 * b"\1a" + b"\1a\0")), "a name is too long"),
    ],
)
def test_D4_a_damaged_record_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        read(data)


def test_D4_a_name_of_pointers_takes_a_bounded_time() -> None:
    """Each points to the one before it, as an honest name would a few times."""
    pointers = (0xC000 | (12 if not place else START + 12 + 2 * (place - 1)) for place in range(2000))
    junk = record(16, b"".join(pointer.to_bytes(2, "big") for pointer in pointers))
    assert read(built(junk)).addresses == ()
    for count, is_read in ((64, True), (65, False)):
        owner = (0xC000 | START + 12 + 2 * (count - 2)).to_bytes(2, "big")
        data = built(junk, record(1, bytes(4), owner))
        if is_read:
            assert read(data).addresses == addresses("0.0.0.0")
        else:
            with pytest.raises(PeerError, match="too many pointers"):
                read(data)


# -- comparing ---------------------------------------------------------------------------------------------------------


@each_row(
    ("some", "others", "same"),
    [
        (["192.0.2.1"], ["192.0.2.200", "198.51.100.1"], True),
        (["192.0.2.1"], ["192.0.3.1"], False),
        (["2001:db8:1:1::1"], ["2001:db8:1:2::2"], True),
        (["2001:db8:1::1"], ["2001:db8:1:ffff::1"], True),
        (["2001:db8:2::1"], ["2001:db8:3::1"], False),
        (["192.0.2.1"], ["2001:db8::1"], False),
        ([], ["192.0.2.1"], False),
    ],
)
def test_networks_in_common(some: list[str], others: list[str], same: bool) -> None:
    assert related(addresses(*some), addresses(*others)) is same


@each_row(
    ("length", "address", "prefix"),
    [  # RFC 6052 section 2.4, with 192.0.0.170 in place of 192.0.2.33
        (32, "2001:db8:c000:aa::", "2001:db8::/32"),
        (40, "2001:db8:1c0:0:aa::", "2001:db8:100::/40"),
        (48, "2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"),
        (56, "2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"),
        (64, "2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344::/64"),
        (96, "2001:db8:122:344::c000:aa", "2001:db8:122:344::/96"),
    ],
)
def test_the_prefix_of_translated_addresses_is_found(length: int, address: str, prefix: str) -> None:
    (found,) = nat64_prefixes([*addresses(address), ipaddress.ip_address("2001:db8::1")])
    assert found == ipaddress.IPv6Network(prefix)
    assert unmapped(ipaddress.ip_address(address), [found]) == ipaddress.ip_address("192.0.0.170")


def test_the_well_known_prefix_needs_no_discovery() -> None:
    assert unmapped(ipaddress.ip_address("64:ff9b::192.0.2.33"), ()) == ipaddress.ip_address("192.0.2.33")
    assert unmapped(ipaddress.ip_address("2001:db8::1"), ()) == ipaddress.ip_address("2001:db8::1")
    assert unmapped(ipaddress.ip_address("192.0.2.1"), ()) == ipaddress.ip_address("192.0.2.1")
    assert nat64_prefixes([ipaddress.ip_address("192.0.2.1")]) == ()
