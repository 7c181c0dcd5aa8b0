"""Twelve censors that Byway does not know: what each reads of a client's bytes, as a table without packets.

`sent` has the segments in which a flight leaves over a local strategy. A censor says of the segments so far whether it
stops the connection: mostly since it has seen the name, or since the form looks like an evasion. Each kind of view is
one that a filter may have: it reads some bytes, records or segments, for some time, with or without a sense of order.
`test_censors` has the strategies that pass each, and the search for them; `ByCensor` puts one in front of real packets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from proxy.model import Protocol
from proxy.model.strategy import Strategy, StrategyKind, strategies
from proxy.wire.flight import Flight
from proxy.wire.fragmentation import pieces
from tests.lab import messages

SEGMENT = 1448
"""Bytes that fit into one segment, of an Ethernet with TCP timestamps."""


class Segment(NamedTuple):
    """Bytes of the client, and the seconds since the first ones."""

    at: float
    data: bytes


Sees = Callable[[Sequence[Segment], str], bool]
"""Whether a censor that looks for a name stops a connection, after these segments in the order of the stream."""


@dataclass(frozen=True, slots=True)
class Censor:
    """One censor. With `residual`, it also stops the client's next connections to the same address for a while: at
    their SYN, or at their first bytes."""

    name: str
    sees: Sees
    residual: Literal["", "syn", "flight"] = ""
    protocol: Protocol = Protocol.TLS
    port: int = 443


# -- what leaves -------------------------------------------------------------------------------------------------------


def sent(wrap: Sequence[str], data: bytes) -> list[Segment]:
    """Returns the segments in which a flight leaves over a route with these wrappers."""
    cut: tuple[bytes, ...] = (data,)
    pause_s = 0.0
    for strategy in strategies(wrap):
        if strategy.kind is StrategyKind.PACE:
            pause_s = strategy.number / 1000
        else:
            cut = _cut(strategy, cut)
    segments = list[Segment]()
    for number, piece in enumerate(cut):
        at = number * pause_s
        segments += (Segment(at, piece[begin : begin + SEGMENT]) for begin in range(0, len(piece), SEGMENT))
    return segments


def _cut(strategy: Strategy, before: tuple[bytes, ...]) -> tuple[bytes, ...]:
    assert len(before) == 1, "what cuts segments comes last"
    flight = Flight()
    flight.receive_data(before[0])
    return pieces(strategy, flight)


def joined(segments: Sequence[Segment], *, first: int | None = None, within_s: float = float("inf")) -> bytes:
    """The bytes of the first segments, or of those that came in time."""
    return b"".join(segment.data for segment in segments[:first] if segment.at - segments[0].at < within_s)


def sni(data: bytes, *, records: int | None = None) -> str | None:
    """Returns the SNI of a ClientHello at the start of `data`, if it is in its first records."""
    end = 0
    for _ in range(records if records is not None else len(data)):
        if len(data) < end + 5 or data[end] != 0x16:
            break
        end += 5 + int.from_bytes(data[end + 3 : end + 5], "big")
    return messages.hello(data if records is None else data[:end], records=True).name


# -- what is read ------------------------------------------------------------------------------------------------------


def by_packet(segments: Sequence[Segment], name: str) -> bool:
    """Reads each segment alone, all records in it."""
    return any(sni(segment.data) == name for segment in segments)


def first_256_bytes(segments: Sequence[Segment], name: str) -> bool:
    return sni(joined(segments)[:256]) == name


def two_records(segments: Sequence[Segment], name: str) -> bool:
    return sni(joined(segments), records=2) == name


def three_segments(segments: Sequence[Segment], name: str) -> bool:
    return sni(joined(segments, first=3)) == name


def forgets(segments: Sequence[Segment], name: str) -> bool:
    """Forgets a hello that is not whole after 150 ms."""
    return sni(joined(segments, within_s=0.15)) == name


def short_first_segment(segments: Sequence[Segment], name: str) -> bool:
    """Stops whatever begins with a short segment, and reads each segment alone."""
    return len(segments[0].data) < 40 or by_packet(segments, name)


def long_first_segment(segments: Sequence[Segment], name: str) -> bool:
    """Takes for TLS only what begins with a segment of 100 bytes, and reads all of that."""
    return len(segments[0].data) >= 100 and sni(joined(segments)) == name


def many_segments(segments: Sequence[Segment], name: str) -> bool:
    """Stops hellos in three segments or more, and reads the first record of the stream, and each segment alone."""
    is_many = len(segments) > 2 and len(joined(segments)) < 2 * SEGMENT
    return is_many or sni(joined(segments), records=1) == name or by_packet(segments, name)


def end_of_name(segments: Sequence[Segment], name: str) -> bool:
    """Looks for the last letters of the name anywhere."""
    return name[-8:].encode() in joined(segments)


def cut_records(segments: Sequence[Segment], name: str) -> bool:
    """Stops hellos whose first record does not hold all of the message, and reads each segment alone."""
    data = joined(segments)
    is_cut = len(data) >= 9 and int.from_bytes(data[3:5], "big") < 4 + int.from_bytes(data[6:9], "big")
    return is_cut or by_packet(segments, name)


def field_as_written(segments: Sequence[Segment], name: str) -> bool:
    """Looks for the Host field as browsers write it, in all of the stream."""
    return messages.host(joined(segments), as_browsers_write_it=True) == name


def two_segments_of_http(segments: Sequence[Segment], name: str) -> bool:
    """Looks for the Host field in any spelling, in the first two segments."""
    return messages.host(joined(segments, first=2)) == name


CENSORS: tuple[Censor, ...] = (
    Censor("first-256-bytes", first_256_bytes),
    Censor("two-records", two_records, residual="syn"),
    Censor("three-segments", three_segments),
    Censor("forgets", forgets, residual="flight"),
    Censor("short-first-segment", short_first_segment, residual="syn"),
    Censor("long-first-segment", long_first_segment),
    Censor("many-segments", many_segments),
    Censor("end-of-name", end_of_name, residual="flight"),
    Censor("cut-records", cut_records),
    Censor("other-port", by_packet, port=8443),
    Censor("field-as-written", field_as_written, protocol=Protocol.HTTP, port=80),
    Censor("two-segments-of-http", two_segments_of_http, protocol=Protocol.HTTP, port=80),
)

PASSED_BY: Mapping[str, frozenset[str]] = {
    "first-256-bytes": frozenset({"tlsrec-by-4"}),
    "two-records": frozenset({"tlsrec-by-4"}),
    "three-segments": frozenset({"split-by-8"}),
    "forgets": frozenset({"split|pace-200"}),
    "short-first-segment": frozenset({"tlsrec|split-at-name", "split-at-name"}),
    "long-first-segment": frozenset({"split", "tlsrec|split", "split|pace-200", "split-by-8"}),
    "many-segments": frozenset({"tlsrec|split-at-name"}),
    "end-of-name": frozenset({"tlsrec-by-4"}),
    "cut-records": frozenset({"split", "split|pace-200", "split-by-8", "split-at-name"}),
    "other-port": frozenset(
        {"split", "tlsrec|split", "tlsrec|split-at-name", "split|pace-200", "split-by-8", "split-at-name"}
    ),
    "field-as-written": frozenset({"hostcase"}),
    "two-segments-of-http": frozenset({"split", "split|pace-200", "split-by-8"}),
}
"""The entries that a search tries and that pass each censor, with the hellos and the request of `test_censors`."""
