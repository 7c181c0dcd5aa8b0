"""What is believed of the ways to relays, saved whenever it has changed."""

from __future__ import annotations

import time
from pathlib import Path

from proxy.detect.relay_ways import RelayWays
from proxy.store.relay_ways import RelayWaysFile


class SavedRelayWays:
    """Saves `ways` in `file`. Belongs to one loop."""

    def __init__(self, ways: RelayWays, file: RelayWaysFile) -> None:
        """Restores what the file has. Waits for the disk."""
        ways.restore(file.load(), time.time())
        self._ways = ways
        self._file = file
        self._saved = ways.version

    def save(self) -> None:
        """Has what is believed written if it has changed."""
        if self._saved != self._ways.version:
            self._saved = self._ways.version
            self._file.save(self._ways.remembered())

    def keep_in(self, place: Path | None) -> None:
        """Uses another file from now on; None: none, and the one so far is deleted."""
        if self._file.keep_in(place):
            self._saved = -1

    async def close(self) -> None:
        """Saves, and waits until all is written."""
        self.save()
        await self._file.written()
