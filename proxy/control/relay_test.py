"""One try of one relay: can it be reached, does it shake hands, does it bring us to a destination.

Whatever opens the path is a Dialer, so a chain and an https relay are tried just as the proxy would use them. The path
is closed as soon as it is open: nothing is asked of the destination.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from proxy.config.schema import RelayConfig
from proxy.detect.relay_faults import relay_fault
from proxy.detect.relay_health import SLOW_S
from proxy.model import Destination, Route, Stage, Symptom
from proxy.model.errors import BywayError, DialError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.stream import Stream
from proxy.store.relay_tests import RelayTest, url_hash

TRIALS_AT_ONCE = 8
PATH_S = 15.0
"""For a relay to open a path: a slow circuit takes 11 s. A visit waits longer, when it has nothing else to wait for."""

_NOT_REACHED = (Symptom.RELAY_REFUSED, Symptom.TIMEOUT)

_SHOOK_HANDS = (Symptom.RELAY_REFUSED, Symptom.TIMEOUT)  # it spoke its protocol to the end, or until it had to wait


class Relays(Protocol):
    """The configured relays, ready for use."""

    def dialer(self, route: Route) -> Dialer: ...
    def carries(self, route: Route, destination: Destination) -> bool: ...


def remembered_tests(
    trials: Sequence[Trial], relays: Sequence[RelayConfig], at: float, *, whatever_target: bool, may_blame: bool = True
) -> list[RelayTest]:
    """What is remembered of trials: what says how the relay is. That it does not reach a destination does so for a page
    that should always open, and not with `whatever_target`. Without `may_blame` (offline, behind a captive portal) no
    failure does."""
    urls = {relay.name: relay.url for relay in relays}

    def counts(trial: Trial) -> bool:
        says = trial.is_relays_fault or (trial.symptom in _NOT_REACHED and not whatever_target)
        return trial.ok or (says and may_blame)

    return [
        RelayTest(trial.relay, at, trial.ok, trial.elapsed_s, trial.fault, url_hash(urls[trial.relay]))
        for trial in trials
        if trial.relay in urls and counts(trial)
    ]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one try showed. `elapsed_s` is the time until the path was open, or until it failed."""

    relay: str
    reachable: bool
    handshake: bool
    ok: bool
    elapsed_s: float
    symptom: str = ""
    error: str = ""
    fault: str = ""  # in words, without hosts; empty when it works
    is_relays_fault: bool = False  # whatever the destination is
    do: str = ""  # what to do about it, ending with a command

    @property
    def words(self) -> str:
        """works, slow, or fails with the fault."""
        return result_words(ok=self.ok, elapsed_s=self.elapsed_s, fault=self.fault)


def result_words(*, ok: bool, elapsed_s: float, fault: str) -> str:
    """How a test of a relay ended, in the words of lists."""
    if not ok:
        return f"fails: {fault}"
    return "slow" if elapsed_s > SLOW_S else "works"


_OTHER_FAULTS = {
    Symptom.RELAY_REFUSED: "refuses this destination",
    Symptom.TIMEOUT: "did not reach the destination in time",
    Symptom.SKIPPED: "takes addresses only",
    Symptom.OFFLINE: "this computer has no network",
    Symptom.LOCAL: "this computer is short of resources",
}
"""What stops a path through a relay and is no fault of the relay's, without hosts or addresses."""


async def try_relay(
    name: str, dialer: Dialer, destination: Destination, *, clock: Callable[[], float] = time.monotonic
) -> Trial:
    """Opens a path to `destination` through the relay and closes it again."""
    began = clock()
    try:
        stream = await _dialed(name, dialer, destination)
    except DialError as error:
        reachable = error.stage not in (Stage.RESOLVE, Stage.CONNECT)
        handshake = reachable and error.symptom in _SHOOK_HANDS
        failed = Trial(name, reachable, handshake, False, clock() - began, str(error.symptom), str(error))
        if (fault := relay_fault(error)) is not None:
            return replace(failed, fault=fault.text, is_relays_fault=True, do=fault.fix(name))
        text = _OTHER_FAULTS.get(error.symptom, "no connection")
        return replace(failed, fault=text, do=f"byway relay test {name}")
    except (BywayError, OSError) as error:
        text = _OTHER_FAULTS[Symptom.LOCAL]
        return Trial(name, False, False, False, clock() - began, str(Symptom.LOCAL), str(error), text)
    stream.close()
    return Trial(name, reachable=True, handshake=True, ok=True, elapsed_s=clock() - began)


async def _dialed(name: str, dialer: Dialer, destination: Destination) -> Stream:
    """See Dialer."""
    try:
        with deadline(PATH_S):
            return await dialer.dial(destination)
    except TimeoutError as error:
        text = f"relay {name} did not reach the destination within {PATH_S:g} s"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.TIMEOUT) from error


async def try_relays(
    registry: Relays, names: Sequence[str], destination: Destination, *, resolver: AddressLookup | None
) -> list[Trial]:
    """One Trial for each relay, in order.

    A relay that takes addresses alone is tried with one of the destination's when `resolver` is given, which is only
    right for a name that anybody may be asked for; else it is said that it carries no names."""
    at_once = asyncio.Semaphore(TRIALS_AT_ONCE)

    async def one(name: str) -> Trial:
        async with at_once:
            carried = await carriable(registry, name, destination, resolver)
            if carried is None:
                return _cannot_carry(name, destination)
            return await try_relay(name, registry.dialer(Route((name,))), carried)

    return list(await asyncio.gather(*map(one, names)))


async def carriable(
    registry: Relays, name: str, destination: Destination, resolver: AddressLookup | None
) -> Destination | None:
    """The destination as the relay can take it, or None."""
    route = Route((name,))
    if registry.carries(route, destination):
        return destination
    if resolver is None or destination.address is not None:
        return None
    try:
        addresses = await resolver.resolve(destination.host)
    except DialError:
        return None
    resolved = (Destination(str(address), destination.port) for address in addresses)
    return next((candidate for candidate in resolved if registry.carries(route, candidate)), None)


def _cannot_carry(name: str, destination: Destination) -> Trial:
    error = f"relay {name} takes addresses only; test it with --to ADDRESS:{destination.port}"
    return Trial(name, False, False, False, 0.0, str(Symptom.SKIPPED), error, _OTHER_FAULTS[Symptom.SKIPPED])
