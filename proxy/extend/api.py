"""The interface of an addon to Byway: the `api` that its `start` hook receives.

Each addon has its own Api. Tasks that an addon starts end with it. Paths that it opens go through Byway's own dialers,
with the same checks of a relay's handshake and certificate.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxy.config.paths import private_folder
from proxy.extend.guard.hook_results import inert

if TYPE_CHECKING:
    import tempfile
from proxy.model import Destination, NetworkId
from proxy.net.stream import Stream
from proxy.wire.relay_url import redact

_log = logging.getLogger(__name__)

_NOTIFYING_MAX = 2
"""Notifications shown at the same time; more are dropped. Each may wait some seconds for the desktop."""

Spawn = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class ApiBackend(Protocol):
    """The part of Byway that serves the Api of every addon; see there."""

    @property
    def folder(self) -> Path | None:
        """The parent of the addons' folders; None with `--ephemeral`, where nothing may be stored."""

    @property
    def relays(self) -> tuple[str, ...]: ...
    def now(self) -> float: ...
    def network(self) -> NetworkId: ...
    async def dial(self, url: str, destination: Destination) -> Stream: ...
    async def notify(self, title: str, text: str) -> None: ...


class Api:
    """Belongs to one addon. Everything here may be called from a hook."""

    def __init__(self, name: str, options: Any, backend: ApiBackend, spawn: Spawn) -> None:
        """`spawn` starts a task that belongs to the addon: it is cancelled when the addon is unloaded."""
        self.options = options
        """An instance of the addon's `Options`, with the values of `[addons.NAME]`; None when it declares none."""
        self.name = name
        self.log = Log(name)
        self._backend = backend
        self._spawn = spawn
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._notifying = 0

    @property
    def relays(self) -> tuple[str, ...]:
        """Names of the configured relays, in the order of the configuration."""
        return self._backend.relays

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._backend.now()

    def network(self) -> NetworkId:
        """The id of the current network: a hash that means nothing on other computers, or "unknown"."""
        return self._backend.network()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine in a task. It is cancelled when the addon is unloaded; an exception counts as a fault of the
        addon."""
        return self._spawn(work)

    async def dial(self, url: str, destination: Destination) -> Stream:
        """Opens a path to `destination`, by its name, through the relay with this URL (`socks5h://127.0.0.1:1080`), or
        through the configured relay of this name. The caller closes the stream, or returns it from its `dial` hook.
        Raises DialError when no path opens, ValueError when `url` is neither."""
        return await self._backend.dial(url, destination)

    @property
    def folder(self) -> Path:
        """The addon's own folder, which only the user can read. It stays when the addon is removed; with `--ephemeral`
        it is temporary."""
        if self._backend.folder is not None:
            private_folder(self._backend.folder)
            return private_folder(self._backend.folder / self.name)
        if self._temporary is None:
            import tempfile  # half a MiB, and few addons need it

            self._temporary = tempfile.TemporaryDirectory(prefix="byway-", ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    def notify(self, title: str, text: str = "") -> None:
        """Shows a notification on the user's desktop, if there is a program for it. Does not wait for that."""
        if self._notifying < _NOTIFYING_MAX:
            self._notifying += 1
            self._spawn(self._notify(inert(title), inert(text)))

    async def _notify(self, title: str, text: str) -> None:
        try:
            await self._backend.notify(title, text)
        finally:
            self._notifying -= 1

    def close(self) -> None:
        """Deletes the temporary folder. Called when the addon is unloaded."""
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None


class Log:
    """Writes lines to Byway's own log, with the addon's name; passwords of URLs are hidden. `info` and `debug` need -v
    and -vv. Lines that name a site belong there, because a system's journal is stored too."""

    def __init__(self, name: str) -> None:
        self._name = name

    def error(self, text: object) -> None:
        self._write(logging.ERROR, text)

    def warning(self, text: object) -> None:
        self._write(logging.WARNING, text)

    def info(self, text: object) -> None:
        self._write(logging.INFO, text)

    def debug(self, text: object) -> None:
        self._write(logging.DEBUG, text)

    def _write(self, level: int, text: object) -> None:
        if _log.isEnabledFor(level):
            _log.log(level, "addon %s: %s", self._name, redact(inert(str(text))))
