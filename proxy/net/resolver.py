"""Names to addresses, by the system's resolver.

getaddrinfo blocks, so each lookup has a daemon thread: a resolver that stays silent holds up neither the loop nor the
end of the program. At most 32 run at once; the rest wait in line, on the same deadline. Lookups of one name share one
query, and an answer is kept for half a minute, which is less than most caches on the way would.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

from proxy.errors import ConfigError, DialError
from proxy.model import UNKNOWN_NETWORK, IPAddress, NetworkId, Stage, Symptom

THREADS = 32
KEEP_S = 30.0
KEPT_NAMES = 1024
ADDRESSES = 16
"""Of one name, at most: nobody tries more before the deadline."""

Answer = tuple[IPAddress, ...] | DialError
Lookup = Callable[[str], list[IPAddress]]
Key = tuple[NetworkId, str]


def system_lookup(host: str) -> list[IPAddress]:
    """getaddrinfo, in its order, each address once; blocks. Raises OSError (gaierror) and UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found))


class Resolver:
    """Asks `[dns.hosts]` first, then the system. Belongs to one loop."""

    def __init__(
        self,
        hosts: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 10.0,
        keep_s: float = KEEP_S,
        lookup: Lookup = system_lookup,
        network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK,
    ) -> None:
        """`hosts` maps canonical names to addresses; an answer is kept for the `network` that gave it.

        Raises ConfigError when one is not an address."""
        self._hosts = {name: _configured(name, address) for name, address in (hosts or {}).items()}
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._lookup = lookup
        self._network = network
        self._kept: OrderedDict[Key, tuple[float, tuple[IPAddress, ...]]] = OrderedDict()  # → (until, addresses)
        self._asked: dict[str, asyncio.Future[Answer]] = {}
        self._waiting: deque[str] = deque()
        self._threads = 0

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """1 to 16 addresses in the system's order of preference.

        Raises DialError of stage RESOLVE: NO_NAME (it does not exist, or has no address), RESOLVE_FAILED (no answer),
        FORBIDDEN (a name that must not be asked for), LOCAL (out of descriptors or memory)."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if host == "onion" or host.endswith(".onion"):  # RFC 7686: never asked of the DNS
            raise _failed(f"{host} is reached through Tor only: no resolver is asked", Symptom.FORBIDDEN)
        now = asyncio.get_running_loop().time()
        kept = self._kept.get((self._network(), host))
        if kept is not None and kept[0] > now:
            return kept[1]
        answer = await self._ask(host)
        if isinstance(answer, DialError):
            raise DialError(str(answer), stage=answer.stage, symptom=answer.symptom)  # each caller its own traceback
        return answer

    async def _ask(self, host: str) -> Answer:
        future = self._asked.get(host)
        if future is None:
            future = self._asked[host] = asyncio.get_running_loop().create_future()
            self._waiting.append(host)
            self._start()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            return _failed(f"the resolver said nothing about {host} for {self._timeout_s:g} s", Symptom.RESOLVE_FAILED)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._threads < THREADS:
            host = self._waiting.popleft()
            thread = threading.Thread(target=self._run, args=(loop, host), name=f"resolve {host}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had
                self._settle(host, _failed(f"{host} cannot be looked up: {error}", Symptom.LOCAL))
            else:
                self._threads += 1

    def _run(self, loop: asyncio.AbstractEventLoop, host: str) -> None:
        """In a thread of its own."""
        answer = self._answer(host)
        with contextlib.suppress(RuntimeError):  # the loop ended while getaddrinfo was blocked
            loop.call_soon_threadsafe(self._ended, host, answer)

    def _answer(self, host: str) -> Answer:
        try:
            addresses = tuple(self._lookup(host)[:ADDRESSES])
        except (OSError, UnicodeError) as error:
            return _failed(f"{host} does not resolve: {_words(error)}", _symptom(error))
        except Exception as error:  # must be said, or all who wait for this name would wait in vain
            return _failed(f"{host} cannot be looked up: {error!r}", Symptom.LOCAL)
        return addresses or _failed(f"{host} has no address", Symptom.NO_NAME)

    def _ended(self, host: str, answer: Answer) -> None:
        self._threads -= 1
        self._settle(host, answer)
        self._start()

    def _settle(self, host: str, answer: Answer) -> None:
        if not isinstance(answer, DialError):
            self._keep(host, answer)
        future = self._asked.pop(host)
        if not future.done():
            future.set_result(answer)

    def _keep(self, host: str, addresses: tuple[IPAddress, ...]) -> None:
        key = (self._network(), host)
        self._kept[key] = (asyncio.get_running_loop().time() + self._keep_s, addresses)
        self._kept.move_to_end(key)
        if len(self._kept) > KEPT_NAMES:
            self._kept.popitem(last=False)


def _configured(name: str, address: str) -> tuple[IPAddress, ...]:
    try:
        return (ipaddress.ip_address(address),)
    except ValueError:
        raise ConfigError(f"[dns.hosts] {name}: {address!r} is not an address") from None


_NO_NAME = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")}
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def _symptom(error: OSError | UnicodeError) -> Symptom:
    if isinstance(error, UnicodeError):
        return Symptom.NO_NAME
    if isinstance(error, socket.gaierror):
        if error.errno in _NO_NAME:
            return Symptom.NO_NAME
        return Symptom.LOCAL if error.errno == socket.EAI_MEMORY else Symptom.RESOLVE_FAILED
    return Symptom.LOCAL if error.errno in _SHORTAGES else Symptom.RESOLVE_FAILED


def _words(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _failed(text: str, symptom: Symptom) -> DialError:
    return DialError(text, stage=Stage.RESOLVE, symptom=symptom)
