"""Turns the system proxy on and off, makes it strict or lenient by the rules, and restores it at the end and after a
crash.

The desktop's programs run in a thread, one change at a time. None runs while Byway is not the system proxy.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.tasks import spawn

if TYPE_CHECKING:
    from proxy.setup.desktop.proxy_settings import DesktopName
    from proxy.setup.desktop.system_proxy import Restored, SystemProxy

log = logging.getLogger(__name__)


@frozen_dataclass
class SystemProxyOn:
    """The system proxy while it is Byway."""

    desktop: DesktopName
    url: str
    """The URL of the PAC file; when strict, of the proxy."""
    strict_by: str
    """The rule or override that makes it strict; empty when it is lenient."""


class SystemProxySwitch:
    """Belongs to one loop."""

    def __init__(
        self,
        file: Path,
        *,
        address: Callable[[], tuple[str, int]],
        closing: Callable[[], str],
        refusal: str,
        make: Callable[[Path], SystemProxy] | None = None,
    ) -> None:
        """`file` has the earlier setting while Byway is the system proxy. `address` returns the address and port where
        Byway listens, `closing` the first rule or override that is RELAY or BLOCK, or an empty text. `refusal` is the
        reason why this run cannot be the system proxy; empty when it can. `make` is for tests."""
        self._file = file
        self._make = make or _system_proxy
        self._address = address
        self._closing = closing
        self._refusal = refusal
        self._is_on = False
        self._lock = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        return self._is_on

    async def is_in_use(self) -> bool:
        """Whether Byway is the system proxy: this run has set it, and no other program has changed it since. Runs the
        desktop's programs. Raises BywayError."""
        async with self._lock:
            return self._is_on and await asyncio.to_thread(self._make(self._file).is_in_use)

    async def turn_on(self, desktop: DesktopName) -> SystemProxyOn:
        """Makes Byway the system proxy. Raises BywayError."""
        if self._refusal:
            raise BywayError(self._refusal)
        async with self._lock:
            strict_by = self._closing()
            # It is not on until this has succeeded. After a failure half-way, the file has what must be restored.
            self._is_on = False
            url = await asyncio.to_thread(
                self._make(self._file).turn_on, desktop, *self._address(), strict=bool(strict_by)
            )
            self._is_on = True
            return SystemProxyOn(desktop, url, strict_by)

    async def turn_off(self) -> Restored:
        """Restores the earlier setting. Raises BywayError."""
        async with self._lock:
            restored = await asyncio.to_thread(self._make(self._file).restore)
            self._is_on = False
            return restored

    def on_rules_changed(self) -> None:
        """Makes the system proxy strict or lenient, by the current rules and overrides."""
        if self._is_on:
            spawn(self._change(), name="the system proxy follows the rules")

    @property
    def _has_saved(self) -> bool:
        return os.path.exists(self._file)

    async def release(self) -> bool:
        """Restores the earlier setting, at the end of Byway or after a crash. Logs a failure; the next start tries
        again. Returns whether the whole setting was restored; False also when Byway was not the system proxy."""
        if not self._has_saved:
            return False
        try:
            restored = await self.turn_off()
        except BywayError as error:
            log.warning("The system proxy could not be restored: %s Then run `byway system off`.", _sentence(error))
            return False
        from proxy.setup.desktop.system_proxy import Restored

        return restored is Restored.RESTORED

    async def _change(self) -> None:
        async with self._lock:
            if not self._is_on:
                return
            strict = bool(self._closing())
            try:
                self._is_on = await asyncio.to_thread(self._make(self._file).change, *self._address(), strict=strict)
            except BywayError as error:
                mode = "strict" if strict else "lenient"
                log.warning("The system proxy could not be made %s: %s", mode, _sentence(error))


def _sentence(error: BywayError) -> str:
    text = str(error)
    return text if text.endswith((".", "?")) else f"{text}."


def _system_proxy(file: Path) -> SystemProxy:
    from proxy.setup.desktop.system_proxy import SystemProxy  # rarely needed

    return SystemProxy(file)
