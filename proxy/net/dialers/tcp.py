"""Plain TCP to a destination: the direct route, and the path to each first relay.

A dial needs no task, unless the lookup of the name does. A name is resolved once, every address passes the guard, and
exactly those are dialed, so that a name cannot lead elsewhere between check and connect (DNS rebinding). With several
addresses the tries are staggered and the first to connect wins (Happy Eyeballs, RFC 8305); the other sockets are
closed.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import ipaddress
import math
import os
import socket
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple, Protocol

from proxy.model import NO_EVIDENCE, Destination, Evidence, IPAddress, Stage, Symptom, host_and_port
from proxy.model.bounded import Bounded
from proxy.model.errors import DialError
from proxy.net.dialers.dialer import Dialer
from proxy.net.notify import Notify
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn

GuardAddress = Callable[[Destination, IPAddress], str | None]
"""Returns the reason why an address must not be dialed for a destination, as a sentence; None when it may."""

Choose = Callable[[Destination, Sequence[IPAddress]], Sequence[IPAddress]]
"""Returns the addresses to dial, of those that are allowed, in order; at least one. May raise DialError."""

STAGGER_S = 0.25
"""RFC 8305 section 8: the recommended Connection Attempt Delay."""


class PendingAddresses(Protocol):
    """A lookup that has begun. The caller that began it closes it."""

    def poll(self) -> Sequence[IPAddress] | None:
        """Returns the addresses, at least one; None while they are not known. Raises DialError."""

    def close(self) -> None:
        """Ends the wait. Harmless when repeated."""


class AddressLookup(Protocol):
    """Resolves names for a dialer. A class that derives from it needs only `resolve`."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        """Returns the addresses of `host`, at least one. Raises DialError."""

    def cached(self, host: str) -> tuple[IPAddress, ...] | None:
        """Returns the addresses that `resolve` would return now without a query; None: it would send one."""
        return None

    def begin(self, host: str, notify: Callable[[], None]) -> PendingAddresses:
        """Starts a lookup of `host`. `notify` is called when its `poll` has a result. Raises DialError."""
        return _LookupTask(self, host, notify)


class Target(NamedTuple):
    """An address that the guard allows, ready for connect()."""

    family: socket.AddressFamily
    address: tuple[str, int]
    peer: str  # "address:port"
    is_here: bool  # on this computer


_TARGETS_KEPT = 4096


class DirectDialer(Dialer, Protocol):
    """A dialer that connects to destinations directly: see TcpDialer."""

    def choosing(self, choose: Choose) -> Dialer: ...
    def begin(self, destination: Destination, notify: Notify) -> Connecting: ...


class TcpDialer:
    """Dials destinations directly: sites, or relays. Each kind has its own guard."""

    def __init__(
        self,
        poller: Poller,
        resolver: AddressLookup,
        guard_address: GuardAddress,
        *,
        connect_timeout_s: float = 10.0,
        stagger_s: float = STAGGER_S,
        speaks_at_once: bool = False,
    ) -> None:
        """`speaks_at_once`: the owner sends the first bytes as soon as a stream has connected, as to a relay. On this
        computer they are then joined with the last packet of the TCP handshake, so that the other side wakes once and
        not twice."""
        self.poller = poller
        self._cached, self._look_up = resolver.cached, resolver.begin
        self._guard_address = guard_address
        self.connect_timeout_s = connect_timeout_s
        self.stagger_s = stagger_s
        self.speaks_at_once = speaks_at_once and hasattr(socket, "TCP_QUICKACK")  # Linux
        self._choose: Choose | None = None
        self._allowed: Bounded[tuple[str, int], tuple[Sequence[IPAddress], list[Target]]] = Bounded(_TARGETS_KEPT)

    def choosing(self, choose: Choose) -> TcpDialer:
        """Returns a copy that dials the addresses that `choose` returns."""
        dialer = copy.copy(self)
        dialer._choose = choose
        dialer._allowed = Bounded(_TARGETS_KEPT)
        return dialer

    def guarded_by(self, guard_address: GuardAddress) -> TcpDialer:
        """Returns a copy that dials the addresses that `guard_address` allows. It is called for every dial."""
        dialer = self.choosing(lambda _destination, addresses: addresses)
        dialer._guard_address = guard_address
        return dialer

    async def dial(self, destination: Destination) -> SocketStream:
        """See Dialer. The resolver bounds the time of the lookup, `connect_timeout_s` that of all connects together."""
        notify = Notify()
        connecting = self.begin(destination, notify)
        try:
            while (stream := connecting.poll()) is None:
                await notify.wait(connecting.next_check_at)
            return stream
        except BaseException:
            connecting.close()
            raise
        finally:
            notify.close()

    def begin(self, destination: Destination, notify: Notify) -> Connecting:
        """Starts to connect, or to look up the name before that. `notify` is set whenever `Connecting.poll` may return
        more than before. Raises DialError, also when the addresses are known already and the guard allows none."""
        address = destination.address
        addresses: Sequence[IPAddress] | None = self._cached(destination.host) if address is None else (address,)
        lookup: PendingAddresses | None = None
        if addresses is None:
            lookup = self._look_up(destination.host, notify.set)
            if (addresses := lookup.poll()) is not None:  # from the hosts file, say: `notify` is not called then
                lookup.close()
                lookup = None
        targets: list[Target] = []
        if addresses is not None:
            allowed = self._allowed.get((destination.host, destination.port))
            if allowed is not None and allowed[0] == addresses:
                targets = allowed[1]
            else:
                targets = self.targets(destination, addresses)
                # The guard's answer about other private addresses changes as this computer travels.
                if self._choose is None and False not in [each.is_global or each.is_loopback for each in addresses]:
                    self._allowed[destination.host, destination.port] = (addresses, targets)
        return Connecting(self, destination, notify, targets, lookup)

    def targets(self, destination: Destination, addresses: Sequence[IPAddress]) -> list[Target]:
        """Returns the targets to connect to, in order, among the `addresses` of `destination`. Raises DialError when
        the guard allows none of them."""
        reason = ""
        permitted = []
        for address in addresses:
            refusal = self._guard_address(destination, address)
            if refusal is None:
                permitted.append(address)
            else:
                reason = reason or refusal
        if not permitted:
            raise DialError(reason, stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)
        ordered: Sequence[IPAddress] = permitted if len(permitted) == 1 else interleaved(permitted)
        if self._choose is not None:
            ordered = self._choose(destination, ordered)
        return [_target(address, destination.port) for address in ordered]

    def __repr__(self) -> str:
        return "<TcpDialer>"


def interleaved(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """Returns IPv6 and IPv4 addresses in turn, IPv6 first, each family in its given order (RFC 8305 section 4)."""
    six = [address for address in addresses if address.version == 6]
    four = [address for address in addresses if address.version == 4]
    turns = chain.from_iterable(zip_longest(six, four))
    return [address for address in turns if address is not None]


class Connecting:
    """Connects to one of several addresses. It has no task and no timer: its owner calls `poll` when notified and at
    `next_check_at`, and in the end `close`."""

    __slots__ = (
        "_destination", "_dialer", "_ends_at", "_failures", "_left", "_lookup", "_next_at", "_notify", "_tries",
        "began_at", "is_through", "next_check_at",
    )  # fmt: skip

    def __init__(
        self,
        dialer: TcpDialer,
        destination: Destination,
        notify: Notify,
        targets: list[Target],
        lookup: PendingAddresses | None = None,
    ) -> None:
        """With a `lookup`, `targets` is empty: they are known when it has ended."""
        now = asyncio.get_running_loop().time()
        self._dialer = dialer
        self._destination = destination
        self._notify = notify
        self._lookup = lookup
        self._left = targets[::-1]  # taken from the end
        self._tries: list[SocketStream] = []
        self._failures: list[tuple[Symptom, str, str]] = []  # symptom, sentence, address
        self._next_at = now
        self._ends_at = now + dialer.connect_timeout_s
        self.began_at = now if lookup is None else 0.0
        """The loop time at which it began to connect; 0 while the name is looked up."""
        self.next_check_at = math.inf
        """The loop time at which time alone may change the result of `poll`."""
        self.is_through = False
        """A try has connected at once, as to this computer: `poll` returns it."""
        if lookup is None:
            self._start_next(now)

    def poll(self) -> SocketStream | None:
        """Returns the stream that has connected, and closes the others; the caller owns it from now on. Returns None
        while there is none. Closes itself and raises DialError when all tries have failed, or the time is over."""
        if self._lookup is not None:
            try:
                if (addresses := self._lookup.poll()) is None:
                    return None
                self._left = self._dialer.targets(self._destination, addresses)[::-1]
            except DialError:
                self.close()
                raise
            self._lookup.close()
            self._lookup = None
            self.began_at = self._next_at = asyncio.get_running_loop().time()
            self._ends_at = self.began_at + self._dialer.connect_timeout_s
        for stream in tuple(self._tries):
            try:
                if stream.is_connected():
                    self._tries.remove(stream)
                    stream.notify = None
                    self.close()
                    return stream
            except OSError as error:
                self._tries.remove(stream)
                stream.close()
                self._failed(stream.peer, error, on_the_way=True)
        while True:
            now = asyncio.get_running_loop().time()
            is_over = now >= self._ends_at and bool(self._tries or self._left)
            if is_over:
                waited = ", ".join(stream.peer for stream in self._tries)
                text = f"{waited} did not answer within {self._dialer.connect_timeout_s:g} s"
                self._failures.append((Symptom.TIMEOUT, text, self._silent()))
            if is_over or not (self._tries or self._left):
                failure = self._combined_failure()
                self.close()
                raise failure
            if not self._left or (self._tries and now < self._next_at):
                return None
            self._start_next(now)
            if self.is_through:
                return self.poll()

    def close(self) -> None:
        """Closes every try, and ends the lookup. Harmless when repeated."""
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None
        for stream in self._tries:
            stream.notify = None
            stream.close()
        self._tries = []

    def _start_next(self, now: float) -> None:
        target = self._left.pop()
        self._next_at = now + self._dialer.stagger_s
        try:
            sock = socket.SocketType(target.family, _STREAM)
            try:
                if not _IS_BORN_NON_BLOCKING:
                    sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a flight waits for no acknowledgement
                if target.is_here and self._dialer.speaks_at_once:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
                code = sock.connect_ex(target.address)  # a literal: Python asks no resolver, so this never blocks
                if code == errno.EINPROGRESS and target.is_here:  # the answer may have come by now: call it again
                    code = sock.connect_ex(target.address)
                if code not in _UNDER_WAY:
                    raise OSError(code, os.strerror(code))
                is_through = code in (0, errno.EISCONN)
                stream = SocketStream(sock, self._dialer.poller, target.peer, connected=is_through)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            self._failed(target.peer, error)
        else:
            stream.syn_at = now
            stream.drained = stream.poller.edge_triggered  # registering makes an edge for bytes that are there already
            stream.notify = self._notify.set
            self._tries.append(stream)
            self.is_through = is_through
        if not self._tries:
            self.next_check_at = 0.0
        else:
            self.next_check_at = min(self._ends_at, self._next_at) if self._left else self._ends_at

    def _failed(self, peer: str, error: OSError, *, on_the_way: bool = False) -> None:
        text = f"{peer}: {error.strerror or error}"
        self._failures.append((symptom_of(error, on_the_way=on_the_way), text, host_and_port(peer)[0]))

    def _combined_failure(self) -> DialError:
        """Returns one error for all failures, with the most telling symptom and the addresses that showed it. On a
        computer without IPv6, the failure of an IPv6 address is no evidence beside a silent IPv4 address."""
        symptom = min((symptom for symptom, _, _ in self._failures), key=_MOST_TELLING_FIRST.index)
        text = "; ".join(text for _, text, _ in self._failures)
        if self._destination.address is None:  # a literal is named by its failure already
            text = f"{self._destination} cannot be reached: {text}"
        evidence: Evidence = {"addresses": self._addresses_with(symptom)} if symptom in _OF_THE_NETWORK else NO_EVIDENCE
        return DialError(text, stage=Stage.CONNECT, symptom=symptom, evidence=evidence)

    def unanswered(self) -> str:
        """Returns the silent addresses, and those that failed in a way that the network may cause, separated by spaces;
        empty before the lookup has ended."""
        return " ".join(filter(None, (*map(self._addresses_with, _OF_THE_NETWORK), self._silent())))

    def _addresses_with(self, symptom: Symptom) -> str:
        return " ".join(addresses for failed_with, _, addresses in self._failures if failed_with is symptom)

    def _silent(self) -> str:
        return " ".join(host_and_port(stream.peer)[0] for stream in self._tries)


_UNDER_WAY = (0, errno.EINPROGRESS, errno.EINTR, errno.EALREADY, errno.EISCONN)
_IS_BORN_NON_BLOCKING = hasattr(socket, "SOCK_NONBLOCK")  # Linux; this saves a system call
_STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)


def _target(address: IPAddress, port: int) -> Target:
    text = str(address)
    if isinstance(address, ipaddress.IPv4Address):
        return Target(socket.AF_INET, (text, port), f"{text}:{port}", address.is_loopback)
    return Target(socket.AF_INET6, (text, port), f"[{text}]:{port}", address.is_loopback)


class _LookupTask:
    """A lookup that needs a task: see PendingAddresses."""

    __slots__ = ("_failure", "_task")

    def __init__(self, lookup: AddressLookup, host: str, notify: Callable[[], None]) -> None:
        self._failure: DialError | None = None
        self._task = spawn(self._run(lookup, host), name=f"look up {host}", on_end=notify, eager=True)

    async def _run(self, lookup: AddressLookup, host: str) -> Sequence[IPAddress]:
        try:
            return await lookup.resolve(host)
        except DialError as error:
            self._failure = error
            return ()

    def poll(self) -> Sequence[IPAddress] | None:
        if self._failure is not None:
            raise self._failure
        return self._task.result() if self._task.done() else None

    def close(self) -> None:
        self._task.cancel()


_MOST_TELLING_FIRST = (
    Symptom.LOCAL,  # our own shortage explains every failure, and is no evidence
    Symptom.REFUSED,  # a host that answers is weaker evidence than one that does not: in doubt, the weaker
    Symptom.TIMEOUT,
    Symptom.UNREACHABLE,
    Symptom.OFFLINE,  # often of one family only: a machine without IPv6
)

_OF_THE_NETWORK = (Symptom.REFUSED, Symptom.TIMEOUT, Symptom.UNREACHABLE)

_SYMPTOMS = {
    errno.ECONNREFUSED: Symptom.REFUSED,
    errno.ECONNRESET: Symptom.REFUSED,
    errno.ECONNABORTED: Symptom.REFUSED,
    errno.EPIPE: Symptom.REFUSED,
    errno.EHOSTUNREACH: Symptom.UNREACHABLE,
    errno.EHOSTDOWN: Symptom.UNREACHABLE,
    errno.ENETUNREACH: Symptom.OFFLINE,
    errno.ENETDOWN: Symptom.OFFLINE,
    errno.ETIMEDOUT: Symptom.TIMEOUT,
}


def symptom_of(error: OSError, *, on_the_way: bool = False) -> Symptom:
    """Returns the symptom of a failed connect. `on_the_way`: the SYN had gone out, so ENETUNREACH came from a router
    (ICMP), as for an address that a provider routes to nowhere. If this computer has no route, connect() fails at once.
    Errors that are not listed are this computer's own (EMFILE, EADDRNOTAVAIL, ENOBUFS, EPERM of a local firewall), and
    are no evidence."""
    if on_the_way and error.errno == errno.ENETUNREACH:
        return Symptom.UNREACHABLE
    return _SYMPTOMS.get(error.errno or 0, Symptom.LOCAL)
