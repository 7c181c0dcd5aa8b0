"""What leaves a computer that uses keys: `python -m tests.lab.key_capture --visits 100 --idle 600`.

All packets of the computer are recorded, Byway's and its engine's: from its start, while pages are opened through a key
of each protocol, and then while nobody does anything, to its end. The names of the sites are blocked in every way, and
a rule keeps them to the keys, so no visit needs a direct attempt, a re-test or a control page. Only the servers of the
keys may be addressed, and the encrypted DNS of the configuration, which may be asked for the servers' name alone. It
prints who was addressed, in visits and idle. Exit code 5 when anything else was, or when a page did not come.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.lab import places, rules
from tests.lab.country import Country, Running
from tests.lab.events import KEPT_PACKETS, PacketSeen
from tests.lab.key_relays import ADDRESS, HOST, OVER_UDP, PROTOCOLS, KeyRelays, one_each
from tests.lab.packets import ICMP, TCP, UDP
from tests.lab.router import DISCARD
from tests.lab.spaces import begin_with_spaces

BROKEN = 5
VISITS = 100
IDLE_S = 600.0

_DOORS = ("https", "http", "socks5h")
_AT_ONCE = 4

Target = tuple[str, int, str]
"""An address, a port, and "tcp" or "udp"; for "icmp" the type of the message, and for another protocol its number and
0."""

_UNREACHABLE = 3  # RFC 792


@dataclass
class Phase:
    """The packets of a time, by whom they address."""

    name: str
    packets: Counter[Target] = field(default_factory=Counter)
    bytes: Counter[Target] = field(default_factory=Counter)
    connections: Counter[Target] = field(default_factory=Counter)  # those that TCP opened

    def add(self, seen: PacketSeen) -> None:
        packet = seen.packet
        kind = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}.get(packet.protocol, str(packet.protocol))
        number = packet.data[packet.start] if packet.protocol == ICMP else packet.dport
        target = (packet.target, number, kind)
        self.packets[target] += 1
        self.bytes[target] += seen.size
        self.connections[target] += seen.opens


@dataclass
class Captured:
    """The result. `may` are those that may be addressed, with their names."""

    may: dict[Target, str]
    phases: list[Phase] = field(default_factory=list)
    pages: int = 0
    failed: list[str] = field(default_factory=list)  # pages that did not come
    report: str = ""  # Byway's, when one did not
    queries: list[str] = field(default_factory=list)  # names asked for in plain DNS
    told: set[str] = field(default_factory=set)  # names that encrypted DNS was asked for past the keys

    @property
    def broken(self) -> list[str]:
        """Returns what must not be, each as a sentence."""
        found = [f"{page} did not come" for page in self.failed]
        found += [f"{name} was asked for in plain DNS" for name in self.queries]
        found += [f"encrypted DNS was asked for {name}, past the keys" for name in sorted(self.told - {HOST})]
        for phase in self.phases:
            others = {target: count for target, count in phase.packets.items() if target not in self.may}
            found += [f"{phase.name}: {count} packets to {_words(target)}" for target, count in others.items()]
        return found

    def text(self) -> str:
        lines = [
            f"{self.pages} pages came, {len(self.failed)} did not; {len(self.queries)} plain DNS queries",
            f"encrypted DNS was asked past the keys for: {', '.join(sorted(self.told)) or 'nothing'}",
        ]
        for phase in self.phases:
            lines.append(f"{phase.name}: {phase.packets.total()} packets")
            for target, count in sorted(phase.packets.items()):
                opened = f", {phase.connections[target]} connections" if target[2] == "tcp" else ""
                what = self.may.get(target, "NOT EXPECTED")
                lines.append(f"    {_words(target):28} {count:6} packets {phase.bytes[target]:9} bytes{opened}  {what}")
        return "\n".join([*lines, *self.broken, *([self.report] if self.report else [])])


def _words(target: Target) -> str:
    address, port, kind = target
    return f"{kind} {address}:{port}"


async def capture(
    folder: Path, *, visits: int, idle_s: float, only: Sequence[str] = PROTOCOLS, is_leaky: bool = False
) -> Captured:
    """Starts Byway, opens so many pages, each on a host of its own, waits, and ends Byway. `is_leaky` is the control:
    the sites go direct, and names are resolved in plain DNS."""
    async with Country(folder) as country, KeyRelays(country, folder, only=only) as keys:
        for name in only:
            country.add_site(f"{name}.test")
        names = [f"{name}.test" for name in only]
        if not is_leaky:
            forbidden = (rules.SniReset, rules.HttpReset, rules.DnsNxdomain)
            country.rules.set([forbid(*names) for forbid in forbidden])
        ruled = "MATCH,DIRECT\n" if is_leaky else f"{one_each(only)}MATCH,RELAY\n"
        relays, dns = keys.relays(host=HOST), 'secure = "never"' if is_leaky else ""
        found = Captured(_expected(keys, only))
        events = country.router.events
        began = await country.caught_up()
        async with keys.byway("byway", relays, rules=ruled, dns=dns) as byway:
            await _visit_all(country, byway, names, visits, found)
            found.report = byway.report() if found.failed else ""
            between = await country.caught_up()
            await asyncio.sleep(idle_s)
        ended = await country.caught_up()
        seen = events.packets(since=began)
        if len(events.packets(sender=None)) >= KEPT_PACKETS:
            found.failed.append("the record of all packets")
        found.phases = [Phase("visits"), Phase(f"idle for {idle_s:g} s")]
        for one in seen:
            if one.at < ended and (one.packet.target, one.packet.dport) != (places.PORTAL, DISCARD):
                found.phases[one.at >= between].add(one)
        found.queries = [
            name.name for name in events.names_on("client", sender="client", since=began) if name.kind == "dns"
        ]
        found.told = {one.name for one in country.resolver.asked if one.asker == places.CLIENT}
        return found


def _expected(keys: KeyRelays, only: Sequence[str]) -> dict[Target, str]:
    return {
        **{(ADDRESS, keys.port(name), "udp" if name in OVER_UDP else "tcp"): f"the server of {name}" for name in only},
        (ADDRESS, _UNREACHABLE, "icmp"): "the kernel's, to a server over UDP whose engine has ended",
        (places.DOH, 443, "tcp"): "encrypted DNS ([dns] servers)",
        (places.DOT, 853, "tcp"): "encrypted DNS ([dns] servers)",
    }


async def _visit_all(country: Country, byway: Running, names: Sequence[str], visits: int, found: Captured) -> None:
    room, visitor = asyncio.Semaphore(_AT_ONCE), country.visitor(byway)

    async def one(url: str, door: str) -> None:
        async with room:
            page = await replace(visitor, socks=door == "socks5h").visit(url)
        found.pages += page.genuine
        found.failed += [] if page.genuine else [f"{url} ({page.error or page.status})"]

    await asyncio.gather(*(one(url, door) for url, door in _pages(names, visits)))


def _pages(names: Sequence[str], visits: int) -> Iterator[tuple[str, str]]:
    """Yields addresses, each of a host of its own, and the way to Byway."""
    for number in range(visits):
        door = _DOORS[number // len(names) % len(_DOORS)]
        yield f"http{'' if door == 'http' else 's'}://page{number}.{names[number % len(names)]}/", door


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lab.key_capture", description=__doc__)
    parser.add_argument("--visits", type=int, default=VISITS, help=f"pages (default {VISITS})")
    parser.add_argument("--idle", type=float, default=IDLE_S, help=f"seconds without any (default {IDLE_S:g})")
    parser.add_argument("--only", nargs="*", default=PROTOCOLS, help="protocols; all without")
    parser.add_argument("--leaky", action="store_true", help="the control: sites go direct, and DNS is plain")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        found = asyncio.run(
            capture(Path(folder), visits=asked.visits, idle_s=asked.idle, only=asked.only, is_leaky=asked.leaky)
        )
    print(found.text())
    return BROKEN if found.broken else 0


if __name__ == "__main__":
    begin_with_spaces("tests.lab.key_capture")
    sys.exit(main())
