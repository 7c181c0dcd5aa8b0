"""The deeds that count and pace, with a clock moved by hand; test_rules.py tests the others."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.lab import packets
from tests.lab.deeds import DROP, PASS, CountHellos, CutLater, DropAnswers, Reading, Throttle
from tests.lab.flows import Flow
from tests.lab.matches import EVERYWHERE, Addresses
from tests.lab.packets import ACK, SYN, Packet
from tests.lab.rules import LateSynAck
from tests.lab.rules_2025 import ByCutHello
from tests.wire import hellos

HERE, THERE = b"\1" * 4, b"\2" * 4


def flow(port: int = 4000) -> Flow:
    return Flow(Packet(packets.tcp(HERE, port, THERE, 443, seq=0, ack=0, flags=SYN)), border=True)


def down(at: int, size: int) -> Packet:
    data = packets.tcp(THERE, 443, HERE, 4000, seq=at, ack=1, flags=ACK, payload=bytes(size))
    return Packet(data, outward=False)


UP = Packet(packets.tcp(HERE, 4000, THERE, 443, seq=1, ack=1, flags=ACK, payload=b"x" * 1000))


def test_a_late_syn_ack_delays_nothing_else() -> None:
    rule, one = LateSynAck(3.0, "2.2.2.2/32"), flow()
    accepted = Packet(packets.tcp(THERE, 443, HERE, 4000, seq=0, ack=1, flags=SYN | ACK), outward=False)
    assert rule.concerns(one)
    assert not LateSynAck(3.0, "3.3.3.3/32").concerns(one)
    delays = [rule.judge(packet, one, 0.0).delay_s for packet in (accepted, down(1, 1000), UP, accepted)]
    assert delays == [3.0, 0.0, 0.0, 3.0]


def test_answers_are_lost_and_acknowledgements_are_not() -> None:
    deed, one = DropAnswers(), flow()
    acknowledgement = down(1, 0)
    assert deed.begin(UP, one, 0.0) is PASS
    assert [deed.after(packet, one, 0.0) for packet in (UP, acknowledgement, down(1, 1000))] == [PASS, PASS, DROP]


@pytest.mark.parametrize(("rate", "at_once"), [(8_000, 2), (65_000, 15), (130_000, 31), (260_000, 31), (1e6, 31)])
def test_a_policer_lets_no_more_pass_at_once_at_a_higher_rate(rate: float, at_once: int) -> None:
    deed, one, packet = Throttle(rate, each=True), flow(), down(1, 1000)
    passed = [deed.after(packet, one, 100.0).passes for _ in range(100)]
    assert passed == [True] * at_once + [False] * (100 - at_once)
    later = sum(deed.after(packet, one, 100.0 + tick / 1000).passes for tick in range(1, 1001))
    assert later == pytest.approx(rate / len(packet.data), abs=1)


def hello_of(name: str, port: int) -> Flow:
    made = flow(port)
    made.said.records = name
    return made


@pytest.mark.parametrize(
    ("times", "window", "chain"),
    [
        ((0, 0, 0), 0, 0),
        ((0, 0, 0, 0.39), 1, 1),
        ((0, 0, 0, 0.41), 0, 0),
        ((0, 0.3, 0.6, 0.9), 0, 1),  # each close to the one before it, and never four within 0.4 s
        ((0, 0.1, 0.5, 0.6, 0.7), 0, 0),  # a gap ends a chain
        ((0, 0, 0, 0, 0, 0), 1, 1),
    ],
)
def test_more_than_three_hellos_at_once_freeze_a_pair(times: tuple[float, ...], window: int, chain: int) -> None:
    for reading, punished in ((Reading.WINDOW, window), (Reading.CHAIN, chain)):
        deed = CountHellos(reading)
        for number, at in enumerate(times):
            deed.begin(UP, hello_of("a.test", 4000 + number), 100.0 + at)
        assert len(deed.punished) == punished, reading


def test_by_prefix_all_addresses_of_a_24_are_one() -> None:
    def punished(*, by_prefix: bool) -> int:
        deed = CountHellos(by_prefix=by_prefix)
        for number in range(4):
            there = b"\2\2\2" + bytes([number])
            to = Flow(Packet(packets.tcp(HERE, 4000, there, 443, seq=0, ack=0, flags=SYN)), border=True)
            to.said.records = "a.test"
            deed.begin(UP, to, 100.0)
        return len(deed.punished)

    assert (punished(by_prefix=False), punished(by_prefix=True)) == (0, 1)


# -- hellos in pieces --------------------------------------------------------------------------------------------------

HELLO = hellos.real("blog.example")
NAME_AT = HELLO.index(b"blog.example") + 4


def _records(at: int) -> bytes:
    first, second = HELLO[5:at], HELLO[at:]
    return b"".join(HELLO[:3] + len(part).to_bytes(2, "big") + part for part in (first, second))


LONG = hellos.record(hellos.message(hellos.extension(0x5A5A, bytes(2000)), hellos.sni(b"blog.example")))
"""A ClientHello whose name comes after the first segment."""


@pytest.mark.parametrize(
    ("segment", "is_cut"),
    [
        (HELLO, False),
        (HELLO[:1], True),
        (HELLO[:NAME_AT], True),
        (_records(NAME_AT), True),
        (LONG[:1400], False),
        (b"GET / HTTP/1.1\r\n", False),
    ],
)
def test_a_cut_hello_is_one_without_its_whole_name_in_the_first_segment(segment: bytes, is_cut: bool) -> None:
    match, one = ByCutHello(Addresses(EVERYWHERE)), flow()
    first = Packet(packets.tcp(HERE, 4000, THERE, 443, seq=1, ack=1, flags=ACK, payload=segment))
    later = Packet(packets.tcp(HERE, 4000, THERE, 443, seq=2, ack=1, flags=ACK, payload=segment))
    assert match.concerns(one)
    assert match.hits(first, one) is is_cut
    assert not match.hits(later, one)


@pytest.mark.parametrize(("how", "injected"), [("reset", 2), ("silence", 0)])
def test_a_flow_is_cut_some_seconds_after_the_first_answer(how: Literal["reset", "silence"], injected: int) -> None:
    deed, one = CutLater(4.0, how), flow()
    passing = [deed.begin(UP, one, 0.0), deed.after(UP, one, 9.0), deed.after(down(1, 1000), one, 10.0)]
    passing += [deed.after(UP, one, 13.9), deed.after(down(1001, 1000), one, 13.9)]
    assert all(verdict.passes for verdict in passing)
    cut = deed.after(down(2001, 1000), one, 14.0)
    assert (cut.passes, len(cut.injected)) == (False, injected)
