"""Rounds the times of a report, so that they cannot be compared with a provider's log.

The second of a visit identifies the visitor in the provider's log. So measurements and stored statuses have the hour,
and connections the day: one for each day and result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxy.features.sites.report_sites import Examination, Site

HOUR_S, DAY_S = 3600, 86_400

_MOMENT = re.compile(r"(?:.*_)?(?:at|since|until)")
"""Keys of documents whose value is a moment."""


def rounded(site: Site) -> Site:
    """Returns a site with its times rounded down, and with only the last of the connections of a day with the same
    result."""
    return Site(
        site.host,
        _by_the_hour(site.belief),
        tuple(map(_by_the_hour, site.timeline)),
        tuple(_examinations(site.examinations)),
        exact=False,
    )


def _examinations(examinations: Sequence[Examination]) -> Iterator[Examination]:
    last: dict[object, Examination] = {}  # in the order of their exact times
    for one in examinations:
        at = _down(one.at, HOUR_S if one.source == "measurement" else DAY_S)
        by = next((route["route"] for route in one.routes if route["result"] == "ok"), "")
        key: object = id(one) if one.source == "measurement" else (at, one.url, by, one.anomaly, one.confirmed)
        last.pop(key, None)
        last[key] = replace(one, at=at)
    yield from last.values()


def _by_the_hour(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _by_the_hour(part, name) for name, part in value.items()}
    is_moment = isinstance(value, int | float) and not isinstance(value, bool) and _MOMENT.fullmatch(key)
    return _down(value, HOUR_S) if is_moment else value


def _down(at: float, unit_s: int) -> float:
    return float(at // unit_s * unit_s)
