"""Relays that are keys: a feature makes their dialers, since an engine, a program of others, speaks their protocols.

The core asks for one thing, a `KeyEngine`. Without one, such a relay is down, and nothing goes direct instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.slots import Slots
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.stream import Stream

if TYPE_CHECKING:
    from proxy.wire.keys.values import Key


DestinationLookup = Callable[[Destination], Awaitable[Sequence[IPAddress]]]
"""Returns the addresses of a destination, at least one, by encrypted DNS alone; the guard allows each. Raises
DialError."""

LookupThrough = Callable[[Dialer], DestinationLookup]
"""Returns the lookup whose queries go through a dialer, and no other way."""


@frozen_dataclass
class KeyRelay:
    """A relay that is a key. `via` dials its server; `lookup` has the addresses of its server, and is None where `via`
    leads through another relay. `slots` are None where no limit is needed. `lookup_through` is for a protocol that
    carries packets to addresses, and None where no encrypted DNS server is configured."""

    name: str
    key: Key
    via: Dialer
    lookup: AddressLookup | None
    slots: Slots | None
    timeout_s: float
    """Seconds for all handshakes on the way to the destination."""
    lookup_through: LookupThrough | None = None


_SILENT_S = 2.0
"""Seconds without a connection after which an endpoint is left: a SYN that is lost is sent again after one (RFC
6298)."""


class AnyServer:
    """Dials the server of a key at its address, and where that fails at the next of its alternatives. The one that was
    reached last is dialed first."""

    def __init__(self, via: Dialer, endpoints: Sequence[Destination]) -> None:
        self._via = via
        self._endpoints = endpoints
        self._first = 0

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. `destination` is the first of the endpoints."""
        failure: DialError | None = None
        began = self._first
        for place in (*range(began, len(self._endpoints)), *range(began)):
            dialed_at = monotonic()
            try:
                return await self._via.dial(self._endpoints[place])
            except DialError as error:
                failure = failure or error
                self._leave(place)
            except BaseException:  # the time is over, or another way won the visit, and that may be after a moment
                if monotonic() - dialed_at >= _SILENT_S:
                    self._leave(place)
                raise
        assert failure is not None
        raise failure

    def _leave(self, place: int) -> None:
        """An endpoint was not reached. Another dial may have left it before."""
        if self._first == place:
            self._first = (place + 1) % len(self._endpoints)


class ServerAddresses(AddressLookup):
    """Looks up the server of a key over UDP: the addresses of its name, then those of its alternatives."""

    def __init__(self, lookup: AddressLookup, endpoints: Sequence[Destination]) -> None:
        self._lookup = lookup
        self._endpoints = endpoints

    async def resolve(self, host: str) -> Sequence[IPAddress]:
        """See AddressLookup. `host` is that of the first endpoint. Raises DialError when no name can be resolved."""
        found: dict[IPAddress, None] = {}
        failure: DialError | None = None
        for endpoint in self._endpoints:
            if endpoint.address is not None:
                found[endpoint.address] = None
                continue
            try:
                found |= dict.fromkeys(await self._lookup.resolve(endpoint.host))
            except DialError as error:
                failure = failure or error
        if not found and failure is not None:
            raise failure
        return tuple(found)


class KeyDialer(Dialer, Protocol):
    """Dials through a key. A stream that brought no byte yet may be of a key that does not work: see
    `Stream.fault_before_answer`."""

    def carries(self, destination: Destination) -> bool: ...

    def retire(self) -> None:
        """The Setup that has it is no longer in use. It still dials, but the key may leave the engine."""


class KeyEngine(Protocol):
    """Makes the dialers of keys, for one run of Byway."""

    def dialer(self, relay: KeyRelay) -> KeyDialer:
        """Returns the dialer of a key. Nothing is started before its first dial."""

    async def close(self) -> None:
        """Ends everything that was started."""


NO_ENGINE = "keys need the feature keys, which is not here: install Byway again, or remove this relay"


class NoEngineDialer:
    """The dialer of a key where no feature can use keys."""

    def __init__(self, relay: str) -> None:
        self._relay = relay

    def carries(self, destination: Destination) -> bool:
        """Returns True: so a rule for this relay fails with the reason."""
        return True

    async def dial(self, destination: Destination) -> Stream:
        raise engine_failed(self._relay, NO_ENGINE)

    def retire(self) -> None:
        """Nothing runs for it."""


def engine_failed(relay: str, reason: str) -> DialError:
    """Returns the error of a key whose engine cannot be used."""
    text = f"relay {relay}: {reason}"
    return DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_DOWN, evidence={"relay": "engine"})
