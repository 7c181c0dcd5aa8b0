"""Five blogs of one site are dropped in silence, by their names: from the first visit to the day on which the censor
stops.

The story is that of `tests.lab.october`, with a minute of real time in a second; `python -m tests.lab.october` plays it
in the detection's own time, with the waits of the visitor.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proxy.model import State
from tests.lab.october import ALL_BLOGS, BLOGS, HURRIED, Opened, Story, living, play, without_controls
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

BY_NAME = pytest.mark.parametrize("secure", [True, False], ids=["sni", "host"])

UNWATCHED = "rescue_suspect_s = 4.0\nuplink_window_s = 3.0\n"


@dataclass
class Unwatched:
    """Two blogs, while no other site is open: only a control can show that the uplink is well."""

    opened: list[Opened]
    controls: int  # control pages looked for
    belief: dict[str, Any]  # of a third blog, when anything was learned of all; else when all was forgotten
    sites: list[Any]  # all that was held then
    changes: list[dict[str, Any]]  # of the first blog
    third: Opened


@dataclass
class Told:
    """All values that the tests check, made at once in four countries."""

    stories: Mapping[bool, Story]
    unwatched: Mapping[bool, Unwatched]  # by whether controls answer


async def unwatched(folder: Path, *, controls: bool) -> Unwatched:
    async with living(folder, f"{HURRIED.detect}{UNWATCHED}", secure=True) as day:
        day.country.rules.set(day.censor if controls else (*day.censor, without_controls()))
        opened = [await day.open(blog) for blog in BLOGS[:2]]
        belief: dict[str, Any] = {}
        sites: list[Any] = []

        async def settled() -> bool:
            await asyncio.sleep(0.1)
            belief.update(await day.byway.belief(BLOGS[2]))
            sites[:] = (await day.byway.ask("/v1/sites"))["sites"]
            return bool(belief["scope"] == ALL_BLOGS) or not sites

        await until_read(settled)
        third = await day.open(BLOGS[2])
        changes = (await day.byway.ask(f"/v1/sites/{BLOGS[0]}"))["changes"]
        asked = sum(bool(day.in_clear(control)) for control in day.controls)
        return Unwatched(opened, asked, belief, sites, changes, third)


@pytest.fixture(scope="module")
def told() -> Told:
    async def tell(folder: Path) -> Told:
        names = ("sni", "http", "well", "cut")
        for name in names:
            (folder / name).mkdir()
        async with asyncio.TaskGroup() as all_of_them:
            stories = {
                secure: all_of_them.create_task(play(folder / name, HURRIED, secure=secure))
                for secure, name in ((True, "sni"), (False, "http"))
            }
            seen = {
                controls: all_of_them.create_task(unwatched(folder / name, controls=controls))
                for controls, name in ((True, "well"), (False, "cut"))
            }
        return Told(
            {secure: task.result() for secure, task in stories.items()},
            {controls: task.result() for controls, task in seen.items()},
        )

    with tempfile.TemporaryDirectory(prefix="byway-oct-") as folder:
        return asyncio.run(tell(Path(folder)))


@BY_NAME
def test_seventh_of_october(told: Told, secure: bool) -> None:
    assert [what for what, kept in told.stories[secure].checks().items() if not kept] == []


@BY_NAME
def test_what_the_ledger_tells(told: Told, secure: bool) -> None:
    story = told.stories[secure]
    assert story.spell["state"] == State.BLOCKED
    assert "direct delivered in a re-test, 2 times in a row" in story.spell["ended"]
    # What made it blocked. `why` proves a filter of SNIs, which makes it blocked at once, unless a re-test was quicker.
    # Of a Host it proves nothing, since no harmless one is tried at the same address.
    began = story.spell["began"]
    is_measured = secure and began.startswith("a measurement found: ")
    assert is_measured or all(f"{blog} " in began for blog in BLOGS[:2]), began
    assert story.abroad[0].row["network"] not in {opened.row["network"] for opened in story.blogs}


@pytest.mark.parametrize("controls", [True, False], ids=["controls answer", "controls fail too"])
def test_two_blogs_and_nobody_else(told: Told, controls: bool) -> None:
    seen = told.unwatched[controls]
    assert all(opened.visit.genuine and opened.was_dropped for opened in seen.opened)
    assert seen.controls == 1


def test_one_control_is_enough(told: Told) -> None:
    seen = told.unwatched[True]
    assert seen.belief["scope"] == ALL_BLOGS
    assert seen.third.routes == ["abroad"]


def test_with_the_controls_failing_too_nothing_is_learned(told: Told) -> None:
    seen = told.unwatched[False]
    assert seen.sites == []
    assert {(change["scope"], change["after"]) for change in seen.changes} <= {
        (BLOGS[0], State.SUSPECT),
        (BLOGS[0], State.UNKNOWN),
    }
    assert seen.third.visit.genuine
    assert seen.third.was_dropped, "it is tried direct as ever"
