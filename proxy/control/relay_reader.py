"""Reads the names of relays, and the time when one last worked."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config.relays import enabled_relays, relay_names
from proxy.control.dependencies import Dependencies


class RelayReader:
    """Reads the configured relays and groups."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    def enabled(self) -> list[str]:
        return [relay.name for relay in enabled_relays(self._parts.settings.relay)]

    def worked_at(self) -> float:
        """Returns the time when a relay last delivered, in seconds since the epoch; 0: never."""
        return max((self._parts.health.of(name).worked_at for name in self.enabled()), default=0.0)

    def configured(self) -> list[str]:
        """Returns the names of all configured relays, also of disabled ones."""
        return [relay.name for relay in self._parts.settings.relay]

    def usable_names(self) -> tuple[str, ...]:
        """Returns the names that rules and overrides may use: those of relays and of groups."""
        return relay_names(self._parts.setup().loaded.settings)

    def lost_selections(self) -> Mapping[str, str]:
        """Returns a sentence for each group whose selected relay is no longer a member, by group."""
        return self._parts.groups.lost_selections(self._parts.setup().groups)
