"""The router of the country: the only way between its spaces, and where its rules are kept.

    async with Router() as router:
        client = router.add_space("client", ["192.0.2.10/24", "2001:db8:1::10/64"])
        net = router.add_space("net", ["198.51.100.1/24"], prefixes=["203.0.113.0/24"])
        router.rules.set([AddressDrop("203.0.113.5")])

A packet crosses the sender's link, then the rules if it comes from or goes to the client, then the receiver's link.
Each space has the first address of its prefix as gateway, which is the router; it answers for nothing itself. One
thread, one loop: what the rules decide takes effect with the next packet.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import ip_interface, ip_network
from types import TracebackType
from typing import Literal, Self

from tests.lab.links import DEVICE, PERFECT, Lane, Link, Schedule, Tap, Veth, Wire
from tests.lab.netlink import Netlink, has_ipv6
from tests.lab.spaces import Space

CLIENT = "client"
"""The space whose packets the rules see."""

_BATCH = 64
"""Packets taken from one link before the others have their turn."""

_KNOWN_TARGETS = 4096
_MULTICAST = (*range(224, 240), 0xFF)  # the first byte of the target; hosts tell the link about groups unasked


class Port:
    """One space as the router sees it."""

    def __init__(self, space: Space, wire: Wire, setup: Netlink, link: Link, number: int) -> None:
        self.name = space.name
        self.space = space
        self.wire = wire
        self.up, self.down = Lane(link, f"{number} up"), Lane(link, f"{number} down")
        self.gateways: tuple[str, ...] = ()
        self._setup = setup

    def __repr__(self) -> str:
        return f"<Port {self.name}>"

    def set_link(self, link: Link) -> None:
        """Changes how the link is; what is on its way arrives as before."""
        self.up.set(link)
        self.down.set(link)

    def prepare(self, hardware: bytes) -> None:
        self._setup.set_up("lo")
        self._setup.give_no_link_local(DEVICE)
        self._setup.set_hardware_address(DEVICE, hardware)
        self._setup.set_up(DEVICE)

    def settle(self, addresses: Iterable[str], gateway_hardware: bytes) -> None:
        """Moves the space to these addresses, behind gateways of theirs."""
        self._setup.remove_addresses(DEVICE)
        self.gateways = ()
        for address in addresses:
            gateway = str(ip_interface(address).network.network_address + 1)
            if gateway == str(ip_interface(address).ip):
                raise ValueError(f"{address} is its own gateway: take another address")
            self._setup.add_address(DEVICE, address)
            self._setup.add_neighbour(DEVICE, gateway, gateway_hardware)
            self.gateways += (gateway,)
        self.plug_in()

    def add_local(self, prefixes: Iterable[str]) -> None:
        for prefix in prefixes:
            self._setup.add_local(prefix)

    def take_all(self) -> None:
        """From now on what is sent into this space is for it, whatever its address: for what is diverted to it."""
        self._setup.take_all_from(DEVICE)

    def plug_in(self) -> None:
        """The default routes are there (again)."""
        for gateway in self.gateways:
            self._setup.add_default(gateway)

    def unplug(self) -> None:
        """The space has no way out: `Network is unreachable`."""
        for gateway in self.gateways:
            self._setup.remove_default(gateway)

    def close(self) -> None:
        self.wire.close()
        self._setup.close()
        self.space.close()


class Router:
    """Made, used and closed on one running loop."""

    def __init__(self, *, wires: Literal["any", "tap", "veth"] = "any") -> None:
        self.ports: dict[str, Port] = {}
        self.strays = 0  # packets to addresses that nobody has
        self._wires = wires
        self._hub: Space | None = None
        self._routes: list[tuple[int, int, int, Port]] = []  # version, network, prefix length, port
        self._known: dict[bytes, Port | None] = {}
        self._loop = asyncio.get_running_loop()
        self._schedule = Schedule(self._loop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def add_space(
        self,
        name: str,
        addresses: Sequence[str] = (),
        *,
        prefixes: Sequence[str] = (),
        link: Link = PERFECT,
        gateway_hardware: bytes | None = None,
    ) -> Space:
        """A new space with `addresses` (and their prefix lengths), to which all of `prefixes` is local as well.

        IPv6 ones are left out where the kernel has none. Raises OSError when spaces may not be made here."""
        number = len(self.ports) + 1
        theirs, ours = bytes((2, 0, 0, 0, number, 2)), bytes((2, 0, 0, 0, number, 1))
        space = Space(name)
        wire = self._join(space, ours=ours, theirs=theirs)
        port = Port(space, wire, Netlink(space.socket(socket.AF_NETLINK, socket.SOCK_RAW)), link, number)
        port.prepare(theirs)
        self.ports[name] = port
        self._loop.add_reader(wire.fileno(), self._read, port)
        self.settle(name, addresses, prefixes=prefixes, gateway_hardware=gateway_hardware or ours)
        return space

    def settle(
        self,
        name: str,
        addresses: Sequence[str],
        *,
        prefixes: Sequence[str] = (),
        gateway_hardware: bytes,
    ) -> None:
        """Moves a space to another network: other addresses, behind another gateway."""
        port = self.ports[name]
        own, local = _spoken(addresses), _spoken(prefixes)
        port.settle(own, gateway_hardware)
        port.add_local(local)
        self._routes = [route for route in self._routes if route[3] is not port]
        for prefix in (*(str(ip_interface(address).ip) for address in own), *local):
            network = ip_network(prefix)
            self._routes.append((network.version, int(network.network_address), network.prefixlen, port))
        self._routes.sort(key=lambda route: -route[2])
        self._known.clear()

    def close(self) -> None:
        """Ends every space and what was started in it."""
        self._schedule.close()
        for port in self.ports.values():
            self._loop.remove_reader(port.wire.fileno())
            port.close()
        self.ports.clear()
        if self._hub:
            self._hub.close()

    def _join(self, space: Space, *, ours: bytes, theirs: bytes) -> Wire:
        if self._wires != "veth":
            try:
                return Tap(space, ours=ours, theirs=theirs)
            except (PermissionError, FileNotFoundError):
                if self._wires == "tap":
                    raise
        self._hub = self._hub or Space("hub")
        return Veth(space, self._hub, ours=ours, theirs=theirs)

    def _read(self, port: Port) -> None:
        for _ in range(_BATCH):
            packet = port.wire.read()
            if packet is None:
                return
            if packet:
                self._arrive(port, packet)

    def _arrive(self, near: Port, packet: bytes) -> None:
        lane = near.up
        if lane.perfect:
            self._pass(near, packet)
        elif (delay := lane.admit(self._loop.time(), len(packet))) is not None:
            self._schedule.after(delay, partial(self._pass, near, packet))

    def _pass(self, near: Port, packet: bytes) -> None:
        far = self._towards(packet)
        if far is not None:
            self._deliver(far, packet)
        elif packet[16 if packet[0] >> 4 == 4 else 24] not in _MULTICAST:
            self.strays += 1

    def _deliver(self, far: Port, packet: bytes) -> None:
        lane = far.down
        if lane.perfect:
            far.wire.write(packet)
        elif (delay := lane.admit(self._loop.time(), len(packet))) is not None:
            self._schedule.after(delay, partial(far.wire.write, packet))

    def _towards(self, packet: bytes) -> Port | None:
        target = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
        try:
            return self._known[target]
        except KeyError:
            if len(self._known) >= _KNOWN_TARGETS:
                self._known.clear()
            found = self._known[target] = self._look_up(target)
            return found

    def _look_up(self, target: bytes) -> Port | None:
        version, number, bits = (4 if len(target) == 4 else 6), int.from_bytes(target, "big"), len(target) * 8
        for family, network, length, port in self._routes:
            if family == version and (number ^ network) >> (bits - length) == 0:
                return port
        return None


def _spoken(addresses: Iterable[str]) -> list[str]:
    return [address for address in addresses if has_ipv6() or ":" not in address]
