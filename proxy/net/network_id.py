"""Which network we are on, as far as the routing table tells.

A keyed hash of the default gateway and the prefix around it: enough to keep beliefs of one network from another, and
nothing that a stolen state folder could tell of places visited. Read from /proc on Linux; elsewhere, and offline, the
network is unknown and what is learned there is not kept. IPv6 counts only where there is no IPv4: router
advertisements may come seconds later, and must not make a second network of one.
"""

from __future__ import annotations

import hashlib
import hmac
import sys
import time
from collections.abc import Callable
from pathlib import Path

from proxy.model import UNKNOWN_NETWORK, NetworkId

CACHE_S = 2.0
_UP = 0x0001  # RTF_UP
_REJECT = 0x0200  # RTF_REJECT: the kernel's "no route" entries
_LINK_LOCAL = f"{int.from_bytes(bytes((169, 254, 0, 0)), sys.byteorder):08X}"
_LINES = 4096


class NetworkWatch:
    """Tells the current network; cheap to ask."""

    def __init__(
        self,
        key: bytes,
        *,
        proc_net: Path = Path("/proc/net"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key` is this installation's own secret."""
        self._key = key
        self._proc_net = proc_net
        self._clock = clock
        self._read_at = float("-inf")
        self._id = UNKNOWN_NETWORK

    def current(self) -> NetworkId:
        """At most 2 s old."""
        now = self._clock()
        if now - self._read_at >= CACHE_S:
            self._read_at = now
            self._id = self._read()
        return self._id

    def _read(self) -> NetworkId:
        uplink = ipv4_uplink(_text(self._proc_net / "route")) or ipv6_uplink(_text(self._proc_net / "ipv6_route"))
        if uplink is None:
            return UNKNOWN_NETWORK
        return NetworkId(hmac.new(self._key, uplink.encode(), hashlib.sha256).hexdigest()[:16])


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:  # no /proc, or none that we may read: nothing is known
        return ""


def ipv4_uplink(table: str) -> str | None:
    """Gateway and prefix of the default route with the lowest metric in /proc/net/route; None: there is none, or
    nothing that tells it from another (a bare point-to-point link)."""
    rows = [row for line in table.splitlines()[1:_LINES] if len(row := line.split()) >= 8 and _is_up(row[3])]
    defaults = [row for row in rows if row[1] == row[7] == "00000000"]
    if not defaults:
        return None
    device, _, gateway = min(defaults, key=lambda row: int(row[6]))[:3]
    prefixes = sorted(f"{row[1]}/{row[7]}" for row in rows if row[0] == device and _is_ipv4_prefix(row))
    if gateway == "00000000" and not prefixes:
        return None
    return f"4 {gateway} {' '.join(prefixes)}"


def ipv6_uplink(table: str) -> str | None:
    """The same from /proc/net/ipv6_route."""
    rows = [row for line in table.splitlines()[:_LINES] if len(row := line.split()) == 10 and _is_up(row[8])]
    nowhere = "0" * 32
    defaults = [row for row in rows if row[0] == nowhere and row[1] == "00" and row[9] != "lo"]
    if not defaults:
        return None
    best = min(defaults, key=lambda row: int(row[5], 16))
    gateway, device = best[4], best[9]
    prefixes = sorted(f"{row[0]}/{row[1]}" for row in rows if row[9] == device and _is_ipv6_prefix(row, nowhere))
    if gateway == nowhere and not prefixes:
        return None
    return f"6 {gateway} {' '.join(prefixes)}"


def _is_up(flags: str) -> bool:
    return int(flags, 16) & (_UP | _REJECT) == _UP


def _is_ipv4_prefix(row: list[str]) -> bool:
    """An on-link prefix; not 169.254.0.0/16 (in host order), which comes and goes with zeroconf."""
    return row[2] == "00000000" and row[1] not in ("00000000", _LINK_LOCAL)


def _is_ipv6_prefix(row: list[str], nowhere: str) -> bool:
    """An on-link prefix of global scope, no single address (a new private address must not change the network)."""
    return row[4] == nowhere and row[1] not in ("00", "80") and row[0][:2] not in ("fe", "ff")
