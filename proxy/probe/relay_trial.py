"""Tests relays: whether one can be reached, completes its handshake, and opens a path to a destination.

The Dialer of the relay opens the path, so a chain and an https relay are tested as they are used. The path is closed
at once: nothing is sent to the destination, but through a key, since only an answer shows that it works. A key that
brings none may be wrong, or its server cannot reach the destination: another one tells which. A SOCKS relay
whose greeting gets no answer gets a TLS ClientHello without a name, on a connection of its own: the answer shows
whether the network filters the protocol.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from proxy.config.schema import RelayConfig
from proxy.detect.relay_faults import RelayFault, fault_beside_hello, relay_fault
from proxy.detect.relay_health import SLOW_S
from proxy.model import Destination, Evidence, Route, Stage, Symptom
from proxy.model.errors import BywayError, DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, pgettext
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.probe.own_hello import own_hello
from proxy.probe.site_name import site
from proxy.store.relay_tests import RelayTest, url_hash

TRIALS_AT_ONCE = 8
PATH_S = 20.0
"""Seconds for a relay to open a path, longer than its handshake may take: a slow circuit takes 11 s. A visit waits
longer when there is no other route."""

_HTTPS = 443

HELLO_S = 5.0
"""Seconds for an answer to the ClientHello."""

_DESTINATION_NOT_REACHED = (Symptom.RELAY_REFUSED, Symptom.TIMEOUT)
"""The handshake succeeded, and the relay answered that it cannot reach the destination, or did not answer in time."""


def remembered_tests(
    trials: Sequence[Trial], relays: Sequence[RelayConfig], at: float, *, whatever_target: bool, may_blame: bool = True
) -> list[RelayTest]:
    """Returns the trials that show something about the relay itself, for the store.

    An unreached destination counts against the relay if it is a page that should always open, which is not so with
    `whatever_target`. Without `may_blame` (offline, or behind a captive portal) no failure counts."""
    urls = {relay.name: relay.url for relay in relays}

    def counts(trial: Trial) -> bool:
        not_reached = trial.symptom in _DESTINATION_NOT_REACHED and not whatever_target
        return trial.ok or (may_blame and (trial.is_relays_fault or not_reached))

    return [
        RelayTest(trial.relay, at, trial.ok, trial.elapsed_s, trial.fault, url_hash(urls[trial.relay]))
        for trial in trials
        if trial.relay in urls and counts(trial)
    ]


@frozen_dataclass
class Trial:
    """The result of one test. `elapsed_s` is the time until the path was open, or until it failed."""

    relay: str
    reachable: bool
    handshake: bool
    ok: bool
    elapsed_s: float
    symptom: str = ""
    error: str = ""
    fault: str = ""  # in words, without hosts; empty when it works
    is_relays_fault: bool = False  # it would fail with every destination
    do: str = ""  # the advice, which ends with a command
    protocol: str = ""  # of an https relay that works: "HTTP/2" or "HTTP/1.1"


def result_words(*, ok: bool, elapsed_s: float, fault: str) -> str:
    """Returns the result of a test in the words of lists."""
    if not ok:
        return _("fails: {fault}", fault=fault)
    return pgettext("relay", "slow") if elapsed_s > SLOW_S else pgettext("relay", "works")


_TEST_ANOTHER = _("test another destination: {test} --to HOST:PORT")
_OTHER_FAULTS = {
    Symptom.RELAY_REFUSED: _("refuses this destination"),
    Symptom.TIMEOUT: _("did not reach the destination in time"),
    Symptom.SKIPPED: _("takes addresses only"),
    Symptom.OFFLINE: _("this computer has no network"),
    Symptom.LOCAL: _("this computer is short of resources"),
    Symptom.FORBIDDEN: _("its address is not allowed"),
}
"""Failures that are not the relay's fault, in words without hosts and addresses."""

_MAY_BE_THE_DESTINATION = (RelayFault.KEY_CLOSED, RelayFault.KEY_CLOSED_OR_CLOCK, RelayFault.KEY_UNANSWERED, None)
"""What a key shows as well whose server cannot reach the destination."""

