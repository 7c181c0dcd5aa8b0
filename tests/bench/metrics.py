"""What is measured, row by row: which load, by which kind of asking, and the numbers that are taken of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tests.bench.load import Load, Measured, Mode
from tests.bench.peers import Kind, Peer, Setting


class Quantity(StrEnum):
    """A number, by its unit."""

    PER_S = "per_s"
    CPU_US = "cpu_us"  # of the proxy, for each tunnel, request or message
    MB_S = "mb_s"
    CPU_S_PER_GB = "cpu_s_per_gb"
    P99_US = "p99_us"
    KIB_EACH = "kib_each"
    BASE_MIB = "base_mib"
    START_S = "start_s"


Numbers = Mapping[Quantity, float]

_DIGITS = {Quantity.CPU_S_PER_GB: 2, Quantity.KIB_EACH: 1, Quantity.BASE_MIB: 1, Quantity.START_S: 2}
_FORMATS = {quantity: f",.{_DIGITS.get(quantity, 0)}f" for quantity in Quantity}


def written(quantity: Quantity, number: float) -> str:
    """As the tables show it."""
    return format(number, _FORMATS[quantity])


@dataclass(frozen=True, slots=True)
class Metric:
    """One load. The first of `kinds` that a peer speaks is used."""

    name: str
    load: Load
    kinds: tuple[Kind, ...]
    columns: Mapping[Quantity, str]  # what is taken of it, with the title in the table

    def kind(self, peer: Peer) -> Kind | None:
        return next((kind for kind in self.kinds if kind in peer.speaks), None)

    def numbers(self, measured: Measured) -> Numbers:
        """Of a measurement in which something was whole."""
        result = measured.result
        found: dict[Quantity, float] = {
            Quantity.PER_S: result.whole / result.seconds,
            Quantity.CPU_US: 1e6 * measured.cpu_s / max(1, result.whole_ever),
            Quantity.MB_S: result.bytes / result.seconds / 1e6,
            Quantity.CPU_S_PER_GB: 1e9 * measured.cpu_s / max(1, result.bytes),
            Quantity.P99_US: result.p99_us,
            Quantity.KIB_EACH: 1024 * (measured.held_mib - measured.base_mib) / self.load.conns,
            Quantity.BASE_MIB: measured.base_mib,
        }
        return {quantity: found[quantity] for quantity in self.columns if quantity in found}


_BY_TUNNEL = (Kind.CONNECT, Kind.SOCKS5, Kind.RELAY)
_SMALL = Load(Mode.GET, 16)
IDLE = Metric(
    "idle",
    Load(Mode.HOLD, 1000),
    _BY_TUNNEL,
    {
        Quantity.KIB_EACH: "KiB an idle tunnel",
        Quantity.BASE_MIB: "base MiB",
        Quantity.START_S: "start s",
    },
)
CONNECT = Metric(
    "connect", _SMALL, (Kind.CONNECT, Kind.RELAY), {Quantity.PER_S: "tunnels/s CONNECT", Quantity.CPU_US: "µs each"}
)
SOCKS5 = Metric("socks5", _SMALL, (Kind.SOCKS5,), {Quantity.PER_S: "tunnels/s SOCKS5", Quantity.CPU_US: "µs each"})
FIRST_VISIT = Metric(
    "first-visit",
    Load(Mode.GET, 16, fresh=True),
    (Kind.CONNECT, Kind.SOCKS5),
    {Quantity.PER_S: "first visits/s", Quantity.CPU_US: "µs each"},
)
KEEP_ALIVE = Metric(
    "keep-alive",
    Load(Mode.GET, 32, keep_alive=True),
    (Kind.HTTP,),
    {Quantity.PER_S: "requests/s, keep-alive", Quantity.CPU_US: "µs each"},
)
NEW = Metric("new", _SMALL, (Kind.HTTP,), {Quantity.PER_S: "requests/s, new connections", Quantity.CPU_US: "µs each"})
BULK_1, BULK_16 = (
    Metric(
        f"bulk-{tunnels}",
        Load(Mode.DOWNLOAD, tunnels),
        _BY_TUNNEL,
        {
            Quantity.MB_S: f"MB/s, {tunnels} tunnel{'s' if tunnels > 1 else ''}",
            Quantity.CPU_S_PER_GB: "CPU s/GB",
        },
    )
    for tunnels in (1, 16)
)
MESSAGES = Metric(
    "messages",
    Load(Mode.MESSAGES, 64),
    _BY_TUNNEL,
    {Quantity.PER_S: "messages/s, 64 tunnels", Quantity.P99_US: "p99 µs", Quantity.CPU_US: "µs each"},
)

METRICS = (IDLE, CONNECT, SOCKS5, FIRST_VISIT, KEEP_ALIVE, NEW, BULK_1, BULK_16, MESSAGES)
"""In the order in which a proxy is measured: its memory while it is fresh."""

TABLES: Mapping[str, tuple[Setting, tuple[Metric, ...]]] = {
    "Tunnels to a host that is known to work, and first visits": (Setting.ALONE, (CONNECT, SOCKS5, FIRST_VISIT)),
    "Plain HTTP requests": (Setting.ALONE, (KEEP_ALIVE, NEW)),
    "Bulk and messages": (Setting.ALONE, (BULK_1, BULK_16, MESSAGES)),
    "Memory and start": (Setting.ALONE, (IDLE,)),
    "Tunnels by a SOCKS5 relay": (Setting.SOCKS_RELAY, (CONNECT,)),
    "Bulk by an HTTPS relay": (Setting.HTTPS_RELAY, (BULK_1, BULK_16)),
    "Bulk by an https relay, by HTTP/2 and by HTTP/1.1": (Setting.HTTP2_RELAY, (BULK_1, BULK_16)),
    "What the log costs": (Setting.LOG, (CONNECT, KEEP_ALIVE)),
}


def measured_in(setting: Setting) -> tuple[Metric, ...]:
    """What peers of a setting are measured by."""
    wanted = {metric.name for of, metrics in TABLES.values() if of is setting for metric in metrics}
    return tuple(metric for metric in METRICS if metric.name in wanted)
