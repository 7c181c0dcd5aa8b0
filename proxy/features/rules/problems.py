"""Problems of lists that cannot be read, or were not fetched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from proxy.control.answers.problems import Button, Problem, ProblemSubject
from proxy.control.frame import Moment
from proxy.features.rules.list_answers import ListJson
from proxy.features.rules.lists import describe
from proxy.model.phrase import _, ngettext


async def problems(moment: Moment) -> list[Problem]:
    """Returns the present problems."""
    parts, now = moment.frame.parts, moment.now
    setup = parts.setup()
    return present(await describe(setup.settings.list, setup.router.rules.lists, parts.copies, now), now)


def present(lists: Sequence[ListJson], now: float) -> list[Problem]:
    """As `problems`."""
    return [Problem(ProblemSubject.CONFIGURATION, text, do, (_RULES,)) for text, do in _problems(lists, now)]


_RULES = Button(_("Show"), "rules", leads=True)


def _problems(lists: Sequence[ListJson], now: float) -> Iterator[tuple[str, str]]:
    for item in lists:
        name, fetch = item.name, item.fetch
        refresh = f"byway list refresh {name}"
        if fetch is None or not fetch.has_copy:
            if item.problem:
                error = fetch.error if fetch is not None else ""
                text = _("{problem} ({reason}).", problem=item.problem, reason=error) if error else f"{item.problem}."
                yield text, "byway rule check" if fetch is None else refresh
            continue
        if item.problem:
            yield f"{item.problem}.", f"byway list show {name}"
        age = _days(now - (fetch.fetched_at or 0.0))
        if fetch.error:
            text = _("List {name} could not be fetched: {error}; its last good copy, of {age} ago, is in use.")
            yield text.given(name=name, error=fetch.error, age=age), refresh
        elif fetch.stale:
            text = _(
                "List {name} is out of date: its last good copy, of {age} ago, is in use, and its refresh is {refresh}."
            )
            yield text.given(name=name, age=age, refresh=str(fetch.refresh)), refresh


def _days(seconds: float) -> str:
    """Returns a time in words: `3 days`, `5 hours`."""
    if seconds >= 86_400:
        return ngettext("{count} day", "{count} days", max(1, round(seconds / 86_400)))
    return ngettext("{count} hour", "{count} hours", max(1, round(seconds / 3600)))
