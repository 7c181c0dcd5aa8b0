"""Notices changes of the network, and addresses that this computer has lost.

On Linux the kernel reports changes (rtnetlink), and all facts are read again 0.1 s later. Elsewhere the source address
of outgoing packets is polled each second, and the rest is read in a thread when it changed, and every 30 s. `current`
returns a stored value, so that it costs a session nothing. The only packet from here is an empty datagram to a router
whose hardware address the kernel does not know, so that the kernel asks for it: once for each new network.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from proxy.model import UNKNOWN_NETWORK, IPAddress, NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.tasks import spawn
from proxy.net.uplink import netlink
from proxy.net.uplink.network_id import OUTSIDE, UplinkFacts, network_id, read_uplink

CACHE_S = 2.0
_SETTLE_S = 0.1
"""Seconds from a report to the reading: changes come in bursts of a link, its addresses and its routes."""

_POLL_S = 1.0
_FULL_READ_EVERY = 30  # polls

_ROUTER_WAIT_S = 0.1
"""Seconds for which the start waits for the router's hardware address: one ARP round trip on the link."""

_DISCARD = 9  # the discard port, RFC 863
_RECEIVE_SIZE = 256 * 1024


@frozen_dataclass
class NetworkChange:
    """A change of the network, or of our addresses."""

    before: NetworkId
    after: NetworkId
    lost_addresses: frozenset[IPAddress] = frozenset()  # addresses that were ours, and are not any more
    reused_address: IPAddress | None = None  # our address, if it is the same on both networks

    @property
    def is_elsewhere(self) -> bool:
        """Whether this may be another network. Unknown networks look alike, so any change to one counts."""
        return self.before != self.after or self.after == UNKNOWN_NETWORK

    def orphans(self, sock: socket.SocketType) -> bool:
        """Whether a connection cannot go on: its local address was lost, or is now ours on another network, or its
        packets would take a path whose NAT does not know it. False while there is no path at all, since the old one may
        come back."""
        ends = connection_ends(sock)
        if ends is None:
            return False
        local, remote = ends
        if local in self.lost_addresses or (local == self.reused_address and not remote.is_loopback):
            return True
        if self.before == self.after:
            return False
        source = source_address_for(remote)
        return source is not None and source != local


