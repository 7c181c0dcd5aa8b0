"""Cuts flights for local strategies, so that a censor does not find the name in them.

`pieces` returns the pieces of a flight; each piece leaves in a segment of its own. The server reads the same message: a
ClientHello may come in several records (RFC 8446 section 5.1), and the case of a field's name has no meaning (RFC 9110
section 5.1). A flight without a name is not changed.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from proxy.model import Protocol
from proxy.model.strategy import SEGMENTS_MAX, Place, Strategy, StrategyKind, strategies
from proxy.wire import hostnames as names
from proxy.wire.flight import Flight
from proxy.wire.tls import FIRST_PIECE, cut_records, sni_end, sni_offset

_HOST = re.compile(rb"\r\n(host):[ \t]*([^\r\n]*)", re.IGNORECASE)
_HEADER = 5  # of a TLS record


def pieces(strategy: Strategy, flight: Flight) -> tuple[bytes, ...]:
    """Returns the pieces in which a whole flight is sent."""
    data = flight.data
    if flight.protocol not in strategy.protocols:
        return (data,)
    if strategy.kind is StrategyKind.HOSTCASE:
        return (_with_other_case(data, _host(flight)),)
    cuts = _cuts(strategy, flight)
    if strategy.kind is StrategyKind.TLSREC:
        for at in reversed(cuts):
            with contextlib.suppress(ValueError):  # too near the end of a record that the client made
                data = cut_records(data, at)
        return (data,)
    return tuple(data[begin:end] for begin, end in pairwise((0, *cuts, len(data))))


def is_cut(wrap: Iterable[str]) -> bool:
    """Whether a route with these wrappers sends its flight in pieces."""
    return any(strategy.cuts for strategy in strategies(wrap))


def cuts_hello(rung: str) -> bool:
    """Whether every word of an entry of `[auto] ladder`, such as "tlsrec|split", changes a ClientHello."""
    words = rung.split("|")
    found = strategies(words)
    return len(found) == len(words) and not any(Protocol.TLS not in strategy.protocols for strategy in found)


def is_idle(wrap: Iterable[str], protocol: Protocol) -> bool:
    """Whether one of these wrappers does not change a flight of this protocol."""
    return any(protocol not in strategy.protocols for strategy in strategies(wrap))


def _cuts(strategy: Strategy, flight: Flight) -> Sequence[int]:
    """Returns the offsets at which a flight with a name is cut."""
    in_name = _in_name(flight)
    is_record = strategy.kind is StrategyKind.TLSREC
    first = _HEADER if is_record else 0  # of the bytes that are counted
    if in_name is None or (end := _end_of_name(flight)) is None:
        return ()
    match strategy.place:
        case Place.AT:
            return (first + strategy.number,) if first + strategy.number < len(flight.data) else ()
        case Place.BY:
            step = strategy.number if is_record else max(strategy.number, -(-end // (SEGMENTS_MAX - 1)))
            return [at for at in range(first + step, end + step, step) if at < len(flight.data)]
        case Place.USUAL if strategy.kind is StrategyKind.SPLIT:
            return (1, in_name) if in_name >= 2 else ()
        case _:
            return (in_name,)


def _in_name(flight: Flight) -> int | None:
    """Returns the best offset to cut the first name in the flight; None: there is no name, or it begins too early."""
    if flight.protocol is Protocol.TLS and flight.complete:
        at = sni_offset(flight.data)
        return at if at is None or at >= FIRST_PIECE else None
    field = _host(flight)
    return None if field is None or not field[2] else field.start(2) + names.middle(field[2])


def _end_of_name(flight: Flight) -> int | None:
    """Returns the offset behind the first name in the flight."""
    if flight.protocol is Protocol.TLS:
        last = sni_end(flight.data)
        return None if last is None else last + 1
    field = _host(flight)
    return None if field is None else field.end(2)


def _with_other_case(data: bytes, field: re.Match[bytes] | None) -> bytes:
    """Writes `Host` as `hOSt`."""
    return data if field is None else data[: field.start(1)] + b"hOSt" + data[field.end(1) :]


def _host(flight: Flight) -> re.Match[bytes] | None:
    """Returns the Host field of the first request."""
    if flight.protocol is not Protocol.HTTP:
        return None
    return _HOST.search(flight.data, 0, flight.data.find(b"\r\n\r\n") + 2)
