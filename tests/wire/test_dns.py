from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from itertools import pairwise

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import PeerError
from proxy.wire.dns import (
    ALIASES_LIMIT,
    MESSAGE_LIMIT,
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


def test_what_is_too_long_for_the_dns_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a DNS name"):
        query(f"{'x' * 64}.test", RecordType.A)


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


@pytest.mark.parametrize(
    ("rcode", "code"), [(0, Rcode.OK), (2, Rcode.FAILED), (3, Rcode.NO_NAME), (5, Rcode.REFUSED), (4, Rcode.OTHER)]
)
def test_D6_how_it_was_answered(rcode: int, code: Rcode) -> None:
    assert read(made(rcode=rcode)) == Answer(code)
    assert code.is_final is (code in (Rcode.OK, Rcode.NO_NAME))


@pytest.mark.parametrize(("ttl", "held"), [(0, 0), (2**31 - 1, 2**31 - 1), (2**31, 0), (2**32 - 1, 0)])
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


@pytest.mark.parametrize(
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


# -- comparing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("some", "others", "same"),
    [
        (["192.0.2.1"], ["192.0.2.200", "198.51.100.1"], True),
        (["192.0.2.1"], ["192.0.3.1"], False),
        (["2001:db8:1:1::1"], ["2001:db8:1:2::2"], True),
        (["2001:db8:1::1"], ["2001:db8:2::1"], False),
        (["192.0.2.1"], ["2001:db8::1"], False),
        ([], ["192.0.2.1"], False),
    ],
)
def test_networks_in_common(some: list[str], others: list[str], same: bool) -> None:
    assert related(addresses(*some), addresses(*others)) is same


@pytest.mark.parametrize(
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
