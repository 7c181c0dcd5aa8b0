"""A relay that runs a command which offers SOCKS: `ssh -D`, `tor`.

    [addons.tunnel]
    enabled = true
    command = "ssh -N -o BatchMode=yes -o ExitOnForwardFailure=yes -D 127.0.0.1:1090 me@home.example"

`byway relay add addon://tunnel --name home` makes it a relay. It starts and ends with Byway; if it exits, it is started
again, after a longer pause each time. Demo of `dial`, `start` and `stop`.
"""

import asyncio
import shlex
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Destination, Route
from proxy.net.stream import Stream


@dataclass(frozen=True)
class Options:
    command: Annotated[str, "command to run; it must stay in the foreground"]
    socks: Annotated[str, "address where it offers SOCKS"] = "socks5h://127.0.0.1:1090"


class Tunnel:
    process: Process | None = None

    def start(self, api: Api) -> None:
        self.api, self.options = api, api.options
        api.spawn(self._supervise(shlex.split(self.options.command)))

    async def stop(self) -> None:
        for end in (Process.terminate, Process.kill):
            if self.process is not None and self.process.returncode is None:
                end(self.process)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.process.wait(), 0.9)

    async def dial(self, route: Route, destination: Destination) -> Stream | None:
        return await self.api.dial(self.options.socks, destination)

    async def _supervise(self, words: list[str]) -> None:
        pause_s = 1.0
        while True:
            began = self.api.now()
            try:  # in its own process group: on Ctrl-C Byway first drains its connections, which need the command
                self.process = await create_subprocess_exec(*words, stdin=DEVNULL, stdout=DEVNULL, process_group=0)
                ended = f"exited with code {await self.process.wait()}"
            except OSError as error:
                ended = f"cannot be started: {error.strerror}"
            pause_s = min(pause_s * 2, 60.0) if self.api.now() - began < 60 else 1.0
            await asyncio.sleep(pause_s)
            self.api.log.warning(f"the command {ended}; retrying")


addons = [Tunnel()]
