"""The system's own resolver, for special names: getaddrinfo, which blocks.

Each lookup has its own daemon thread, so that a silent resolver delays neither the loop nor the end of the program. At
most 32 run at once; the rest queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable

from proxy.model import IPAddress, Symptom
from proxy.model.errors import DialError
from proxy.net.dns.stub_resolver import SHORTAGES, LookupResult, lookup_failed

THREADS = 32

Lookup = Callable[[str], list[IPAddress]]
SystemAnswer = LookupResult | DialError


def system_lookup(host: str) -> list[IPAddress]:
    """Returns the addresses of getaddrinfo, in its order, each once. Blocks. Raises OSError (gaierror) and
    UnicodeError."""
    results = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in results))


class GetaddrinfoThreads:
    """Looks names up in threads. Belongs to one loop."""

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._waiting: deque[tuple[str, asyncio.Future[SystemAnswer]]] = deque()
        self._running = 0

    async def ask(self, host: str) -> SystemAnswer:
        """Returns the system's answer, or a DialError of stage RESOLVE. The `ttl_s` is infinite, since getaddrinfo
        gives none. Takes as long as the system does."""
        future: asyncio.Future[SystemAnswer] = asyncio.get_running_loop().create_future()
        self._waiting.append((host, future))
        self._start()
        return await future

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._running < THREADS:
            host, future = self._waiting.popleft()
            thread = threading.Thread(target=self._run, args=(loop, host, future), name=f"resolve {host}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system grants no further thread
                future.set_result(lookup_failed(f"{host} cannot be looked up: {error}", Symptom.LOCAL))
            else:
                self._running += 1

    def _run(self, loop: asyncio.AbstractEventLoop, host: str, future: asyncio.Future[SystemAnswer]) -> None:
        """Runs in its own thread."""
        answer: SystemAnswer
        try:
            answer = LookupResult(tuple(self._lookup(host)), float("inf"), source="the system")
        except (OSError, UnicodeError) as error:
            answer = lookup_failed(f"{host} does not resolve: {error_text(error)}", _symptom(error))
        except Exception as error:  # a fault of ours is an answer, too: the callers must not wait for ever
            answer = lookup_failed(f"{host} cannot be looked up: {error!r}", Symptom.LOCAL)
        with contextlib.suppress(RuntimeError):  # the loop ended while getaddrinfo was blocked
            loop.call_soon_threadsafe(self._ended, future, answer)

    def _ended(self, future: asyncio.Future[SystemAnswer], answer: SystemAnswer) -> None:
        self._running -= 1
        if not future.done():
            future.set_result(answer)
        self._start()


_NO_NAME = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")}


def _symptom(error: OSError | UnicodeError) -> Symptom:
    if isinstance(error, UnicodeError):
        return Symptom.NO_NAME
    if isinstance(error, socket.gaierror):
        if error.errno in _NO_NAME:
            return Symptom.NO_NAME
        return Symptom.LOCAL if error.errno == socket.EAI_MEMORY else Symptom.RESOLVE_FAILED
    return Symptom.LOCAL if error.errno in SHORTAGES else Symptom.RESOLVE_FAILED


def error_text(error: OSError | UnicodeError) -> str:
    """Returns the text of an error, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
