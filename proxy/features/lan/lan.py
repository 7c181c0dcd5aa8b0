"""`byway lan on`: the listener for devices of one network, from its start to its end.

It ends by itself when its time is over, and as soon as this computer leaves the network, sleeps, or loses its address
on the interface. A restart of Byway ends it too: nothing of it is stored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from proxy.control.dependencies import Dependencies
from proxy.features.lan import interface
from proxy.features.lan.admission import GUESTS_MAX, Admission
from proxy.features.lan.guests import GuestSetups, guest_services
from proxy.features.lan.interface import Interface
from proxy.features.lan.listener import Listener
from proxy.model import UNKNOWN_NETWORK, NetworkId
from proxy.model.errors import BywayError, reason_of
from proxy.model.phrase import Phrase, _
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.net.uplink import netlink
from proxy.session.events import Ended

log = logging.getLogger(__name__)

BY_USER = _("You have turned it off.")

_TICK_S = 1.0
_SLEPT_S = 2.0
"""The seconds by which a clock that runs during sleep may be ahead of one that does not, without a sleep."""

_RECEIVE_SIZE = 256 * 1024


class LanRefused(BywayError):
    """Devices of this network are not served. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class OnFor:
    """One `byway lan on`. `ends_at` is in seconds of the clock of its Lan."""

    interface: Interface
    network: NetworkId
    name: str
    """The name of the network."""
    ends_at: float
    listener: Listener
    setups: GuestSetups


