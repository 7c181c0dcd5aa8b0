"""`byway relay scan`: finds listeners on this computer, and opens connections through them if the user allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing

from proxy.config.relays import Relay
from proxy.features.relays.pysocks_check import second_opinion
from proxy.model import Destination, Route
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.registry import Registry
from proxy.net.poller import make_poller
from proxy.probe.local_proxies import KnownPort, Listener, find_listeners, loopback_dialer
from proxy.probe.relay_trial import Trial, try_relay


@frozen_dataclass
class TryOut:
    """The result of one connection through a listener, by our dialer and by PySocks (None: not used)."""

    trial: Trial
    pysocks_ok: bool | None = None
    pysocks_error: str = ""


def scan(ports: Iterable[KnownPort], *, own: Collection[int]) -> list[Listener]:
    """Returns the listeners on these ports of 127.0.0.1, which it asks all at once, except Byway's `own` ports."""
    return asyncio.run(_scan(ports, own))


def try_out(listeners: Sequence[Listener], destination: Destination) -> list[TryOut]:
    """Opens a connection to `destination` through each listener, and one by PySocks, and closes them. Sends nothing to
    it."""
    return asyncio.run(_try_out(listeners, destination))


async def _scan(ports: Iterable[KnownPort], own: Collection[int]) -> list[Listener]:
    with closing(make_poller(asyncio.get_running_loop())) as poller:
        return await find_listeners(ports, poller, own=own)


async def _try_out(listeners: Sequence[Listener], destination: Destination) -> list[TryOut]:
    with closing(make_poller(asyncio.get_running_loop())) as poller:
        dialer = loopback_dialer(poller)
        relays = [Relay.parse(f"port {listener.known.port}", listener.url) for listener in listeners]
        registry = Registry(relays, direct=dialer, to_relays=dialer)
        return list(await asyncio.gather(*(_try_one(registry, relay, destination) for relay in relays)))


async def _try_one(registry: Registry, relay: Relay, destination: Destination) -> TryOut:
    trial = await try_relay(relay.name, registry.dialer(Route((relay.name,))), destination)
    (hop,) = registry.hops((relay.name,))
    opinion = await second_opinion(hop, destination, may_send_credentials=False)
    return TryOut(trial, opinion.ok if opinion.asked else None, opinion.error)
