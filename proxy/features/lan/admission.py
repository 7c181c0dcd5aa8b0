"""Decides which devices of the network may use Byway: pure state, by a clock that its caller gives.

A client is an address and a hardware address together. Each half can be taken by another device, so a change of either
ends the admission, and the user is asked again. An answer of the user names both halves: between a question and its
answer another device may have taken the address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

WAITING_MAX = 8
"""Clients that wait for an answer at a time. Further ones are refused, without a question."""

WAIT_S = 30.0
"""Seconds for which a client waits."""

GUESTS_MAX = 16
"""Clients that are admitted at a time, with those that are expected."""

DENIED_MAX = 256


@frozen_dataclass
class Client:
    """A device of the network. `hardware` is its hardware address, in hex."""

    address: IPv4Address
    hardware: str

    @property
    def hardware_text(self) -> str:
        """The hardware address as people read it on a device: pairs of digits with colons."""
        return ":".join(self.hardware[at : at + 2] for at in range(0, len(self.hardware), 2))


class Entry(StrEnum):
    """The answer to a client that connects."""

    GUEST = "guest"
    WAITS = "waits"
    REFUSED = "refused"


@dataclass(slots=True)
class Guest:
    """An admitted client, and what is counted of it. Times are in seconds of the given clock."""

    client: Client
    since: float
    visits: int = 0
    """Its connections and plain requests that have ended."""
    bytes_up: int = 0
    bytes_down: int = 0


class NotAllowed(BywayError):
    """The client cannot be admitted. The message is a sentence."""


@dataclass(slots=True)
class Admission:
    """The clients of one run of `byway lan on`."""

    guests: dict[IPv4Address, Guest] = field(default_factory=dict)
    waiting: dict[Client, float] = field(default_factory=dict)
    """The clients that wait, and since when, the first at the beginning."""
    expected: set[IPv4Address] = field(default_factory=set)
    """Addresses that the user has allowed before a device had them. The first device at each becomes a guest."""
    _denied: dict[Client, None] = field(default_factory=dict)

    def knock(self, client: Client, now: float) -> Entry:
        """Answers a client that connects. An unknown one waits from now on, if there is room."""
        guest = self.guests.get(client.address)
        if guest is not None and guest.client == client:
            return Entry.GUEST
        if client in self._denied or not client.hardware:
            return Entry.REFUSED
        if client in self.waiting:
            return Entry.WAITS
        if client.address in self.expected and guest is None:
            self.expected.discard(client.address)
            self.guests[client.address] = Guest(client, now)
            return Entry.GUEST
        if len(self.waiting) >= WAITING_MAX or self._is_full(client.address):
            return Entry.REFUSED
        self.waiting[client] = now
        return Entry.WAITS

    def allow(self, address: IPv4Address, hardware: str, now: float) -> Client | None:
        """Admits the client that waits with this address. Returns it; None: none waits, and the first device at the
        address will be admitted. `hardware`: that of the question; empty: the user names only the address. Raises
        NotAllowed when the question has another hardware address, when several devices claim the address, or when there
        are too many guests."""
        waiting = [client for client in self.waiting if client.address == address]
        if hardware:
            waiting = [client for client in waiting if client.hardware == hardware]
            if not waiting:
                raise NotAllowed(f"no device with {address} and this hardware address is waiting any more")
        if len(waiting) > 1:
            raise NotAllowed(
                f"{len(waiting)} devices claim {address} ({', '.join(client.hardware_text for client in waiting)}): "
                "name the hardware address too"
            )
        if not waiting and address in self.guests:
            return self.guests[address].client
        if self._is_full(address):
            raise NotAllowed(f"there are {GUESTS_MAX} devices already: remove one first")
        if not waiting:
            self._denied = {client: None for client in self._denied if client.address != address}
            self.expected.add(address)
            return None
        (client,) = waiting
        del self.waiting[client]
        self.expected.discard(address)
        self.guests[address] = Guest(client, now)
        return client

    def deny(self, address: IPv4Address, hardware: str = "") -> None:
        """Refuses the clients that wait with this address, until the user allows it. With `hardware`, only that one."""
        for client in [each for each in self.waiting if each.address == address and hardware in ("", each.hardware)]:
            del self.waiting[client]
            self._denied[client] = None
            while len(self._denied) > DENIED_MAX:
                del self._denied[next(iter(self._denied))]

    def remove(self, address: IPv4Address) -> bool:
        """Ends the admission of an address. Returns whether it was a guest's, or expected."""
        was_expected = address in self.expected
        self.expected.discard(address)
        return self.guests.pop(address, None) is not None or was_expected

    def expire(self, now: float) -> None:
        """Ends the waiting of clients without an answer in time."""
        for client in [client for client, since in self.waiting.items() if now - since >= WAIT_S]:
            del self.waiting[client]

    def displaced(self, neighbours: Mapping[IPv4Address, str]) -> list[Client]:
        """Removes the guests whose address another device has now, by the hardware addresses of `neighbours`. Returns
        them. A guest that the mapping does not have stays: it is silent."""
        gone = [
            guest.client
            for address, guest in self.guests.items()
            if neighbours.get(address, guest.client.hardware) != guest.client.hardware
        ]
        for client in gone:
            del self.guests[client.address]
        return gone

    def _is_full(self, address: IPv4Address) -> bool:
        return len({*self.guests, *self.expected} - {address}) >= GUESTS_MAX
