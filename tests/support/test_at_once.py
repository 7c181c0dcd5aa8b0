"""Stories at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.at_once import all_of

ROOT = Path(__file__).parents[2]

STORIES = """
import asyncio, pathlib
import pytest
from tests.support import at_once as module
from tests.support.at_once import AtOnce

at_once, both = AtOnce(most=3), asyncio.Event()
module.LIMIT_S = 3.0


@at_once
async def test_waits_for_another(folder):
    assert not [*folder.iterdir()]
    (folder / "mine").touch()
    await both.wait()


@pytest.mark.parametrize("number", [1, 2])
@at_once
async def test_each_parameter_is_a_story(folder, *, number):
    assert not [*folder.iterdir()]
    both.set()
    assert number == 1, f"this is {number}"


@at_once
async def test_hangs(folder):
    await asyncio.Event().wait()


def test_is_no_story():
    pass
"""


def run(folder: Path, *options: str) -> str:
    (folder / "test_stories.py").write_text(STORIES)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


@pytest.mark.slow
def test_stories_run_beside_each_other_and_each_fails_by_itself(tmp_path: Path) -> None:
    said = run(tmp_path, "-o", "asyncio_mode=auto")
    for passed in ("test_waits_for_another", "test_each_parameter_is_a_story[1]", "test_is_no_story"):
        assert f"{passed} PASSED" in said, said
    for failed in ("test_each_parameter_is_a_story[2]", "test_hangs"):
        assert f"{failed} FAILED" in said, said
    assert "AssertionError: this is 2" in said
    assert "TimeoutError" in said


@pytest.mark.slow
def test_a_story_that_is_not_selected_does_not_run(tmp_path: Path) -> None:
    """Nobody lets this one go on, so it runs out of time."""
    said = run(tmp_path, "-o", "asyncio_mode=auto", "-k", "waits_for_another")
    assert "1 failed" in said
    assert "TimeoutError" in said


async def test_all_stories_of_a_test_run_to_their_end_and_those_that_fail_are_named() -> None:
    ended = list[str]()
    turn = asyncio.Event()

    async def story(name: str, why: str = "") -> None:
        if why:
            turn.set()
            raise AssertionError(why)
        await turn.wait()
        ended.append(name)

    with pytest.raises(ExceptionGroup) as failed:
        await all_of({"first": story("first"), "second": story("second", "it rains"), "third": story("third")})
    assert "1 of 3 failed:\nsecond: AssertionError: it rains" in str(failed.value)
    assert sorted(ended) == ["first", "third"]
    await all_of({"first": story("first")})


async def test_stories_in_turn_keep_their_order() -> None:
    ended = list[int]()

    async def story(number: int) -> None:
        await asyncio.sleep(0)
        ended.append(number)
        assert number != 1

    with pytest.raises(ExceptionGroup):
        await all_of({str(number): story(number) for number in range(4)}, most=1)
    assert ended == [0, 1, 2, 3]
