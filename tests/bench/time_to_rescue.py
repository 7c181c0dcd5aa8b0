"""How long a rescue takes, by the way of blocking: the distribution over many hosts that were never visited.

    python -m tests.bench.time_to_rescue [NAME …] [--hosts 200] [--out bench-results]

In the lab's country (tests/lab), on a link of 20 ms, a real Byway with the waits of its own detection opens each host
once, all ways mixed; "added" is what the page took beyond what the winning route usually takes. Each host is then
visited by a browser alone: its resolver's first answer, one connection, 20 s of patience. From the same visit follows
what a proxy with a fixed timeout adds: it goes on to its relay when direct has failed, or after the timeout.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import socket
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import dns.message

from tests.bench.peers import ROOT
from tests.bench.svg import Axis, Chart, Line, draw
from tests.lab import places
from tests.lab.all_scenarios import BY_NAME
from tests.lab.country import Country, Site
from tests.lab.scenarios import Reach, Scenario
from tests.lab.spaces import begin_with_spaces
from tests.lab.trials import SITES_MAX, Stay, limited, stay

WAYS = (
    "dns-nxdomain",
    "dns-drop",
    "sni-reset-tcp",
    "sni-drop-records",
    "address-drop",
    "syn-reset",
    "http-reset",
    "http-drop",
)
"""Those of which a proxy without Byway's detection can know: direct fails or stays silent."""
TIMEOUTS_S = (3.0, 5.0, 15.0)
PATIENCE_S = 20.0
_RESOLVER_S, _RESOLVER_TRIES = 5.0, 2  # resolv.conf(5): RES_TIMEOUT and RES_DFLRETRY
_IN_FLIGHT = 24
_APART_S = 0.1  # between two first visits: many at once would measure the lab's own queue
_FASTEST_S = 0.01  # plots begin here


@dataclass(frozen=True, slots=True)
class Waited:
    """One host, in seconds. Infinite: the page never came, or direct neither failed nor answered in time."""

    way: str  # the scenario
    added: float
    direct_failed: float

    def by_timeout(self, timeout_s: float) -> float:
        """What a proxy with a fixed timeout adds."""
        return min(self.direct_failed, timeout_s)


# -- in the lab --------------------------------------------------------------------------------------------------------


async def measure(ways: Sequence[Scenario], hosts: int, told: Callable[[str], None]) -> list[Waited]:
    """So many hosts of each way, in as many countries as they need."""
    found: list[Waited] = []
    in_one = max(1, SITES_MAX // len(ways))
    for first in range(0, hosts, in_one):
        with tempfile.TemporaryDirectory(prefix="byway-rescue-") as folder:
            async with stay(Path(folder), dict.fromkeys(ways, min(in_one, hosts - first))) as (here, sites):
                room = asyncio.Semaphore(_IN_FLIGHT)
                async with asyncio.TaskGroup() as visits:
                    for number in range(min(in_one, hosts - first)):
                        for way in ways:
                            visits.create_task(_both(here, way, sites[way][number], room, found))
                            await asyncio.sleep(_APART_S)
                            told(f"{len(found)} of {hosts * len(ways)}")
    names = [way.name for way in ways]
    return sorted(found, key=lambda waited: names.index(waited.way))


async def _both(here: Stay, way: Scenario, site: Site, room: asyncio.Semaphore, found: list[Waited]) -> None:
    url = site.url(way.path, secure=way.secure)
    async with room:
        visit = await limited(here.country.visitor(here.byway), url, way.limit_s)
        usual_s = here.companion.usual_s(await here.way(site, 0), secure=way.secure)
    added = max(0.0, visit.elapsed_s - usual_s) if visit.genuine else math.inf
    found.append(Waited(way.name, added, await _alone(here.country, site, url)))


async def _alone(country: Country, site: Site, url: str) -> float:
    """Seconds until a browser without Byway shows an error."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(PATIENCE_S):
            if address := await _resolved(country, site.name):
                visitor = replace(country.visitor(), addresses={site.name: address})
                visit = await visitor.visit(url)
                assert not visit.genuine, f"{site.name} is not blocked"
    except TimeoutError:
        return math.inf
    return asyncio.get_running_loop().time() - began


async def _resolved(country: Country, name: str) -> str:
    """The first answer of the provider's resolver; empty when it denies the name or is silent."""
    loop = asyncio.get_running_loop()
    query = dns.message.make_query(name, "A")
    with country.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (places.PROVIDER_RESOLVER, 53))
        for _ in range(_RESOLVER_TRIES):
            await loop.sock_sendall(sock, query.to_wire())
            try:
                async with asyncio.timeout(_RESOLVER_S):
                    answer = dns.message.from_wire(await loop.sock_recv(sock, 4096))
            except TimeoutError:
                continue
            return next((str(record) for record_set in answer.answer for record in record_set), "")
    return ""


