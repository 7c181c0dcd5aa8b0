"""How times, durations, sizes and shares are written."""

from __future__ import annotations

from proxy.languages.amounts import ago, share, size, span
from tests.support.rows import each_row


@each_row(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.04, "40 ms"), (1, "1.0 s"), (9.94, "9.9 s"), (42, "42 s"), (60, "1 min"), (3599, "60 min"),
     (3600, "1 h"), (7200, "2 h"), (86_400, "1 d"), (864_000, "10 d")],
)  # fmt: skip
def test_lengths_of_time_are_rough(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_moments_are_told_from_now() -> None:
    assert ago(None) == ""
    assert ago(100, now=160) == "1 min ago"
    assert ago(160, now=100) == "in 1 min"


@each_row(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (5_000_000, "5.0 MB"), (3 * 10**12, "3000 GB")],
)
def test_sizes_are_rough(count: int, text: str) -> None:
    assert size(count) == text


def test_a_share_of_nothing_is_none() -> None:
    assert share(1, 3) == "33 %"
    assert share(0, 0) == ""
