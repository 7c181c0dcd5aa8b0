"""The router of the country: the only way between its spaces; it applies the rules.

    async with Router() as router:
        client = router.add_space("client", ["192.0.2.10/24", "2001:db8:1::10/64"])
        net = router.add_space("net", ["198.51.100.1/24"], prefixes=["203.0.113.0/24"])
        router.rules.set([AddressDrop("203.0.113.5")])

A packet crosses the sender's link, then the rules if it comes from or goes to the client, then the receiver's link.
Each space has the first address of its prefix as gateway, which is the router; the router itself answers nothing. One
thread, one loop: a change of the rules takes effect with the next packet.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from types import TracebackType
from typing import Literal, Self

from tests.lab import packets
from tests.lab.deeds import PASS, Injection
from tests.lab.events import Events, listen
from tests.lab.flows import Flow, Flows
from tests.lab.links import DEVICE, PERFECT, Lane, Link, Schedule, Tap, Veth, Wire
from tests.lab.netlink import Netlink, has_ipv6
from tests.lab.packets import Packet
from tests.lab.rules import RuleSet
from tests.lab.spaces import Space
from tests.support.waiting import until, until_read

CLIENT = "client"
"""The space whose packets the rules see."""

DISCARD = 9
"""The port for what nobody shall answer (RFC 863)."""

_BATCH = 64
"""The most packets taken from one link before the others have their turn."""

HOPS = 3
"""Routers between any two spaces, for packets whose TTL runs out. The TTL of the others is left as it is."""

CENSORS_HOP = 2
"""The position of the rules among these: they do not see a packet whose TTL runs out before it."""

_TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}  # type and code (RFC 792, RFC 4443)
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
        """Changes the properties of the link; packets that are on their way arrive as before."""
        self.up.set(link)
        self.down.set(link)

    def prepare(self, hardware: bytes) -> None:
        self._setup.set_up("lo")
        self._setup.give_no_link_local(DEVICE)
        self._setup.set_hardware_address(DEVICE, hardware)
        self._setup.set_up(DEVICE)
        self.wire.wait_ready()

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
        """Makes the space accept all packets sent into it from now on, whatever their target address: for diverted
        flows."""
        self._setup.take_all_from(DEVICE)

    def plug_in(self) -> None:
        """Adds the default routes (again)."""
        for gateway in self.gateways:
            self._setup.add_default(gateway)

    def unplug(self) -> None:
        """Removes the space's ways out: `Network is unreachable`."""
        for gateway in self.gateways:
            self._setup.remove_default(gateway)

    def gateway(self, version: int) -> bytes | None:
        found = (ip_address(gateway) for gateway in self.gateways)
        return next((gateway.packed for gateway in found if gateway.version == version), None)

    def close(self) -> None:
        self.wire.close()
        self._setup.close()
        self.space.close()


class Router:
    """A router is made, used and closed on one running loop."""

    def __init__(self, *, wires: Literal["any", "tap", "veth"] = "any") -> None:
        self.ports: dict[str, Port] = {}
        self._wires = wires
        self._hub: Space | None = None
        self._routes: list[tuple[int, int, int, Port]] = []  # version, network, prefix length, port
        self._known: dict[bytes, Port | None] = {}
        self._loop = asyncio.get_running_loop()
        self.flows = Flows()
        self.events = Events(self._loop.time)
        self.rules = RuleSet(self._loop.time)
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
        """Adds a space with `addresses` (and their prefix lengths), to which all of `prefixes` is local as well.

        IPv6 addresses are left out where the kernel has none. Raises OSError when spaces may not be made here."""
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

    async def caught_up(self, target: str) -> float:
        """Returns a time by the clock of the events; after it, the events hold only packets that the client sends from
        now on. A packet is noted once it has crossed the client's link: this may be after the Byway that sent it
        reports later events. `target` is the address of some host."""
        with self.ports[CLIENT].space.socket(socket.AF_INET, socket.SOCK_DGRAM) as mark:
            mark.bind(("", 0))
            port, since = mark.getsockname()[1], self.events.clock()

            def is_noted() -> bool:
                packets = self.events.packets(target, DISCARD, protocol="udp", since=since)
                return any(seen.packet.sport == port for seen in packets)

            async def is_seen() -> bool:
                mark.sendto(b"", (target, DISCARD))  # once more, since a link may lose it
                with contextlib.suppress(TimeoutError):
                    await until(is_noted, within_s=1.0)
                return is_noted()

            await until_read(is_seen)
        return self.events.clock()

    def close(self) -> None:
        """Ends every space and the programs that were started in it."""
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

    def _arrive(self, near: Port, data: bytes) -> None:
        lane = near.up
        if lane.perfect:
            self._pass(near, data)
        elif (delay := lane.admit(self._loop.time(), len(data))) is not None:
            self._schedule.after(delay, partial(self._pass, near, data))

    def _pass(self, near: Port, data: bytes) -> None:
        """Passes a packet from one link to another: notes it, and lets the rules decide its fate."""
        far = self._towards(data)
        if far is None and data[16 if data[0] >> 4 == 4 else 24] in _MULTICAST:
            return
        now = self._loop.time()
        self.events.record(now, near.name, far.name if far else "", data)
        if far is None:  # nobody has that address
            return
        from_client, to_client = near.name == CLIENT, far.name == CLIENT
        flow, outward = self.flows.find(data, from_client=from_client, to_client=to_client)
        says = outward and packets.carries(data)
        ends_here = data[8 if data[0] >> 4 == 4 else 7] <= HOPS
        if (flow.border and self.rules.concerning(flow)) or says or ends_here:
            self._look(near, far, Packet(data, outward=outward), flow, now, says=says)
        else:
            self._deliver(far, data)

    def _look(self, near: Port, far: Port, packet: Packet, flow: Flow, now: float, *, says: bool) -> None:
        heard = listen(packet, flow) if says else []
        if heard:
            self.events.note(now, near.name, near.name, heard, packet)
        ends_here = packet.ttl <= HOPS
        seen = flow.border and flow.rules and packet.ttl >= CENSORS_HOP
        verdict = self.rules.judge(packet, flow, now) if seen else PASS
        for injection in verdict.injected:
            self._inject(injection)
        if ends_here:
            self._expire(near, packet)
        elif verdict.passes:
            far = self.ports[verdict.divert] if verdict.divert else far
            if heard:
                self.events.note(now, far.name, near.name, heard, packet)
            self._deliver_after(verdict.delay_s, far, verdict.packet or packet.data)

    def _expire(self, near: Port, packet: Packet) -> None:
        gateway = near.gateway(packet.version)
        if gateway:
            error = packets.icmp_error(packet, gateway, *_TIME_EXCEEDED[packet.version])
            self._deliver(near, error)

    def _inject(self, injection: Injection) -> None:
        if (far := self._towards(injection.data)) is not None:
            self._deliver_after(injection.delay_s, far, injection.data)

    def _deliver_after(self, delay_s: float, far: Port, data: bytes) -> None:
        if delay_s > 0:
            self._schedule.after(delay_s, partial(self._deliver, far, data))
        else:
            self._deliver(far, data)

    def _deliver(self, far: Port, data: bytes) -> None:
        lane = far.down
        if lane.perfect:
            far.wire.write(data)
        elif (delay := lane.admit(self._loop.time(), len(data))) is not None:
            self._schedule.after(delay, partial(far.wire.write, data))

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
