"""The filter of connections as they end, the same as that of the store for its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.request_parsing import parse_field
from proxy.model import DIRECT, Outcome
from proxy.probe.site_name import scope


def outcome_filter(*, site: str | None, route: str | None, outcome: str | None) -> Callable[[Outcome], bool]:
    """Returns the filter of outcomes by `site`, `route` and `outcome`; None: any. It selects as the store does among
    its rows. Raises Refused for an unknown outcome."""
    scope_of_site = None if site is None else parse_field(scope, site)
    if outcome is not None and outcome not in _ENDS:
        raise Refused(400, f"outcome is one of {', '.join(_ENDS)}, not {quoted(outcome)}")

    def admits(ended: Outcome) -> bool:
        host = ended.host or ended.request.destination.host
        return (
            (scope_of_site is None or host == scope_of_site or host.endswith(f".{scope_of_site}"))
            and (route is None or any(str(attempt.route) == route for attempt in ended.attempts))
            and (outcome is None or _ENDS[outcome](ended))
        )

    return admits


_ENDS: Mapping[str, Callable[[Outcome], bool]] = {
    "direct": lambda outcome: outcome.winner == DIRECT,
    "relay": lambda outcome: outcome.winner is not None and not outcome.winner.is_direct,
    "rescued": lambda outcome: (
        outcome.winner not in (None, DIRECT)
        and any(attempt.route == DIRECT and not attempt.delivered for attempt in outcome.attempts)
    ),
    "failed": lambda outcome: outcome.winner is None,
}
