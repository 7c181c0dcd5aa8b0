"""A relay that is a command of yours which offers SOCKS while it runs: `ssh -D`, `tor`.

    [[relay]]
    name = "home"
    url = "addon://tunnel"

    [addons.tunnel]
    enabled = true
    command = "ssh -N -o ExitOnForwardFailure=yes -D 127.0.0.1:1090 me@home.example"

It starts and ends with Byway; when it dies it is started again, after a longer pause each time. Demo of `dial`, `start`
and `stop`.
"""

from __future__ import annotations

import asyncio
import shlex
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Destination, Route
from proxy.net.stream import Stream


@dataclass(frozen=True)
class Options:
    command: Annotated[str, "the command, which stays in the foreground"]
    socks: Annotated[str, "where it offers SOCKS"] = "socks5h://127.0.0.1:1090"


class Tunnel:
    process: Process | None = None

    def start(self, api: Api) -> None:
        self.api, self.options = api, api.options
        api.spawn(self._supervise(shlex.split(self.options.command)))

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()

    async def dial(self, route: Route, destination: Destination) -> Stream | None:
        return await self.api.dial(self.options.socks, destination)

    async def _supervise(self, words: list[str]) -> None:
        pause_s = 1.0
        while True:
            began = self.api.now()
            self.process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=DEVNULL)
            code = await self.process.wait()
            pause_s = min(pause_s * 2, 60.0) if self.api.now() - began < 60 else 1.0
            self.api.log.warning(f"the command ended with {code}; again in {pause_s:.0f} s")
            await asyncio.sleep(pause_s)


addons = [Tunnel()]
