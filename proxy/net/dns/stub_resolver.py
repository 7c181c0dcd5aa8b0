"""A stub resolver: queries the machine's name servers over UDP, as the C library would (Linux).

It sees facts that getaddrinfo hides: how a server failed, the TTL of an answer, and a second, different answer to the
same query, as when an attacker on the path forges answers. It resolves ordinary names only; names that the machine's
files treat specially (search lists, /etc/hosts, other modules of nsswitch) are left to getaddrinfo. Without an IPv6
address on this machine, AAAA is queried only for a name without an A record, as with AI_ADDRCONFIG (RFC 3493 section
6.1). The sockets stay open for half a second after an answer. Each first visit needs a lookup, so it wakes its
coroutine only once, when all answers that it needs have come.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import math
import os
import secrets
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from proxy.config.file_watch import file_stamp
from proxy.model import NO_EVIDENCE, Evidence, IPAddress, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import POLLS, Deadline, poll_again
from proxy.net.loop.timers import Timer, call_at, cancel
from proxy.net.notify import Notify
from proxy.net.poller import READABLE, LoopPoller, Poller
from proxy.wire import dns
from proxy.wire.dns import Answer, Rcode, RecordType

RETRY_S = 0.5
"""Seconds after which a query goes to the next server too. glibc waits 5 s, and a user gives up before that. With 0.5 s
three queries are out before the race starts another route, so that lost packets are not taken for silence."""

SECOND_ANSWER_S = 0.5
"""Seconds of the wait for a second answer [a]: the honest one has the longer path."""

FAMILY_WAIT_S: Mapping[RecordType, float] = {RecordType.AAAA: 0.05, RecordType.A: 0.25}
"""Seconds of the wait for the other family once one has addresses (RFC 8305 section 3); longer for IPv4, which most
sites need."""

SERVERS = 3
"""The most servers in use, as in glibc (MAXNS)."""

QUESTIONS = 6
"""Queries for one name until it counts as unanswered. With 5 % packet loss each way, one name in 10,000 loses four in a
row."""

LISTENING_MAX = 64
"""Lookups that await a second answer at once; beyond that, a lookup ends with its first answer."""

_DATAGRAM = 4096
_DATAGRAMS = 16  # read from one socket in one turn: forgers send three
_FILE_LIMIT = 1024 * 1024
RECORD_TYPES = (RecordType.A, RecordType.AAAA)
_SPECIAL_OPTIONS = ("single-request", "single-request-reopen", "use-vc", "no-aaaa")
_PLAIN_MODULES = frozenset({"files", "dns", "resolve", "myhostname", "mymachines", "compat"})
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


@frozen_dataclass
class LookupResult:
    """The addresses of a name, or the reason why there are none."""

    addresses: tuple[IPAddress, ...] = ()
    ttl_s: float = 0.0
    code: Rcode | None = Rcode.OK  # None: no server answered
    source: str = ""  # the server that answered, or the last failure in a few words
    offline: bool = False  # this machine has no route to any server


def lookup_failed(text: str, symptom: Symptom, evidence: Evidence = NO_EVIDENCE) -> DialError:
    return DialError(text, stage=Stage.RESOLVE, symptom=symptom, evidence=evidence)


class LookupListener(Protocol):
    """Gets the results of one lookup. No method may raise."""

    @property
    def on_result(self) -> Callable[[LookupResult], Awaitable[None]]:
        """Called once within the lookup's timeout, and again when more addresses follow soon after."""

    def on_two_answers(self, first: Sequence[IPAddress], second: Sequence[IPAddress]) -> None:
        """Called when one query got two answers that have no address or prefix in common."""

    def may_ask_next(self) -> bool:
        """Whether a further server may get the query."""


