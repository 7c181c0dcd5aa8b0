"""Accepts devices of the network, asks about each that is not admitted, and gives guests a session.

Nothing is read from a device, and nothing sent to it, before it is admitted. The hardware address behind a connection
is read from the kernel when it is accepted, and again when the user has answered, and on every change of a neighbour.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address

from proxy.features.lan.admission import Admission, Client
from proxy.features.lan.admission import Entry as Answer
from proxy.features.lan.interface import Interface
from proxy.model import host_and_port
from proxy.net.poller import Poller
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.session.events import Ended
from proxy.session.open_connections import Entry
from proxy.session.services import Services
from proxy.session.session import Session

log = logging.getLogger(__name__)

WAITING_CONNECTIONS_MAX = 4
"""Connections of one device that wait for the user's answer. A browser opens several at once."""

GUEST_CONNECTIONS_MAX = 128
CONNECTIONS_MAX = 512
"""Open connections of one guest, and of all devices. Each takes two descriptors, of which this computer's own programs
must find enough."""

_PAUSE_S = 0.1
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_NEIGHBOUR_TRIES = 3
_NEIGHBOUR_WAIT_S = 0.2

_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A phone that left the Wi-Fi says nothing: its connections end after two minutes."""

Neighbours = Callable[[], dict[IPv4Address, str]]


class Listener:
    """The listening socket, the devices and their connections. Belongs to one loop."""

    def __init__(
        self,
        sock: socket.socket,
        interface: Interface,
        admission: Admission,
        poller: Poller,
        *,
        neighbours: Neighbours,
        prepare: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes over `sock`, which listens. `neighbours` reads the devices behind the interface. `prepare` is awaited
        before a guest is served. `clock` is that of `admission`."""
        self._sock = sock
        self._interface = interface
        self.admission = admission
        self._poller = poller
        self._neighbours = neighbours
        self._prepare = prepare
        self._clock = clock
        self._services: Services
        self._waiters: dict[Client, list[asyncio.Future[None]]] = {}
        self._serving: dict[asyncio.Task[None], IPv4Address] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._logged_at = float("-inf")

    @property
    def port(self) -> int:
        """The port of the socket."""
        port: int = self._sock.getsockname()[1]
        return port

    def start(self, services: Services) -> None:
        """Accepts devices from now on. `services` are those of guests."""
        self._services = services
        self._accepting = spawn(self._accept(), name="accept devices of the network")
        self._accepting.add_done_callback(lambda _: self._sock.close())  # after the loop has let go of it

    def close(self) -> None:
        """Stops listening, and closes all connections."""
        if self._accepting is None:
            self._sock.close()
            return
        self._accepting.cancel()
        self.close_connections()

    def open_connections(self, address: IPv4Address) -> int:
        """Returns the number of open tunnels and requests of a guest."""
        return sum(_address_of(entry.open_connection.request.client) == address for entry in self._open)

    def close_connections(self, address: IPv4Address | None = None) -> None:
        """Closes the connections of a device, also those that wait; None: of all."""
        for entry in self._open:
            if address in (None, _address_of(entry.open_connection.request.client)):
                entry.close_for_user()
        for task, its in tuple(self._serving.items()):
            if address in (None, its):
                task.cancel()

    def close_displaced(self, known: dict[IPv4Address, str]) -> None:
        """Ends the admission of guests whose address another device has, by the neighbours, and their connections."""
        for client in self.admission.displaced(known):
            log.warning("Another device has taken %s: it is not admitted any more", client.address)
            self.close_connections(client.address)

    def on_answered(self) -> None:
        """The user has answered, or the time of a question is over: each waiting connection looks again."""
        for client, waiters in tuple(self._waiters.items()):
            if client not in self.admission.waiting:
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)

    def count(self, ended: Ended) -> None:
        """Adds a connection that has ended to the numbers of its guest."""
        outcome = ended.outcome
        guest = self.admission.guests.get(_address_of(outcome.request.client))
        if guest is not None:
            guest.visits += 1
            guest.bytes_up += outcome.bytes_up
            guest.bytes_down += outcome.bytes_down

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, (host, port) = await loop.sock_accept(self._sock)
            except OSError as error:
                if error.errno in _SHORTAGES:
                    self._log_shortage(error)
                    await asyncio.sleep(_PAUSE_S)
                continue  # the device left while it waited
            address, taken = IPv4Address(host), [sock]
            if not self._has_room(address):
                sock.close()
                continue
            task = spawn(self._serve(taken, address, port), name=f"device {host}:{port}")
            self._serving[task] = address
            task.add_done_callback(partial(self._served, taken))

    def _served(self, taken: list[socket.socket], task: asyncio.Task[None]) -> None:
        """Closes the socket, if no session has it: the device was refused, or the task never began."""
        del self._serving[task]
        for sock in taken:
            sock.close()

    def _has_room(self, address: IPv4Address) -> bool:
        """Whether one more connection of a device, and of all devices, is within the limits."""
        if len(self._serving) + len(self._services.open_connections.entries) >= CONNECTIONS_MAX:
            return False
        of_device = sum(its == address for its in self._serving.values()) + self.open_connections(address)
        return of_device < GUEST_CONNECTIONS_MAX

    async def _serve(self, taken: list[socket.socket], address: IPv4Address, port: int) -> None:
        """Serves a connection. `taken` has its socket, until a session has it."""
        try:
            client = await self._admitted(address)
            if client is None:
                return
            await self._prepare()
            if not self._is_guest(client):  # it took a while
                return
            sock = taken[0]
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in _KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            stream = SocketStream(taken.pop(), self._poller, f"{address}:{port}", connected=True)
        except OSError as error:
            log.debug("%s left: %s", address, error)
        else:
            await Session(stream, self._services, inspected=True).run()

    async def _admitted(self, address: IPv4Address) -> Client | None:
        """Returns the guest at an address, after the user has answered; None: it is not admitted."""
        if not self._interface.is_device(address):
            return None
        for _ in range(_NEIGHBOUR_TRIES):
            known = self._neighbours()
            if address in known:
                break
            await asyncio.sleep(_NEIGHBOUR_WAIT_S)
        self.close_displaced(known)
        client = Client(address, known.get(address, ""))
        answer = self.admission.knock(client, self._clock())
        if answer is Answer.WAITS:
            await self._answer_about(client)
        elif answer is Answer.REFUSED:
            return None
        return client if self._is_guest(client) else None

    async def _answer_about(self, client: Client) -> None:
        waiters = self._waiters.setdefault(client, [])
        if len(waiters) >= WAITING_CONNECTIONS_MAX:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            await waiter
        finally:
            waiters.remove(waiter)
            if not waiters:
                self._waiters.pop(client, None)

    def _is_guest(self, client: Client) -> bool:
        """Whether the client is a guest, and still the device that has its address."""
        known = self._neighbours()
        self.close_displaced(known)
        guest = self.admission.guests.get(client.address)
        return guest is not None and guest.client == client and known.get(client.address) == client.hardware

    @property
    def _open(self) -> list[Entry]:
        """The open tunnels and requests of all guests, also of those whose sessions have ended."""
        return [*self._services.open_connections.entries.values()]

    def _log_shortage(self, error: OSError) -> None:
        now = self._clock()
        if now >= self._logged_at + 1.0:
            self._logged_at = now
            log.warning("not accepting devices of the network: %s", error.strerror or error)


def _address_of(client: str) -> IPv4Address:
    return IPv4Address(host_and_port(client)[0])
