"""Reads what is known of relays and groups now: health, tests, visits, and which member is used."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

from proxy.config.relays import enabled_relays, relay_names
from proxy.control.answers.relays import GroupJson, RelayJson, RelaysAnswer, groups_json, relays_json
from proxy.control.dependencies import Dependencies
from proxy.control.relay_visits import RelayVisits, read_visits
from proxy.control.site_reader import FLUSH_S


class RelayReader:
    """Reads the state of the configured relays and groups."""

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

    async def visits(self, now: float) -> Mapping[str, RelayVisits]:
        return await asyncio.to_thread(read_visits, self._parts.store.read, now)

    async def all(self, now: float, visits: Mapping[str, RelayVisits]) -> tuple[RelayJson, ...]:
        relays, health = self._parts.setup().settings.relay, self._parts.health
        tests = await asyncio.to_thread(self._parts.relay_tests.of_all, relays)
        return relays_json(
            relays,
            tests,
            health.of,
            lambda name: health.is_open(name, now),
            visits=visits,
            obstacles=self._parts.relay_obstacles(),
        )

    async def answer(self) -> RelaysAnswer:
        """Returns the relays and groups, with their state, after what visits have shown is stored."""
        now = time.time()
        await asyncio.to_thread(self._parts.store.flush, FLUSH_S)
        visits = await self.visits(now)
        relays = await self.all(now, visits)
        return RelaysAnswer(relays, self.groups(relays, visits, now))

    def groups(
        self, relays: Sequence[RelayJson], visits: Mapping[str, RelayVisits], now: float
    ) -> tuple[GroupJson, ...]:
        groups = self._parts.groups
        leading = partial(groups.leading, now=now)
        return groups_json(self._parts.setup().groups, relays, visits, leading, self.lost_selections())

    def lost_selections(self) -> Mapping[str, str]:
        return self._parts.groups.lost_selections(self._parts.setup().groups)
