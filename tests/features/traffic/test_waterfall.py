"""The waterfall of attempts: what is drawn where, and said beside it."""

from __future__ import annotations

from dataclasses import replace

from proxy.features.traffic.waterfall import parts, waterfall
from proxy.languages.language import Language
from proxy.model import Stage, Symptom
from proxy.store.logged import LoggedAttempt, LoggedConnection
from tests.support.outcomes import HOME, TOR, VPS, delivered, failed, outcome

BLOCKED = outcome(
    replace(failed(Symptom.RESET), started=0.0, elapsed=0.2),
    replace(delivered(TOR), started=0.2, elapsed=0.8, evidence={"opened_s": 0.4}),
    replace(failed(Symptom.ABANDONED), route=VPS, started=0.5, elapsed=0.5),
    host="a.example",
)


def test_attempts_are_bars_over_one_time() -> None:
    row = LoggedConnection.of(BLOCKED, HOME)
    made = waterfall(row, Language.ENGLISH)
    assert made.total == "1.0 s"
    assert [(step.attempt.route, step.result, step.began, step.took) for step in made.steps] == [
        ("direct", "connection reset after the TLS ClientHello", "at once", "200 ms"),
        ("tor", "delivered", "after 200 ms", "800 ms"),
        ("vps", "not waited for", "after 500 ms", "500 ms"),
    ]
    drawn = [[(kind, round(left), round(width)) for kind, left, width in parts(each, 1.0)] for each in row.attempts]
    assert drawn == [[("failed", 0, 120)], [("other", 120, 240), ("relay", 360, 240)], [("axis", 300, 300)]]
    title = "<title>tor: delivered, from 200 ms to 1.0 s</title>"
    assert title in made.steps[1].picture


def test_attempts_stand_in_the_order_in_which_they_began() -> None:
    first, second, third = LoggedConnection.of(BLOCKED, HOME).attempts
    row = replace(LoggedConnection.of(BLOCKED, HOME), attempts=(third, second, first))
    assert [step.attempt.route for step in waterfall(row, Language.ENGLISH).steps] == ["direct", "tor", "vps"]


def test_a_bar_stays_on_the_chart_whatever_a_damaged_log_holds() -> None:
    odd = LoggedAttempt("direct", Stage.CONNECT, Symptom.TIMEOUT, "<b>", 9.0, 0.0, "", {"opened_s": "soon"})
    long = replace(odd, route="</svg><script>", stage="done", symptom="", evidence={"opened_s": 1e12})
    for attempt in (odd, long):
        for _kind, left, width in parts(attempt, 9.0):
            assert 0 <= left <= 600
            assert width > 0
            assert left + width <= 601
    row = replace(LoggedConnection.of(BLOCKED, HOME), attempts=(long,))
    (step,) = waterfall(row, Language.ENGLISH).steps
    assert "<script>" not in step.picture
    assert waterfall(replace(row, attempts=()), Language.ENGLISH).steps == []
    assert parts(replace(odd, started_s=0.0), 0.0) == []
