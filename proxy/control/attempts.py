"""The result of an attempt in a few words, the same in `log`, `why` and `site`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from proxy.control.amounts import span
from proxy.detect.verdict.labels import stage_in_words, symptom_in_words
from proxy.model import Protocol, Stage, Symptom

Attempt = Mapping[str, Any]
"""An attempt as a document (`proxy.control.answers.connections.AttemptJson`)."""

_SHORT: Mapping[str, str] = MappingProxyType(
    {
        Symptom.NONE: "not finished",
        Symptom.NO_NAME: "no such name",
        Symptom.UNREACHABLE: "unreachable",
        Symptom.TIMEOUT: "timeout",
        Symptom.REFUSED: "refused",
        Symptom.RESET: "reset",
        Symptom.EOF: "closed",
        Symptom.GARBAGE: "wrong protocol",
        Symptom.REDIRECTED: "redirect",
        Symptom.DROPPED: "dropped",
        Symptom.SILENT: "no answer",
        Symptom.RELAY_DOWN: "unreachable",
        Symptom.RELAY_AUTH: "login refused",
        Symptom.RELAY_GARBAGE: "wrong protocol",
        Symptom.RELAY_REFUSED: "refused",
    }
)
"""Short words for a symptom, for lists that show all attempts on one line."""

_NOT_FAILED = frozenset({Symptom.NONE, Symptom.ABANDONED, Symptom.SKIPPED})
"""Symptoms that are no evidence about the route."""


def result(tried: Attempt, protocol: str = "") -> str:
    """Returns `delivered`, or what stopped the attempt. `protocol` is that of the connection's row."""
    if tried["stage"] == Stage.DONE:
        return stage_in_words(Stage.DONE)
    if not tried["symptom"]:
        return "not finished"
    try:
        return symptom_in_words(Symptom(tried["symptom"]), Stage(tried["stage"]), Protocol(protocol))
    except ValueError:  # of another version
        return str(tried["symptom"])


def attempt(tried: Attempt, protocol: str = "") -> str:
    """Returns one attempt in a line: `direct: connection reset after the TLS ClientHello, after 40 ms (error)`."""
    error = f" ({tried['error']})" if tried["error"] else ""
    after = "in" if tried["stage"] == Stage.DONE else "after"
    return f"{tried['route']}: {result(tried, protocol)}, {after} {span(tried['elapsed_s'])}{error}"


def failures(row: Mapping[str, Any]) -> list[str]:
    """Returns what failed in a connection before a route delivered, or without one: `direct: reset`."""
    return [
        f"{tried['route']}: {_SHORT.get(tried['symptom']) or result(tried)}"
        for tried in row["attempts"]
        if tried["stage"] != Stage.DONE and tried["symptom"] not in _NOT_FAILED
    ]
