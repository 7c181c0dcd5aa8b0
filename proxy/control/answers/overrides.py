"""Overrides, which the user sets for a site. They take precedence over rules."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.model import Action, Override
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class OverrideJson:
    """The override of a host and its subdomains, which takes precedence over rules. `until` is null for one without an
    end."""

    scope: str
    action: Action
    relay: str
    until: float | None

    @classmethod
    def of(cls, scope: str, value: Override) -> OverrideJson:
        return cls(scope, value.action, value.relay, value.until or None)


def overrides_json(overrides: Mapping[str, Override]) -> tuple[OverrideJson, ...]:
    """Returns the overrides by host, in the order of the hosts."""
    return tuple(OverrideJson.of(host, value) for host, value in sorted(overrides.items()))
