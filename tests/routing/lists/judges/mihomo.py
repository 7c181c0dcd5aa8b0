"""mihomo as a judge of Clash rule providers.

It runs on loopback, with the list as a rule set whose hosts go to one proxy of ours and all others to another one. Each
question is a tunnel through it, which says at its other end which of the two it came to. Nothing is resolved and
nothing leaves: both proxies are ours, names are known to nobody, and only proxies are ever dialed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Literal

from proxy.model.connection import bracketed
from tests.support.programs import require
from tests.support.programs_running import free_port, running
from tests.support.waiting import until_read

_AT_ONCE = 50
_ANSWER_S = 60.0
"""An answer takes a millisecond; this is what a machine under load may take before it counts as failed."""


class Mihomo:
    """Judges lists of one behavior. `folder` is used for its files."""

    def __init__(
        self,
        folder: Path,
        *,
        behavior: Literal["domain", "ipcidr", "classical"],
        format: Literal["yaml", "text"],  # noqa: A002
    ) -> None:
        self._folder = folder
        self._behavior = behavior
        self._format = format

    def __call__(self, text: str, hosts: Collection[str]) -> dict[str, bool]:
        return asyncio.run(self._judge(text, list(hosts)))

    async def _judge(self, text: str, hosts: list[str]) -> dict[str, bool]:
        listed = await asyncio.start_server(_answering(b"L"), "127.0.0.1", 0)
        other = await asyncio.start_server(_answering(b"O"), "127.0.0.1", 0)
        at = {"listed": listed.sockets[0].getsockname()[1], "other": other.sockets[0].getsockname()[1]}
        port = free_port()
        self._folder.mkdir(exist_ok=True)
        (self._folder / "list.txt").write_text(text)
        (self._folder / "config.yaml").write_text(json.dumps(self._settings(port, at)))  # which is YAML
        async with listed, other, running(require("mihomo"), "-d", ".", port=port, folder=self._folder):
            await until_read(lambda: _answers(port))
            gate = asyncio.Semaphore(_AT_ONCE)
            answers = await asyncio.gather(*(_ask(port, host, gate) for host in hosts))
        return dict(zip(hosts, answers, strict=True))

    def _settings(self, port: int, at: dict[str, int]) -> dict[str, object]:
        provider = {"type": "file", "behavior": self._behavior, "format": self._format, "path": "./list.txt"}
        return {
            "mixed-port": port,
            "bind-address": "127.0.0.1",
            "allow-lan": False,
            "mode": "rule",
            "log-level": "warning",
            "ipv6": True,
            "find-process-mode": "off",
            "geo-auto-update": False,
            "profile": {"store-selected": False},
            # Should a rule ask for a name after all, every answer is that there is no such name.
            "dns": {"enable": True, "use-system-hosts": False, "nameserver": ["rcode://name_error"]},
            "proxies": [{"name": name, "type": "http", "server": "127.0.0.1", "port": at[name]} for name in at],
            "rule-providers": {"list": provider},
            "rules": ["RULE-SET,list,listed,no-resolve", "MATCH,other"],
        }


def _answering(answer: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await reader.readexactly(1)  # what comes with the head is lost in mihomo
            writer.write(answer)
            await writer.drain()
        writer.close()

    return serve


async def _answers(port: int) -> bool:
    """It listens before it has read its rules, and closes what comes then."""
    try:
        return await _ask(port, "first.test", asyncio.Semaphore()) in (True, False)
    except (asyncio.IncompleteReadError, ConnectionError):
        return False


async def _ask(port: int, host: str, gate: asyncio.Semaphore) -> bool:
    async with gate, asyncio.timeout(_ANSWER_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            name = f"{bracketed(host)}:443".encode()
            writer.write(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.partition(b"\r\n")[0], head
            writer.write(b"?")
            answer = await reader.readexactly(1)
    return {b"L": True, b"O": False}[answer]
