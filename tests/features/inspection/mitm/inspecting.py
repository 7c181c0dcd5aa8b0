"""A Byway in this process whose rules INSPECT, with addons that a test hands in, and clients that trust its authority.

The system's trust is the test's own authority here, as it is for a process with SSL_CERT_FILE.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest import mock

from proxy.app.app import App
from proxy.app.parts import Run
from proxy.app.run_options import Ending, RunOptions
from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.extend.dispatch import Addons
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.extend.loading.addon import Addon
from proxy.features.inspection import authority as ca
from proxy.features.inspection.engine import Engine
from proxy.features.inspection.inspector import MitmInspector
from proxy.model import Outcome
from proxy.model.feature import Feature, Role
from proxy.net.dialers import tls
from proxy.net.faults import Faults
from proxy.session.events import Ended
from tests.support.authority import Authority

INSPECTION = (Feature("inspection", provides={Role.INSPECTOR: "inspector:MitmInspector"}),)
"""No other feature is needed."""

RULES = "DOMAIN-SUFFIX,inside.test,AUTO,INSPECT\n"
HOSTS = """
[dns.hosts]
"www.inside.test" = "127.0.0.1"
"other.inside.test" = "127.0.0.1"
"plain.test" = "127.0.0.1"
"""


PATIENCE_S = 30.0


class Inspecting(App):
    """An App that keeps what it would write, and has the test's addons."""

    def __init__(self, options: RunOptions, folder: Path) -> None:
        paths = Paths.locate(os.environ, config=options.config, state=options.state)
        self.folder = folder
        self.outcomes: list[Outcome] = []
        loaded = load(paths.config_to_read, env={}, flags=options.flags)
        super().__init__(Run(options, paths, loaded, INSPECTION, Ending(), Faults()))
        self._services.events.on(Ended, lambda ended: self.outcomes.append(ended.outcome))

    def add(
        self,
        name: str,
        *objects: object,
        options: Mapping[str, object] | None = None,
        hooks: Mapping[str, Callable[..., Any]] | None = None,
    ) -> AddonRunner:
        """Has an addon run, or takes the place of one of that name: with these objects, behind a guard, with what the
        user set for mitmproxy, and with hooks of Byway's own."""
        ours = {hook: (function,) for hook, function in (hooks or {}).items()}
        addon = Addon(name, Path(__file__), "", objects, ours, None, sys.modules[__name__], options or {})
        runner = AddonRunner(addon, TimeLimit(), self.addons.remove)
        self.addons.put(runner)
        return runner

    @property
    def addons(self) -> Addons:
        return self._known.addons

    @property
    def bridge(self) -> MitmInspector:
        made = self._serving.inspector.needed()
        assert isinstance(made, MitmInspector)
        return made

    @property
    def proxy(self) -> tuple[str, int]:
        return ("127.0.0.1", self._active.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._active.port}"

    @property
    def accepted(self) -> int:
        return self._server.accepted

    @property
    def carried(self) -> int:
        """Sessions, tunnels and inspected clients that are there."""
        inspected = self.engine.active if self.engine is not None else 0
        return self._services.pump.active + self._server.sessions + inspected

    @property
    def engine(self) -> Engine | None:
        return self.bridge._engine

    def ours(self) -> Path:
        """The authority's certificate, which a client has to trust. Made when it is not there yet."""
        folder = self._run.paths.ca_dir
        ca.open_authority(folder, now=self._services.now())
        return ca.certificate_file(folder)

    def trust(self, *, alpn: Sequence[str] = ()) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ours()))
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    async def curl(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[bytes]:
        """curl through this Byway, trusting its authority alone."""
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--proxy", self.url, "--cacert", str(self.ours())),
            *("--max-time", f"{timeout_s:g}"),
            *arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
        )
        out, err = await process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode or 0, out, err)


@asynccontextmanager
async def inspecting(
    folder: Path, authority: Authority, *, rules: str = RULES, config: str = "", hosts: str = HOSTS
) -> AsyncIterator[Inspecting]:
    """Listens on a free port; all of loopback is past the guard."""
    file = folder / "config" / "config.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f'config_version = 1\n{config}\n[auto]\ncontrols = []\n[dns]\nsecure = "never"\n{hosts}')
    file.with_name("rules.txt").write_text(rules)
    options = RunOptions(config=file, state=folder / "state", port=0, allow=("127.0.0.0/8:*",), quiet=True)
    private_folder(folder / "state")
    with mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(authority.write(folder)), "SSL_CERT_DIR": str(folder)}):
        tls._system_context.cache_clear()
        app = Inspecting(options, folder)
        try:
            await app.start()
            yield app
        finally:
            await app.close()
            tls._system_context.cache_clear()


class Origin(Protocol):
    """Serves connections, on the port that it is given."""

    port: int

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


AnOrigin = TypeVar("AnOrigin", bound=Origin)


@asynccontextmanager
async def listening(origin: AnOrigin, context: ssl.SSLContext | None) -> AsyncIterator[AnOrigin]:
    """An origin that serves TLS, or plain bytes, on a free port of loopback."""
    async with await asyncio.start_server(origin.serve, "127.0.0.1", 0, ssl=context) as server:
        origin.port = server.sockets[0].getsockname()[1]
        yield origin


@asynccontextmanager
async def tunnel(
    byway: Inspecting, port: int, alpn: Sequence[str] = (), *, tls: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """TLS inside a tunnel, with our own authority's certificate; or plain bytes."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(*byway.proxy, limit=1 << 20)
        try:
            where = f"www.inside.test:{port}"
            writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            if tls:
                await writer.start_tls(byway.trust(alpn=alpn), server_hostname="www.inside.test")
            yield reader, writer
        finally:
            writer.transport.abort()
