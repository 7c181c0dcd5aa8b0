"""Keeps the dashboard's sessions over a restart of Byway, in a file of mode 0600 in the state folder.

The file has hashes: of the path and cookie of a session, and of its code for as long as that was valid. So nobody who
reads it gets in. In a file that is damaged, of another user or of a newer Byway there are no sessions.

A session ends after 12 hours without a request, by the wall clock and by the steady one, whichever shows more: neither
a clock that is set back nor a reboot extends it.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy.control.dashboard.sign_in import CODE_S, IDLE_S, SESSIONS_MAX, Session
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.setup.reload import steady_clock
from proxy.store.saved_values import SavedValues, number, text

_VERSION = 1
_HASH = re.compile(r"[0-9a-f]{64}")
_CLOCK_S = 60.0
"""Seconds by which the wall clock may be corrected backwards before its times count as wrong."""


@frozen_dataclass
class _Kept:
    """A session in the file. Times are in seconds: since the epoch, and by the steady clock."""

    id: str
    used_at: float
    used_steady: float
    code: str
    """The hash of its code, or empty."""


class KeptSessions:
    """The file. Belongs to one loop, whose clock counts the times of sessions."""

    def __init__(
        self,
        file: Path | None,
        *,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_clock,
        loop_time: Callable[[], float] | None = None,
    ) -> None:
        """`file` None: nothing is read or written. `loop_time` is by default the clock of the running loop."""
        self._now = now
        self._steady = steady
        self._loop_time = loop_time or asyncio.get_running_loop().time
        self._file = SavedValues(
            file, encode=_document, decode=_parse, most=SESSIONS_MAX, what="the sessions of the dashboard",
            loss="Browsers are signed out of the dashboard",
        )  # fmt: skip

    def load(self) -> Sequence[Session]:
        """Returns the sessions that have not ended, the one used last at the end. Waits for the disk."""
        here = self._loop_time()
        found = []
        for kept in self._file.load():
            idle = self._idle(kept)
            if idle <= IDLE_S:
                ends = here - idle + CODE_S if kept.code else -math.inf
                found.append(Session(kept.id, "", "", here - idle, -math.inf, code=kept.code, code_ends_at=ends))
        return sorted(found, key=lambda session: session.used_at)

    def save(self, sessions: Sequence[Session]) -> None:
        """Starts to write the sessions."""
        here, now, steady = self._loop_time(), self._now(), self._steady()
        self._file.save(
            [
                _Kept(
                    session.id,
                    max(0.0, now - (here - session.used_at)),
                    max(0.0, steady - (here - session.used_at)),
                    session.code if here < session.code_ends_at else "",
                )
                for session in sessions
            ]
        )

    async def written(self) -> None:
        """Waits until everything is written."""
        await self._file.written()

    def _idle(self, kept: _Kept) -> float:
        """Returns the seconds since the last use; infinite when the clock was set back since. After a reboot the steady
        clock begins anew, and then shows less."""
        by_wall, by_steady = self._now() - kept.used_at, self._steady() - kept.used_steady
        return math.inf if by_wall < -_CLOCK_S else max(0.0, by_wall, by_steady)


def _document(kept: _Kept) -> Mapping[str, object]:
    return {
        "version": _VERSION, "id": kept.id, "used_at": kept.used_at, "used_steady": kept.used_steady, "code": kept.code,
    }  # fmt: skip


def _parse(entry: Mapping[str, Any]) -> _Kept:
    """Parses an entry of the file. Raises KeyError, TypeError and ValueError for an invalid one."""
    id_, code = text(entry["id"], 64), text(entry["code"], 64)
    if entry["version"] != _VERSION or not _HASH.fullmatch(id_) or (code and not _HASH.fullmatch(code)):
        raise ValueError("not a session of this version")
    return _Kept(id_, float(number(entry["used_at"])), float(number(entry["used_steady"])), code)
