"""The times of a report: no visit to the second."""

from __future__ import annotations

import json
from dataclasses import replace

from proxy.features.sites.report_formats import FORMATS, to_csv, to_markdown
from proxy.features.sites.report_rounding import DAY_S, HOUR_S, rounded
from proxy.features.sites.report_sites import Examination, Site
from tests.features.sites.test_report_command import EXAMINED, SITE, route
from tests.support.rows import each_row

NOON = 1_700_049_600.0  # 2023-11-15T12:00:00
CONNECTION = replace(
    EXAMINED,
    source="connection",
    steps=(),
    routes=(route("direct", "failed", "first_byte", "reset"), route("tor", "ok", "done")),
)
DIRECT = replace(CONNECTION, anomaly=False, routes=(route("direct", "ok", "done"),))


def site(*examinations: tuple[float, Examination]) -> Site:
    return replace(SITE, examinations=tuple(replace(one, at=at) for at, one in examinations))


def test_of_a_day_each_result_is_one_row() -> None:
    many = [(NOON + 61.7 * number, CONNECTION) for number in range(60)]
    told = rounded(site((NOON - DAY_S, CONNECTION), *many, (NOON + 10, DIRECT), (NOON + 99, DIRECT)))
    assert sorted((one.at, one.words == DIRECT.words, one.anomaly) for one in told.examinations) == [
        (NOON - 1.5 * DAY_S, True, True), (NOON - 0.5 * DAY_S, True, False), (NOON - 0.5 * DAY_S, True, True),
    ]  # fmt: skip


def test_measurements_are_told_by_the_hour_and_each() -> None:
    told = rounded(site((NOON + 100, EXAMINED), (NOON + 200, EXAMINED)))
    assert [one.at for one in told.examinations] == [NOON, NOON]


def test_no_moment_of_a_document_is_exact() -> None:
    belief = {
        **SITE.belief, "found_at": NOON + 61.5, "since": NOON + 62, "until": None, "confirmed_at": NOON + 63,
        "last_good_at": NOON + 64, "last_result": {**SITE.belief["last_result"], "at": NOON + 65},
        "score": 6.5, "successes": 7, "is_trouble": True,
    }  # fmt: skip
    spell = {**SITE.timeline[0], "since": NOON + 66, "blocked_since": NOON + 67, "until": NOON + 68}
    told = rounded(replace(SITE, belief=belief, timeline=(spell,)))
    moments = {key: value for key, value in told.belief.items() if key.endswith("_at") or key in ("since", "until")}
    assert moments == {"found_at": NOON, "since": NOON, "until": None, "confirmed_at": NOON, "last_good_at": NOON}
    assert told.belief["last_result"]["at"] == NOON
    assert (told.belief["score"], told.belief["successes"], told.belief["is_trouble"]) == (6.5, 7, True)
    assert {told.timeline[0][key] for key in ("since", "blocked_since", "until")} == {NOON}


@each_row("form", FORMATS)
def test_no_format_has_the_second_of_a_visit(form: str) -> None:
    seen = site(*((NOON + 3600 * number + 754.3, CONNECTION) for number in range(5)), (NOON + 754.3, EXAMINED))
    exact, told = FORMATS[form]([seen]), FORMATS[form]([rounded(seen)])
    for moment in ("12:12:34", "1700050354.3"):
        assert moment not in told
    assert "12:34" in exact or "1700050354.3" in exact, "the control"
    assert HOUR_S < DAY_S


def test_people_read_which_times_they_see() -> None:
    seen = site((NOON + 754, CONNECTION), (NOON + 755, CONNECTION))
    told = to_markdown([rounded(seen)])
    assert "* Times: by the hour; each day and result of connections once" in told
    assert "| day | result |" in told
    assert told.count("| 2023-11-15 | ✓ | tor |") == 1
    exact = to_markdown([seen])
    assert exact.count("| 2023-11-15T12:12:3") == 2
    assert "Times:" not in exact
    assert to_csv([rounded(seen)]).count("2023-11-15T00:00:00") == 2, "a line a route"
    assert json.loads(FORMATS["json"]([rounded(seen)]))["sites"][0]["exact"] is False
