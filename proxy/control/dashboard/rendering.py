"""Renders the dashboard's pages with jinja2. Every text is escaped; words between two backticks become code.

Phrases are translated into the language of the request: each language has its own environment. This module is imported
in a thread with the first page, because jinja2 takes 40 ms and 3 MiB.

Filters for times, which are seconds since the epoch, or None:

    {{ at | moment }}       <time datetime="…" title="9 h ago">yesterday 20:04</time>; a dash without a time
    {{ at | day }}          <time datetime="…" title="5 d ago">28 Nov</time>; a dash without a time
    {{ at | moment_text }}  `yesterday 20:04` as a phrase without markup, for attributes and the titles of charts
    {{ at | day_text }}     `28 Nov`, in the same way
    {{ at | time_text }}    `20:04`, in the same way

Filters for a cause, which is its id:

    {{ cause | plain }}        `Name filter`: the word that people read first
    {{ cause | sentence }}     `connection reset after the TLS ClientHello (SNI filtering)`: for an engineer, on demand
    {{ cause | whole_cause }}  both, with a colon between them

A Persian page has Jalali dates. Modules of pages use `moments.py` here, and `proxy.languages.dates` for texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from proxy.config.command_name import as_typed, typed_here
from proxy.control.attempts import result
from proxy.control.dashboard.charts import strip
from proxy.control.dashboard.icons import icon
from proxy.control.dashboard.kinds import DAYS, route_kind, status_kind
from proxy.control.dashboard.moments import day, moment
from proxy.control.dashboard.sign_in import Session
from proxy.control.site_days import DayKind, SiteDay
from proxy.detect.verdict.labels import cause_in_words, plain_cause, whole_cause
from proxy.languages.amounts import size, span
from proxy.languages.catalogue import Catalogue, catalogue
from proxy.languages.dates import day_in_words, moment_in_words, time_of_day
from proxy.languages.language import Language
from proxy.model import Stage
from proxy.model.phrase import Phrase, _, commas, ngettext, pgettext, semicolons
from proxy.store.logged import LoggedAttempt, LoggedConnection
from proxy.wire.html_page import prose

_FOLDER = Path(__file__).parent
_FEATURES = Path(__file__).parents[2] / "features"

STREAM = "<!-- stream -->"
"""Marks the position on a page of the content that is sent later."""


def _attempt(attempt: LoggedAttempt, protocol: str) -> str:
    """Returns the result of an attempt, and its duration. `protocol` is that of its connection."""
    if attempt.stage == Stage.DONE:
        return _("delivered in {time}", time=span(attempt.elapsed_s))
    what = result(attempt.stage, attempt.symptom, protocol)
    return _("{what}, after {time}", what=what, time=span(attempt.elapsed_s))


def _attempts(row: LoggedConnection) -> str:
    """Returns the attempts of a connection, with semicolons between them."""
    route = Markup('<bdi dir="ltr">{}</bdi>')
    return semicolons(
        [
            _("{route} {what}", route=route.format(attempt.route), what=_attempt(attempt, row.protocol))
            for attempt in row.attempts
        ]
    )


@lru_cache(maxsize=len(Language))
def environment(language: Language) -> Environment:
    """Returns the environment for pages in a language. Reads its catalogue the first time."""
    spoken = catalogue(language)

    def prose_in_language(text: str) -> Markup:
        return Markup(prose(as_typed(spoken.say(text), typed_here())))  # noqa: S704

    def remedy(text: str) -> Markup:
        """Returns a remedy: a command as code, or a sentence."""
        is_command = text.startswith("byway ") and "`" not in text and not isinstance(text, Phrase)
        return prose_in_language(f"`{text}`" if is_command else text)

    @lru_cache(maxsize=256)
    def title(start: float, kind: DayKind, today: float) -> str:
        """Returns the title of a day; the strips of many sites have the same ones."""
        day = day_in_words(start, now=today, language=language)
        return spoken.say(_("{day}: {what}", day=day, what=DAYS[kind][1]))

    def strip_of(found: Sequence[SiteDay]) -> Markup:
        blocked, today = sum(day.kind is DayKind.BLOCKED for day in found), found[-1].start
        label = ngettext(
            "Blocked on {blocked} of {count} day", "Blocked on {blocked} of {count} days", len(found), blocked=blocked
        )
        kinds = {kind: pattern for kind, (pattern, _words) in DAYS.items()}
        return strip(found, spoken.say(label), lambda day: title(day.start, day.kind, today), kinds)

    made = Environment(
        loader=FileSystemLoader([_FOLDER / "templates", *sorted(_FEATURES.glob("*/templates"))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _translated(value, spoken),
    )
    made.tests["phrase"] = lambda value: isinstance(value, Phrase)
    made.globals |= {"_": _, "ngettext": ngettext, "pgettext": pgettext, "commas": commas, "language": language}
    made.globals |= {"icon": icon, "days": DAYS, "strip_of": strip_of}
    made.filters |= {
        "moment": lambda at: moment(at, now=time.time(), language=language),
        "day": lambda at: day(at, now=time.time(), language=language),
        "moment_text": lambda at: moment_in_words(at, now=time.time(), language=language),
        "day_text": lambda at: day_in_words(at, now=time.time(), language=language),
        "time_text": time_of_day,
        "size": size,
        "span": span,
        "number": lambda count: spoken.number(str(count)),
        "code": lambda text: Markup('<code dir="ltr">{}</code>').format(text),
        "prose": prose_in_language,
        "typed": lambda text: as_typed(text, typed_here()),
        "remedy": remedy,
        "status": lambda status: status.in_words,
        "plain": plain_cause,
        "sentence": cause_in_words,
        "whole_cause": whole_cause,
        "confidence": lambda confidence: confidence.in_words,
        "semicolons": semicolons,
        "kind": status_kind,
        "route_kind": route_kind,
        "attempt": _attempt,
        "attempts": _attempts,
        "host_path": lambda host: quote(host, safe=""),
    }
    return made


def _translated(value: Any, spoken: Catalogue) -> Any:
    """Returns a phrase in the page's language, with the markup of its values; any other value unchanged."""
    if not isinstance(value, Phrase):
        return value
    return Markup(as_typed(spoken.say(value, escape=escape), escape(typed_here())))  # noqa: S704  # the phrase is escaped


def _token(session: Session) -> Callable[[], Markup]:
    """Returns the function by which templates write a form's hidden field with the token."""
    return lambda: Markup('<input type="hidden" name="token" value="{}">').format(session.form_token)


def render(template: str, session: Session, language: Language, **values: Any) -> str:
    """Returns a page, or a part of one."""
    made = environment(language).get_template(template)
    return made.render(base=session.path, token=_token(session), **values)


def asset(name: str) -> bytes:
    """Returns the file of a style sheet or the script: of the dashboard, or of a feature's own pages."""
    return (_SHEETS.get(name) or _FOLDER / name).read_bytes()


_SHEETS = {file.name: file for file in _FEATURES.glob("*/templates/*.css")}

SHEETS = (*_SHEETS,)
"""The names of the features' style sheets."""
