"""Where the clock of this computer stands beside one that is never set, kept while overrides with an end are set.

An override with an end may close what would be open without it. Its stored end is a time of day. A clock that is set
forward while no Byway runs, such as by a network that forges NTP, would end it at the next start. Within one boot of
the computer the steady clock tells how far the clock was set meanwhile; after a reboot nothing does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxy.model import Override
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.setup.reload import JUMP_S, steady_clock
from proxy.store.saved_values import SavedValues, number, text

_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")
_BOOT_LIMIT = 64


@frozen_dataclass
class _Standing:
    boot: str
    offset: float
    """Seconds since the epoch when the steady clock began."""


class OverrideClock:
    """Keeps that in `file`. Belongs to one loop."""

    def __init__(
        self,
        file: Path,
        *,
        ephemeral: bool = False,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_clock,
        boot_file: Path = _BOOT_FILE,
    ) -> None:
        """With `ephemeral` the file is only read. A system without `boot_file` keeps nothing. Waits for the disk."""
        self._now = now
        self._steady = steady
        self._boot = _boot(boot_file)
        self._file = SavedValues(
            file, encode=_document, decode=_standing, most=1, what="the clock that overrides are measured by"
        )
        self._was = next(iter(self._file.load()), None)
        self._kept: _Standing | None = self._was
        self._ephemeral = ephemeral or not self._boot

    def set_meanwhile(self) -> float:
        """Returns by how many seconds the clock was set since the last Byway; 0 when that is not known."""
        if self._was is None or not self._boot or self._was.boot != self._boot:
            return 0.0
        by = self._offset() - self._was.offset
        return by if abs(by) > JUMP_S else 0.0

    def moved(self, overrides: Mapping[str, Override]) -> dict[str, Override]:
        """Returns the overrides whose end was stored by a clock that was set since, with the end that they have now."""
        by = self.set_meanwhile()
        return {host: replace(it, until=it.until + by) for host, it in overrides.items() if it.until and by}

    def keep(self, *, has_ends: bool) -> None:
        """Has it written where the clock stands, if that has changed; nothing without overrides that end. To be called
        a few times a second."""
        if self._ephemeral:
            return
        if not has_ends:
            if self._kept is not None:
                self._kept = None
                self._file.save(())
            return
        standing = _Standing(self._boot, self._offset())
        kept = self._kept
        if kept is None or kept.boot != standing.boot or abs(standing.offset - kept.offset) > JUMP_S:
            self._kept = standing
            self._file.save([standing])

    async def close(self) -> None:
        """Waits until all is written."""
        await self._file.written()

    def _offset(self) -> float:
        return self._now() - self._steady()


def _boot(file: Path) -> str:
    try:
        return file.read_text().strip()[:_BOOT_LIMIT]
    except (OSError, ValueError):  # not Linux
        return ""


def _document(standing: _Standing) -> dict[str, object]:
    return {"boot": standing.boot, "offset": standing.offset}


def _standing(entry: Mapping[str, Any]) -> _Standing:
    """Raises KeyError and ValueError for what is none."""
    return _Standing(text(entry["boot"], _BOOT_LIMIT), float(number(entry["offset"])))
