"""When overrides end: by a clock that nobody sets.

An override with an end closes what would be open without it. Who can set this computer's clock, such as a network that
forges NTP, must not end it. So its time is counted by a steady clock from when it was set, or from the start of Byway.
The stored end is a time of day, since a steady clock begins anew with each boot; it follows the clock when that jumps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from proxy.model import Override

_JUMP_S = 30.0
"""A clock that is corrected by less has not jumped."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Goes on while the computer sleeps: on Linux CLOCK_BOOTTIME, on macOS CLOCK_MONOTONIC, on Windows `time.monotonic`."""


def steady_clock() -> float:
    """Seconds since some moment, whatever the clock is set to."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class OverrideEnds:
    """The ends of the overrides of one Byway."""

    def __init__(
        self,
        overrides: Mapping[str, Override],
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_clock,
    ) -> None:
        self._now = now
        self._steady = steady
        self._ends_at: dict[str, float] = {}  # by the steady clock
        for host, override in overrides.items():
            self.set(host, override)

    def set(self, host: str, override: Override | None) -> None:
        """Notes an override that was set, or removed."""
        if override is None or not override.until:
            self._ends_at.pop(host, None)
        else:
            self._ends_at[host] = self._steady() + override.until - self._now()

    def has_ended(self, host: str) -> bool:
        """Whether the override of a host has ended."""
        ends_at = self._ends_at.get(host)
        return ends_at is not None and ends_at <= self._steady()

    def ended(self) -> list[str]:
        """Returns the hosts whose override has ended."""
        if not self._ends_at:
            return []
        steady = self._steady()
        return [host for host, ends_at in self._ends_at.items() if ends_at <= steady]

    def moved(self, overrides: Mapping[str, Override]) -> dict[str, Override]:
        """Returns those whose end is another time of day, because the clock has jumped."""
        if not self._ends_at:
            return {}
        offset = self._now() - self._steady()
        return {
            host: replace(overrides[host], until=ends_at + offset)
            for host, ends_at in self._ends_at.items()
            if abs(ends_at + offset - overrides[host].until) > _JUMP_S
        }
