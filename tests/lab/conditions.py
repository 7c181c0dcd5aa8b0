"""The conditions under which rows of the scenario table and tests of the lab run: beside the usual ones, those in which
Byway may be slower and must not be wrong.

Another factor of the rows' parameters; a relay that restarts or is slow; a kernel whose TCP_INFO cannot be read. Those
that the environment names are in force for each country that is made: `python -m tests.lab.repeat` runs tests so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.net import tasks
from tests.lab.inside.sitecustomize import NO_TCP_INFO
from tests.lab.links import Link
from tests.lab.luck import luck
from tests.lab.origins import BIG
from tests.lab.relays import Relay

if TYPE_CHECKING:
    from tests.lab.country import Country

IN_FORCE = "BYWAY_LAB_CONDITIONS"
"""The environment variable with the words of the conditions that are in force."""
_INSIDE = Path(__file__).with_name("inside")
_SLOW = Link(delay_s=1.0, loss=0.05)
_SEGMENT = 1448  # bytes
_COMPANION_RECEIVES = 0.5
"""The least share of the seconds in which the companion of a trial receives direct: half of its pages come so."""
_BLIND_S = 3 + 6 / _COMPANION_RECEIVES + 4 + 2
"""The longest time until a freeze is found without TCP_INFO beside it (docs/detection.md, "What the kernel knows"): a
stall is seen after 3 s; others must receive in 6 s, then in 4 s without a rest; the kernel judges for 2 s."""
_SEEING_S = 6.0
"""The same with TCP_INFO."""


class RelayQuality(StrEnum):
    PERFECT = "perfect"
    RESTARTS = "restarts"  # it ends after 6 to 10 s and the time of one page, and takes a second to come back
    SLOW = "slow"  # round trips of 2 s, and each twentieth packet is lost


@dataclass(frozen=True, slots=True)
class Conditions:
    scale: float = 1.0  # the factor of the parameters of rows
    relay: RelayQuality = RelayQuality.PERFECT
    tcp_info: bool = True

    @classmethod
    def of(cls, asked: argparse.Namespace) -> Conditions:
        """Returns those of the options that `add_options` added."""
        return cls(asked.scale, RelayQuality(asked.relay), not asked.no_tcp_info)

    @classmethod
    def in_force(cls) -> Conditions:
        """Returns those of the environment; usual ones without it."""
        parser = argparse.ArgumentParser()
        add_options(parser)
        return cls.of(parser.parse_args(os.environ.get(IN_FORCE, "").split()))

    @property
    def names(self) -> frozenset[str]:
        """What is not as usual, each by one word."""
        scale = {f"{self.scale:g}"} if self.scale != 1 else set()
        relay = {str(self.relay)} if self.relay is not RelayQuality.PERFECT else set()
        return frozenset(scale | relay | (set() if self.tcp_info else {"no-tcp-info"}))

    @property
    def words(self) -> tuple[str, ...]:
        """The same as words of a command line."""
        return (
            *(("--scale", f"{self.scale:g}") if self.scale != 1 else ()),
            *(("--relay", self.relay) if self.relay is not RelayQuality.PERFECT else ()),
            *(() if self.tcp_info else ("--no-tcp-info",)),
        )

    @property
    def is_fair(self) -> bool:
        """Whether the waits and the early decisions are those of the table."""
        return self.relay is RelayQuality.PERFECT and self.tcp_info

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of a Byway under them. Its clocks can be set a day ahead (`Running.sleep_a_day`)."""
        before = os.environ.get("PYTHONPATH")
        path = {"PYTHONPATH": os.pathsep.join([str(_INSIDE), *([before] if before else ())])}
        return path if self.tcp_info else {**path, NO_TCP_INFO: "1"}

    def limit_s(self, limit_s: float) -> float:
        """Returns the patience of a visitor whose usual one is `limit_s`: with a slow relay, at least the time of the
        largest page through it; without TCP_INFO, as much longer as a freeze may take to be found."""
        if not self.tcp_info:
            limit_s += _BLIND_S - _SEEING_S
        return max(limit_s, page_s(_SLOW, BIG)) if self.relay is RelayQuality.SLOW else limit_s

    def settle_s(self, settle_s: float, *, is_early: bool) -> float:
        """Returns the time in which the evidence of a visit is in, if it is usually `settle_s`. `is_early`: one visit
        does not show the cause, and what Byway sends beside it has to come back, with a slow relay through that."""
        if not is_early or self.relay is not RelayQuality.SLOW:
            return settle_s
        return settle_s + page_s(_SLOW, 0)

    @contextlib.asynccontextmanager
    async def applied(self, country: Country, relay: Relay, seed: str, *, page_s: float = 0.0) -> AsyncIterator[None]:
        """Makes the relay what it is under them. `page_s` is the time that the server of a page takes for it: no relay
        that lives less long brings it, however often it is opened again."""
        if self.relay is RelayQuality.SLOW:
            country.router.ports["relay"].set_link(_SLOW)
        if self.relay is not RelayQuality.RESTARTS:
            yield
            return
        restarting = tasks.spawn(_restart(relay, luck(seed), page_s), name="a relay that restarts")
        try:
            yield
        finally:
            restarting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await restarting


USUAL = Conditions()


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="multiply the parameters of rows by X")
    parser.add_argument(
        "--relay", choices=[*RelayQuality], default=RelayQuality.PERFECT, help="how the relay is (default perfect)"
    )
    parser.add_argument("--no-tcp-info", action="store_true", help="make TCP_INFO unreadable")


def scaled(parameter: float) -> float:
    """Returns a parameter of a censor at the scale that is in force."""
    return parameter * Conditions.in_force().scale


def page_s(link: Link, size: int) -> float:
    """Returns the time of a page of `size` bytes through a relay behind `link`, which carries its connections to both
    sides. Until the first byte there are eight round trips: TCP, greeting and request of SOCKS, TCP to the site, and
    two each for TLS and HTTP; and three in which one lost packet is missed (RFC 6298: three times the first round
    trip). Then TCP with such losses sends 1.22 segments by their root in a round trip (Mathis et al., 1997)."""
    segments_a_round = 1.22 / math.sqrt(link.loss)
    return 2 * link.delay_s * (8 + 3 + size / _SEGMENT / segments_a_round)


async def _restart(relay: Relay, chance: random.Random, page_s: float) -> None:
    while True:
        await asyncio.sleep(chance.uniform(6, 10) + page_s)
        await relay.stop()
        await asyncio.sleep(chance.uniform(0.5, 1.5))
        await relay.revive()
