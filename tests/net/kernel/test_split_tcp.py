"""Who answers our SYNs: told from the hosts that last worked."""

from __future__ import annotations

import random
import statistics

from proxy.config.detect_tuning import DetectTuning
from proxy.net.kernel.tcp_info import SplitTcpDetector
from tests.support.rows import each_row

NEAR = (0.001, 0.3)  # seconds until the SYN and the flight were answered
USUAL = (0.02, 0.03)

STORIES = {
    # what: (the hosts' times in their order, whether a middlebox stands there)
    "nothing is known": ([], False),
    "too few hosts": ([NEAR] * 3, False),
    "every site is far behind its SYN-ACK": ([NEAR] * 4, True),
    "every site is as near as its SYN-ACK": ([USUAL] * 8, False),
    "one slow site of four": ([NEAR, USUAL, USUAL, USUAL], False),
    "half are slow": ([NEAR, USUAL] * 4, False),
    "more than half": ([NEAR, USUAL, NEAR, NEAR, USUAL], True),
    "fast servers on loopback": ([(0.00005, 0.01)] * 8, False),
    "far away, and slow": ([(0.25, 1.0)] * 8, False),
    "the kernel did not tell": ([(0.0, 0.3)] * 8, False),
    "it has gone": ([NEAR] * 8 + [USUAL] * 4, False),
    "it has come": ([USUAL] * 8 + [NEAR] * 5, True),
}


@each_row(("times", "stands"), STORIES.values(), ids=STORIES)
def test_it_is_told_by_hosts_that_work(times: list[tuple[float, float]], stands: bool) -> None:
    middlebox = SplitTcpDetector(DetectTuning())
    for number, (syn_s, first_byte_s) in enumerate(times):
        middlebox.note(f"site-{number}.example", syn_s, first_byte_s)
    assert middlebox.detected == stands


def test_a_host_counts_once_and_as_it_was_last() -> None:
    middlebox = SplitTcpDetector(DetectTuning())
    for _ in range(20):
        middlebox.note("one.example", *NEAR)
    assert not middlebox.detected
    for name in ("two", "three", "four"):
        middlebox.note(f"{name}.example", *NEAR)
    before = middlebox.detected
    for name in ("one", "two"):
        middlebox.note(f"{name}.example", *USUAL)
    assert (before, middlebox.detected) == (True, False)


def test_another_network_is_another_story() -> None:
    middlebox = SplitTcpDetector(DetectTuning())
    for number in range(8):
        middlebox.note(f"site-{number}.example", *NEAR)
    middlebox.reset()
    assert not middlebox.detected
    middlebox.note("site-0.example", *NEAR)
    assert not middlebox.detected


@each_row("seed", range(5))
def test_the_count_is_that_of_the_last_eight_hosts(seed: int) -> None:
    """Against the plain way of counting."""
    rng = random.Random(seed)
    middlebox, last = SplitTcpDetector(DetectTuning()), dict[str, tuple[float, float]]()
    for _ in range(500):
        host, times = f"site-{rng.randrange(12)}.example", rng.choice([NEAR, USUAL])
        middlebox.note(host, *times)
        last.pop(host, None)
        last = dict([*last.items(), (host, times)][-8:])
        late = [first_byte_s >= 5 * syn_s for syn_s, first_byte_s in last.values()]
        assert middlebox.detected == (len(last) >= 4 and statistics.mean(late) > 0.5)


def test_what_hosts_have_shown_stands_when_they_are_forgotten() -> None:
    """Until enough others are known."""
    middlebox = SplitTcpDetector(DetectTuning())
    for number in range(8):
        middlebox.note(f"site-{number}.example", *NEAR)
    middlebox.forget_hosts()
    assert not middlebox._late
    assert middlebox.detected
    for number in range(3):
        middlebox.note(f"other-{number}.example", *USUAL)
    assert middlebox.detected
    middlebox.note("another.example", *USUAL)
    assert not middlebox.detected