@frozen_dataclass
class _Files:
    """The content of the files in /etc about name resolution."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    dots: int = 1
    hosts: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    is_special: bool = False  # they need something that only getaddrinfo does


class StubResolver:
    """Queries this machine's name servers. Belongs to one loop."""

    def __init__(
        self,
        *,
        poller: Poller | None = None,
        folder: Path = Path("/etc"),
        port: int = 53,
        retry_s: float = RETRY_S,
        second_answer_s: float = SECOND_ANSWER_S,
        is_shared: Callable[[str], bool] = lambda suffix: "." not in suffix,
        has_ipv6: Callable[[], bool] = lambda: True,
        files_every_s: float = 0.0,
    ) -> None:
        """Without `poller`, a LoopPoller is made. `folder` holds resolv.conf, nsswitch.conf and hosts, which are read
        again when they change; that is checked every `files_every_s` at most. `is_shared` says whether unrelated sites
        have their names below a suffix, as below `com`; `has_ipv6` whether this machine may reach IPv6 addresses."""
        self._poller = poller
        self._paths = tuple(str(folder / name) for name in ("resolv.conf", "nsswitch.conf", "hosts"))
        self._port = port
        self._retry_s = retry_s
        self._second_answer_s = second_answer_s
        self._is_shared = is_shared
        self._has_ipv6 = has_ipv6
        self._files_every_s = files_every_s
        self._look_at = -math.inf  # the time of the next check of the files, by the monotonic clock
        self._stamps: tuple[object, ...] = ()
        self._files = _Files(is_special=True)
        self._listening = 0

    def handles(self, host: str) -> bool:
        """Whether `host` is an ordinary name on this machine, so that this resolver may resolve it instead of
        getaddrinfo."""
        files = self._current()
        if files.is_special or host in files.hosts or host.count(".") < max(1, files.dots):
            return False
        return not host.endswith((".local", ".localhost"))

    @property
    def has_search(self) -> bool:
        """Whether a name that does not exist may exist under a suffix of the search list."""
        return bool(self._current().search)

    def is_searched(self, host: str) -> bool:
        """Whether `host` is below a suffix of the search list, and so belongs to the local network. A shared suffix
        does not count: otherwise a network could claim all of `com`."""
        name = f".{host}"
        return any(name.endswith(f".{suffix}") and not self._is_shared(suffix) for suffix in self._current().search)

    def in_hosts(self, host: str) -> tuple[IPAddress, ...]:
        return self._current().hosts.get(host, ())

    async def ask(self, host: str, timeout_s: float, listener: LookupListener) -> None:
        """Looks up `host`, which this resolver `handles`, and reports to `listener`. Returns after the wait for second
        answers. Raises OSError when this machine is out of descriptors or memory."""
        if self._poller is None:
            self._poller = LoopPoller(asyncio.get_running_loop())
        files = self._files if self._stamps else self._current()  # `handles` has just read them
        wanted = RECORD_TYPES if self._has_ipv6() else RECORD_TYPES[:1]
        lookup = _Lookup(host, wanted, files.servers, self._port, listener, self._poller)
        try:
            await listener.on_result(await lookup.run(timeout_s, self._retry_s))
            if self._listening < LISTENING_MAX:
                self._listening += 1
                try:
                    await lookup.listen(self._second_answer_s)
                finally:
                    self._listening -= 1
        finally:
            lookup.close()

    def _current(self) -> _Files:
        now = time.monotonic()
        if now < self._look_at:
            return self._files
        self._look_at = now + self._files_every_s
        stamps = tuple(map(file_stamp, self._paths))
        if stamps != self._stamps:
            self._files = _read(*map(Path, self._paths))
            self._stamps = stamps
        return self._files


