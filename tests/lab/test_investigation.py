"""`byway why` as an experimenter in the country: some censors and innocent troubles of `tests.detect.verdict.worlds`,
as rules and conducts. The truth is among what it leaves, it needs few probes, and the verdict agrees.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.verdict.hypotheses import Hypothesis, Observation, Probe, observed_in, remaining
from proxy.model import MeasurementStep, Route, StepKind, StepResult, Symptom, as_evidence
from tests.detect.verdict.worlds import CAUSES
from tests.lab import rules, rules_2025
from tests.lab.country import Country, Running, Site
from tests.lab.origins import GOOD, Conduct
from tests.lab.rules import Rule
from tests.lab.scenarios import REAL
from tests.lab.views import View
from tests.support.at_once import all_of

pytestmark = [pytest.mark.namespaces, pytest.mark.waits]

DETECT = "dropped_s = 1.0\nsilent_s = 3.0\nsyn_s = 2.0\n"
AT_ONCE = 3
SLOW_BYTES = DetectTuning().measure_slow_bytes


@dataclass(frozen=True)
class World:
    """A trouble of one site: its truth, and what is said of it."""

    name: str
    truth: Hypothesis
    words: str
    cause: str
    rule: Callable[[Site], Rule] | None = None
    conduct: Conduct = GOOD
    path: str = "/"


WORLDS = (
    World("name, reset", Hypothesis.NAME, "blocked", "sni_reset",
          lambda site: rules.SniReset(site.name, view=View.TCP)),
    World("name, reassembled", Hypothesis.NAME, "blocked", "sni_drop",
          lambda site: rules.SniDrop(site.name, view=View.RECORDS, whole_flow=True)),
    World("name, answer dropped", Hypothesis.NAME, "blocked", "sni_drop",
          lambda site: rules_2025.AnswerDrop(site.name)),
    World("address, no SYN-ACK", Hypothesis.ADDRESS, "likely blocked", "ip",
          lambda site: rules.AddressDrop(f"{site.address}/32")),
    World("address, any hello", Hypothesis.ADDRESS, "likely blocked", "sni_drop",
          lambda site: rules_2025.AnyHelloDrop(f"{site.address}/32")),
    World("freeze by name", Hypothesis.SIZE, "slow", "frozen", lambda site: rules.Freeze(site.name),
          path="/bytes/60000"),
    World("throttled", Hypothesis.SPEED, "slow", "throttled", lambda site: rules.Throttle(site.name, rate=8_000),
          path="/bytes/60000"),
    World("open", Hypothesis.NOTHING, "works", ""),
    World("a status for this country", Hypothesis.REFUSAL, "refuses this route", "refused",
          conduct=Conduct(refuses=451, refuses_direct_only=True)),
    World("server hangs", Hypothesis.DOWN, "site down", "down", conduct=Conduct(is_dead=True)),
)  # fmt: skip


@contextlib.asynccontextmanager
async def living(folder: Path) -> AsyncIterator[tuple[Country, Running, Mapping[World, Site]]]:
    async with Country(folder) as country:
        sites = {
            world: country.add_site(f"site{number}.site{number}.test", conduct=world.conduct)
            for number, world in enumerate(WORLDS)
        }
        country.rules.set([world.rule(site) for world, site in sites.items() if world.rule is not None])
        async with country.byway(folder / "byway", config=country.config(detect=DETECT)) as byway:
            yield country, byway, sites


def steps_in(answer: Mapping[str, Any]) -> list[MeasurementStep]:
    return [
        MeasurementStep(
            StepKind(step["part"]),
            Route.parse(step["route"]),
            StepResult(step["result"]),
            Symptom(step["symptom"]),
            address=step["address"],
            evidence=as_evidence(step["evidence"]),
        )
        for step in answer["steps"]
    ]


def until_sure(observed: Sequence[Observation]) -> int:
    """Returns the number of probes after which the hypotheses are left that are left in the end."""
    left = {*remaining(observed)}
    return next(count for count in range(len(observed) + 1) if {*remaining(observed[:count])} == left)


@pytest.mark.slow
async def test_it_keeps_the_truth_and_needs_few_probes(folder: Path) -> None:
    answers: dict[World, Mapping[str, Any]] = {}
    async with living(folder) as (_, byway, sites):

        async def one(world: World, site: Site) -> None:
            answers[world] = await byway.read("why", f"https://{site.name}{world.path}", "--fresh")

        await all_of({world.name: one(world, site) for world, site in sites.items()}, most=AT_ONCE)
    said = {world.name: (it["verdict"]["words"], it["verdict"]["cause"]) for world, it in answers.items()}
    assert said == {world.name: (world.words, world.cause) for world in WORLDS}
    observed = {world: observed_in(steps_in(answer), slow_bytes=SLOW_BYTES) for world, answer in answers.items()}
    left = {world.name: remaining(observed[world]) for world in WORLDS}
    assert [name for name, world in zip(left, WORLDS, strict=True) if left[name][0] is not world.truth] == [], left
    explained = {world.name: left[world.name] for world in WORLDS if world.truth is not Hypothesis.NOTHING}
    assert {name: found for name, found in explained.items() if len(found) > 4} == {}, "what works is not asked more"
    disagreeing = [world.name for world in WORLDS if world.cause not in CAUSES[world.truth]]
    assert disagreeing == ["address, any hello"], "the judge says likely, and that it may be the address"
    assert statistics.median(map(until_sure, observed.values())) <= 5
    healthy = next(world for world in WORLDS if world.truth is Hypothesis.NOTHING)
    assert {each.probe for each in observed[healthy]} == {Probe.NEUTRAL, Probe.VISIT, Probe.RELAY}, "nothing more"


RESTARTS_S = 3.0


async def test_a_backend_that_restarts_is_not_called_blocked(folder: Path) -> None:
    """A router by SNI resets the connections of its first seconds and answers other names; the relay takes longer than
    that to open a path, as Tor does."""
    async with Country(folder) as country:
        site = country.add_site("restarts.test", conduct=Conduct(restarts_s=RESTARTS_S, restart_resets=True))
        country.relay.late_s = RESTARTS_S + 1.0
        async with country.byway(folder / "byway", config=country.config(detect=DETECT)) as byway:
            told = await byway.read("why", site.url(), "--fresh")
            held = await byway.belief(site.name)
    assert ("direct", "failed") in {(step["route"], step["result"]) for step in told["steps"]}
    assert held["stored_words"] != "blocked", held


CUT_AFTER_S = 4.0


def long_connections(answer: Mapping[str, Any]) -> dict[str, str]:
    """Returns how they ended, by route."""
    return {step["route"]: step["result"] for step in answer["steps"] if step["part"] == "pause"}


async def test_where_transfers_stalled_before_it_finds_out_whether_time_cuts_them(folder: Path) -> None:
    detect = f"rescue_suspect_s = 30.0\nmeasure_lasts_s = {2 * CUT_AFTER_S}\n"
    paced = Conduct(bytes_per_s=10_000)
    async with Country(folder) as country:
        site = country.add_site("cut.test", conduct=paced)
        country.rules.set([rules_2025.CutLater(site.name, after_s=CUT_AFTER_S)])
        async with country.byway(folder / "byway", config=country.config(detect=detect)) as byway:
            for _ in range(3):
                await country.visitor(byway).visit(f"{site.url()}bytes/{round(3 * CUT_AFTER_S * 10_000)}")
            assert (await byway.belief(site.name))["stored_cause"] == "frozen"
            country.origins.conducts[site.name] = REAL
            cut = await byway.read("why", site.url(), "--fresh")
            country.rules.set([])
            country.origins.conducts[site.name] = replace(REAL, lasts_s=CUT_AFTER_S)
            server_cuts = await byway.read("why", site.url(), "--fresh")
    assert long_connections(cut) == {"direct": "failed", "abroad": "ok"}
    assert (cut["verdict"]["words"], cut["verdict"]["cause"]) == ("slow", "frozen")
    assert "the connection was cut 4 s after the handshake" in cut["verdict"]["seen"]
    assert long_connections(server_cuts) == {"direct": "failed", "abroad": "failed"}
    assert server_cuts["verdict"]["words"] == "works"
