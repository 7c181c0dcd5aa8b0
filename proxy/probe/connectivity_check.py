"""Checks connectivity with control pages, when a signal of blocking or a stalled flow waits for a control.

Usually the user's own traffic is the control: another site that delivered direct. Only when none did within a second,
one control page is requested, at most one a minute and never one of a suspect site. When so many sites fail that the
network itself may be at fault, all control pages are requested at once; on a restricted network only the foreign ones,
until they answer. When a page has failed, one page over plain http is requested, since a captive portal may not answer
https. Where no page may be requested, a relay that accepts a connection shows that the network works. `detect` decides
what an answer means.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

from proxy.detect.beliefs.events import ControlAnswered, PlainPageRequested
from proxy.model import DIRECT, ConnectivityResult, NetworkId
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.probe.control_page import ControlPage, ControlPageResult, check_control_page, control_pages, portal_page
from proxy.session.events import SignalWaits
from proxy.session.services import Services
from proxy.session.setup import Setup

_RELAYS_MAX = 4
"""The most relays to which a connection is opened at once for a witness: most people have fewer."""

_DOMESTIC_FIRST = 0.3
"""For this share of its time the domestic page is waited for, before the foreign ones are requested."""

_RELAY_S = 3.0
"""Seconds for one of them to accept: a stall that began 3 s before has to end within 10 s."""


class ConnectivityCheck:
    """Requests control pages. Belongs to one loop."""

    def __init__(self, services: Services, *, rng: random.Random | None = None) -> None:
        self._services = services
        self._rng = rng if rng is not None else random.SystemRandom()
        self._under_way = False

    def on_signal_waits(self, _: SignalWaits) -> None:
        """Starts a check unless one is under way."""
        if not self._under_way:
            self._under_way = True
            spawn(self._run(), name="check connectivity")

    async def check_one(self, setup: Setup) -> None:
        """Requests one control page at once, to distinguish a fault of the network from one of a single site."""
        network = self._services.network()
        for page in (await self._usable_pages(setup, network))[:1]:
            if await self._check(setup, page, network) is ConnectivityResult.FAILED:
                await self._check_portal(setup, [page], network)

    async def _run(self) -> None:
        try:
            setup, services = self._services.setup(), self._services
            if not self._stall_waits(services.network()):
                await asyncio.sleep(setup.settings.detect.control_after_s)  # time for the user's own traffic
            network = services.network()
            pages = await self._usable_pages(setup, network)
            if pages and services.beliefs.control_wanted(network, services.now()):
                requested = tuple(pages)
                if not services.beliefs.network_state(network).is_restricted:  # there the foreign pages may fail
                    services.flows.witness_asked()
                results = await self._check_some(setup, pages, network)
                foreign = {result for page, result in results if not page.is_domestic}
                if (foreign or {result for _, result in results}) == {ConnectivityResult.FAILED}:
                    await self._check_portal(setup, requested, network)
            elif not pages and self._stall_waits(network) and services.beliefs.control_wanted(network, services.now()):
                await self._find_relay_as_witness(setup, network)
        finally:
            self._under_way = False

    def _stall_waits(self, network: NetworkId) -> bool:
        """Whether a flow of this network stalls without a witness, and this is still the network."""
        services = self._services
        return services.network() == network and services.beliefs.stall_waits(network=network, now=services.now())

    async def _find_relay_as_witness(self, setup: Setup, network: NetworkId) -> None:
        """Connects to some relays at once, since no control page may be requested. The first that accepts shows that
        the network works; nothing is sent to it. A relay that has just worked should accept. If only the stalled flow's
        relay has worked, its fault cannot be distinguished from one of the network."""
        registry, services = setup.registry, self._services
        by_endpoint = {
            registry.first_endpoint(name): name for name in services.health.order(registry.relay_names, services.now())
        }
        some = [*by_endpoint.values()][:_RELAYS_MAX]
        if len(services.health.working(some, services.now())) > 1:
            services.flows.witness_asked()
        is_found = False

        async def ask(name: str) -> None:
            nonlocal is_found
            from proxy.net.dialers.relay_handshake import is_beyond_home  # a run without relays needs no handshakes

            with contextlib.suppress(DialError, OSError, TimeoutError), deadline(_RELAY_S):
                stream = await registry.connect(name)
                if not is_found and is_beyond_home(stream) and self._stall_waits(network):
                    is_found = True
                    services.flows.take_witness(stream)
                else:
                    stream.abort()

        await asyncio.gather(*map(ask, some))

    async def _check_some(
        self, setup: Setup, pages: list[ControlPage], network: NetworkId
    ) -> list[tuple[ControlPage, ConnectivityResult | None]]:
        """Requests one page, and the others when `detect` wants all. Returns each with the result of `_check`."""
        beliefs, now = self._services.beliefs, self._services.now
        results: list[tuple[ControlPage, ConnectivityResult | None]] = []
        if not beliefs.all_controls_wanted(network, now()):
            page = pages.pop(0)
            results.append((page, await self._check(setup, page, network)))
        if not beliefs.all_controls_wanted(network, now()):
            return results
        # The domestic page goes first: with it, foreign ones that fail mean a restriction; without it, an outage. While
        # it is silent the others are requested too; they then have longer to answer after an outage, and that they fail
        # is learned after its result.
        timeout_s, heard = setup.settings.detect.control_timeout_s, asyncio.Event()
        if not any(page.is_domestic for page in pages):
            heard.set()

        async def ask(page: ControlPage) -> tuple[ControlPage, ConnectivityResult | None]:
            if page.is_domestic:
                try:
                    return page, await self._check(setup, page, network)
                finally:
                    heard.set()
            with contextlib.suppress(TimeoutError), deadline(_DOMESTIC_FIRST * timeout_s):
                await heard.wait()
            return page, await self._check(setup, page, network, heard)

        return [*results, *await asyncio.gather(*map(ask, pages))]

    async def _check_portal(self, setup: Setup, failed: Sequence[ControlPage], network: NetworkId) -> None:
        """Requests the page over plain http, since these control pages failed: a captive portal answers in place of the
        site. Any other answer shows no working network, since anybody on the path may give it, but tells what a
        restriction is called."""
        page, services = portal_page(setup.settings.auto), self._services
        if page is None or any(page.url == other.url for other in failed):
            return
        if services.network() != network or not await self._is_usable(setup, page, network):
            return
        timeout_s = setup.settings.detect.control_timeout_s
        checked = await check_control_page(setup.registry.dialer(DIRECT), page.url, timeout_s=timeout_s)
        if checked.result is ConnectivityResult.PORTAL:
            self._learn(page, checked, network, services.now())
        elif services.network() == network:
            came = PlainPageRequested(came=checked.result is ConnectivityResult.WELL)
            services.beliefs.note(came, network=network, now=services.now())

    async def _usable_pages(self, setup: Setup, network: NetworkId) -> list[ControlPage]:
        """Returns the pages that may be requested direct, shuffled: not those of suspect sites, nor those that a rule
        or an addon sends through relays."""
        services, pages = self._services, control_pages(setup.settings.auto)
        if services.beliefs.network_state(network).is_restricted:
            # A domestic page always answers, so it does not show the end of the restriction.
            pages = [page for page in pages if not page.is_domestic]
        usable = [page for page in pages if await self._is_usable(setup, page, network)]
        self._rng.shuffle(usable)
        return usable

    async def _is_usable(self, setup: Setup, page: ControlPage, network: NetworkId) -> bool:
        services = self._services
        may_be = services.beliefs.may_be_control(page.target.host, network=network, now=services.now())
        return may_be and await services.may_go_direct(setup, page.target.destination)

    async def _check(
        self, setup: Setup, page: ControlPage, network: NetworkId, heard: asyncio.Event | None = None
    ) -> ConnectivityResult | None:
        """Requests a page, and learns from the answer; that it failed, once `heard` is set. Returns the result; None
        when the network has changed."""
        services, started = self._services, self._services.now()

        def keep(stream: Stream) -> bool:
            """Keeps the connection as a witness while a flow has stalled."""
            if not self._stall_waits(network):
                return False
            services.flows.take_witness(stream)
            return True

        checked = await check_control_page(
            setup.registry.dialer(DIRECT), page.url, timeout_s=setup.settings.detect.control_timeout_s, keep=keep
        )
        if heard is not None and checked.result is ConnectivityResult.FAILED:
            await heard.wait()
        if services.network() != network:
            return None
        self._learn(page, checked, network, started)
        return checked.result

    def _learn(self, page: ControlPage, checked: ControlPageResult, network: NetworkId, started: float) -> None:
        if self._services.network() == network:
            host, result, issuer = page.target.host, checked.result, checked.issuer
            self._services.learn(
                ControlAnswered(host, result, started, page.is_domestic, issuer, checked.portal), network
            )
