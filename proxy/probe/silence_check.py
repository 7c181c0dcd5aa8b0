"""Explains, after a rescued visit, why direct was silent: is it this name, the ClientHello, or is the site slow?

Direct sent a ClientHello, and no answer came, though a relay delivered. Some networks drop the answers by name. So the
hello is sent once more and, while that is silent too, one with the name of a control site, both to one address: another
one of the site if it is known, since one of its servers may be broken. Both have the shape of the visit's hello, as a
censor may treat Python's differently. Where neither is answered, Python's own follows, with the name of the site. At
most once a day and host, within the hourly budget of re-tests, each in its turn among Byway's own hellos. If the first
one is answered, nothing else is sent. `detect` decides what the answers mean.
"""

from __future__ import annotations

import asyncio
import math
import random
from functools import partial

from proxy.detect.beliefs.events import SilenceExplained
from proxy.model import Attempt, Destination, Outcome, Protocol, Stage, Symptom, host_and_port
from proxy.net.tasks import spawn
from proxy.probe.beside import BesideVisit, beside
from proxy.probe.neutral_name import neutral_name
from proxy.probe.own_hello import own_hello
from proxy.probe.same_flight import FULL_SEGMENT, answered_after
from proxy.session.events import OpenRecord, Rescued
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.flight import Flight


class SilenceCheck:
    """Starts experiments beside rescued visits."""

    def __init__(self, services: Services, *, rng: random.Random | None = None) -> None:
        self._services = services
        self._rng = rng if rng is not None else random.SystemRandom()

    def on_rescued(self, visit: Rescued) -> None:
        """Starts an experiment when a relay delivered while direct had not answered the ClientHello yet, if it stays
        silent and the experiment is due then."""
        outcome = visit.outcome
        if (
            outcome.winner is not None
            and outcome.winner.relays
            and visit.flight.protocol is Protocol.TLS
            and visit.flight.server_name == outcome.host  # not an encrypted one under another name
            and (direct := outcome.direct_attempt) is not None
            and direct.pending
            and direct.stage is Stage.FIRST_BYTE
            and (frame := beside(self._services, visit.setup, visit.record.network, outcome))
        ):
            visit.record.retain()
            spawn(self._run(frame, visit.record, visit.flight), name=f"explain the silence of {outcome.host}")

    async def _run(self, frame: BesideVisit, record: OpenRecord, flight: Flight) -> None:
        services, setup, network = self._services, frame.setup, frame.network
        try:
            await record.direct_judged()
            visit = record.outcome
        finally:
            record.release()
        direct = visit.direct_attempt
        if direct is None or direct.symptom is not Symptom.SILENT or "dns" in direct.evidence:  # a forged address
            return
        if "out_of_order" in direct.evidence:  # an answer came, and its first segments were lost
            return
        other_name = await neutral_name(services, setup, visit.host, network, self._rng)
        if not other_name or not frame.is_same():
            return
        if services.beliefs.proof_due(visit.host, network=network, now=services.now()):
            event = await self._explain(setup, visit, direct, flight, other_name)
            if event is not None:
                frame.report(event)

    async def _explain(
        self, setup: Setup, visit: Outcome, direct: Attempt, flight: Flight, other_name: str
    ) -> SilenceExplained | None:
        """Makes the experiment. Returns None when direct answers soon or fails in another way: then there is nothing to
        explain."""
        services, detect = self._services, setup.settings.detect
        relay = next(attempt for attempt in visit.attempts if attempt.route == visit.winner and attempt.delivered)
        soon_s = detect.silent_s * detect.proof_share
        ask = partial(answered_after, setup, services.tcp_info, visit, address=_to_ask(setup, visit, direct))
        least_bytes = 1 if "acknowledged" in direct.evidence else FULL_SEGMENT
        await services.hello_turn(visit.host)
        again = spawn(ask(flight, within_s=detect.silent_s), name=f"send a ClientHello to {visit.host} again")
        other_s: float | None = None
        try:
            await asyncio.wait([again], timeout=soon_s)
            if again.done():
                return None
            await services.hello_turn(other_name)
            neutral_s = await ask(flight, server_name=other_name, within_s=soon_s, least_bytes=least_bytes)
            again_s = await again
            if neutral_s == again_s == math.inf:
                await services.hello_turn(visit.host)
                own = Flight()
                own.receive_data(own_hello(visit.host))
                other_s = await ask(own, within_s=soon_s, least_bytes=least_bytes)
        finally:
            again.cancel()
        if again_s is None:
            return None
        return SilenceExplained(
            host=visit.host,
            sent=max(visit.at + direct.started, visit.flight_at),
            winner=relay.route,
            delivered_s=relay.started + relay.elapsed - direct.started,
            relay_s=relay.elapsed - relay.evidence.get("opened_s", 0.0),
            neutral_s=math.inf if neutral_s is None else neutral_s,
            again_s=again_s,
            other_s=math.inf if other_s is None else other_s,
        )


def _to_ask(setup: Setup, visit: Outcome, direct: Attempt) -> Destination:
    """Returns another address of the site than the one that was silent, of the same family, if one is known; else that
    one."""
    host, port = host_and_port(direct.address)
    silent = Destination(host, int(port))
    for address in setup.resolver.known(visit.request.destination.host):
        if silent.address is not None and address != silent.address and address.version == silent.address.version:
            return Destination(str(address), silent.port)
    return silent
