"""What a first flight can be made to look like on its way, so that a censor does not find the name in it.

Each function takes a flight and returns the pieces that it shall leave in, each a segment of its own. What a server
reads from them is what the client said: a ClientHello in two records is the same message (RFC 8446 section 5.1), and a
field's name is the same in any case (RFC 9110 section 5.1). A flight in which there is no name to be found stays as it
is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from proxy.model import Protocol
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames as names
from proxy.wire.flight import Flight
from proxy.wire.tls import FIRST_PIECE, cut_records, sni_offset

_HOST = re.compile(rb"\r\n(host):[ \t]*([^\r\n]*)", re.IGNORECASE)


def tlsrec(flight: Flight) -> tuple[bytes, ...]:
    """A ClientHello whose record is cut in two inside the name. Passes who puts TCP together, but not TLS records."""
    at = _in_name(flight) if flight.protocol is Protocol.TLS else None
    return (flight.data,) if at is None else (cut_records(flight.data, at),)


def split(flight: Flight) -> tuple[bytes, ...]:
    """Three segments, cut behind the first byte and inside the name. Passes who looks at single packets: the first
    tells no protocol, and none holds the name."""
    at = _in_name(flight)
    if at is None or at < 2:
        return (flight.data,)
    return (flight.data[:1], flight.data[1:at], flight.data[at:])


def disorder(flight: Flight) -> tuple[bytes, ...]:
    """Two segments, cut inside the name; the first one is for a `Stream` that makes it come late."""
    at = _in_name(flight)
    return (flight.data,) if at is None else (flight.data[:at], flight.data[at:])


def hostcase(flight: Flight) -> tuple[bytes, ...]:
    """`Host` as `hOSt`. Passes who looks for the field by its usual spelling."""
    field = _host(flight)
    if field is None:
        return (flight.data,)
    start, end = field.span(1)
    return (flight.data[:start] + b"hOSt" + flight.data[end:],)


@frozen_dataclass
class Strategy:
    """A local strategy that changes how a flight looks on its way."""

    shape: Callable[[Flight], tuple[bytes, ...]]
    protocols: frozenset[Protocol]  # of the flights that it changes; others stay as they are
    cuts: bool = True  # the flight leaves in pieces
    cuts_records: bool = False  # also for the server: a TLS record ends within the ClientHello
    first_piece_dies: bool = False  # at the first router, which takes a socket of ours to the site: direct routes only


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "tlsrec": Strategy(tlsrec, frozenset({Protocol.TLS}), cuts_records=True),
        "hostcase": Strategy(hostcase, frozenset({Protocol.HTTP}), cuts=False),
        "split": Strategy(split, frozenset({Protocol.TLS, Protocol.HTTP})),
        "disorder": Strategy(disorder, frozenset({Protocol.TLS, Protocol.HTTP}), first_piece_dies=True),
    }
)
"""By the word in a route, in the order in which they may stand there: what cuts segments comes last."""


def cuts_hello(strategy: str) -> bool:
    """Whether a strategy, of one word or of several, does something to a ClientHello."""
    words = strategy.split("|")
    return all(word in STRATEGIES and Protocol.TLS in STRATEGIES[word].protocols for word in words)


def idle_strategies(protocol: Protocol) -> frozenset[str]:
    """The strategies that do nothing to a flight of this protocol."""
    return frozenset(word for word, strategy in STRATEGIES.items() if protocol not in strategy.protocols)


def _in_name(flight: Flight) -> int | None:
    """Where the first name in the flight is best cut."""
    if flight.protocol is Protocol.TLS and flight.complete:
        at = sni_offset(flight.data)
        return at if at is None or at >= FIRST_PIECE else None
    field = _host(flight)
    return None if field is None or not field[2] else field.start(2) + names.middle(field[2])


def _host(flight: Flight) -> re.Match[bytes] | None:
    """The Host field of the first request."""
    if flight.protocol is not Protocol.HTTP:
        return None
    return _HOST.search(flight.data, 0, flight.data.find(b"\r\n\r\n") + 2)
