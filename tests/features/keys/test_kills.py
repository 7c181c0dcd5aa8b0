"""What is visited while the engine is killed: 90 visits, 6 kills. With other counts, by hand: `make soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.features.keys.kills import Kind, Stage, Visit, planned, problems, report, run

VISITS, KILLS = 90, 6


@pytest.mark.needs("mihomo")
@pytest.mark.slow
async def test_visits_go_on_while_the_engine_is_killed_again_and_again(tmp_path: Path) -> None:
    visits = planned(VISITS, KILLS, 1)
    killed = await run(tmp_path, visits)
    assert killed == KILLS
    assert problems(visits) == [], report(visits, killed)


def test_each_wrong_end_is_noticed() -> None:
    """The control: without the product."""
    answer = b"HTTP/1.1 200 OK\r\n\r\n"
    whole = answer + Visit(0, Kind.LENGTH).body
    assert Visit(0, Kind.LENGTH, asked=2, got=whole).problem() == ""
    assert Visit(0, Kind.POST, asked=1).problem() == ""
    assert "2 times" in Visit(0, Kind.POST, asked=2, got=whole).problem()
    assert "no answer of the site" in Visit(0, Kind.LENGTH, error="reset").problem()
    assert "no answer of the site" in Visit(0, Kind.TUNNELLED, got=b"HTTP/1.1 502 Bad Gateway").problem()
    assert Visit(0, Kind.LENGTH, got=answer + b"part").problem() == ""
    assert "cannot see it" in Visit(0, Kind.TO_THE_END, got=answer + b"part").problem()
    assert Visit(0, Kind.TO_THE_END, got=answer + b"part", error="reset").problem() == ""
    assert len(problems([Visit(0, Kind.LENGTH, asked=1, got=whole)])) == 2, "nothing was hit"


def test_the_kills_are_at_all_stages_of_all_kinds() -> None:
    visits = planned(500, 50, 1)
    kills = {(visit.kind, visit.kill) for visit in visits if visit.kill is not None}
    assert len([visit for visit in visits if visit.kill is not None]) == 50
    assert len(kills) == len(Kind) * len(Stage) - 1