class _Lookup:
    """Queries for one name, to one server after the other, for both address families at once."""

    def __init__(
        self,
        host: str,
        wanted: Sequence[RecordType],
        servers: Sequence[str],
        port: int,
        listener: LookupListener,
        poller: Poller,
    ) -> None:
        self._host = host
        self._wanted = wanted
        self._listener = listener
        self._servers = [*itertools.islice(itertools.cycle(servers), QUESTIONS)]  # not queried yet
        self._port = port
        self._poller = poller
        self._loop = asyncio.get_running_loop()
        self._notify = Notify()
        self._queries: list[_ServerQuery] = []
        self._answers: dict[RecordType, Answer] = {}
        self._failures: dict[RecordType, Answer] = {}  # SERVFAIL and the like: another server may know more
        self._source = "no name server answered"
        self._unrouted = 0  # servers to which this machine has no route
        self._settles_at = float("inf")
        self._settling: Timer | None = None  # fires at `_settles_at`

    async def run(self, timeout_s: float, retry_s: float) -> LookupResult:
        """Sends queries until there is an answer, no server is left, or `timeout_s` is over. Raises OSError when this
        machine is out of descriptors or memory."""
        now = self._loop.time()
        ends_at, next_at = now + timeout_s, 0.0
        while now < ends_at and now < self._settles_at and len(self._answers) < len(self._wanted):
            is_asking = True in [query.is_open for query in self._queries]
            if self._servers and (now >= next_at or not is_asking):
                if self._queries and not self._listener.may_ask_next():
                    self._servers.clear()
                    continue
                server, missing = self._servers.pop(0), [kind for kind in self._wanted if kind not in self._answers]
                try:
                    self._queries.append(_ServerQuery(self, self._poller, self._host, server, self._port, missing))
                except OSError as error:
                    if error.errno in SHORTAGES:
                        raise
                    self._unrouted += error.errno in (errno.ENETUNREACH, errno.ENETDOWN)
                    self._source = f"{server}: {error.strerror or error}"
                next_at = now + retry_s
                continue
            if not self._servers and not is_asking:
                break
            await self._notify.wait(min(ends_at, next_at) if self._servers else ends_at)
            if [query for query in self._queries if query.truncated]:
                await self._retry_truncated(ends_at)
            now = self._loop.time()
        if len(self._answers) < len(self._wanted):
            await poll_again()  # the deadline may have passed while the loop was blocked: an answer may be unread
        return self._result()

    async def listen(self, seconds: float) -> None:
        """Waits for later answers: the other family, and second answers."""
        ends_at = self._loop.time() + seconds
        count = len(self._answers)
        while self._loop.time() < ends_at:
            await self._notify.wait(ends_at)
            if len(self._answers) > count:
                count = len(self._answers)
                await self._listener.on_result(self._result())

    def close(self) -> None:
        self._notify.close()
        if self._settling is not None:
            cancel(self._settling)
        for query in self._queries:
            query.close()
        self._queries.clear()  # breaks a cycle, which would wait for the garbage collector

    def on_answer(self, query: _ServerQuery, kind: RecordType, answer: Answer) -> None:
        """Called by a query for its first answer of each type."""
        is_waited_for = False  # the lookup waits for more answers
        if answer.truncated:
            query.truncated.append(kind)
        elif answer.code.is_final:
            self._answers.setdefault(kind, answer)
            self._source = query.server
            if answer.code is Rcode.OK and not answer.addresses and self._wanted != RECORD_TYPES:
                self._wanted = RECORD_TYPES  # it may have only IPv6 addresses
                self._servers.insert(0, query.server)
            missing = [kind for kind in self._wanted if kind not in self._answers]
            if missing and (answer.addresses or answer.code is Rcode.NO_NAME):
                self._settles_at = self._loop.time() + FAMILY_WAIT_S[missing[0]]
                self._settling = call_at(self._settles_at, self._notify.set, passes=POLLS, instead_of=self._settling)
                is_waited_for = True
            elif self._settling is not None:
                cancel(self._settling)
        else:
            self._failures[kind] = answer
            self._source = query.server
        if len(query.answers) == len(query.kinds) and not query.truncated:
            query.is_open = False  # fully answered: the next server may get a query, while second answers may come
            is_waited_for = False
        if not is_waited_for:
            self._notify.set()

    def on_second_answer(self, first: Answer, second: Answer) -> None:
        """Called by a query for a further answer of a type that was answered before."""
        if first.truncated or second.truncated or (first.code, first.addresses) == (second.code, second.addresses):
            return
        if first.addresses and second.addresses and dns.related(first.addresses, second.addresses):
            return
        if first.addresses or second.addresses:
            self._listener.on_two_answers(first.addresses, second.addresses)

    def on_error(self, query: _ServerQuery, error: OSError) -> None:
        """Called by a query whose socket reports an error."""
        query.is_open = False
        self._source = f"{query.server}: {error.strerror or error}"
        self._notify.set()

    async def _retry_truncated(self, ends_at: float) -> None:
        """Sends queries again over TCP whose answer did not fit into a datagram (RFC 7766)."""
        for query in self._queries:
            while query.truncated and self._loop.time() < ends_at:
                kind = query.truncated.pop()
                try:
                    with Deadline(ends_at):
                        answer = await _ask_over_tcp(query.server, self._port, self._host, kind)
                except (OSError, PeerError, EOFError) as error:
                    self._source = f"{query.server} over TCP: {error}"
                    query.is_open = False
                else:
                    self.on_answer(query, kind, answer)

    def _result(self) -> LookupResult:
        answers = [self._answers[kind] for kind in self._wanted if kind in self._answers]
        addresses = tuple([address for answer in answers for address in answer.addresses])
        if addresses:
            ttl_s = min([answer.ttl_s for answer in answers if answer.addresses])
            return LookupResult(addresses, ttl_s, source=self._source)
        if len(answers) == len(self._wanted) or any(answer.code is Rcode.NO_NAME for answer in answers):
            is_missing = all(answer.code is Rcode.NO_NAME for answer in answers)
            return LookupResult(code=Rcode.NO_NAME if is_missing else Rcode.OK, source=self._source)
        failure = next(iter(self._failures.values()), None)
        offline = bool(self._unrouted) and not self._queries
        return LookupResult(code=failure.code if failure else None, source=self._source, offline=offline)


