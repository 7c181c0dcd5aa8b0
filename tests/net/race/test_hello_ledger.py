"""When one more hello than clients send may leave; all times are arguments."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.net.race.hello_ledger import HELLOS_MAX, HelloLedger, SentHello

TUNING = DetectTuning()
NAME, HERE, THERE = "blog.example", "198.51.100.7:443", "198.51.100.8:443"


def ledger(*sent: tuple[float, bool], name: str = NAME, address: str = HERE) -> HelloLedger:
    made = HelloLedger()
    for at, is_extra in sent:
        made.append((at, name, address, is_extra))
    return made


@pytest.mark.parametrize(
    ("sent", "at"),
    [
        ([], 100.0),
        ([(100.0, False)], 100.0),  # the client's own does not delay the first extra one
        ([(99.9, False), (100.0, False)], 100.0),
        ([(99.9, False)] * 3, 100.35),  # a burst of three: after its end
        ([(99.9, False)] * 30, 100.35),
        ([(99.0, False), (99.4, False), (99.8, False)], 100.25),  # each close to the one before it
        ([(99.0, False), (99.5, False), (99.8, False)], 100.0),  # a gap of 0.5 s ends a burst
        ([(99.5, True)], 100.5),
        ([(99.5, True), (99.9, False)], 100.5),
        ([(99.0, True)], 100.0),
        ([(99.3, True), (99.9, False), (99.9, False), (99.9, False)], 100.35),  # both: the later one
    ],
)
def test_an_extra_hello_leaves_a_second_after_the_last_one_and_after_a_burst(
    sent: list[tuple[float, bool]], at: float
) -> None:
    assert ledger(*sent).extra_at(NAME, 100.0, TUNING, address=HERE) == pytest.approx(at)
    assert ledger(*sent).extra_at(NAME, 100.0, TUNING) == pytest.approx(at)
    assert ledger(*sent).extra_at("other.example", 100.0, TUNING, address=HERE) == 100.0
    assert ledger(*sent).extra_at(NAME, 100.0, TUNING, address=THERE) == 100.0


def test_one_whose_address_is_not_known_counts_for_all() -> None:
    known_nowhere = ledger((99.5, True), address="")
    for address in (HERE, THERE, ""):
        assert known_nowhere.extra_at(NAME, 100.0, TUNING, address=address) == pytest.approx(100.5)


def test_a_name_is_quiet_a_second_after_its_last_hello() -> None:
    assert ledger().quiet_at(NAME, 100.0, TUNING) == 100.0
    assert ledger((99.2, False), (99.9, False)).quiet_at(NAME, 100.0, TUNING) == pytest.approx(100.9)
    assert ledger((99.2, True)).quiet_at(NAME, 100.0, TUNING) == pytest.approx(100.2)
    assert ledger((98.0, False)).quiet_at(NAME, 100.0, TUNING) == 100.0
    assert ledger((99.9, False), name="other.example").quiet_at(NAME, 100.0, TUNING) == 100.0


def test_it_is_bounded() -> None:
    full = ledger(*[(float(number), False) for number in range(2 * HELLOS_MAX)])
    assert len(full) == HELLOS_MAX
    assert full[-1][0] == 2 * HELLOS_MAX - 1


# -- a network that counts ---------------------------------------------------------------------------------------------

ELSEWHERE = "203.0.113.7:443"


@pytest.mark.parametrize(
    ("sent", "at"),
    [([], 100.0), ([(99.9, False)], 100.35), ([(99.9, True)], 100.35), ([(99.2, False), (99.7, False)], 100.15),
     ([(99.5, False)], 100.0)],
)  # fmt: skip
def test_hellos_to_one_prefix_are_kept_apart(sent: list[tuple[float, bool]], at: float) -> None:
    assert ledger(*sent).apart_at(NAME, HERE, 100.0, TUNING) == pytest.approx(at)
    assert ledger(*sent).apart_at(NAME, THERE, 100.0, TUNING) == pytest.approx(at), "the same /24"
    assert ledger(*sent).apart_at(NAME, ELSEWHERE, 100.0, TUNING) == 100.0
    assert ledger(*sent).apart_at("other.example", HERE, 100.0, TUNING) == 100.0
    assert ledger(*sent, address="").apart_at(NAME, HERE, 100.0, TUNING) == pytest.approx(at)


@pytest.mark.parametrize(
    ("times", "at", "size"),
    [
        ((100.0,), 100.0, 1),
        ((100.0,) * 6, 100.0, 6),
        ((99.0, 99.4, 99.8, 100.0, 100.3), 99.8, 5),
        ((99.0, 99.5, 99.8, 100.0), 99.0, 1),
        ((99.0, 99.5, 99.8, 100.0), 99.8, 3),
        ((99.0, 99.5), 98.0, 0),  # it is not among those that are remembered
    ],
)
def test_the_burst_to_which_a_hello_belongs(times: tuple[float, ...], at: float, size: int) -> None:
    sent = ledger(*((time, False) for time in times))
    assert sent.burst(NAME, HERE, at, TUNING) == size
    assert sent.burst(NAME, THERE, at, TUNING) == size, "the same /24"
    assert sent.burst(NAME, ELSEWHERE, at, TUNING) == 0
    assert sent.burst("other.example", HERE, at, TUNING) == 0


def test_of_a_long_list_the_end_alone_is_read() -> None:
    class Read(HelloLedger):
        reads = 0

        def __iter__(self) -> Iterator[SentHello]:
            for sent in super().__iter__():
                self.reads += 1
                yield sent

        def __reversed__(self) -> Iterator[SentHello]:
            for sent in super().__reversed__():
                self.reads += 1
                yield sent

    sent = Read()
    sent.extend((number / 2, NAME, HERE, False) for number in range(HELLOS_MAX))
    latest = sent[-1][0]
    assert sent.burst(NAME, HERE, latest - 1, TUNING) == 1
    assert sent.reads == 4


def test_prefixes_of_ipv6_are_wider() -> None:
    sent = ledger((100.0, False), address="[2001:db8:1:2::3]:443")
    assert sent.burst(NAME, "[2001:db8:1:4::5]:443", 100.0, TUNING) == 1
    assert sent.burst(NAME, "[2001:db8:2::5]:443", 100.0, TUNING) == 0
