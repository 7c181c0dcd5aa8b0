"""Each means against a relay itself, in a real Byway, once: pages come, nothing leaks, and the relay's name is hidden.
`python -m tests.lab.run 'road-*' --seeds 20` repeats it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from tests.lab import relay_roads, rules
from tests.lab.country import Country
from tests.lab.relay_roads import NAME, PAGES, ROWS, Row, Trial, broken, table
from tests.lab.rules import Rule
from tests.lab.run import chosen_roads
from tests.lab.views import View

pytestmark = [pytest.mark.alone, pytest.mark.slow]

AT_ONCE = 4


def every_hello_reset(country: Country) -> Sequence[Rule]:
    return (rules.SniReset(NAME, view=View.RECORDS),)


# The control: no strategy passes a censor who puts records together, so without an alternative no page comes.
NO_WAY = replace(
    ROWS[0],
    name="control",
    censor=every_hello_reset,
    comes=False,
    pages=1,
    detect="give_up_s = 10\n",
    says="closed the connection during the handshake",  # and not that it is blocked: nothing shows that
)


@pytest.fixture(scope="module")
def trials() -> Mapping[str, list[Trial]]:
    made = asyncio.run(relay_roads.run((*ROWS, NO_WAY), 1, countries=AT_ONCE, told=lambda text: None))
    return {row.name: [trial for trial in made if trial.row == row.name] for row in (*ROWS, NO_WAY)}


@pytest.mark.namespaces
@pytest.mark.parametrize("row", [*ROWS, NO_WAY], ids=lambda row: row.name)
def test_the_road_is_held(trials: Mapping[str, list[Trial]], row: Row) -> None:
    assert not broken(row, trials[row.name]), trials[row.name]


def test_what_is_not_held_is_told() -> None:
    row = Row("road", "", relay_roads.nothing)
    well = Trial("road", 0, (True,) * PAGES, (1.0,) * PAGES, (), (), "")
    assert broken(row, [well]) == []
    assert broken(row, [replace(well, genuine=(True, False), error="EOF")]) == ["1 of 2 pages came: EOF"]
    assert broken(row, [replace(well, leaked=("sent",))]) == ["1 leaks: sent"]
    assert broken(row, [replace(well, asked=("asked",))]) == ["1 plain queries for the relay's name: ['asked']"]
    assert broken(replace(row, asks_in_clear=True), [well]) == ["0 plain queries for the relay's name: []"]
    assert broken(row, [replace(well, status="Relay vps fails")]) == ["status says in 1 of 1: Relay vps fails"]
    assert broken(replace(row, says="blocked"), [well]) == ["status says in 1 of 1: nothing"]
    spoiled = replace(row, spoiled=1, says="blocked")
    assert broken(spoiled, [replace(well, genuine=(False, True), status="vps is blocked")]) == []
    assert broken(spoiled, [replace(well, genuine=(False, True))]) == ["status says in 1 of 1: nothing"]
    stalls = replace(row, censor=relay_roads.frozen, says="stall")
    assert broken(stalls, [well]) == ["status says in 1 of 1: nothing"]
    assert broken(stalls, [replace(well, by_main=False)]) == [], "nothing was seen of the block"
    assert broken(stalls, [replace(well, by_main=False, status="stall")]) == ["status says in 1 of 1: stall"]
    assert broken(replace(row, comes=False), [well]) == ["5 of 5 pages came: "]
    counted = replace(row, hellos=1)
    assert broken(counted, [replace(well, hellos=1)]) == []
    assert broken(counted, [replace(well, hellos=2)]) == ["[2] hellos in place of 1"]
    assert "1 leaks" in table([row], [replace(well, leaked=("sent",))])


def test_roads_are_chosen_by_pattern() -> None:
    assert chosen_roads([]) == list(ROWS)
    assert {row.name for row in chosen_roads(["road-sni-*"])} == {"road-sni-reset", "road-sni-drop"}
