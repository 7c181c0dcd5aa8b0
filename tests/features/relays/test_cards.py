"""What the card of a relay says: its verdict agrees with its visits, and its strip shows only what is known."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from proxy.config.schema import RelayConfig
from proxy.detect.relay_faults import NotedFault, RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.features.relays.answers import RelayJson
from proxy.features.relays.cards import CELL, HALVES, HEIGHT, first_half, strip_of, verdict_of
from proxy.features.relays.visits import RelayVisits
from proxy.languages.language import Language
from proxy.store.relay_tests import RelayTest
from proxy.store.route_queries import RelayHalf
from tests.support.rows import each_row

NOW = 1_700_000_000.0
CONFIG = RelayConfig(name="tor", url="socks5h://127.0.0.1:9050")
REFUSED = NotedFault(RelayFault.CONNECTION_REFUSED, NOW - 600, NOW - 60, "")


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def half(ago: int, delivered: int, failed: int) -> RelayHalf:
    """The half-hour that began so many half-hours before the present one."""
    return RelayHalf(int(NOW) // 1800 * 1800 - ago * 1800, "tor", delivered, failed)


def relay(
    delivered: int = 0, failed: int = 0, handshake_s: float = 0.0, last: NotedFault | None = None, **health: object
) -> RelayJson:
    test = health.pop("test", None)
    enabled = bool(health.pop("enabled", True))
    assert test is None or isinstance(test, RelayTest)
    state = RelayHealth(**health)  # type: ignore[arg-type]
    visits = RelayVisits(delivered, failed, handshake_s, last)
    return RelayJson.of(CONFIG, state, visits, failing=False, in_use=enabled, test=test)


GOOD_TEST = RelayTest("tor", NOW - 3600, True, 0.3)
BAD_TEST = RelayTest("tor", NOW - 3600, False, 0.3, "connection refused")


@each_row(
    ("shown", "kind", "words", "text"),
    [
        (relay(119, 3, 0.005, worked_at=NOW), "good", "works", "Good: 98 % of 122 visits, 5 ms."),
        (relay(122, 0, 0.005, worked_at=NOW), "good", "works", "Good: 100 % of 122 visits, 5 ms."),
        (relay(999, 1, worked_at=NOW), "good", "works", "Good: 99 % of 1000 visits."),
        (relay(1, 0), "good", "works", "Good: 100 % of 1 visit."),
        # One failure is told, and does not undo a good day.
        (
            relay(119, 3, 0.005, worked_at=NOW - 9, failures=1, failed_at=NOW, last_error="tor: no answer"),
            "good",
            "works",
            "Good: 98 % of 122 visits, 5 ms. The last one failed: tor: no answer",
        ),
        (relay(30, 20, 0.005), "warn", "unreliable", "Unreliable: 60 % of 50 visits, 5 ms."),
        (relay(2, 20, 0.005), "bad", "mostly fails", "Bad: 9 % of 22 visits, 5 ms."),
        (relay(50, 0, 4.2, worked_at=NOW, usual_s=4.2), "warn", "slow", "Slow: 100 % of 50 visits, 4.2 s."),
        # After a restart no fault is remembered; the visits tell.
        (relay(0, 8), "bad", "fails", "8 of 8 visits failed in 24 hours."),
        (relay(0, 8, last=REFUSED), "bad", "fails", "Fails: connection refused. 8 of 8 visits failed in 24 hours."),
        (
            relay(90, 8, fault=REFUSED, failures=3, failed_at=NOW),
            "bad",
            "fails",
            "Fails: connection refused. 8 of 98 visits failed in 24 hours.",
        ),
        (relay(90, 8, test=BAD_TEST), "bad", "fails", "Fails: connection refused. 8 of 98 visits failed in 24 hours."),
        (relay(90, 0, test=BAD_TEST, worked_at=NOW), "good", "works", "Good: 100 % of 90 visits."),
        (
            relay(test=GOOD_TEST),
            "good",
            "works",
            "Not used in the last 24 hours. Tested today 21:13: it opened a page in 300 ms.",
        ),
        (relay(worked_at=NOW - 90_000), "good", "works", "Not used in the last 24 hours. It worked yesterday 21:13."),
        (
            relay(failures=1, failed_at=NOW, last_error="tor: no answer"),
            "bad",
            "fails",
            "The last visit failed: tor: no answer",
        ),
        (relay(), "quiet", "not tested", "Not used in the last 24 hours, and never tested."),
        (relay(5, 0, enabled=False), "quiet", "disabled", "It is not used."),
    ],
)
def test_the_verdict_agrees_with_the_visits(shown: RelayJson, kind: str, words: str, text: str) -> None:
    verdict = verdict_of(shown, [], NOW, Language.ENGLISH)
    assert (verdict.kind, verdict.words, verdict.text) == (kind, words, text)


def test_since_when_it_fails() -> None:
    assert verdict_of(relay(fault=REFUSED), [], NOW, Language.ENGLISH).since == REFUSED.since
    failing = [half(9, 3, 1), half(5, 0, 2), half(4, 0, 0), half(2, 0, 1)]
    assert verdict_of(relay(0, 3), failing, NOW, Language.ENGLISH).since == failing[1].at
    assert verdict_of(relay(0, 3), [], NOW, Language.ENGLISH).since == 0, "the half-hours are not kept"
    assert verdict_of(relay(9, 0), failing, NOW, Language.ENGLISH).since == 0


def test_a_half_hour_without_a_record_is_never_good() -> None:
    strip = strip_of([half(HALVES + 3, 9, 0), half(10, 0, 0)], NOW, Language.ENGLISH)
    (only,) = strip.cells
    assert (only.is_empty, only.x, only.width, only.failed) == (True, 0, strip.width, 0)
    assert only.text == "12 Nov 22:30 to today 22:30: not used, or not recorded"
    assert strip.words == "Last 48 hours: not used, or not recorded."


def test_each_half_hour_with_visits_is_a_cell_with_its_counts() -> None:
    strip = strip_of([half(95, 4, 0), half(2, 1, 3), half(1, 999, 1), half(0, 0, 2)], NOW, Language.ENGLISH)
    assert first_half(NOW) == half(95, 0, 0).at
    told = [(cell.x, cell.width, cell.is_empty, cell.failed) for cell in strip.cells]
    assert told == [
        (0, CELL, False, 0),
        (CELL, 92 * CELL, True, 0),
        (93 * CELL, CELL, False, 15),
        (94 * CELL, CELL, False, 4),  # one failure of a thousand is still to be seen
        (95 * CELL, CELL, False, HEIGHT),
    ]
    assert strip.cells[2].text == "today 21:00 to 21:30: 1 of 4 visits worked"
    assert strip.words == "Last 48 hours: 1004 of 1010 visits worked."
    assert sum(cell.width for cell in strip.cells) == strip.width
    assert strip.ticks == [(81, "12:00"), (153, "00:00"), (225, "12:00"), (288, "now")]


def test_a_zone_with_a_quarter_of_an_hour_has_its_midnights_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    assert {hour for _, hour in strip_of([], NOW, Language.ENGLISH).ticks} == {"12:15", "00:15", "now"}
