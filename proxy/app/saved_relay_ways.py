"""What is believed of the ways to relays, saved whenever it has changed."""

from __future__ import annotations

import time

from proxy.detect.relay_ways import RelayWays
from proxy.model.relay_way import KnownWay
from proxy.store.relay_ways import RelayWaysFile
from proxy.store.saved_values import SavedChanges


class SavedRelayWays(SavedChanges[KnownWay]):
    """Saves `ways` in `file`."""

    def __init__(self, ways: RelayWays, file: RelayWaysFile) -> None:
        """Restores what the file has. Waits for the disk."""
        ways.restore(file.load(), time.time())
        super().__init__(file, version=lambda: ways.version, values=ways.remembered)