_OTHER_FIXES = {
    Symptom.RELAY_REFUSED: _TEST_ANOTHER,
    Symptom.TIMEOUT: _("wait until the relay is connected, then {test}"),
    Symptom.FORBIDDEN: _("correct its host and port in config.toml, then {test}"),
}


async def try_relay(
    name: str,
    dialer: Dialer,
    destination: Destination,
    *,
    connect: Callable[[], Awaitable[Stream]] | None = None,
    protocol: Callable[[], str] = lambda: "",
    other: Destination | None = None,
    is_given: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Trial:
    """Opens a path to `destination` through the relay, and closes it at once, through a key after the first byte of an
    answer. `connect` opens a TCP connection to where the relay listens; with None, no ClientHello is sent there.
    `protocol` tells how the path was opened. `other` is tried when that of a key may have failed for its destination:
    an answer shows that the key works, and is the result unless the user has given the destination (`is_given`)."""
    trial, may_be_destination = await _try(name, dialer, destination, connect, protocol, clock)
    if not may_be_destination:
        return trial
    if other is None and trial.is_relays_fault:
        return replace(trial, fault=_("{fault}; or it cannot reach this destination", fault=trial.fault))
    second = trial if other is None else (await _try(name, dialer, other, connect, protocol, clock))[0]
    if not second.ok:
        return trial
    if not is_given:
        return second
    return replace(
        second,
        ok=False,
        symptom=str(Symptom.RELAY_REFUSED),
        error=f"relay {name} reaches {other}, and not {destination}",
        fault=_("does not reach this destination, but another"),
        do=_TEST_ANOTHER.given(test=f"byway relay test {name}"),
        protocol="",
    )


async def _try(
    name: str,
    dialer: Dialer,
    destination: Destination,
    connect: Callable[[], Awaitable[Stream]] | None,
    protocol: Callable[[], str],
    clock: Callable[[], float],
) -> tuple[Trial, bool]:
    """Returns the result of `try_relay` with one destination, and whether that of a key may be its destination's."""
    began, is_opened = clock(), False
    try:
        stream = await _dial(name, dialer, destination)
        if stream.is_answer_needed:
            is_opened = True
            await _answer(name, stream, destination)
    except DialError as error:
        reachable = error.stage not in (Stage.RESOLVE, Stage.CONNECT)
        handshake = reachable and error.symptom in _DESTINATION_NOT_REACHED
        failed = Trial(name, reachable, handshake, False, clock() - began, str(error.symptom), str(error))
        fault = relay_fault(error)
        may_be_destination = is_opened and fault in _MAY_BE_THE_DESTINATION
        if fault is not None:
            if connect is not None and error.evidence.get("greeting"):
                fault = await _beside_hello(fault, error.evidence, connect)
            failed = replace(failed, fault=fault.text, is_relays_fault=True, do=fault.fix(name))
            return failed, may_be_destination
        text = _OTHER_FAULTS.get(error.symptom, _("no connection"))
        do = _OTHER_FIXES.get(error.symptom)
        test = f"byway relay test {name}"
        return replace(failed, fault=text, do=test if do is None else do.given(test=test)), may_be_destination
    except (BywayError, OSError) as error:
        text = _OTHER_FAULTS[Symptom.LOCAL]
        return Trial(name, False, False, False, clock() - began, str(Symptom.LOCAL), str(error), text), False
    stream.close()
    return Trial(name, reachable=True, handshake=True, ok=True, elapsed_s=clock() - began, protocol=protocol()), False


async def _beside_hello(fault: RelayFault, evidence: Evidence, connect: Callable[[], Awaitable[Stream]]) -> RelayFault:
    """Sends a ClientHello to where the relay listens, and returns the fault that the answer shows."""
    try:
        stream = await connect()
    except DialError:
        return fault
    answer: bytes | None = b""
    try:
        with deadline(HELLO_S):
            await stream.send(own_hello())  # a name would show this network that of the relay
            answer = await stream.receive()
    except TimeoutError:
        answer = None
    except OSError:  # reset
        pass
    finally:
        stream.abort()
    return fault_beside_hello(fault, evidence, answer)


async def _dial(name: str, dialer: Dialer, destination: Destination) -> Stream:
    """Dials within PATH_S. Raises DialError, also when the time is over."""
    try:
        with deadline(PATH_S):
            return await dialer.dial(destination)
    except TimeoutError as error:
        text = f"relay {name} did not reach the destination within {PATH_S:g} s"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.TIMEOUT) from error


