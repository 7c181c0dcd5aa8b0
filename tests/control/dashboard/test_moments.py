"""Moments and days as elements of a page."""

from __future__ import annotations

import re
import time

from proxy.control.dashboard.moments import day, moment
from proxy.control.dashboard.rendering import environment
from proxy.languages.language import Language

NOW = time.mktime((2008, 10, 7, 9, 12, 0, 0, 0, -1))


def test_the_absolute_time_is_shown_and_the_relative_one_on_hover() -> None:
    shown = moment(NOW - 13 * 3600, now=NOW, language=Language.ENGLISH)
    assert re.fullmatch(
        r'<time datetime="2008-10-06T20:12:00[+-]\d\d:\d\d" title="13 h ago">yesterday 20:12</time>', shown
    )
    shown = day(NOW - 9 * 86_400, now=NOW, language=Language.ENGLISH)
    assert re.fullmatch(r'<time datetime="2008-09-28T[^"]+" title="9 d ago">28 Sep</time>', shown)


def test_a_persian_page_has_a_jalali_date_and_its_digits() -> None:
    shown = day(NOW - 9 * 86_400, now=NOW, language=Language.PERSIAN)
    assert re.fullmatch(r'<time datetime="2008-09-28T[^"]+" title="۹ روز پیش">۷ مهر</time>', shown)


def test_no_time_is_a_dash() -> None:
    for at in (None, 0.0, 1e30):
        assert moment(at, now=NOW, language=Language.ENGLISH) == day(at, now=NOW, language=Language.ENGLISH) == "–"


def test_the_filters_of_templates() -> None:
    at = time.mktime((2008, 10, 7, 9, 12, 0, 0, 0, -1))
    text = "{{ at | moment_text }}|{{ at | day_text }}|{{ at | time_text }}|{{ at | moment }}|{{ at | day }}"
    texts = environment(Language.RUSSIAN).from_string(text).render(at=at).split("|")
    assert texts[:3] == ["7 октября 2008, 09:12", "7 октября 2008", "09:12"]
    assert [re.sub("<[^>]*>", "", each) for each in texts[3:]] == texts[:2]
    assert all(each.startswith('<time datetime="2008-10-07T09:12:00') for each in texts[3:])
