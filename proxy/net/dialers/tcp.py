"""Plain TCP to a destination: the direct route, and the path to each first relay.

A literal address costs one connect and no task. A name is resolved once, every address passes the guard, and exactly
those are dialed, so that a name cannot lead elsewhere between check and connect (DNS rebinding). With several addresses
the tries are staggered and the first to connect wins (Happy Eyeballs, RFC 8305); the other sockets are closed.
"""

from __future__ import annotations

import asyncio
import copy
import errno
import os
import socket
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Protocol

from proxy.model import NO_EVIDENCE, Destination, Evidence, IPAddress, Stage, Symptom, host_and_port
from proxy.model.errors import DialError
from proxy.net.notify import Notify
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream

GuardAddress = Callable[[Destination, IPAddress], str | None]
"""Returns why an address must not be dialed for a destination, as a sentence; None when it may."""

Choose = Callable[[Destination, Sequence[IPAddress]], Sequence[IPAddress]]
"""Returns which of the allowed addresses are dialed, in order; at least one. May raise DialError."""

STAGGER_S = 0.25
"""RFC 8305 section 8: the recommended Connection Attempt Delay."""


class AddressLookup(Protocol):
    """Resolves names for a dialer."""

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        """Returns the addresses of `host`, at least one. Raises DialError."""
        ...


class TcpDialer:
    """Dials destinations directly: sites, or relays, each under a guard of its own."""

    def __init__(
        self,
        poller: Poller,
        resolver: AddressLookup,
        guard_address: GuardAddress,
        *,
        connect_timeout_s: float = 10.0,
        stagger_s: float = STAGGER_S,
    ) -> None:
        self._poller = poller
        self._resolver = resolver
        self._guard_address = guard_address
        self._connect_timeout_s = connect_timeout_s
        self._stagger_s = stagger_s
        self._choose: Choose | None = None
        self._under_way: dict[Destination, _Connecting] = {}

    def choosing(self, choose: Choose) -> TcpDialer:
        """Returns a copy that asks `choose` which of the allowed addresses to dial."""
        dialer = copy.copy(self)
        dialer._choose = choose
        dialer._under_way = {}
        return dialer

    def addresses_being_tried(self, destination: Destination) -> str:
        """Returns the addresses, separated by spaces, that have not answered the latest dial under way, or have failed
        it; empty when no dial is under way."""
        connecting = self._under_way.get(destination)
        return "" if connecting is None else connecting.unanswered()

    def connecting_since(self, destination: Destination) -> float:
        """Returns the loop time at which the latest dial under way knew its addresses and began to connect; 0 before
        that."""
        connecting = self._under_way.get(destination)
        return 0.0 if connecting is None else connecting.began_at

    async def dial(self, destination: Destination) -> SocketStream:
        """See Dialer. The resolver bounds the time of the lookup, `connect_timeout_s` that of all connects together."""
        address = destination.address
        addresses = (address,) if address is not None else await self._resolver.resolve(destination.host)
        allowed = self._allowed(destination, addresses)
        if self._choose is not None:
            allowed = self._choose(destination, allowed)
        race = self._under_way[destination] = _Connecting(self._poller, destination, allowed)
        try:
            return await race.run(self._connect_timeout_s, self._stagger_s)
        finally:
            if self._under_way.get(destination) is race:
                del self._under_way[destination]

    def _allowed(self, destination: Destination, addresses: Sequence[IPAddress]) -> Sequence[IPAddress]:
        reason = ""
        allowed = []
        for address in addresses:
            refusal = self._guard_address(destination, address)
            if refusal is None:
                allowed.append(address)
            else:
                reason = reason or refusal
        if not allowed:
            raise DialError(reason, stage=Stage.CONNECT, symptom=Symptom.FORBIDDEN)
        return allowed if len(allowed) == 1 else interleaved(allowed)

    def __repr__(self) -> str:
        return "<TcpDialer>"


