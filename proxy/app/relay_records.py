"""Keeps the health of relays and the ways to them over a reload and over a restart.

A reload may remove a relay or change its URL. The records of the old relay are forgotten then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from proxy.app.parts import Kept, Known, Run
from proxy.detect.relay_ways import RelayWays
from proxy.model.relay_way import KnownWay
from proxy.session.setup import Setup
from proxy.store import relay_ways
from proxy.store.relay_ways import RelayWaysFile
from proxy.store.saved_values import SavedChanges

if TYPE_CHECKING:
    from proxy.session.services import TransferChecker
    from proxy.setup.saved_relay_health import SavedRelayHealth

log = logging.getLogger("proxy")


class SavedRelayWays(SavedChanges[KnownWay]):
    """Saves `ways` in `file` after each change."""

    def __init__(self, ways: RelayWays, file: RelayWaysFile) -> None:
        """Restores the ways from the file. Waits for the disk."""
        ways.restore(file.load(), time.time())
        super().__init__(file, version=lambda: ways.version, values=ways.remembered)


class RelayRecords:
    """The records of the relays of one run. Belongs to one loop."""

    def __init__(self, run: Run, kept: Kept, known: Known) -> None:
        """Restores the ways. Waits for the disk."""
        self._run = run
        self._known = known
        self._configured = run.settings.relay
        self.saved_ways = SavedRelayWays(known.ways, kept.ways_file)
        self.saved_health: SavedRelayHealth | None = None
        """None until a relay is configured."""
        self.transfer_check: TransferChecker | None = None
        """None until a relay has alternatives."""
        self.get_transfer_check: Callable[[], TransferChecker | None] = partial(attrgetter("transfer_check"), self)
        """Returns `transfer_check`. It is called for each connection, so it is not a Python function."""

    def take(self, setup: Setup) -> None:
        """Applies the relays of the first Setup."""
        self._keep_ways(setup)
        self._warn_of_lost_selections(setup)

    def take_replaced(self, setup: Setup) -> None:
        """Applies the relays of a Setup that replaces another."""
        self.saved_ways.keep_in(self._run.file(relay_ways.place, setup.settings.log))
        self.keep_health(setup)
        self._known.health.keep(setup.registry.relay_names)
        self._keep_ways(setup)
        self._known.groups.keep(setup.groups)
        self._warn_of_lost_selections(setup)
        edited = {relay.name for relay in self._configured if relay not in setup.settings.relay}
        self._configured = setup.settings.relay
        if edited:
            self._known.health.forget(edited)  # the edit may have corrected what was wrong

    def _keep_ways(self, setup: Setup) -> None:
        """Forgets the ways to relays that are not configured."""
        registry = setup.registry
        relays = {registry.first_endpoint(name) for name in registry.relay_names}
        self._known.ways.keep(relays, registry.with_alternatives.values())
        if registry.with_alternatives and self.transfer_check is None:
            from proxy.probe.transfer_check import TransferCheck  # few relays have alternatives

            known = self._known
            self.transfer_check = TransferCheck(
                *(known.ways, known.tcp_info, known.network.current, setup.settings.detect, time.time)
            )

    def keep_health(self, setup: Setup) -> None:
        """Saves the health of relays from the first relay on, and restores it then. Waits for the disk."""
        if not setup.registry.relay_names and self.saved_health is None:
            return
        from proxy.setup.saved_relay_health import RelayHealthFile, SavedRelayHealth, place  # with the first relay

        file = self._run.file(place, setup.settings.log)
        if self.saved_health is not None:
            self.saved_health.keep_in(file)
            return
        known = self._known
        self.saved_health = SavedRelayHealth(
            known.health,
            RelayHealthFile(file),
            network=known.network.current,
            relays=lambda: known.in_use.setup.settings.relay,
        )
        self.saved_health.restore()

    def save_health(self) -> None:
        """Saves the health of relays if it has changed. Called a few times a second."""
        if self.saved_health is not None:
            self.saved_health.save()

    def _warn_of_lost_selections(self, setup: Setup) -> None:
        for sentence in self._known.groups.lost_selections(setup.groups).values():
            log.warning("%s", sentence)

    async def close(self) -> None:
        """Waits until the files are written."""
        await self.saved_ways.close()
        if self.saved_health is not None:
            await self.saved_health.close()