class Lan:
    """Serves devices of the network while it is on. Belongs to one loop."""

    def __init__(
        self, parts: Dependencies, adopt: Callable[[SocketStream, bytes, str], None], clock: Callable[[], float]
    ) -> None:
        """`adopt` serves a guest that opened our own address, which is the third argument. `clock` also runs during
        sleep."""
        self._parts = parts
        self._adopt = adopt
        self.clock = clock
        self.on: OnFor | None = None
        self.ended: Phrase | None = None
        """Why the last one has ended; None: there was none, or it is on."""
        self._watching: asyncio.Task[None] | None = None

    async def turn_on(self, for_s: float, interface_name: str = "", clients: Sequence[str] = ()) -> OnFor:
        """Serves devices of this network for `for_s` seconds. `clients` are the addresses of devices that are admitted
        without a question. When it is on, only its end changes, and `clients` are added. Raises LanRefused."""
        network, name = self._named_network()
        try:
            found = await asyncio.to_thread(interface.find_interface, interface_name)
            addresses = [interface.parse_device(text, found) for text in clients]
        except (BywayError, ValueError) as error:
            raise LanRefused(str(error)) from None
        on, ends_at = self.on, self.clock() + for_s
        if on is not None and (on.network, on.interface) != (network, found):
            on = None
        others = () if on is None else (*on.listener.admission.guests, *on.listener.admission.expected)
        if len({*others, *addresses}) > GUESTS_MAX:
            raise LanRefused(f"at most {GUESTS_MAX} devices use it at a time")
        if on is not None:
            on = OnFor(found, network, name, ends_at, on.listener, on.setups)
        else:
            self.turn_off(_("It was turned on anew."))
            on = self._listen(found, network, name, ends_at)
        for address in addresses:
            on.listener.admission.allow(address, "", self.clock())
        on.listener.on_answered()
        self.on, self.ended = on, None
        if self._watching is None:
            self._watching = spawn(self._watch(), name="watch the network of guests")
            self._watching.add_done_callback(self._watched)
        return on

    def _watched(self, task: asyncio.Task[None]) -> None:
        """Nothing is served unwatched, also after a fault of the watch and at the end of Byway."""
        if self._watching is task:
            self._close()

    def turn_off(self, why: Phrase) -> None:
        """Closes the listener and all connections of guests. Harmless when it is off."""
        if self.on is not None:
            self.ended = why
            self._close()
            log.info("Devices of the network are not served any more: %s", why)

    def allow(self, text: str, hardware: str = "") -> None:
        """Admits a device, as `Admission.allow`. Raises LanRefused."""
        on = self._on()
        on.listener.admission.allow(self._device(text), hardware, self.clock())
        on.listener.on_answered()

    def deny(self, text: str, hardware: str = "") -> None:
        """Refuses a device that waits. Raises LanRefused."""
        on = self._on()
        on.listener.admission.deny(self._device(text), hardware)
        on.listener.on_answered()

    def remove(self, text: str) -> None:
        """Ends the admission of a device, and its connections. Raises LanRefused, also when it is no guest."""
        on, address = self._on(), self._device(text)
        if not on.listener.admission.remove(address):
            raise LanRefused(f"{address} is not admitted")
        on.listener.close_connections(address)

    def _on(self) -> OnFor:
        if self.on is None:
            raise LanRefused("devices of the network are not served; run `byway lan on --for 2h` first")
        return self.on

    def _device(self, text: str) -> IPv4Address:
        try:
            return interface.parse_device(text, self._on().interface)
        except ValueError as error:
            raise LanRefused(str(error)) from None

    def _named_network(self) -> tuple[NetworkId, str]:
        """Returns this network and its name. Raises LanRefused unless `[lan] only_on` has it."""
        settings, network = self._parts.settings, self._parts.network()
        names = [name for name, its in settings.networks.items() if its == network]
        if network == UNKNOWN_NETWORK or not names:
            raise LanRefused(
                "this network has no name; give it one in [networks] (`byway status -v` shows its id), and add that to "
                "[lan] only_on"
            )
        name = next((name for name in names if name in settings.lan.only_on), "")
        if not name:
            raise LanRefused(f'{names[0]} is not in [lan] only_on; to serve devices here, set only_on = ["{names[0]}"]')
        return network, name

    def _listen(self, found: Interface, network: NetworkId, name: str, ends_at: float) -> OnFor:
        parts = self._parts
        setups = GuestSetups(parts.setup)

        async def learn_servers() -> None:
            setups.get()
            await setups.servers.learn()

        try:
            sock = interface.listen_on(found)
        except OSError as error:
            raise LanRefused(f"cannot listen on {found.address}: {reason_of(error)}") from None
        listener = Listener(
            sock,
            found,
            Admission(),
            parts.server.poller,
            neighbours=lambda: interface.neighbours(found),
            prepare=learn_servers,
            clock=self.clock,
        )

        def on_ended(ended: Ended) -> None:
            listener.count(ended)
            parts.store.count(ended.outcome, network=ended.network)

        def adopt(stream: SocketStream, received: bytes) -> None:
            self._adopt(stream, received, f"{found.address}:{listener.port}")

        listener.start(guest_services(parts.services, setups, on_ended, adopt))
        return OnFor(found, network, name, ends_at, listener, setups)

    def _close(self) -> None:
        on, self.on = self.on, None
        if on is not None:
            on.listener.close()
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()

    async def _watch(self) -> None:
        """Ends it when it is time, and the admission of devices whose address another one takes."""
        loop, kernel = asyncio.get_running_loop(), netlink.open_event_socket()
        changed = asyncio.Event()

        def on_event() -> None:
            try:
                while kernel.recv(_RECEIVE_SIZE):
                    changed.set()
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: messages were lost
                changed.set()

        loop.add_reader(kernel, on_event)
        try:
            slept_before = self.clock() - time.monotonic()
            while (on := self.on) is not None:
                if why := await self._reason_to_end(on, self.clock() - time.monotonic() - slept_before):
                    return self.turn_off(why)
                on.listener.close_displaced(interface.neighbours(on.interface))
                on.listener.admission.expire(self.clock())
                on.listener.on_answered()
                changed.clear()
                try:
                    async with asyncio.timeout(_TICK_S):
                        await changed.wait()
                except TimeoutError:
                    pass
        finally:
            loop.remove_reader(kernel)
            kernel.close()

    async def _reason_to_end(self, on: OnFor, slept_s: float) -> Phrase | None:
        parts, settings = self._parts, self._parts.settings
        if self.clock() >= on.ends_at:
            return _("Its time was over.")
        if slept_s >= _SLEPT_S:
            return _("This computer has slept.")
        if parts.network() != on.network:
            return _("This computer has left the network {network}.", network=on.name)
        if settings.networks.get(on.name) != on.network or on.name not in settings.lan.only_on:
            return _("The configuration does not name the network {network} any more.", network=on.name)
        if parts.server.fileno() < 0:
            return _("Byway is ending.")
        if not interface.is_ours(on.interface):
            return _("{interface} has lost its address.", interface=on.interface.name)
        return None
