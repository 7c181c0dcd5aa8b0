"""Checks connectivity with control pages, sparingly, when a signal of blocking waits for a control.

Most often the user's own traffic is the control: another site that delivered direct. Only when none did within a
second, one control page is fetched, at most one a minute and never the suspected name. When so many sites fail that the
network as a whole may be at fault, all control pages are fetched at once; on a restricted network only the foreign
ones, until they answer. `detect` decides what an answer means for the signal and for the network.
"""

from __future__ import annotations

import asyncio
import random
from urllib.parse import urlsplit

from proxy.model import DIRECT, Destination, NetworkId
from proxy.net.tasks import spawn
from proxy.probe.control_page import check_control_page
from proxy.session.events import Learned, SignalWaits
from proxy.session.services import Services
from proxy.session.setup import Setup


class ConnectivityCheck:
    """Fetches control pages. Belongs to one loop."""

    def __init__(self, services: Services, *, rng: random.Random | None = None) -> None:
        self._services = services
        self._rng = rng if rng is not None else random.SystemRandom()
        self._under_way = False

    def on_signal_waits(self, _: SignalWaits) -> None:
        """Checks soon, unless a check is under way."""
        if not self._under_way:
            self._under_way = True
            spawn(self._run(), name="check connectivity")

    async def _run(self) -> None:
        try:
            setup, services = self._services.setup(), self._services
            await asyncio.sleep(setup.settings.detect.control_after_s)
            network = services.network()
            if await self._order(setup, network) and services.beliefs.control_wanted(network, services.now()):
                await self._ask_some(setup, network)
        finally:
            self._under_way = False

    async def check_one(self, setup: Setup) -> None:
        """Fetches one control page at once, to tell a fault of the network from one of a single site."""
        network = self._services.network()
        for number in (await self._order(setup, network))[:1]:
            await self._ask(setup, number, network)

    async def _ask_some(self, setup: Setup, network: NetworkId) -> None:
        """Fetches one page, and the others when `detect` wants all. The domestic one goes before the foreign ones,
        since their results are read in the light of its own."""
        beliefs, order = self._services.beliefs, await self._order(setup, network)
        if order and not beliefs.all_controls_wanted(network, self._services.now()):
            await self._ask(setup, order.pop(0), network)
        if beliefs.all_controls_wanted(network, self._services.now()):
            for number in [number for number in order if _is_domestic(setup, number)]:
                order.remove(number)
                await self._ask(setup, number, network)
            async with asyncio.TaskGroup() as asking:
                for number in order:
                    asking.create_task(self._ask(setup, number, network))

    async def _order(self, setup: Setup, network: NetworkId) -> list[int]:
        """Indexes of the pages that may be fetched, shuffled: not those that a rule or an addon keeps to relays, nor
        suspected ones. The last page of the list is domestic and is left out on a restricted network, since it does
        not show when the restriction ends."""
        number = len(setup.settings.auto.controls)
        is_restricted = self._services.beliefs.network_state(network).is_restricted
        numbers = range(number - 1 if is_restricted and number > 1 else number)
        order = [n for n in numbers if await self._may_ask(setup, _place(setup.settings.auto.controls[n]), network)]
        self._rng.shuffle(order)
        return order

    async def _may_ask(self, setup: Setup, place: Destination, network: NetworkId) -> bool:
        services = self._services
        is_one = services.beliefs.may_be_control(place.host, network=network, now=services.now())
        return is_one and await services.may_go_direct(setup, place)

    async def _ask(self, setup: Setup, number: int, network: NetworkId) -> None:
        services, controls = self._services, setup.settings.auto.controls
        page, started = controls[number], services.now()
        dialer = setup.registry.dialer(DIRECT)
        checked = await check_control_page(dialer, page, timeout_s=setup.settings.detect.control_timeout_s)
        if services.network() == network:
            changes = services.beliefs.on_control_answer(
                urlsplit(page).hostname or page,
                checked.result,
                network=network,
                started=started,
                now=services.now(),
                domestic=_is_domestic(setup, number),
                issuer=checked.issuer,
            )
            services.events.emit(Learned(changes))


def _is_domestic(setup: Setup, number: int) -> bool:
    return number == len(setup.settings.auto.controls) - 1 > 0


def _place(page: str) -> Destination:
    """The destination that is dialed for a page."""
    parts = urlsplit(page)
    return Destination(parts.hostname or page, parts.port or (443 if parts.scheme == "https" else 80))
