"""The mode that replaces AUTO: set by `byway mode` and `byway pause`, and kept over a restart.

A mode changes AUTO only: rules, overrides and `[auto] never_relay` stay in effect. A pause ends by itself, a mode does
not. Both are stored. If the file is damaged, the mode is relay, because direct could expose a user who had set relay.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from proxy.config.files import read_own_file
from proxy.config.paths import write_private
from proxy.model import PAUSE_MAX_S, AutoMode
from proxy.model.errors import BywayError

log = logging.getLogger(__name__)

_FILE_LIMIT = 4096


class ModeSwitch:
    """The mode of one process. Belongs to one loop."""

    def __init__(
        self,
        file: Path | None,
        apply: Callable[[AutoMode], None],
        *,
        stores: bool,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`file` has the stored mode (None: it is not stored); without `stores` it is only read. `apply` is called with
        the mode in effect whenever that changes."""
        self._file = file
        self._apply = apply
        self._stores = stores
        self._now = now
        self._monotonic = monotonic
        self.mode = AutoMode.AUTO
        """The mode that was set; never PAUSED."""
        self.paused_until = 0.0
        """Seconds since the epoch; 0: not paused."""
        self._resumes_at = math.inf
        """The end of the pause by the monotonic clock: setting the wall clock back does not extend a pause."""

    @property
    def in_effect(self) -> AutoMode:
        return AutoMode.PAUSED if self.paused_until else self.mode

    def load(self) -> None:
        """Applies the stored mode and pause."""
        if self._file is None:
            return
        try:
            stored = json.loads(read_own_file(self._file, limit=_FILE_LIMIT))
            mode, until, pause_s = AutoMode(stored["mode"]), float(stored["paused_until"]), float(stored["pause_s"])
            if mode is AutoMode.PAUSED or not math.isfinite(until + pause_s):
                raise ValueError(mode)
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning(
                "%s cannot be read (%s), so the mode is unknown. Using relays only; set it with `byway mode auto`.",
                self._file, type(error).__name__,
            )  # fmt: skip
            mode, until, pause_s = AutoMode.RELAY, 0.0, 0.0
        self.mode = mode
        left_s = min(until - self._now(), pause_s, PAUSE_MAX_S)
        if left_s > 0:
            self.paused_until = self._now() + left_s
            self._resumes_at = self._monotonic() + left_s
        if self.in_effect is not AutoMode.AUTO:
            self._apply(self.in_effect)

    def set_mode(self, mode: AutoMode) -> None:
        """Sets the mode, and ends a pause. Raises BywayError when it cannot be stored; it is still in effect."""
        self._change(mode, 0.0)

    def pause(self, seconds: float) -> None:
        """Pauses for so many seconds. Raises BywayError when it cannot be stored; it is still in effect."""
        self._change(self.mode, seconds)

    def resume(self) -> None:
        """Ends a pause. Raises BywayError when that cannot be stored; it is still in effect."""
        self._change(self.mode, 0.0)

    def poll(self) -> None:
        """Ends a pause whose time is over. Called a few times a second."""
        if self.paused_until and (self._now() >= self.paused_until or self._monotonic() >= self._resumes_at):
            log.info("The pause is over")
            with contextlib.suppress(BywayError):  # the stored pause is over as well
                self.resume()

    def _change(self, mode: AutoMode, pause_s: float) -> None:
        before = self.in_effect
        self.mode = mode
        self.paused_until = self._now() + pause_s if pause_s else 0.0
        self._resumes_at = self._monotonic() + pause_s if pause_s else math.inf
        if self.in_effect is not before:
            self._apply(self.in_effect)
        if self._file is not None and self._stores:
            stored = {"mode": self.mode, "paused_until": self.paused_until, "pause_s": pause_s}
            write_private(self._file, json.dumps(stored), durable=True)
