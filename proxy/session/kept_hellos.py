"""Keeps the ClientHellos of visits that direct did not deliver, for `byway why`.

A censor may drop the ClientHello of one program and not that of another, so `why` sends its own and that of the visit.
The hellos are in memory only, without the user's session tickets, and the caller keeps none of a host in `[log] never`.
Those of another network are dropped.
"""

from __future__ import annotations

from proxy.model import Protocol
from proxy.model.bounded import Bounded
from proxy.wire.flight import Flight
from proxy.wire.tls import RANDOMNESS, refreshed

HOSTS_MAX = 64
"""The most hosts of which a hello is kept."""

HELLO_MAX = 2048
"""Bytes of the longest hello that is kept. Those of browsers have 1,800 to 2,020 since they are post-quantum."""


class KeptHellos:
    """The latest hello of each host. Belongs to one loop."""

    def __init__(self) -> None:
        self._hellos: Bounded[str, bytes] = Bounded(HOSTS_MAX)

    def keep(self, host: str, flight: Flight) -> None:
        """Keeps the hello of a visit to `host`, unless it is too long, or encrypted under another name. Of another
        protocol, it keeps nothing."""
        if flight.protocol is not Protocol.TLS or not flight.replayable or flight.server_name != host:
            return
        hello = refreshed(flight.data, bytes(RANDOMNESS))
        if len(hello) <= HELLO_MAX:
            self._hellos[host] = hello

    def of(self, host: str) -> bytes | None:
        """Returns the hello of the last such visit, as for a first connection; None: none is kept. The sender makes it
        anew with random values of its own (`wire.tls.refreshed`)."""
        return self._hellos.get(host)

    def forget_hosts(self) -> None:
        self._hellos.clear()
