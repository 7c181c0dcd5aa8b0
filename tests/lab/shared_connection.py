"""How soon pages come through an https relay by HTTP/2 and by HTTP/1.1: `python -m tests.lab.shared_connection`.

Thirty hosts are opened at once, as those of one page, then one more host by itself, then thirty others at once: through
the same relay, by both versions in turn, each time in a new Byway. `--loss` and `--rtt` are those of the person's link.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.lab.country import Country, Site
from tests.lab.links import Link
from tests.lab.relay_roads import at_two_addresses, relay_url
from tests.lab.spaces import begin_with_spaces
from tests.lab.trials import limited

HOSTS = 30
_RULES = "MATCH,RELAY\n"
_PATIENCE_S = 60.0
OpenOne = Callable[[Site, str], Awaitable[float]]
_CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"


async def measure(
    link: Link, rounds: int, path: str, congestion: str, document: str
) -> dict[str, list[tuple[float, ...]]]:
    """Returns by version, for each round, the seconds until the hosts had come: thirty, one, and thirty others. With
    `document`, the path of one, the first host of each thirty has it, and the others are opened once it has come."""
    taken: dict[str, list[tuple[float, ...]]] = {"HTTP/1.1": [], "HTTP/2": []}
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        async with Country(Path(folder), link=link) as country, at_two_addresses(country, http2=True):
            if congestion:
                for space in (country.client, country.relay_space):
                    space.run(partial(Path(_CONGESTION).write_text, congestion))
            url = relay_url(country, alternative=False)
            for turn in range(rounds):
                for version, option in (("HTTP/1.1", "&alpn=http/1.1"), ("HTTP/2", "")):
                    name = f"{turn}-{option[-1:] or 2}"
                    sites = [country.add_site(f"host-{number}.{name}.test") for number in range(2 * HOSTS + 1)]
                    config = country.config(relays=(("vps", url + option),), servers=())
                    async with country.byway(Path(folder) / name, config=config, rules=_RULES) as byway:

                        async def open_one(site: Site, path: str, byway: object = byway) -> float:
                            visit = await limited(country.visitor(byway), site.url(path), _PATIENCE_S)  # type: ignore[arg-type]
                            assert visit.genuine, visit.error
                            return visit.elapsed_s

                        async def open_page(first: Site, *others: Site, open_one: OpenOne = open_one) -> float:
                            if not document:
                                return max(await asyncio.gather(*(open_one(site, path) for site in (first, *others))))
                            began_s = await open_one(first, document)
                            return began_s + max(await asyncio.gather(*(open_one(site, path) for site in others)))

                        first = await open_page(*sites[:HOSTS])
                        one = await open_one(sites[HOSTS], path)
                        second = await open_page(*sites[HOSTS + 1 :])
                        taken[version].append((first, one, second))
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(description="Pages through an https relay, by HTTP/2 and by HTTP/1.1")
    parser.add_argument("--rtt", type=float, default=0.1, help="seconds")
    parser.add_argument("--loss", type=float, default=0.05, help="share of the packets, each way")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--path", default="/", help="of each page; /bytes/N has N bytes")
    parser.add_argument("--document", default="", help="the path of what each page begins with")
    parser.add_argument(
        "--congestion", default="", help="the congestion control, such as reno; the system's without it"
    )
    asked = parser.parse_args()
    taken = asyncio.run(
        measure(Link(asked.rtt / 2, asked.loss), asked.rounds, asked.path, asked.congestion, asked.document)
    )
    print(
        f"{HOSTS} hosts{'' if asked.document else ' at once'}, one, {HOSTS} more; {asked.rtt:g} s there and back, "
        f"{asked.loss:.1%} lost; median (least, most)"
    )
    for version, rounds in taken.items():
        columns = zip(*rounds, strict=True)
        cells = (f"{statistics.median(times):6.2f} s ({min(times):.2f}, {max(times):.2f})" for times in columns)
        print(f"{version:9}", *cells)
    return 0


if __name__ == "__main__":
    begin_with_spaces("tests.lab.shared_connection")
    sys.exit(main())
