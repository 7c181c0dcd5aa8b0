"""What became of an attempt, in the words of a list: short, and the same in `log`, `why` and `site`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from proxy.cli.output import span

Attempt = Mapping[str, Any]
"""As `control.documents.attempt` writes it."""

STAGES: Mapping[str, str] = MappingProxyType(
    {
        "resolve": "DNS",
        "connect": "TCP connect",
        "relay": "relay handshake",
        "first_byte": "waiting for the first byte",
        "done": "delivered",
    }
)

SYMPTOMS: Mapping[str, str] = MappingProxyType(
    {
        "": "not finished",
        "no_name": "no such name",
        "resolve_failed": "DNS failed",
        "forbidden": "not allowed",
        "refused": "connection refused",
        "unreachable": "unreachable",
        "offline": "no network",
        "timeout": "timeout",
        "reset": "reset",
        "eof": "closed without an answer",
        "garbage": "invalid answer",
        "alert": "TLS alert",
        "block_page": "block page",
        "elsewhere": "redirect to another site",
        "frozen": "transfer stalled",
        "throttled": "throttled",
        "forged": "forged DNS answer",
        "certificate": "wrong certificate",
        "dropped": "dropped",
        "silent": "no answer",
        "relay_down": "relay unreachable",
        "relay_auth": "relay login failed",
        "relay_garbage": "invalid answer from the relay",
        "relay_refused": "refused by the relay",
        "skipped": "skipped",
        "local": "out of resources",
        "abandoned": "canceled",
    }
)

_NOT_FAILED = frozenset({"", "abandoned", "skipped"})
"""Symptoms of an attempt that says nothing of its route."""


def result(tried: Attempt) -> str:
    """`delivered`, or what stopped it."""
    if tried["stage"] == "done":
        return STAGES["done"]
    return SYMPTOMS.get(tried["symptom"], tried["symptom"])


def stage(tried: Attempt) -> str:
    """How far it came; empty for one that delivered."""
    return "" if tried["stage"] == "done" else STAGES.get(tried["stage"], tried["stage"])


def attempt(tried: Attempt) -> str:
    """One attempt in a line: `direct: reset while waiting for the first byte, after 40 ms (error)`."""
    text = f"{tried['route']}: {result(tried)}"
    if tried["stage"] != "done":
        before = "while " if tried["stage"] == "first_byte" else "at "
        text += f" {before}{stage(tried)}"
    error = f" ({tried['error']})" if tried["error"] else ""
    return f"{text}, after {span(tried['elapsed_s'])}{error}"


def failures(row: Mapping[str, Any]) -> list[str]:
    """What failed in a connection before a route delivered, or without one: `direct: reset`."""
    return [f"{tried['route']}: {result(tried)}" for tried in row["attempts"] if _has_failed(tried)]


def _has_failed(tried: Attempt) -> bool:
    return tried["stage"] != "done" and tried["symptom"] not in _NOT_FAILED