class _ServerQuery:
    """The queries for one name to one server, on their own socket. The socket is connected: the kernel chooses a random
    port and drops datagrams from other addresses."""

    def __init__(
        self, lookup: _Lookup, poller: Poller, host: str, server: str, port: int, kinds: Sequence[RecordType]
    ) -> None:
        """Raises OSError."""
        self.server = server
        self.is_open = True  # an answer is still to come
        self.truncated: list[RecordType] = []  # types whose answer did not fit into a datagram
        self.kinds = dict(zip(_numbers(len(kinds)), kinds, strict=True))  # by the ID of their query
        self.answers: dict[RecordType, Answer] = {}
        self._lookup = lookup
        self._poller = poller
        self._host = host
        self._sock = _connected(server, port)
        self.fileno = self._sock.fileno
        try:
            poller.register(self, writes=False)
            poller.at_pass_end(self._send)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._poller.close_socket(self._sock)

    def _send(self) -> None:
        """Sends the queries, at the end of a pass. After `close` nothing is sent: the socket has no descriptor."""
        try:
            for number, kind in self.kinds.items():
                self._sock.send(dns.query(self._host, kind, number=number))
        except OSError as error:
            self._lookup.on_error(self, error)

    def ready(self, mask: int) -> None:
        """Called by the poller: reads all datagrams that have come."""
        for _ in range(_DATAGRAMS):
            try:
                data = self._sock.recv(_DATAGRAM)
            except BlockingIOError:
                if not self._poller.edge_triggered:
                    self._poller.want_read(self)
                return
            except OSError as error:  # a connected UDP socket reports ICMP port unreachable
                if not self.is_open:
                    self._poller.want_read(self)
                    return
                self._lookup.on_error(self, error)
                continue  # a datagram may have come before the error
            number = int.from_bytes(data[:2], "big")
            if (kind := self.kinds.get(number)) is None:
                continue
            try:
                answer = dns.read_answer(data, self._host, kind, number=number)
            except PeerError:
                continue  # a bad forgery must not end the query (RFC 5452 section 9.1)
            if (first := self.answers.get(kind)) is not None:
                self._lookup.on_second_answer(first, answer)
            else:
                self.answers[kind] = answer
                self._lookup.on_answer(self, kind, answer)
        asyncio.get_running_loop().call_soon(self._read_on)  # after other callbacks

    def _read_on(self) -> None:
        if self._sock.fileno() >= 0:
            self.ready(READABLE)


