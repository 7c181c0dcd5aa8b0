"""Fail-closed: a site that an addon blocks or sends to relays stays so while the addon fails.

Otherwise a site that only an addon closes would be open after its first fault. So the last closing answer for each site
is remembered, in memory only, and replaces answers that fail: of this version, of an edited one, and of a disabled one.
It holds until a valid answer opens the site, or the user removes the addon.
"""

from __future__ import annotations

from proxy.detect.scopes import registrable
from proxy.model import Action, Destination, Plan
from proxy.model.bounded import Bounded

KEPT_MAX = 4096
"""The most answers that are remembered for one addon; beyond that the oldest is dropped."""

_CLOSING = (Action.BLOCK, Action.RELAY)

Key = tuple[str, Action, str]
"""The hook, the action of its answer, and the scope of the answer."""


class FailClosed:
    """The closing answers of one addon, over all its versions."""

    def __init__(self) -> None:
        self._kept: Bounded[Key, tuple[Destination, Plan]] = Bounded(KEPT_MAX)

    def note(self, hook: str, destination: Destination, plan: Plan | None) -> None:
        """Records a valid answer: the plan it made, or None when it left the plan unchanged."""
        if self._kept:
            for key in _keys(hook, destination.host):
                if key in self._kept and self._kept[key][0] == destination:  # another name of the site may have its own
                    del self._kept[key]
        if plan is None or plan.action not in _CLOSING:
            return
        self._kept[hook, plan.action, _scope(plan.action, destination.host)] = destination, plan

    def find(self, hook: str, host: str) -> Plan | None:
        """Returns the plan for a host while the addon fails; None when there is none."""
        plans = (self._kept[key][1] for key in _keys(hook, host) if key in self._kept)
        return next(plans, None) if self._kept else None


def _keys(hook: str, host: str) -> tuple[Key, ...]:
    return tuple((hook, action, _scope(action, host)) for action in _CLOSING)


def _scope(action: Action, host: str) -> str:
    """Returns the scope of an answer: RELAY is for the whole site, whose other names are as private; BLOCK for the host
    alone."""
    return registrable(host) if action is Action.RELAY else host
