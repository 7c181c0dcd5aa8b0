"""The deeds that count and pace, with a clock moved by hand; test_rules.py tests the others."""

from __future__ import annotations

import pytest

from tests.lab import packets
from tests.lab.deeds import DROP, PASS, CountHellos, Freeze, Reading, Throttle
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


def test_what_is_sent_again_does_not_count_towards_a_freeze() -> None:
    deed, one = Freeze(3000), flow()
    start = (1 << 32) - 1500  # the numbers wrap around
    for at, verdict in ((0, PASS), (1000, PASS), (1000, PASS), (0, PASS), (2000, PASS), (3000, DROP)):
        assert deed.after(down((start + at) % (1 << 32), 1000), one, 0.0) == verdict
    assert deed.after(UP, one, 0.0) == DROP


def test_a_late_syn_ack_delays_nothing_else() -> None:
    rule, one = LateSynAck(3.0, "2.2.2.2/32"), flow()
    accepted = Packet(packets.tcp(THERE, 443, HERE, 4000, seq=0, ack=1, flags=SYN | ACK), outward=False)
    assert rule.concerns(one)
    assert not LateSynAck(3.0, "3.3.3.3/32").concerns(one)
    delays = [rule.judge(packet, one, 0.0).delay_s for packet in (accepted, down(1, 1000), UP, accepted)]
    assert delays == [3.0, 0.0, 0.0, 3.0]


@pytest.mark.parametrize("each", [True, False])
def test_a_policer_passes_its_rate_and_a_burst(each: bool) -> None:
    deed, one, other = Throttle(10_400, "police", each), flow(), flow(4001)
    passed = [deed.after(down(0, 1000), one, 100.0) is PASS for _ in range(10)]  # 1040 bytes with their headers
    assert passed == [True] * 2 + [False] * 8
    assert (deed.after(down(0, 1000), other, 100.0) is PASS) == each
    assert deed.after(UP, one, 100.0) is PASS
    passed = [deed.after(down(0, 1000), one, 101.0 + 0.05 * n) is PASS for n in range(100)]
    assert 50 <= sum(passed) <= 53  # ten in a second, and the burst


def test_a_shaper_lets_wait_what_is_too_fast() -> None:
    deed, one = Throttle(10_400, "shape"), flow()
    delays = [deed.after(down(0, 1000), one, 100.0).delay_s for _ in range(3)]
    assert delays == pytest.approx([0.1, 0.2, 0.3])
    verdicts = [deed.after(down(0, 1000), one, 100.0) for _ in range(30)]
    assert verdicts[-1] == DROP
    assert deed.after(down(0, 1000), one, 200.0).delay_s == pytest.approx(0.1)


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


def test_a_punished_pair_is_frozen_for_every_flow_and_then_free_again() -> None:
    deed, flows = CountHellos(frozen_s=2.0), [hello_of("a.test", port) for port in range(4000, 4004)]
    said = [deed.begin(UP, one, 100.0) for one in flows]
    assert said == [PASS, PASS, PASS, DROP]
    assert deed.after(UP, flows[0], 101.9) == DROP, "also what was there before"
    assert deed.begin(UP, hello_of("other.test", 4010), 101.9) == DROP
    assert deed.after(UP, flows[0], 102.0) == PASS
    assert deed.begin(UP, hello_of("a.test", 4011), 102.0) == PASS


def test_names_are_counted_apart_and_so_are_flows_that_go_on() -> None:
    deed = CountHellos()
    for number in range(8):
        assert deed.begin(UP, hello_of(f"{number % 3}.test", 4000 + number), 100.0) == PASS
    assert deed.after(UP, flow(), 100.0) == PASS
    assert deed.punished == []
