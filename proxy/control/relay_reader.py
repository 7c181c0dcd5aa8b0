"""Reads which relays there are, and when one worked."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config.relays import enabled_relays, relay_names
from proxy.control.dependencies import Dependencies


class RelayReader:
    """Reads the configured relays and groups."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    def enabled(self) -> list[str]:
        return [relay.name for relay in enabled_relays(self._parts.setup().settings.relay)]

    def worked_at(self) -> float:
        """Returns when any relay last delivered something; 0: never."""
        return max((self._parts.health.of(name).worked_at for name in self.enabled()), default=0.0)

    def configured(self) -> list[str]:
        """Returns the names of all configured relays, disabled ones too."""
        return [relay.name for relay in self._parts.setup().settings.relay]

    def usable_names(self) -> tuple[str, ...]:
        """Returns the names that rules and overrides may give a relay: those of relays and of groups."""
        return relay_names(self._parts.setup().loaded.settings)

    def lost_selections(self) -> Mapping[str, str]:
        """Returns the problems of groups whose selected relay is no member any more, by group."""
        return self._parts.groups.lost_selections(self._parts.setup().groups)
