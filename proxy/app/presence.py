"""Makes this process reachable for commands: by run.json, and the control server with its socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from proxy import __version__
from proxy.app.parts import Run
from proxy.config.paths import write_private
from proxy.control.server import ControlServer
from proxy.net.stream import SocketStream

if TYPE_CHECKING:
    from proxy.control.dependencies import Dependencies

log = logging.getLogger("proxy")


class Presence:
    """The control server and run.json of one run. Belongs to one loop."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._paths = run.paths
        self._port = 0
        self._control: ControlServer | None = None
        self._is_announced = False

    async def open(self, dependencies: Callable[[], Dependencies], port: int) -> None:
        """Starts the control server. `port` is the proxy's port. `dependencies` is called with the first client. Raises
        BywayError when the control socket cannot be used."""
        self._port = port
        socket_path = self._paths.control_socket if hasattr(asyncio, "start_unix_server") else None
        if socket_path is not None:
            self._paths.make_socket_folder()
        self._control = ControlServer(dependencies, socket_path, secrets.token_urlsafe(32), port=port)
        await self._control.start()

    @property
    def adopted(self) -> int:
        """The number of clients of the proxy port that the control server is serving."""
        return self._control.adopted if self._control is not None else 0

    def adopt(self, client: SocketStream, received: bytes) -> None:
        """Hands a client to the control server, with the bytes received from it."""
        assert self._control is not None
        self._control.adopt(client.detach(), received)

    def announce(self) -> None:
        """Writes run.json."""
        assert self._control is not None
        self._is_announced = True
        write_private(self._paths.run_file, json.dumps(self._control.address | {
            "pid": os.getpid(), "port": self._port, "listen": self._run.settings.listen.address,
            "version": __version__, "ephemeral": self._run.options.ephemeral,
        }))  # fmt: skip

    def keep(self) -> Awaitable[object] | None:
        """Creates run.json and the socket again when they were removed with their folder: commands must still reach a
        Byway that runs on. The system removes the socket's folder when the user logs out. Called a few times a
        second."""
        if not self._is_announced or self._control is None:
            return None
        if not os.path.lexists(self._paths.run_file):
            return self._make_anew(self._control, f"The state folder was removed: {self._paths.state_dir}")
        return None if self._control.is_found else self._make_anew(self._control, "The control socket was removed")

    async def _make_anew(self, control: ControlServer, removed: str) -> None:
        self._run.renew_lock()
        self._paths.make_socket_folder()
        await control.listen_again()
        self.announce()
        log.warning("%s. It is made anew", removed)

    def withdraw(self) -> None:
        """Removes run.json."""
        self._is_announced = False
        # On a disk that has become read-only the file stays; its readers see that no process has that pid.
        with contextlib.suppress(OSError):
            self._paths.run_file.unlink(missing_ok=True)

    async def close(self) -> None:
        """Closes the control server."""
        if self._control is not None:
            await self._control.close()
