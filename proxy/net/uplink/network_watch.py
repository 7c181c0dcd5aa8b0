"""Notices that we have moved: another network, or an address of ours that is gone.

On Linux the kernel tells (rtnetlink), a tenth of a second later all is looked at again. Elsewhere a glance at the
address that packets would leave from is taken each second, and the rest is read, in a thread, when that changed or was
read long ago. What `current` says is kept, so that it costs a session nothing. The only thing ever sent is one empty
datagram to a router whose hardware address the kernel does not know yet, so that it asks for it: once for each network
that we come to.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from proxy.model import UNKNOWN_NETWORK, IPAddress, NetworkId
from proxy.net.deadline import deadline
from proxy.net.tasks import spawn
from proxy.net.uplink import netlink
from proxy.net.uplink.network_id import OUTSIDE, UplinkFacts, network_id, read_uplink

CACHE_S = 2.0
_SETTLE_S = 0.1
"""Changes come in bursts: a link, its addresses, its routes."""

_POLL_S = 1.0
_FULL_READ_EVERY = 30  # until everything is read again, where the kernel does not tell

_ROUTER_WAIT_S = 0.1
"""How long the start waits for a router to say its hardware address: one round trip on a link."""

_DISCARD = 9  # the discard port, RFC 863
_RECEIVE_SIZE = 256 * 1024


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """A change of the network, or of our addresses."""

    before: NetworkId
    after: NetworkId
    gone: frozenset[IPAddress] = frozenset()  # addresses that we have no more
    left: IPAddress | None = None  # our address, when it is the same on the network that we have come to

    @property
    def is_elsewhere(self) -> bool:
        """Whether this may be another network: of two that cannot be told apart, an address that changed tells."""
        return self.before != self.after or self.after == UNKNOWN_NETWORK

    def orphans(self, sock: socket.socket) -> bool:
        """Whether a connection cannot go on: its address is gone, or is another computer's on the network
        that we left, or its packets would now take a path whose NAT does not know it. While there is no path at all,
        the old one may yet come back."""
        ends = connection_ends(sock)
        if ends is None:
            return False
        local, remote = ends
        if local in self.gone or (local == self.left and not remote.is_loopback):
            return True
        if self.before == self.after:
            return False
        now_from = source_address_for(remote)
        return now_from is not None and now_from != local


class NetworkWatch:
    """Tells the current network; cheap to ask. Belongs to one loop once it was started."""

    def __init__(
        self,
        key: bytes,
        *,
        read: Callable[[], UplinkFacts | None] = read_uplink,
        own_addresses: Callable[[frozenset[IPAddress]], frozenset[IPAddress]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is this installation's own secret."""
        self._key = key
        self._read = read
        self._own_addresses = own_addresses or read_own_addresses
        self._clock = clock
        self._read_at = float("-inf")
        self._uplink: UplinkFacts | None = None
        self._home: UplinkFacts | None = None  # the last known one
        self._id = UNKNOWN_NETWORK
        self._addresses: frozenset[IPAddress] = frozenset()
        self._listeners: list[Callable[[NetworkChange], None]] = []
        self._kernel_events: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._last_sources: object = None
        self._polls_since_read = 0

    def current(self) -> NetworkId:
        """The network as of the last change that was noticed; until `start`, at most 2 s old."""
        if not self._started and self._clock() - self._read_at >= CACHE_S:
            self._apply(self._read(), self._addresses)
        return self._id

    def on_change(self, callback: Callable[[NetworkChange], None]) -> None:
        """`callback` is called in the loop each time that the network or our addresses have changed."""
        self._listeners.append(callback)

    async def start(self) -> None:
        """Watches from now on."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # no rtnetlink: glances
            self._kernel_events = netlink.open_event_socket()
        self._apply(self._read(), self._own_addresses(self._addresses))
        if self._uplink is not None and self._kernel_events is not None and self._router_unknown(self._uplink):
            await self._resolve_router(self._uplink)
        self._started = True
        if self._kernel_events is not None:
            loop.add_reader(self._kernel_events, self._on_kernel_event)
        else:
            self._timer = loop.call_later(_POLL_S, self._poll)

    def close(self) -> None:
        """Watches no more. Harmless when repeated, or never started."""
        if self._timer is not None:
            self._timer.cancel()
        if self._kernel_events is not None:
            asyncio.get_running_loop().remove_reader(self._kernel_events)
            self._kernel_events.close()
            self._kernel_events = None
        self._listeners.clear()
        self._started = False

    def read_now(self) -> None:
        """Reads the network again, as after a sleep. Without rtnetlink a thread does it, and takes a while."""
        if self._started and self._kernel_events is None:
            spawn(self._read_in_thread(), name="read the network")
        elif self._started:
            self._apply(self._read(), self._own_addresses(self._addresses))

    # -- where the kernel tells ------------------------------------------------------------------------------------

    def _on_kernel_event(self) -> None:
        """Takes in what the kernel has told, and looks soon."""
        assert self._kernel_events is not None
        matters = False
        try:
            while data := self._kernel_events.recv(_RECEIVE_SIZE):
                matters = matters or any(self._is_relevant(kind, body) for kind, _, body in netlink.messages(data))
        except BlockingIOError:
            pass
        except OSError:  # ENOBUFS: more than there was room for
            matters = True
        if matters and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._refresh)

    def _is_relevant(self, kind: int, body: bytes) -> bool:
        """Neighbours come and go all the time: only the router counts."""
        neighbour = netlink.neighbour_of_event(kind, body)
        if neighbour is None:
            return True
        return self._uplink is not None and self._uplink.gateway == _address_text(neighbour)

    def _refresh(self) -> None:
        self._timer = None
        self._apply(self._read(), self._own_addresses(self._addresses))

    def _router_unknown(self, uplink: UplinkFacts) -> bool:
        return uplink.router_is_discoverable and not uplink.hardware

    async def _resolve_router(self, uplink: UplinkFacts) -> None:
        """So that the first request is already on the network that the later ones will be on."""
        assert self._kernel_events is not None
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError), deadline(_ROUTER_WAIT_S):
            while self._uplink is not None and self._router_unknown(self._uplink):
                event = loop.create_future()
                loop.add_reader(self._kernel_events, event.set_result, None)
                try:
                    await event
                finally:
                    loop.remove_reader(self._kernel_events)
                with contextlib.suppress(OSError):
                    self._kernel_events.recv(_RECEIVE_SIZE)
                self._apply(self._read(), self._addresses)

    # -- where it does not -----------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_POLL_S, self._poll)
        sources = tuple(map(source_address_for, OUTSIDE))
        self._polls_since_read += 1
        if sources != self._last_sources or self._polls_since_read >= _FULL_READ_EVERY:
            self._last_sources, self._polls_since_read = sources, 0
            spawn(self._read_in_thread(), name="read the network")

    async def _read_in_thread(self) -> None:
        """Commands take a while."""
        uplink = await asyncio.to_thread(self._read)
        self._apply(uplink, self._own_addresses(self._addresses))

    # -- what came of it -------------------------------------------------------------------------------------------

    def _apply(self, uplink: UplinkFacts | None, addresses: frozenset[IPAddress]) -> None:
        before, before_uplink = self._id, self._uplink
        uplink = self._carry_over_hardware(uplink)
        self._read_at = self._clock()
        self._uplink = uplink
        self._id = network_id(uplink, self._key)
        gone, self._addresses = self._addresses - addresses, addresses
        left = self._enter(uplink) if uplink is not None and self._id != UNKNOWN_NETWORK else None
        if uplink is not None and self._router_unknown(uplink) and uplink != before_uplink:
            _trigger_neighbour_discovery(uplink)
        if (before != self._id or gone) and self._started:
            self._notify(NetworkChange(before, self._id, gone, left))

    def _enter(self, uplink: UplinkFacts) -> IPAddress | None:
        """Remembers where we are. Returns our address, when we had the same one on another network before."""
        home = self._home
        if home is not None and home.may_be_same_network(uplink):
            self._home = uplink if uplink.hardware else home  # its router may yet turn out to be another
            return None
        self._home = uplink
        return home.source if home is not None and home.source == uplink.source else None

    def _carry_over_hardware(self, uplink: UplinkFacts | None) -> UplinkFacts | None:
        """Returns `uplink` with the known hardware address: the kernel forgets that of an idle router."""
        known = self._uplink
        if uplink is None or uplink.hardware or known is None or not known.hardware:
            return uplink
        same = (known.index, known.gateway, known.prefix) == (uplink.index, uplink.gateway, uplink.prefix)
        return replace(uplink, hardware=known.hardware) if same else uplink

    def _notify(self, change: NetworkChange) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a fault in what follows a change of network", "exception": error}
                )


def connection_ends(sock: socket.socket) -> tuple[IPAddress, IPAddress] | None:
    """The local and the remote address of a connection; None when it has none (any more)."""
    try:
        local, remote = sock.getsockname()[0], sock.getpeername()[0]
        return ipaddress.ip_address(local), ipaddress.ip_address(remote)
    except (OSError, ValueError, IndexError):  # closed, reset, or a Unix socket
        return None


def source_address_for(address: IPAddress) -> IPAddress | None:
    """Our address that packets to `address` would leave from; None when there is no way. Nothing is sent: connecting a
    UDP socket only asks the routing table."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(address), _DISCARD))
        return ipaddress.ip_address(sock.getsockname()[0])
    return None


def read_own_addresses(known: frozenset[IPAddress]) -> frozenset[IPAddress]:
    """All addresses of this computer on Linux. Elsewhere those that packets to the internet leave from, and of those
    `known` the ones that are still ours."""
    try:
        with netlink.Netlink() as asked:
            return frozenset(own.interface.ip for own in asked.addresses())
    except OSError:  # not Linux, or a sandbox
        sources = frozenset(source for source in map(source_address_for, OUTSIDE) if source is not None)
        return sources | frozenset(filter(is_own_address, known))


def is_own_address(address: IPAddress) -> bool:
    """Whether a socket may have this address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
    except OSError:
        return False
    return True


def _trigger_neighbour_discovery(uplink: UplinkFacts) -> None:
    """Has the kernel find out the router's hardware address."""
    gateway = ipaddress.ip_address(uplink.gateway)
    family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)
        sock.setblocking(False)
        where = (str(gateway), _DISCARD) if gateway.version == 4 else (str(gateway), _DISCARD, 0, uplink.index)
        sock.sendto(b"", where)


def _address_text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else ""