def _numbers(count: int) -> tuple[int, ...]:
    """Returns `count` different random IDs, one for each query on a socket."""
    while True:
        numbers: tuple[int, ...] = struct.unpack(f"!{count}H", os.urandom(2 * count))
        if len(set(numbers)) == count:
            return numbers


def _connected(server: str, port: int) -> socket.SocketType:
    """Returns a connected UDP socket. Raises OSError."""
    # The index of a zone (fe80::1%eth0) changes when its interface comes back, so it is not cached.
    family, address = (_address_of.__wrapped__ if "%" in server else _address_of)(server, port)
    sock = socket.SocketType(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)  # without the wrapper in Python
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


@lru_cache(maxsize=2 * SERVERS)
def _address_of(server: str, port: int) -> tuple[int, Any]:
    """Returns the family and the address for `connect`. `server` is a literal, with a zone if it has one, so
    getaddrinfo sends no query. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(
        server, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    return int(family), address


async def _ask_over_tcp(server: str, port: int, host: str, kind: RecordType) -> Answer:
    """Sends one query over TCP, and returns its answer. Raises OSError, EOFError and PeerError."""
    number = secrets.randbelow(1 << 16)
    query = dns.query(host, kind, number=number)
    reader, writer = await asyncio.open_connection(server, port, flags=socket.AI_NUMERICHOST)
    try:
        writer.write(len(query).to_bytes(2, "big") + query)
        size = int.from_bytes(await reader.readexactly(2), "big")
        answer = dns.read_answer(await reader.readexactly(size), host, kind, number=number)
    finally:
        writer.transport.abort()
    if answer.truncated:
        raise PeerError("the answer is truncated")
    return answer


# -- the machine's files -----------------------------------------------------------------------------------------------


def _read(resolv: Path, nsswitch: Path, hosts: Path) -> _Files:
    servers: list[str] = []
    search: tuple[str, ...] = ()
    dots, is_special = 1, not _is_plain(_lines(nsswitch))
    for words in _lines(resolv):
        match words:
            case ["nameserver", server, *_]:
                servers.append(server)
            case ["search" | "domain", *suffixes]:
                search = tuple(suffix.strip(".").lower() for suffix in suffixes if suffix != ".")
            case ["options", *options]:
                dots = next((_dots(option) for option in options if option.startswith("ndots:")), dots)
                is_special = is_special or any(option in _SPECIAL_OPTIONS for option in options)
    return _Files(tuple(servers[:SERVERS]), search, dots, _hosts(hosts), is_special or not servers)


def _hosts(path: Path) -> dict[str, tuple[IPAddress, ...]]:
    addresses: dict[str, tuple[IPAddress, ...]] = {}
    for text, *aliases in _lines(path):
        with contextlib.suppress(ValueError):  # not an address: the C library ignores such a line too
            address = ipaddress.ip_address(text)
            for name in aliases:
                key = name.lower().removesuffix(".")
                addresses[key] = (*addresses.get(key, ()), address)
    return addresses


def _dots(option: str) -> int:
    number = option.removeprefix("ndots:")
    return int(number) if number.isdecimal() and len(number) < 4 else 1


def _is_plain(nsswitch: Sequence[Sequence[str]]) -> bool:
    """Whether nsswitch.conf names only modules for hosts that are handled here. Without the file, the C library reads
    the hosts file and then queries the DNS."""
    line = next((words[1:] for words in nsswitch if words[0] == "hosts:"), ["files", "dns"])
    modules = {word for word in line if not word.startswith("[") and not word.endswith("]")}
    are_plain = all(module in _PLAIN_MODULES or module.startswith("mdns") for module in modules)  # mdns: .local alone
    return are_plain and not modules.isdisjoint({"dns", "resolve"})


def _lines(path: Path) -> list[list[str]]:
    """Returns the words of each line that is not empty, without comments; an empty list when the file cannot be
    read."""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return []
    cut = (line.partition("#")[0].partition(";")[0].split() for line in text.splitlines())
    return [words for words in cut if words]
