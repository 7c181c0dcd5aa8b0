"""What is learned on one network is kept there, over restarts, and never taken to another. Run by test_censor.py as

    unshare -Urnm python -m tests.e2e.two_networks FOLDER

since it moves the default route: in a network namespace of its own, where all of the country is as well.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.e2e.country import RELAY, Country, Running
from tests.support import programs
from tests.support.censor import Behaviour
from tests.support.waiting import until_read

NAME = "blog.test"
KNOWN, UNKNOWN = [(RELAY, "done")], [("direct", "first_byte"), (RELAY, "done")]
DETECT = "retest_suspect_s = 3600\n"  # the block does not end in this story


def ip(words: str) -> None:
    subprocess.run([programs.require("ip"), *words.split()], check=True, timeout=10)


def plug_in() -> None:
    """Two networks, with nobody on their far side."""
    ip("link set lo up")
    for number in (1, 2):
        ip(f"link add home{number} type veth peer name far{number}")
        ip(f"address add 10.{number}.0.2/24 dev home{number}")
        ip(f"link set home{number} up")
        ip(f"link set far{number} up")
    ip("route add default via 10.1.0.1")


class Traveller:
    """Visits, and looks at which routes were tried."""

    def __init__(self, country: Country, byway: Running) -> None:
        self._byway = byway
        self._url = f"https://{NAME}:{country.origin.https_port}/"
        self._visits = 0

    async def visit(self) -> list[tuple[str, str]]:
        """The routes tried and the stages they reached."""
        assert (await self._byway.get(self._url)).status == 200
        self._visits += 1
        row = (await self._byway.rows(NAME, self._visits))[-1]
        return [(tried["route"], tried["stage"]) for tried in row["attempts"]]

    async def network(self) -> str:
        return str((await self._byway.ask("/v1/status"))["network"])

    async def arrive(self, left: str) -> str:
        """Once Byway sees another network than `left`: which."""
        seen = [left]

        async def elsewhere() -> bool:
            seen.append(await self.network())
            return seen[-1] != left

        await until_read(elsewhere)
        return seen[-1]

    async def restart(self) -> None:
        assert await self._byway.stop() == 0
        await self._byway.start()


async def travel(folder: Path) -> None:
    async with Country([NAME]) as country:
        await country.censor(NAME, Behaviour.RESET)
        async with country.byway(folder, detect=DETECT) as byway:
            traveller = Traveller(country, byway)
            home = await traveller.network()
            assert home != "unknown"
            assert await traveller.visit() == UNKNOWN
            assert await traveller.visit() == KNOWN

            ip("route replace default via 10.2.0.1")
            cafe = await traveller.arrive(left=home)
            assert cafe != "unknown"
            assert (await byway.belief(NAME))["state"] == "unknown"
            assert await traveller.visit() == UNKNOWN
            assert await traveller.visit() == KNOWN

            await traveller.restart()
            assert await traveller.network() == cafe
            assert await traveller.visit() == KNOWN
            told = await byway.ask(f"/v1/sites/{NAME}")
            assert [(held["network"], held["state"]) for held in told["elsewhere"]] == [(home, "suspect")]

            ip("route delete default")
            assert await traveller.arrive(left=cafe) == "unknown"
            assert await traveller.visit() == UNKNOWN
            assert await traveller.visit() == KNOWN
            await traveller.restart()
            assert await traveller.visit() == UNKNOWN  # what has no network is kept in memory only

            ip("route add default via 10.1.0.1")
            assert await traveller.arrive(left="unknown") == home
            assert await traveller.visit() == KNOWN


if __name__ == "__main__":
    plug_in()
    asyncio.run(travel(Path(sys.argv[1])))