class NetworkWatch:
    """Knows the current network. Belongs to one loop once it was started."""

    def __init__(
        self,
        key: bytes,
        *,
        read: Callable[[], UplinkFacts | None] = read_uplink,
        own_addresses: Callable[[frozenset[IPAddress]], frozenset[IPAddress]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is the secret of this installation."""
        self._key = key
        self._read = read
        self._own_addresses = own_addresses or read_own_addresses
        self._clock = clock
        self._read_at = float("-inf")
        self._uplink: UplinkFacts | None = None
        self._last_known: UplinkFacts | None = None
        self.id = UNKNOWN_NETWORK
        """The network at the last change that was noticed. It is first read by `start` or `current`."""
        self.has_ipv6 = True
        """Whether this computer has an IPv6 address that is valid beyond its link. True also before it is known."""
        self._addresses: frozenset[IPAddress] = frozenset()
        self._listeners: list[Callable[[NetworkChange], None]] = []
        self._kernel_events: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._last_sources: object = None
        self._polls_since_read = 0

    def current(self) -> NetworkId:
        """Returns the network at the last change that was noticed; before `start`, one read at most 2 s ago."""
        if not self._started and self._clock() - self._read_at >= CACHE_S:
            self._apply(self._read(), self._addresses)
        return self.id

    def on_change(self, callback: Callable[[NetworkChange], None]) -> None:
        """Calls `callback` in the loop each time that the network or our addresses have changed."""
        self._listeners.append(callback)

    async def start(self) -> None:
        """Starts watching. Returns once the network is known, after a short wait for the router's hardware address."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # no rtnetlink: polls instead
            self._kernel_events = netlink.open_event_socket()
        self._apply(self._read(), self._own_addresses(self._addresses))
        await self._resolve_router()
        self._started = True
        if self._kernel_events is not None:
            loop.add_reader(self._kernel_events, self._on_kernel_event)
        else:
            self._timer = loop.call_later(_POLL_S, self._poll)

    def close(self) -> None:
        """Stops watching. Harmless when repeated, or never started."""
        if self._timer is not None:
            self._timer.cancel()
        if self._kernel_events is not None:
            asyncio.get_running_loop().remove_reader(self._kernel_events)
            self._kernel_events.close()
            self._kernel_events = None
        self._listeners.clear()
        self._started = False

    def read_now(self) -> None:
        """Reads the network again, as after a sleep; without rtnetlink in a thread, which takes tens of
        milliseconds."""
        if self._started and self._kernel_events is None:
            spawn(self._read_in_thread(), name="read the network")
        elif self._started:
            self._apply(self._read(), self._own_addresses(self._addresses))

    # -- with rtnetlink --------------------------------------------------------------------------------------------

    def _on_kernel_event(self) -> None:
        """Reads the kernel's messages, and schedules a refresh when one matters."""
        assert self._kernel_events is not None
        matters = False
        try:
            while data := self._kernel_events.recv(_RECEIVE_SIZE):
                matters = matters or any(self._is_relevant(kind, body) for kind, _, body in netlink.messages(data))
        except BlockingIOError:
            pass
        except OSError:  # ENOBUFS: the socket's buffer overflowed, and messages were lost
            matters = True
        if matters and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE_S, self._refresh)

    def _is_relevant(self, kind: int, body: bytes) -> bool:
        """Whether a message matters. Of the neighbours, which come and go all the time, only the router does."""
        neighbour = netlink.neighbour_of_event(kind, body)
        if neighbour is None:
            return True
        return self._uplink is not None and self._uplink.gateway == _address_text(neighbour)

    def _refresh(self) -> None:
        self._timer = None
        self._apply(self._read(), self._own_addresses(self._addresses))

    def _router_unknown(self, uplink: UplinkFacts) -> bool:
        return uplink.router_is_discoverable and not uplink.hardware

    async def _resolve_router(self) -> None:
        """Waits for the router's hardware address if it is not known, so that the first request already has the same
        network id as later ones."""
        loop, events = asyncio.get_running_loop(), self._kernel_events
        with contextlib.suppress(TimeoutError), deadline(_ROUTER_WAIT_S):
            while events is not None and self._uplink is not None and self._router_unknown(self._uplink):
                event = loop.create_future()
                loop.add_reader(events, event.set_result, None)
                try:
                    await event
                finally:
                    loop.remove_reader(events)
                with contextlib.suppress(OSError):
                    events.recv(_RECEIVE_SIZE)
                self._apply(self._read(), self._addresses)

    # -- without rtnetlink -----------------------------------------------------------------------------------------

    def _poll(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_POLL_S, self._poll)
        sources = tuple(map(source_address_for, OUTSIDE))
        self._polls_since_read += 1
        if sources != self._last_sources or self._polls_since_read >= _FULL_READ_EVERY:
            self._last_sources, self._polls_since_read = sources, 0
            spawn(self._read_in_thread(), name="read the network")

    async def _read_in_thread(self) -> None:
        """Reads the network in a thread, since the system's commands take tens of milliseconds."""
        uplink = await asyncio.to_thread(self._read)
        self._apply(uplink, self._own_addresses(self._addresses))

    # -- changes ---------------------------------------------------------------------------------------------------

    def _apply(self, uplink: UplinkFacts | None, addresses: frozenset[IPAddress]) -> None:
        before, before_uplink = self.id, self._uplink
        uplink = self._carry_over_hardware(uplink)
        self._read_at = self._clock()
        self._uplink = uplink
        self.id = network_id(uplink, self._key)
        lost_addresses, self._addresses = self._addresses - addresses, addresses
        if addresses:
            self.has_ipv6 = any(own.version == 6 and not (own.is_link_local or own.is_loopback) for own in addresses)
        reused_address = self._enter(uplink) if uplink is not None and self.id != UNKNOWN_NETWORK else None
        if uplink is not None and self._router_unknown(uplink) and uplink != before_uplink:
            _trigger_neighbour_discovery(uplink)
        if (before != self.id or lost_addresses) and self._started:
            self._notify(NetworkChange(before, self.id, lost_addresses, reused_address))

    def _enter(self, uplink: UplinkFacts) -> IPAddress | None:
        """Stores the present network. Returns our address if it was the same on another network before: packets of
        connections from there would reach a stranger's computer here."""
        last = self._last_known
        if last is not None and last.may_be_same_network(uplink):
            self._last_known = uplink if uplink.hardware else last  # the hardware may still show another router
            return None
        self._last_known = uplink
        return last.source if last is not None and last.source == uplink.source else None

    def _carry_over_hardware(self, uplink: UplinkFacts | None) -> UplinkFacts | None:
        """Returns `uplink` with the router's last known hardware address: the kernel forgets that of an idle router."""
        last = self._uplink
        if uplink is None or uplink.hardware or last is None or not last.hardware:
            return uplink
        same = (last.index, last.gateway, last.prefix) == (uplink.index, uplink.gateway, uplink.prefix)
        return replace(uplink, hardware=last.hardware) if same else uplink

    def _notify(self, change: NetworkChange) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception as error:
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a fault in what follows a change of network", "exception": error}
                )


def connection_ends(sock: socket.SocketType) -> tuple[IPAddress, IPAddress] | None:
    """Returns the local and the remote address of a connection; None when it is closed or has none."""
    try:
        local, remote = sock.getsockname()[0], sock.getpeername()[0]
        return ipaddress.ip_address(local), ipaddress.ip_address(remote)
    except (OSError, ValueError, IndexError):  # closed, reset, or a Unix socket
        return None


def source_address_for(address: IPAddress) -> IPAddress | None:
    """Returns the source address of packets to `address`; None when there is no route. Sends nothing: connecting a UDP
    socket only reads the routing table."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(address), _DISCARD))
        return ipaddress.ip_address(sock.getsockname()[0])
    return None


def read_own_addresses(previous: frozenset[IPAddress]) -> frozenset[IPAddress]:
    """Returns all addresses of this computer on Linux; elsewhere the source addresses of packets to the internet, and
    the addresses in `previous` that are still ours."""
    try:
        with netlink.Netlink() as kernel:
            return frozenset(own.interface.ip for own in kernel.addresses())
    except OSError:  # not Linux, or a sandbox
        sources = frozenset(source for source in map(source_address_for, OUTSIDE) if source is not None)
        return sources | frozenset(filter(is_own_address, previous))


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
    """Makes the kernel ask for the router's hardware address (ARP, neighbour discovery)."""
    gateway = ipaddress.ip_address(uplink.gateway)
    family = socket.AF_INET if gateway.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)  # on the link only, never through another gateway
        sock.setblocking(False)
        where = (str(gateway), _DISCARD) if gateway.version == 4 else (str(gateway), _DISCARD, 0, uplink.index)
        sock.sendto(b"", where)


def _address_text(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed)) if len(packed) in (4, 16) else ""
