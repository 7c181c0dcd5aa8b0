"""The name servers of this machine, asked by ourselves over UDP as the C library would (Linux).

What getaddrinfo hides is seen here: how a server failed, how long an answer holds, and whether a second, different
answer to the same question follows the first, as it does where somebody on the way forges answers. Only plain names
are asked here; whatever the machine's files treat specially (search lists, /etc/hosts, other modules of nsswitch) is
left to getaddrinfo. The sockets stay open for half a second after an answer, within the same coroutine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proxy.config.file_watch import file_stamp
from proxy.model import IPAddress
from proxy.model.errors import PeerError
from proxy.net.deadline import Deadline, poll_again
from proxy.net.notify import Notify
from proxy.wire import dns
from proxy.wire.dns import Answer, Rcode, RecordType

RETRY_S = 0.5
"""After this time a question goes to the next server too: glibc waits 5 s, in which a user gives up. At 0.5 s three
are out before the race looks elsewhere, so that lost packets are not taken for silence."""

SECOND_ANSWER_S = 0.5
"""How long a second answer is listened for [a]: the honest one has the longer way."""

FAMILY_WAIT_S: Mapping[RecordType, float] = {RecordType.AAAA: 0.05, RecordType.A: 0.25}
"""How long the other family may be late once one has addresses: RFC 8305 section 3; IPv4 longer, as most need it."""

SERVERS = 3
"""glibc asks no more (MAXNS)."""

QUESTIONS = 6
"""Of one name, until it is called unanswered: of packets that are lost at 5 % each way, one in 10,000 names loses four
times."""

LISTENING_MAX = 64
"""Lookups that listen for a second answer at once; beyond, an answered one closes at once."""

_DATAGRAM = 4096
_DATAGRAMS = 16  # read from one socket in one turn: forgers send three
_FILE_LIMIT = 1024 * 1024
_RECORD_TYPES = (RecordType.A, RecordType.AAAA)
_SPECIAL_OPTIONS = ("single-request", "single-request-reopen", "use-vc", "no-aaaa")
_PLAIN_MODULES = frozenset({"files", "dns", "resolve", "myhostname", "mymachines", "compat"})


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What is known of a name: its addresses, or why there are none."""

    addresses: tuple[IPAddress, ...] = ()
    ttl_s: float = 0.0
    code: Rcode | None = Rcode.OK  # None: no server answered
    source: str = ""  # which server said so, or what went wrong, in a few words
    offline: bool = False  # this machine has no route to any server


