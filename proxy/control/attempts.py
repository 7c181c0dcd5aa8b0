"""Describes the result of an attempt in a few words, which are the same in `log`, `why` and `site`."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.detect.verdict.labels import stage_in_words, symptom_in_words
from proxy.languages.amounts import span
from proxy.model import Protocol, Stage, Symptom
from proxy.model.phrase import _, pgettext
from proxy.store.logged import LoggedAttempt, LoggedConnection

_SHORT: Mapping[str, str] = {
    Symptom.NONE: pgettext("attempt", "not finished"),
    Symptom.NO_NAME: pgettext("attempt", "denied by DNS"),
    Symptom.UNREACHABLE: pgettext("attempt", "unreachable"),
    Symptom.TIMEOUT: pgettext("attempt", "timeout"),
    Symptom.REFUSED: pgettext("attempt", "refused"),
    Symptom.RESET: pgettext("attempt", "reset"),
    Symptom.EOF: pgettext("attempt", "closed"),
    Symptom.GARBAGE: pgettext("attempt", "wrong protocol"),
    Symptom.REDIRECTED: pgettext("attempt", "redirect"),
    Symptom.DROPPED: pgettext("attempt", "dropped"),
    Symptom.SILENT: pgettext("attempt", "no answer"),
    Symptom.RELAY_DOWN: pgettext("attempt", "unreachable"),
    Symptom.RELAY_AUTH: pgettext("attempt", "login refused"),
    Symptom.RELAY_GARBAGE: pgettext("attempt", "wrong protocol"),
    Symptom.RELAY_LOOP: pgettext("attempt", "leads back"),
    Symptom.RELAY_REFUSED: pgettext("attempt", "refused"),
}
"""Short words for a symptom, for lists with all attempts on one line."""

_NOT_FAILED = frozenset({Symptom.NONE, Symptom.ABANDONED, Symptom.SKIPPED})
"""Symptoms that are no failure of the route."""


def result(stage: str, symptom: str, protocol: str = "") -> str:
    """Returns `delivered`, or the symptom in words. `protocol` is that of the connection's row."""
    if stage == Stage.DONE:
        return stage_in_words(Stage.DONE)
    if not symptom:
        return pgettext("attempt", "not finished")
    try:
        return symptom_in_words(Symptom(symptom), Stage(stage), Protocol(protocol))
    except ValueError:  # of another version
        return symptom


def attempt(tried: LoggedAttempt, protocol: str = "") -> str:
    """Returns an attempt in one line: `direct: connection reset after the TLS ClientHello, after 40 ms (error)`."""
    time = span(tried.elapsed_s)
    if tried.stage == Stage.DONE:
        what = _("delivered, in {time}", time=time)
        held_s = tried.evidence.get("held_s")
        if isinstance(held_s, int | float):  # a damaged log may have any type
            what = _("{what}, after Byway had held it back for {time}", what=what, time=span(held_s))
    else:
        what = _("{what}, after {time}", what=result(tried.stage, tried.symptom, protocol), time=time)
    if tried.error:
        what = _("{what} ({error})", what=what, error=tried.error)
    return _("{route}: {what}", route=tried.route, what=what)


def failures(row: LoggedConnection) -> list[str]:
    """Returns the failed attempts of a connection, each in a few words: `direct: reset`."""
    return [
        _("{route}: {what}", route=tried.route, what=_SHORT.get(tried.symptom) or result(tried.stage, tried.symptom))
        for tried in row.attempts
        if tried.stage != Stage.DONE and tried.symptom not in _NOT_FAILED
    ]