# -- what is made of it ------------------------------------------------------------------------------------------------


def table(found: Sequence[Waited]) -> str:
    """A row for each way, in the order of the ways."""
    titles = ["blocked by", "hosts", "rescued", "median s", "90 %", "99 %", "longest", "a browser alone fails after"]
    titles += [f"timeout of {timeout_s:g} s" for timeout_s in TIMEOUTS_S]
    lines = [f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 1)}"]
    for way in dict.fromkeys(waited.way for waited in found):
        hosts = [waited for waited in found if waited.way == way]
        added = sorted(waited.added for waited in hosts)
        cells = [way, str(len(hosts)), f"{sum(map(math.isfinite, added))}"]
        cells += [_seconds(_percentile(added, share)) for share in (0.5, 0.9, 0.99, 1.0)]
        cells.append(_seconds(statistics.median_high(waited.direct_failed for waited in hosts)))
        for timeout_s in TIMEOUTS_S:
            cells.append(_seconds(statistics.median_high(waited.by_timeout(timeout_s) for waited in hosts)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def charts(found: Sequence[Waited]) -> dict[str, Chart]:
    """By the name of the file: Byway by way of blocking, and all hosts together beside fixed timeouts."""
    ways = list(dict.fromkeys(waited.way for waited in found))
    by_way = [Line(way, _distribution([waited.added for waited in found if waited.way == way])) for way in ways]
    together = [Line("Byway", _distribution([waited.added for waited in found]))]
    for timeout_s in TIMEOUTS_S:
        waits = [waited.by_timeout(timeout_s) for waited in found]
        together.append(Line(f"fixed timeout of {timeout_s:g} s", _distribution(waits)))
    together.append(Line("a browser alone: never", []))
    x, y = Axis("added wait, s", log=True), Axis("share of hosts whose page came, %")
    return {
        "rescue-ways": Chart("Time to rescue, by the way of blocking", x, y, by_way, stepped=True),
        "rescue-all": Chart("Time to rescue, all ways of blocking together", x, y, together, stepped=True),
    }


def _distribution(waits: Sequence[float]) -> list[tuple[float, float]]:
    """The share, in per cent, that had waited no longer, up to the patience of a browser; in 200 steps at most."""
    shown = sorted(max(_FASTEST_S, wait) for wait in waits if wait <= PATIENCE_S)
    every = math.ceil(len(shown) / 200) or 1
    steps = [(wait, 100 * (n + 1) / len(waits)) for n, wait in enumerate(shown)]
    points = [(_FASTEST_S, 0.0), *steps[every - 1 :: every], *steps[-1:]]
    return [*points, (PATIENCE_S, points[-1][1])]


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1]


def _seconds(wait: float) -> str:
    return f"{wait:.2f}" if math.isfinite(wait) else f"over {PATIENCE_S:g}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.time_to_rescue", description=__doc__)
    parser.add_argument("ways", nargs="*", metavar="NAME", default=WAYS, help="scenarios of tests/lab/all_scenarios.py")
    parser.add_argument("--hosts", type=int, default=200, help="of each way (default 200)")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-results")
    asked = parser.parse_args()
    unknown = [name for name in asked.ways if name not in BY_NAME or BY_NAME[name].reach is not Reach.NAMES]
    if unknown:
        print(f"{unknown[0]}: no scenario about names is called so", file=sys.stderr)
        return 2
    found = asyncio.run(measure([BY_NAME[name] for name in asked.ways], asked.hosts, _tell))
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "rescue.md").write_text(table(found))
    values = [{key: None if value == math.inf else value for key, value in asdict(waited).items()} for waited in found]
    (asked.out / "rescue.json").write_text(json.dumps(values, allow_nan=False))
    for name, chart in charts(found).items():
        (asked.out / f"{name}.svg").write_text(draw(chart))
    print(table(found), end="")
    return 0


def _tell(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    begin_with_spaces("tests.bench.time_to_rescue")
    sys.exit(main())