async def _answer(name: str, stream: Stream, destination: Destination) -> None:
    """Sends the destination a ClientHello, or on another port a request by HTTP, and waits for the first byte. Closes
    the stream, and raises DialError, when none comes within PATH_S."""
    if destination.port == _HTTPS:
        request = own_hello(destination.host if destination.address is None else "")
    else:
        request = f"HEAD / HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n\r\n".encode("ascii")
    try:
        with deadline(PATH_S):
            await stream.send(request)
            if await stream.receive():
                return
        symptom = Symptom.EOF
    except TimeoutError:
        symptom = Symptom.SILENT
    except OSError:
        symptom = Symptom.RESET
    except BaseException:
        stream.abort()
        raise
    fault = stream.fault_before_answer(symptom)
    stream.abort()
    if fault is None:
        text = f"relay {name} brought no answer of the destination"
        fault = DialError(text, stage=Stage.RELAY, symptom=Symptom.TIMEOUT)
    raise fault


def another(controls: Sequence[str], destination: Destination) -> Destination | None:
    """Returns the first control page that is another destination, for tests of keys; None: there is none."""
    pages = (site(control) for control in controls)
    return next((page for page in pages if page.host != destination.host), None)


async def try_relays(
    registry: Registry,
    names: Sequence[str],
    destination: Destination,
    *,
    resolver: AddressLookup | None,
    other: Destination | None = None,
    is_given: bool = False,
) -> list[Trial]:
    """Tests relays at the same time, as `each_trial` does. Returns a Trial for each, in order."""
    tests = each_trial(registry, names, destination, resolver=resolver, other=other, is_given=is_given)
    trials = {trial.relay: trial async for trial in tests}
    return [trials[name] for name in names]


async def each_trial(
    registry: Registry,
    names: Sequence[str],
    destination: Destination,
    *,
    resolver: AddressLookup | None,
    other: Destination | None = None,
    is_given: bool = False,
) -> AsyncGenerator[Trial, None]:
    """Tests relays at the same time, and yields a Trial for each as soon as it has ended.

    A relay that takes only addresses is tested with an address of the destination, if there is a `resolver`; otherwise
    its test fails. Pass a resolver only when any name server may get the destination's name. `other` and `is_given` are
    those of `try_relay`. A caller that stops early closes the generator, which ends the tests."""
    at_once = asyncio.Semaphore(TRIALS_AT_ONCE)

    async def one(name: str) -> Trial:
        async with at_once:
            carried = await carriable(registry, name, destination, resolver)
            if carried is None:
                error = f"relay {name} takes addresses only; test it with --to ADDRESS:{destination.port}"
                fault = _OTHER_FAULTS[Symptom.SKIPPED]
                return Trial(name, False, False, False, 0.0, str(Symptom.SKIPPED), error, fault)
            dialer, connect = registry.dialer(Route((name,))), partial(registry.connect, name)
            protocol = partial(registry.protocol, name)
            return await try_relay(
                name, dialer, carried, connect=connect, protocol=protocol, other=other, is_given=is_given
            )

    tests = [spawn(one(name), name=f"test of relay {name}") for name in names]
    try:
        for test in asyncio.as_completed(tests):
            yield await test
    finally:
        for left in tests:
            left.cancel()


async def carriable(
    registry: Registry, name: str, destination: Destination, resolver: AddressLookup | None
) -> Destination | None:
    """Returns the destination in a form that the relay takes: unchanged, or as an address; None when there is none."""
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
