"""The judge on invented trials: some keep a row's bounds, and each of the others breaks one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.model import State
from tests.lab.all_scenarios import BY_NAME, SCENARIOS
from tests.lab.judging import SLACK_S, Seen, Summary, Trial, summaries, table, told_in_clear
from tests.lab.scenarios import Kind, Way

BLOCKED = BY_NAME["sni-reset-records"]
FINE = BY_NAME["healthy"]
FIRST = Seen(genuine=True, way=Way.RELAY, added_s=0.01, state=State.SUSPECT, cause="sni_reset")
LATER = replace(FIRST, state=State.BLOCKED)
GOOD = Trial(BLOCKED.name, 0, (FIRST, LATER, LATER), a_day_later=State.BLOCKED)
WELL = Trial(FINE.name, 0, (Seen(genuine=True, way=Way.DIRECT, added_s=0.0, state=State.WORKS, cause=""),) * 3)


def test_what_keeps_its_bounds_is_not_complained_of() -> None:
    found = summaries(SCENARIOS, [GOOD, WELL])
    assert [summary.broken() for summary in found] == [[], []]
    assert "2 of 2 scenarios keep their bounds" in table(found)


@pytest.mark.parametrize(
    ("trial", "complaint"),
    [
        (replace(GOOD, seen=(replace(FIRST, cause="ip"), LATER, LATER)), "first decision right in 0 of 1: suspect/ip"),
        (replace(GOOD, seen=(FIRST, LATER, FIRST)), "after the last visit right in 0 of 1: suspect/sni_reset"),
        (
            replace(GOOD, seen=(replace(FIRST, genuine=False, said="451"), LATER, LATER)),
            "pages came in 0 of 1: suspect/sni_reset by relay (451) ×1",
        ),
        (
            replace(GOOD, seen=(replace(FIRST, way=Way.DIRECT), LATER, LATER)),
            "by a way of the table in 0 of 1: suspect/sni_reset by direct ×1",
        ),
        (
            replace(GOOD, seen=(replace(FIRST, added_s=BLOCKED.wait_s + SLACK_S + 0.01), LATER, LATER)),
            "added wait p95",
        ),
        (replace(WELL, lasting=State.SUSPECT), "1 lasting false beliefs"),
        (replace(GOOD, a_day_later=State.UNKNOWN), "a day later right in 0 of 1: unknown ×1"),
        (replace(WELL, a_day_later=State.BLOCKED), "a day later right in 0 of 1: blocked ×1"),
    ],
)
def test_each_bound_can_be_broken(trial: Trial, complaint: str) -> None:
    (found,) = summaries(SCENARIOS, [trial])
    (broken,) = found.broken()
    assert complaint in broken
    assert broken in table([found])


def test_a_table_without_waits_complains_of_no_wait() -> None:
    late = replace(GOOD, seen=(replace(FIRST, added_s=BLOCKED.wait_s + SLACK_S + 0.01), LATER, LATER))
    found = summaries(SCENARIOS, [late])
    assert "added wait p95" in table(found)
    for without in (table(found, waits=False), table(found, fair=False)):
        assert "added wait p95" not in without
        assert "1 of 1 scenarios keep their bounds" in without
        assert f" {BLOCKED.wait_s:.2f} " not in without


def test_one_first_decision_in_twenty_may_be_wrong() -> None:
    wrong = replace(GOOD, seen=(replace(FIRST, cause="ip"), LATER, LATER))
    assert not Summary(BLOCKED, (wrong, *[GOOD] * 19)).broken()
    assert Summary(BLOCKED, (wrong, wrong, *[GOOD] * 18)).broken()


def test_of_ten_visits_each_has_the_bound_of_the_second_and_the_last_decides() -> None:
    ten = replace(BLOCKED, visits=10)
    kept = replace(GOOD, seen=(FIRST, *[LATER] * 9))
    assert not Summary(ten, (kept,)).broken()
    late = replace(kept, seen=(FIRST, *[LATER] * 8, replace(LATER, added_s=BLOCKED.again_s + SLACK_S + 0.01)))
    assert "later visits' p95" in "".join(Summary(ten, (late,)).broken())
    forgot = replace(kept, seen=(FIRST, *[LATER] * 8, FIRST))
    assert "after the last visit right in 0 of 1" in "".join(Summary(ten, (forgot,)).broken())


def test_the_last_page_may_have_to_come_by_another_way() -> None:
    row = replace(BLOCKED, ways=frozenset({Way.RELAY, Way.RUNG}), last=frozenset({Way.RUNG}))
    by_rung = replace(GOOD, seen=(*GOOD.seen[:-1], replace(GOOD.seen[-1], way=Way.RUNG)))
    assert not Summary(row, (by_rung,)).broken()
    assert "by a way of the table in 0 of 1" in "".join(Summary(row, (GOOD,)).broken())


def test_a_spoiled_visit_may_come_by_any_way() -> None:
    direct = replace(GOOD, seen=(*GOOD.seen[:-1], replace(GOOD.seen[-1], way=Way.DIRECT)))
    assert "by a way of the table" in "".join(Summary(BLOCKED, (direct,)).broken())
    assert "by a way of the table" not in "".join(Summary(replace(BLOCKED, spoiled=len(GOOD.seen)), (direct,)).broken())


def test_where_byway_may_be_slower_it_may_decide_later_but_not_falsely() -> None:
    slow = replace(FIRST, way=Way.DIRECT, added_s=9.0, state=State.UNKNOWN, cause="")
    assert not Summary(BLOCKED, (Trial(BLOCKED.name, 0, (slow, slow, slow)),)).broken(fair=False)
    dead = replace(slow, genuine=False)
    assert "pages came in 0 of 1" in "".join(
        Summary(BLOCKED, (Trial(BLOCKED.name, 0, (slow, slow, dead)),)).broken(fair=False)
    )
    for wrong in (replace(WELL, lasting=State.SUSPECT), replace(WELL, a_day_later=State.BLOCKED)):
        assert len(Summary(FINE, (wrong,)).broken(fair=False)) == 1


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((5.0,), 0),
        ((15.0,), 1),
        ((15.0, 16.0), 2),
        ((25.0, 31.0), 0),  # direct has delivered, so the site works
        ((35.0,), 1),  # it is suspect again
        ((5.0, 15.0, 25.0, 35.0), 2),
    ],
)
def test_a_name_is_hidden_from_a_suspicion_until_direct_delivers(asked: tuple[float, ...], told: int) -> None:
    assert told_in_clear(asked, suspected=(10.0, 12.0, 32.0), delivered=(1.0, 20.0)) == told


def test_what_nobody_can_save_is_not_counted() -> None:
    row = BY_NAME["freeze"]
    seen = Seen(genuine=False, way=Way.DIRECT, added_s=9.0, state=State.SUSPECT, cause="frozen")
    later = replace(seen, genuine=True, way=Way.RELAY, state=State.BLOCKED)
    assert not Summary(row, (Trial(row.name, 0, (seen, later, later)),)).broken()


def test_every_row_says_what_it_is_about() -> None:
    assert len(BY_NAME) == len(SCENARIOS)
    for row in SCENARIOS:
        assert row.what
        assert row.name.replace("-", "").isalnum()
        assert row.first
        assert row.third
        assert row.visits > row.spoiled or row.kind is Kind.INNOCENT
        assert row.ways