def interleaved(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """Returns IPv6 and IPv4 addresses in turn, IPv6 first, each family in its given order (RFC 8305 section 4)."""
    six = [address for address in addresses if address.version == 6]
    four = [address for address in addresses if address.version == 4]
    turns = chain.from_iterable(zip_longest(six, four))
    return [address for address in turns if address is not None]


class _Connecting:
    """Connects to one of several addresses. Driven by the poller's edges and one timer, with no task of its own."""

    __slots__ = ("_addresses", "_destination", "_failures", "_notify", "_poller", "_tries", "_winner", "began_at")

    def __init__(self, poller: Poller, destination: Destination, addresses: Sequence[IPAddress]) -> None:
        self._poller = poller
        self._destination = destination
        self._addresses = list(reversed(addresses))  # taken from the end
        self._tries: list[SocketStream] = []
        self._failures: list[tuple[Symptom, str, str]] = []  # symptom, sentence, address
        self._winner: SocketStream | None = None
        self._notify = Notify()
        self.began_at = asyncio.get_running_loop().time()

    async def run(self, timeout_s: float, stagger_s: float) -> SocketStream:
        try:
            self._start_next()
            if self._winner is None:
                await self._wait(timeout_s, stagger_s)
            if self._winner is None:
                raise self._combined_failure()
            return self._winner
        finally:
            for stream in self._tries:
                stream.notify = None
                if stream is not self._winner:
                    stream.close()

    async def _wait(self, timeout_s: float, stagger_s: float) -> None:
        """Waits until one try has won, all have failed, or `timeout_s` is over."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_s
        next_at = loop.time() + stagger_s
        while self._winner is None and (self._tries or self._addresses):
            now = loop.time()
            if now >= ends_at:
                waited = ", ".join(stream.peer for stream in self._tries)
                text = f"{waited} did not answer within {timeout_s:g} s"
                self._failures.append((Symptom.TIMEOUT, text, self._silent()))
                return
            if self._addresses and (not self._tries or now >= next_at):
                self._start_next()
                next_at = now + stagger_s
            else:
                await self._notify.wait((min(ends_at, next_at) if self._addresses else ends_at) - now)
                self._check_tries()

    def _start_next(self) -> None:
        address = self._addresses.pop()
        peer = str(Destination(str(address), self._destination.port))
        try:
            stream = _start(self._poller, address, self._destination.port, peer)
        except OSError as error:
            self._failed(peer, error)
            return
        stream.syn_at = asyncio.get_running_loop().time()
        stream.notify = self._notify.set  # registering makes an edge, also when it has connected already
        self._tries.append(stream)

    def _check_tries(self) -> None:
        """Finds a winner among the tries and drops those that have failed."""
        for stream in tuple(self._tries):
            try:
                if stream.is_connected():
                    self._winner = stream
                    return
            except OSError as error:
                self._tries.remove(stream)
                stream.close()
                self._failed(stream.peer, error, on_the_way=True)

    def _failed(self, peer: str, error: OSError, *, on_the_way: bool = False) -> None:
        text = f"{peer}: {error.strerror or error}"
        self._failures.append((symptom_of(error, on_the_way=on_the_way), text, host_and_port(peer)[0]))

    def _combined_failure(self) -> DialError:
        """Returns one error for all failures: with the most telling symptom, and the addresses that showed it. On a
        machine without IPv6 the failure of an IPv6 address is no evidence beside an IPv4 address that stays silent."""
        symptom = min((symptom for symptom, _, _ in self._failures), key=_MOST_TELLING_FIRST.index)
        text = "; ".join(text for _, text, _ in self._failures)
        if self._destination.address is None:  # a literal is named by its failure already
            text = f"{self._destination} cannot be reached: {text}"
        evidence: Evidence = {"addresses": self._addresses_with(symptom)} if symptom in _OF_THE_NETWORK else NO_EVIDENCE
        return DialError(text, stage=Stage.CONNECT, symptom=symptom, evidence=evidence)

    def unanswered(self) -> str:
        """Returns the addresses that are silent, and those that failed in a way that may be the network's doing."""
        return " ".join(filter(None, (*map(self._addresses_with, _OF_THE_NETWORK), self._silent())))

    def _addresses_with(self, symptom: Symptom) -> str:
        return " ".join(addresses for failed_with, _, addresses in self._failures if failed_with is symptom)

    def _silent(self) -> str:
        return " ".join(host_and_port(stream.peer)[0] for stream in self._tries)


def _start(poller: Poller, address: IPAddress, port: int, peer: str) -> SocketStream:
    """Starts a connect. Raises OSError when it fails at once."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a flight must not wait for an acknowledgement
        code = sock.connect_ex((str(address), port))  # a literal: Python asks no resolver, so this never blocks
        if code not in (0, errno.EINPROGRESS, errno.EINTR):
            raise OSError(code, os.strerror(code))
        return SocketStream(sock, poller, peer)
    except BaseException:
        sock.close()
        raise


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
    (ICMP), as for an address that a provider routes to nowhere; without a route of our own, connect() fails at once.
    Errors that are not listed are this computer's own (EMFILE, EADDRNOTAVAIL, ENOBUFS, EPERM of a local firewall), and
    no evidence."""
    if on_the_way and error.errno == errno.ENETUNREACH:
        return Symptom.UNREACHABLE
    return _SYMPTOMS.get(error.errno or 0, Symptom.LOCAL)
