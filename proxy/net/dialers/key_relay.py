"""Relays that are keys: a feature makes their dialers, since an engine, a program of others, speaks their protocols.

The core asks for one thing, a `KeyEngine`. Without one, such a relay is down, and nothing goes direct instead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
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
    """A relay that is a key. `via` dials its server; `lookup` resolves its server's name, and is None where `via` leads
    through another relay. `slots` are None where no limit is needed. `lookup_through` is for a protocol that carries
    packets to addresses, and None where no encrypted DNS server is configured."""

    name: str
    key: Key
    via: Dialer
    lookup: AddressLookup | None
    slots: Slots | None
    timeout_s: float
    """Seconds for all handshakes on the way to the destination."""
    lookup_through: LookupThrough | None = None


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