@dataclass(frozen=True, slots=True)
class _Files:
    """What /etc says of resolving."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    dots: int = 1
    hosts: Mapping[str, tuple[IPAddress, ...]] = field(default_factory=dict)
    is_special: bool = False  # getaddrinfo would do something that we do not


class StubResolver:
    """Asks this machine's name servers. Belongs to one loop."""

    def __init__(
        self,
        *,
        folder: Path = Path("/etc"),
        port: int = 53,
        retry_s: float = RETRY_S,
        second_answer_s: float = SECOND_ANSWER_S,
        is_shared: Callable[[str], bool] = lambda suffix: "." not in suffix,
    ) -> None:
        """`folder` holds resolv.conf, nsswitch.conf and hosts, read again when they change. `is_shared` says that below
        a suffix unrelated sites have their names: `com`."""
        self._paths = tuple(folder / name for name in ("resolv.conf", "nsswitch.conf", "hosts"))
        self._port = port
        self._retry_s = retry_s
        self._second_answer_s = second_answer_s
        self._is_shared = is_shared
        self._marks: tuple[object, ...] = ()
        self._files = _Files(is_special=True)
        self._listening = 0

    def handles(self, host: str) -> bool:
        """Whether `host` is an ordinary name here, that we may ask for in getaddrinfo's place."""
        files = self._current()
        if files.is_special or host in files.hosts or host.count(".") < max(1, files.dots):
            return False
        return not host.endswith((".local", ".localhost"))

    @property
    def has_search(self) -> bool:
        """Whether a name that does not exist may exist under a suffix of the search list."""
        return bool(self._current().search)

    def is_searched(self, host: str) -> bool:
        """Whether `host` lies below a suffix of the search list, and so is the network's own. One that is shared makes
        nothing so: a network could claim all of `com`."""
        name = f".{host}"
        return any(name.endswith(f".{suffix}") and not self._is_shared(suffix) for suffix in self._current().search)

    def in_hosts(self, host: str) -> tuple[IPAddress, ...]:
        """What the user's own file of hosts says of it."""
        return self._current().hosts.get(host, ())

    async def ask(
        self,
        host: str,
        timeout_s: float,
        heard: Callable[[LookupResult], None],
        differs: Callable[[Sequence[IPAddress], Sequence[IPAddress]], None],
        *,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Calls `heard` once within `timeout_s`, and again when more comes soon after; `differs`, with both, when a
        question got two answers that have nothing in common. No further server is asked when `may_go_on` says no.
        Returns when nothing more is listened for."""
        asking = _Asking(host, self._current().servers, self._port, differs, may_go_on)
        try:
            heard(await asking.run(timeout_s, self._retry_s))
            if self._listening < LISTENING_MAX:
                self._listening += 1
                try:
                    await asking.listen(self._second_answer_s, heard)
                finally:
                    self._listening -= 1
        finally:
            asking.close()

    def _current(self) -> _Files:
        marks = tuple(map(file_stamp, self._paths))
        if marks != self._marks:
            self._files = _read(*self._paths)
            self._marks = marks
        return self._files


class _Asking:
    """One name asked of one server after the other, for both families at once."""

    def __init__(
        self,
        host: str,
        servers: Sequence[str],
        port: int,
        differs: Callable[[Sequence[IPAddress], Sequence[IPAddress]], None],
        may_go_on: Callable[[], bool],
    ) -> None:
        self._host = host
        self._may_go_on = may_go_on
        self._servers = [*itertools.islice(itertools.cycle(servers), QUESTIONS)]  # still to be asked
        self._port = port
        self._differs = differs
        self._loop = asyncio.get_running_loop()
        self._bell = Notify()
        self._channels: list[_Channel] = []
        self._answers: dict[RecordType, Answer] = {}
        self._failures: dict[RecordType, Answer] = {}  # SERVFAIL and the like: another server may know more
        self._said = "no name server answered"
        self._unrouted = 0  # servers to which this machine has no route
        self._settles_at = float("inf")

    async def run(self, timeout_s: float, retry_s: float) -> LookupResult:
        """Asks until there is an answer, or no server is left."""
        ends_at = self._loop.time() + timeout_s
        next_at = 0.0
        while not self._is_settled(now := self._loop.time()) and now < ends_at:
            if self._servers and (now >= next_at or not any(channel.is_open for channel in self._channels)):
                if self._channels and not self._may_go_on():
                    self._servers.clear()
                    continue
                self._ask_next(self._servers.pop(0))
                next_at = now + retry_s
                continue
            if not self._servers and not any(channel.is_open for channel in self._channels):
                break
            await self._bell.wait(min(ends_at, self._settles_at, next_at if self._servers else ends_at) - now)
            await self._over_tcp(ends_at)
        if len(self._answers) < len(
            _RECORD_TYPES
        ):  # the time is over, by a clock that may have run while the loop was blocked
            await poll_again()
        return self._found()

    async def listen(self, seconds: float, heard: Callable[[LookupResult], None]) -> None:
        """Stays for what comes later: the other family, and second answers."""
        ends_at = self._loop.time() + seconds
        known = len(self._answers)
        while (left := ends_at - self._loop.time()) > 0:
            await self._bell.wait(left)
            if len(self._answers) > known:
                known = len(self._answers)
                heard(self._found())

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def answered(self, channel: _Channel, kind: RecordType, answer: Answer) -> None:
        """Called by a channel for its first answer of each kind."""
        if answer.truncated:
            channel.cut.append(kind)
        elif answer.code.is_final:
            self._take(kind, answer, channel.server)
        else:
            self._failures[kind] = answer
            self._said = channel.server
        if all(kind in channel.heard for kind in channel.asked) and not channel.cut:
            channel.is_open = False  # it has said all it will: the next server may be asked, while we listen on
        self._bell.set()

    def answered_twice(self, first: Answer, second: Answer) -> None:
        """Called by a channel for another answer to a question that it has had answered."""
        if first.truncated or second.truncated or (first.code, first.addresses) == (second.code, second.addresses):
            return
        if first.addresses and second.addresses and dns.related(first.addresses, second.addresses):
            return
        if first.addresses or second.addresses:
            self._differs(first.addresses, second.addresses)

    def failed(self, channel: _Channel, error: OSError) -> None:
        channel.is_open = False
        self._said = f"{channel.server}: {error.strerror or error}"
        self._bell.set()

    def _take(self, kind: RecordType, answer: Answer, server: str) -> None:
        self._answers.setdefault(kind, answer)
        self._said = server
        missing = next((kind for kind in _RECORD_TYPES if kind not in self._answers), None)
        if missing is not None and (answer.addresses or answer.code is Rcode.NO_NAME):
            self._settles_at = self._loop.time() + FAMILY_WAIT_S[missing]

    def _is_settled(self, now: float) -> bool:
        return len(self._answers) == len(_RECORD_TYPES) or now >= self._settles_at

    def _ask_next(self, server: str) -> None:
        missing = [kind for kind in _RECORD_TYPES if kind not in self._answers]
        try:
            self._channels.append(_Channel(self, self._loop, self._host, server, self._port, missing))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                raise
            self._unrouted += error.errno in (errno.ENETUNREACH, errno.ENETDOWN)
            self._said = f"{server}: {error.strerror or error}"

    async def _over_tcp(self, ends_at: float) -> None:
        """What did not fit into a datagram (RFC 7766)."""
        for channel in self._channels:
            while channel.cut and self._loop.time() < ends_at:
                kind = channel.cut.pop()
                try:
                    with Deadline(ends_at):
                        answer = await _ask_over_tcp(channel.server, self._port, self._host, kind)
                except (OSError, PeerError, EOFError) as error:
                    self._said = f"{channel.server} over TCP: {error}"
                    channel.is_open = False
                else:
                    self.answered(channel, kind, answer)

    def _found(self) -> LookupResult:
        answers = [self._answers[kind] for kind in _RECORD_TYPES if kind in self._answers]
        addresses = tuple(address for answer in answers for address in answer.addresses)
        if addresses:
            ttl_s = min(answer.ttl_s for answer in answers if answer.addresses)
            return LookupResult(addresses, ttl_s, source=self._said)
        if len(answers) == len(_RECORD_TYPES) or any(answer.code is Rcode.NO_NAME for answer in answers):
            is_missing = all(answer.code is Rcode.NO_NAME for answer in answers)
            return LookupResult(code=Rcode.NO_NAME if is_missing else Rcode.OK, source=self._said)
        failure = next(iter(self._failures.values()), None)
        offline = bool(self._unrouted) and not self._channels
        return LookupResult(code=failure.code if failure else None, source=self._said, offline=offline)


class _Channel:
    """One socket to one server, with the questions that it was asked. The kernel chooses its port, at random, and
    drops what comes from elsewhere."""

    def __init__(
        self,
        asking: _Asking,
        loop: asyncio.AbstractEventLoop,
        host: str,
        server: str,
        port: int,
        kinds: Sequence[RecordType],
    ) -> None:
        """Raises OSError."""
        self.server = server
        self.is_open = True  # an answer is still to come
        self.cut: list[RecordType] = []  # answers that did not fit
        self._asking = asking
        self._loop = loop
        self._host = host
        self.asked = dict(zip(kinds, _numbers(len(kinds)), strict=True))
        self.heard: dict[RecordType, Answer] = {}
        self._sock = _connected(server, port)
        try:
            loop.add_reader(self._sock.fileno(), self._readable)
            for kind, number in self.asked.items():
                self._sock.send(dns.query(host, kind, number=number))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()

    def _readable(self) -> None:
        for _ in range(_DATAGRAMS):
            try:
                data = self._sock.recv(_DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:  # ICMP: port unreachable
                self._asking.failed(self, error)
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        """What cannot be read is passed over: who forges badly must not end the question (RFC 5452 section 9.1)."""
        for kind, number in self.asked.items():
            if data[:2] == number.to_bytes(2, "big"):
                with contextlib.suppress(PeerError):
                    self._answered(kind, dns.read_answer(data, self._host, kind, number=number))
                return

    def _answered(self, kind: RecordType, answer: Answer) -> None:
        if (first := self.heard.get(kind)) is not None:
            self._asking.answered_twice(first, answer)
            return
        self.heard[kind] = answer
        self._asking.answered(self, kind, answer)


def _numbers(count: int) -> list[int]:
    """Different ones: questions on one socket are told apart by them."""
    numbers: list[int] = []
    while len(numbers) < count:
        if (number := secrets.randbelow(1 << 16)) not in numbers:
            numbers.append(number)
    return numbers


def _connected(server: str, port: int) -> socket.socket:
    """A literal, with its zone where it has one, asks no resolver. Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        server, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _ask_over_tcp(server: str, port: int, host: str, kind: RecordType) -> Answer:
    """Raises OSError, EOFError and PeerError."""
    number = secrets.randbelow(1 << 16)
    question = dns.query(host, kind, number=number)
    reader, writer = await asyncio.open_connection(server, port, flags=socket.AI_NUMERICHOST)
    try:
        writer.write(len(question).to_bytes(2, "big") + question)
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
    dots, is_special = 1, not _asks_plainly(_lines(nsswitch))
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
    found: dict[str, tuple[IPAddress, ...]] = {}
    for text, *aliases in _lines(path):
        with contextlib.suppress(ValueError):  # no address: the C library passes over such a line too
            address = ipaddress.ip_address(text)
            for name in aliases:
                key = name.lower().removesuffix(".")
                found[key] = (*found.get(key, ()), address)
    return found


def _dots(option: str) -> int:
    number = option.removeprefix("ndots:")
    return int(number) if number.isdecimal() and len(number) < 4 else 1


def _asks_plainly(nsswitch: Sequence[Sequence[str]]) -> bool:
    """Whether all that nsswitch.conf lets answer for hosts is known here; without the file, files and then DNS."""
    line = next((words[1:] for words in nsswitch if words[0] == "hosts:"), ["files", "dns"])
    modules = {word for word in line if not word.startswith("[") and not word.endswith("]")}
    known = all(module in _PLAIN_MODULES or module.startswith("mdns") for module in modules)  # mdns: .local alone
    return known and not modules.isdisjoint({"dns", "resolve"})


def _lines(path: Path) -> list[list[str]]:
    """The words of each line that has any, without comments. Nothing, when the file cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(_FILE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return []
    cut = (line.partition("#")[0].partition(";")[0].split() for line in text.splitlines())
    return [words for words in cut if words]
