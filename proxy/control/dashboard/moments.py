"""Moments and days as elements of a page: the absolute time is shown, the relative one when the pointer rests on it."""

from __future__ import annotations

from markupsafe import Markup

from proxy.languages.amounts import ago, clock
from proxy.languages.catalogue import catalogue
from proxy.languages.dates import day_in_words, moment_in_words
from proxy.languages.language import Language

_NONE = Markup("–")


def moment(at: float | None, *, now: float, language: Language) -> Markup:
    """Returns `<time datetime="2008-10-07T20:04:11+06:00" title="9 h ago">yesterday 20:04</time>`, in the calendar and
    the digits of `language`. A moment may lie in the future. `at` and `now` are seconds since the epoch. A dash without
    a time, also for 0, and for one outside of the calendar."""
    return _element(at, moment_in_words(at or None, now=now, language=language), now=now, language=language)


def day(at: float | None, *, now: float, language: Language) -> Markup:
    """Returns the same with the local day alone: `yesterday`, `28 Nov`."""
    return _element(at, day_in_words(at or None, now=now, language=language), now=now, language=language)


def _element(at: float | None, text: str, *, now: float, language: Language) -> Markup:
    if not at or not text:
        return _NONE
    say = catalogue(language).say
    return Markup('<time datetime="{}" title="{}">{}</time>').format(clock(at), say(ago(at, now=now)), say(text))
