"""Resolves the names of relays by encrypted DNS alone, and by remembered answers when no server answers.

A plain query for a relay's name tells the network which relay is used, and invites a forged answer. So none is sent,
except for local names and where `[dns] secure` is "never". Answers are remembered for each network, so that a relay
still works where the encrypted DNS servers are blocked. A lookup then waits a moment for a fresh answer, or not at all
when the last query failed, and takes the remembered one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Protocol

from proxy.model import IPAddress, NetworkId, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.dns.resolver import KEEP_S, Resolver
from proxy.net.dns.stub_resolver import lookup_failed
from proxy.net.dns.tampering import ExpiringCache
from proxy.net.tasks import spawn

Answer = tuple[IPAddress, ...] | DialError


class AddressMemory(Protocol):
    """Remembers the addresses of relays. Times are in seconds since the epoch."""

    def addresses(self, host: str, network: NetworkId, now: float) -> tuple[IPAddress, ...]:
        """Returns the last addresses of `host`: on this network, else on any; empty when there are none."""

    def is_news(self, host: str, network: NetworkId, addresses: tuple[IPAddress, ...], now: float) -> bool:
        """Whether the answer differs enough from the remembered one to call `remember`."""

    def remember(self, host: str, network: NetworkId, addresses: tuple[IPAddress, ...], now: float) -> None:
        """Remembers an answer of encrypted DNS. May wait for the disk."""


class RelayLookup(AddressLookup):
    """Resolves the names of relays for their dialer. Belongs to one loop."""

    def __init__(
        self,
        resolver: Resolver,
        memory: AddressMemory,
        *,
        network: Callable[[], NetworkId],
        patience_s: float,
        now: Callable[[], float] = time.time,
        public_only: Collection[str] = (),
        is_public: Callable[[IPAddress], bool] | None = None,
    ) -> None:
        """`resolver` decides which names may be resolved by the system. With a remembered address, a lookup waits
        `patience_s` for a fresh one. `now` is the wall clock. For the names in `public_only`, only addresses that are
        `is_public` are used."""
        self._resolver = resolver
        self._memory = memory
        self._network = network
        self._patience_s = patience_s
        self._now = now
        self._public_only = frozenset(public_only if is_public is not None else ())
        self._is_public = is_public
        self._under_way: dict[tuple[NetworkId, str], asyncio.Task[Answer]] = {}
        self._failed_on: NetworkId | None = None  # the network on which the last query had no answer
        self._failures = ExpiringCache[DialError]()  # a retry gets the last one at once, while a new query runs
        self._stale = ExpiringCache[tuple[IPAddress, ...]]()  # remembered addresses in use

    def cached(self, host: str) -> tuple[IPAddress, ...] | None:
        """See AddressLookup."""
        addresses = (
            self._resolver.known(host)
            or self._stale.get((self._network(), host), asyncio.get_running_loop().time())
            or None
        )
        return addresses if addresses is None or host not in self._public_only else self._public(addresses) or None

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """See Resolver.resolve. Raises RESOLVE_FAILED with evidence "doh" when no encrypted server answers and no
        address is remembered, and FORBIDDEN for a name in `public_only` that leads into the local network."""
        addresses = await self._resolve(host)
        if host not in self._public_only:
            return addresses
        if public := self._public(addresses):
            return public
        text = (
            f"{host} leads into the local network, and the dashboard added this relay, or it is a key; to allow it, "
            "remove the relay and add it with `byway relay add`, a key with --local"
        )
        raise lookup_failed(text, Symptom.FORBIDDEN)

    def _public(self, addresses: tuple[IPAddress, ...]) -> tuple[IPAddress, ...]:
        return tuple(filter(self._is_public, addresses))

    async def _resolve(self, host: str) -> tuple[IPAddress, ...]:
        if (cached := self.cached(host)) is not None:
            return cached
        if self._resolver.may_ask_in_plain_text(host):
            return await self._resolver.resolve(host)
        network = self._network()
        remembered = self._memory.addresses(host, network, self._now())
        query = self._under_way.get((network, host))
        if query is None:  # it goes on when its callers have stopped waiting
            query = self._under_way[network, host] = spawn(self._ask(network, host), name=f"resolve relay {host}")
        failed = self._failures.get((network, host), asyncio.get_running_loop().time())
        if failed is not None and not remembered:
            raise _unresolved(host, failed)
        try:
            patience_s = 0.0 if self._failed_on == network else self._patience_s
            with deadline(patience_s if remembered else None):
                answer = await asyncio.shield(query)
        except TimeoutError:
            answer = lookup_failed(f"no answer for {host} yet", Symptom.SKIPPED)
        if not isinstance(answer, DialError):
            return answer
        if remembered and answer.symptom is not Symptom.NO_NAME:
            self._stale.put((network, host), asyncio.get_running_loop().time() + KEEP_S, remembered)
            return remembered
        raise _unresolved(host, answer)

    async def _ask(self, network: NetworkId, host: str) -> Answer:
        try:
            addresses = await self._resolver.resolve(host)
        except DialError as error:
            if error.symptom is not Symptom.NO_NAME:
                self._failed_on = network
            if error.symptom is Symptom.SKIPPED:
                self._failures.put((network, host), asyncio.get_running_loop().time() + KEEP_S, error)
            return error
        finally:
            del self._under_way[network, host]
        self._failures.drop((network, host))
        if self._failed_on == network:
            self._failed_on = None
        now = self._now()
        if self._memory.is_news(host, network, addresses, now):
            await asyncio.to_thread(self._memory.remember, host, network, addresses, now)
        return addresses


def _unresolved(host: str, error: DialError) -> DialError:
    """Returns a new error for each caller, since raising an error adds to its traceback."""
    if error.symptom is not Symptom.SKIPPED:
        return DialError(str(error), stage=error.stage, symptom=error.symptom, evidence=error.evidence)
    text = (
        f"no encrypted DNS server answers, and a relay's name is asked of no other: write the address of {host} into "
        f"the relay's URL (?alt=ADDRESS:PORT), or add another encrypted DNS server to [dns] servers ({error})"
    )
    return lookup_failed(text, Symptom.RESOLVE_FAILED, {"doh": "doh_down"})
