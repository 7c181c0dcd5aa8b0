"""The filter of the log in one line, the same for `byway log --filter` and for the page Traffic:

    site:example.org route:tor result:failed network:home since:yesterdayT18:00 until:yesterdayT22:00

A word without a key is a result, such as `failed`, or else a site. Pure.
"""

from __future__ import annotations

from proxy.config.suggestions import one_of, quoted, suggestion
from proxy.languages.time_words import parse_moment
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import scope

KEYS = ("site", "route", "result", "network", "since", "until")
_OLD_KEYS = {"outcome": "result"}

OUTCOMES = ("direct", "relay", "rescued", "failed")
"""The words of `proxy.store.queries.OUTCOMES`, without the import of SQLite that every command would pay for."""


@frozen_dataclass
class LogSelection:
    """Selects connections: to a site and its subdomains, with an attempt of a route, with an outcome, on a network
    (its name or id), since a moment and before another (seconds since the epoch). None: any."""

    site: str | None = None
    route: str | None = None
    outcome: str | None = None
    network: str | None = None
    since: float | None = None
    until: float | None = None


def parse_filter(text: str, *, now: float) -> LogSelection:
    """Parses a filter. Raises ValueError with a sentence for an invalid word, and for a repeated key."""
    given: dict[str, str] = {}
    for word in text.split():
        key, colon, value = word.partition(":")
        if not colon or "." in key or value.startswith("//") or word.startswith("["):  # a host, a URL, an IPv6 address
            key, value = "result" if word.lower() in OUTCOMES else "site", word
        key = _OLD_KEYS.get(key.lower(), key.lower())
        if key not in KEYS:
            hint = suggestion(key, KEYS) or f"; it can be {one_of(KEYS)}"
            raise ValueError(f"unknown key {quoted(key)}{hint}")
        if key in given:
            raise ValueError(f"{key} is given twice")
        if not value:
            raise ValueError(f"{key}: has no value")
        given[key] = value
    outcome = given.get("result")
    if outcome is not None and outcome.lower() not in OUTCOMES:
        hint = suggestion(outcome, OUTCOMES) or f"; it can be {one_of(OUTCOMES)}"
        raise ValueError(f"unknown result {quoted(outcome)}{hint}")
    return LogSelection(
        scope(given["site"]) if "site" in given else None,
        given.get("route"),
        None if outcome is None else outcome.lower(),
        given.get("network"),
        parse_moment(given["since"], now=now) if "since" in given else None,
        parse_moment(given["until"], now=now, is_end=True) if "until" in given else None,
    )
