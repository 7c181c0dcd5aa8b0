"""Local strategies that change the form of a flight, so that a censor does not find the name in it.

Each function returns the pieces of a flight; each piece leaves in a segment of its own. The server reads the same
message: a ClientHello may come in two records (RFC 8446 section 5.1), and the case of a field's name has no meaning
(RFC 9110 section 5.1). A flight without a name is not changed.
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
    """Cuts the record of a ClientHello in two inside the name. Passes a filter that reassembles TCP but not TLS
    records."""
    at = _in_name(flight) if flight.protocol is Protocol.TLS else None
    return (flight.data,) if at is None else (cut_records(flight.data, at),)


def split(flight: Flight) -> tuple[bytes, ...]:
    """Cuts a flight into three segments, after the first byte and inside the name. Passes a filter that looks at single
    packets: the first one shows no protocol, and none holds the name."""
    at = _in_name(flight)
    if at is None or at < 2:
        return (flight.data,)
    return (flight.data[:1], flight.data[1:at], flight.data[at:])


def disorder(flight: Flight) -> tuple[bytes, ...]:
    """Cuts a flight into two segments inside the name. The `Stream` makes the first one arrive after the second."""
    at = _in_name(flight)
    return (flight.data,) if at is None else (flight.data[:at], flight.data[at:])


def hostcase(flight: Flight) -> tuple[bytes, ...]:
    """Writes `Host` as `hOSt`. Passes a filter that looks for the usual spelling."""
    field = _host(flight)
    if field is None:
        return (flight.data,)
    start, end = field.span(1)
    return (flight.data[:start] + b"hOSt" + flight.data[end:],)


@frozen_dataclass
class Strategy:
    """A local strategy that changes the form of a flight."""

    shape: Callable[[Flight], tuple[bytes, ...]]
    protocols: frozenset[Protocol]  # of the flights that it changes
    cuts: bool = True  # the flight leaves in pieces
    cuts_records: bool = False  # the server sees it too: a TLS record ends within the ClientHello
    first_piece_dies: bool = False  # at the first router. It needs our own socket to the site, so a direct route


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "tlsrec": Strategy(tlsrec, frozenset({Protocol.TLS}), cuts_records=True),
        "hostcase": Strategy(hostcase, frozenset({Protocol.HTTP}), cuts=False),
        "split": Strategy(split, frozenset({Protocol.TLS, Protocol.HTTP})),
        "disorder": Strategy(disorder, frozenset({Protocol.TLS, Protocol.HTTP}), first_piece_dies=True),
    }
)
"""Strategies by their word in a route, in the order in which a route may name them: those that cut segments are
last."""


def cuts_hello(strategy: str) -> bool:
    """Whether every word of a strategy, such as "tlsrec|split", changes a ClientHello."""
    words = strategy.split("|")
    return all(word in STRATEGIES and Protocol.TLS in STRATEGIES[word].protocols for word in words)


def idle_strategies(protocol: Protocol) -> frozenset[str]:
    """Returns the strategies that do not change a flight of this protocol."""
    return frozenset(word for word, strategy in STRATEGIES.items() if protocol not in strategy.protocols)


def _in_name(flight: Flight) -> int | None:
    """Returns the best offset to cut the first name in the flight; None: there is no name, or it begins too early."""
    if flight.protocol is Protocol.TLS and flight.complete:
        at = sni_offset(flight.data)
        return at if at is None or at >= FIRST_PIECE else None
    field = _host(flight)
    return None if field is None or not field[2] else field.start(2) + names.middle(field[2])


def _host(flight: Flight) -> re.Match[bytes] | None:
    """Returns the Host field of the first request."""
    if flight.protocol is not Protocol.HTTP:
        return None
    return _HOST.search(flight.data, 0, flight.data.find(b"\r\n\r\n") + 2)
