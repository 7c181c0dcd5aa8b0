"""Stores the offset between the computer's clock and the steady clock, while overrides with an end are set.

An override with an end may protect the user until then. Its stored end is a time of day. A clock that is set forward
while Byway does not run, for example by a network that forges NTP, would end it at the next start. Within one boot of
the computer the steady clock shows by how much the clock was set meanwhile; after a reboot that is unknown.
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
class _Offset:
    boot: str
    offset: float
    """The time of day at zero of the steady clock, in seconds since the epoch."""


class OverrideClock:
    """Keeps the offset in `file`. Belongs to one loop."""

    def __init__(
        self,
        file: Path,
        *,
        ephemeral: bool = False,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_clock,
        boot_file: Path = _BOOT_FILE,
    ) -> None:
        """With `ephemeral` the file is only read. Without `boot_file`, which identifies the boot, nothing is written.
        Waits for the disk."""
        self._now = now
        self._steady = steady
        self._boot = _boot(boot_file)
        self._file = SavedValues(
            file, encode=_document, decode=_parse, most=1, what="the clock that overrides are measured by"
        )
        self._was = next(iter(self._file.load()), None)
        self._kept: _Offset | None = self._was
        self._ephemeral = ephemeral or not self._boot

    def set_meanwhile(self) -> float:
        """Returns the seconds by which the clock was set since the last Byway; 0 when unknown or below JUMP_S."""
        if self._was is None or not self._boot or self._was.boot != self._boot:
            return 0.0
        by = self._offset() - self._was.offset
        return by if abs(by) > JUMP_S else 0.0

    def moved(self, overrides: Mapping[str, Override]) -> dict[str, Override]:
        """Returns the overrides whose end has moved because the clock was set since the last Byway, with that end."""
        by = self.set_meanwhile()
        return {host: replace(it, until=it.until + by) for host, it in overrides.items() if it.until and by}

    def keep(self, *, has_ends: bool) -> None:
        """Writes the offset when it has changed by a jump; without overrides with an end, removes it. Called a few
        times a second."""
        if self._ephemeral:
            return
        if not has_ends:
            if self._kept is not None:
                self._kept = None
                self._file.save(())
            return
        now, kept = _Offset(self._boot, self._offset()), self._kept
        if kept is None or kept.boot != now.boot or abs(now.offset - kept.offset) > JUMP_S:
            self._kept = now
            self._file.save([now])

    async def close(self) -> None:
        """Waits until the file is written."""
        await self._file.written()

    def _offset(self) -> float:
        return self._now() - self._steady()


def _boot(file: Path) -> str:
    try:
        return file.read_text().strip()[:_BOOT_LIMIT]
    except (OSError, ValueError):  # not Linux
        return ""


def _document(offset: _Offset) -> dict[str, object]:
    return {"boot": offset.boot, "offset": offset.offset}


def _parse(entry: Mapping[str, Any]) -> _Offset:
    """Parses an entry of the file. Raises KeyError and ValueError for an invalid one."""
    return _Offset(text(entry["boot"], _BOOT_LIMIT), float(number(entry["offset"])))
