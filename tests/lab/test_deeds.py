"""The deeds that count and pace, with a clock moved by hand; test_rules.py tests the others."""

from __future__ import annotations

import pytest

from tests.lab import packets
from tests.lab.deeds import CountHellos, Reading
from tests.lab.flows import Flow
from tests.lab.packets import ACK, SYN, Packet
from tests.lab.rules import LateSynAck

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
