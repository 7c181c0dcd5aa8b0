from __future__ import annotations

from dataclasses import replace

from proxy.features.sites.failed_visits import GROUPS_MAX, failed_visits
from proxy.model import Action, Outcome, Stage, Symptom
from proxy.store.logged import LoggedConnection
from tests.support.outcomes import HOME, TOR, failed, outcome, works

AT = 1_700_000_000.0
DEAD = failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR)


def row(seen: Outcome, **changed: object) -> LoggedConnection:
    return replace(LoggedConnection.of(seen, HOME), **changed)  # type: ignore[arg-type]


def test_visits_close_together_that_failed_alike_are_one_line() -> None:
    rows = [row(outcome(failed(), DEAD, at=AT + minute * 60)) for minute in (0, 5, 12)]
    rows += [row(outcome(failed(Symptom.TIMEOUT, Stage.CONNECT), at=AT + 600)), row(works(at=AT + 700))]
    rows += [row(outcome(failed(), DEAD, at=AT - 7200))]
    groups = failed_visits(rows)
    assert [(group.start - AT, group.end - AT, group.count) for group in groups] == [
        (720.0, 720.0, 1),
        (600.0, 600.0, 1),
        (0.0, 300.0, 2),
        (-7200.0, -7200.0, 1),
    ]
    assert groups[2].why == "direct: connection reset after the TLS ClientHello; tor: the relay cannot be reached"
    assert [each.at - AT for each in groups[2].rows] == [300.0, 0.0]


def test_what_is_no_failure_of_the_site() -> None:
    assert not failed_visits(
        [
            row(works(at=AT)),
            row(outcome(at=AT, action=Action.BLOCK)),
            row(outcome(failed(), at=AT), closed_by="client", duration_s=0.5),
        ]
    )
    (left,) = failed_visits([row(outcome(failed(), at=AT), closed_by="client", duration_s=8.0)])
    assert left.count == 1


def test_without_an_attempt_the_reason_is_that_of_the_client() -> None:
    (group,) = failed_visits([row(outcome(at=AT, error="no route to blog.example.org"))])
    assert group.why == "no route to blog.example.org"
    (other,) = failed_visits([row(outcome(at=AT))])
    assert other.why == "no route was tried"


def test_groups_are_bounded() -> None:
    rows = [row(outcome(failed(), at=AT - number * 7200)) for number in range(GROUPS_MAX + 9)]
    assert len(failed_visits(rows)) == GROUPS_MAX
