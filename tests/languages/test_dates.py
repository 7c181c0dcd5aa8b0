"""How pages show moments and days in each language."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest

from proxy.languages.catalogue import catalogue
from proxy.languages.dates import day_in_words, moment_in_words, time_of_day
from proxy.languages.language import Language
from tests.support.rows import each_row

EN, RU, FA = Language.ENGLISH, Language.RUSSIAN, Language.PERSIAN


@pytest.fixture(autouse=True)
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of Tehran, half an hour from full ones."""
    monkeypatch.setenv("TZ", "Asia/Tehran")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


NOW = "2008-10-07T09:12"


@each_row(
    ("at", "language", "moment", "day"),
    [("2008-10-07T00:00", EN, "today 00:00", "today"), ("2008-10-07T09:12", EN, "today 09:12", "today"),
     ("2008-10-06T23:59", EN, "yesterday 23:59", "yesterday"), ("2008-10-08T00:00", EN, "tomorrow 00:00", "tomorrow"),
     ("2008-10-05T20:04", EN, "5 Oct 20:04", "5 Oct"), ("2008-10-09T03:03", EN, "9 Oct 03:03", "9 Oct"),
     ("2007-12-31T20:04", EN, "31 Dec 2007 20:04", "31 Dec 2007"),
     ("2008-10-06T20:04", RU, "вчера в 20:04", "вчера"), ("2008-05-09T20:04", RU, "9 мая, 20:04", "9 мая"),
     ("2007-11-28T03:03", RU, "28 ноября 2007, 03:03", "28 ноября 2007"),
     ("2008-10-06T20:04", FA, "دیروز ۲۰:۰۴", "دیروز"), ("2008-10-05T20:04", FA, "۱۴ مهر، ۲۰:۰۴", "۱۴ مهر"),
     ("2008-03-20T12:00", FA, "۱ فروردین، ۱۲:۰۰", "۱ فروردین"),
     ("2008-03-19T12:00", FA, "۲۹ اسفند ۱۳۸۶، ۱۲:۰۰", "۲۹ اسفند ۱۳۸۶")],
)  # fmt: skip
def test_moments_and_days(at: str, language: Language, moment: str, day: str) -> None:
    say = catalogue(language).for_terminal().say
    assert say(moment_in_words(_at(at), now=_at(NOW), language=language)) == moment
    assert say(day_in_words(_at(at), now=_at(NOW), language=language)) == day


@pytest.mark.parametrize("of", [moment_in_words, day_in_words])
@pytest.mark.parametrize("at", [None, 1e30, -1e30, float("nan"), float("inf")])
def test_no_time_and_one_outside_of_the_calendar_are_empty(of: Callable[..., str], at: float | None) -> None:
    assert of(at, now=_at(NOW), language=FA) == ""


def test_a_time_of_day_has_the_digits_of_the_language() -> None:
    assert time_of_day(_at(NOW)) == "09:12"
    assert catalogue(FA).say(time_of_day(_at(NOW))) == "۰۹:۱۲"
    assert time_of_day(1e30) == ""
