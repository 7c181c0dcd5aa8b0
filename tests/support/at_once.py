"""Stories at once: tests of one file that mostly wait run beside each other, and each is reported by itself.

    at_once = AtOnce(most=4)

    @pytest.mark.parametrize("way", ["visit", "test"])
    @at_once
    async def test_no_relay_hears_of_it(folder: Path, *, way: str) -> None: ...

A story makes what it needs in `folder`, which is its own. The first of these tests that pytest comes to runs all that
were selected, `most` at a time, on one loop. Each then passes, or fails with what its story raised. Stories that share
more, such as a country, are parts of one test: `all_of`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support import programs

LIMIT_S = 200.0
"""The limit of a story: more than twice what the longest takes on an idle machine. One that hangs fails by itself, and
the others run to their end, before the test that waits for them counts as hanging (`tests.support.hanging`)."""


class AtOnce:
    def __init__(self, *, most: int) -> None:
        self._most = most
        self._stories: dict[Callable[..., None], Callable[..., Awaitable[None]]] = {}
        self._ended: dict[str, BaseException | None] = {}  # node id → what was raised

    def __call__(self, story: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        """Returns the test. The parameters of the story that are given by keyword alone are the test's."""

        @functools.wraps(story)
        def test(request: pytest.FixtureRequest, **_: object) -> None:
            if request.node.nodeid not in self._ended:
                asyncio.run(self._run(request.session.items))
            if (error := self._ended[request.node.nodeid]) is not None:
                raise error

        parameters = [one for one in inspect.signature(story).parameters.values() if one.kind is one.KEYWORD_ONLY]
        request = inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY)
        vars(test)["__signature__"] = inspect.Signature([request, *parameters])
        self._stories[test] = story
        return test

    async def _run(self, items: Sequence[pytest.Item]) -> None:
        room = asyncio.Semaphore(self._most)
        await asyncio.gather(
            *(
                self._end(item, room)
                for item in items
                if isinstance(item, pytest.Function) and item.function in self._stories and _may_run(item)
            )
        )

    async def _end(self, item: pytest.Function, room: asyncio.Semaphore) -> None:
        given: Mapping[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        async with room:
            with tempfile.TemporaryDirectory(prefix="byway-", ignore_cleanup_errors=True) as folder:  # a short path
                try:
                    async with asyncio.timeout(LIMIT_S):
                        await self._stories[item.function](Path(folder), **given)
                except (Exception, pytest.fail.Exception) as error:
                    self._ended[item.nodeid] = error
                else:
                    self._ended[item.nodeid] = None


def _may_run(item: pytest.Item) -> bool:
    """Returns whether the programs are there that it needs: else pytest skips it, or fails it in CI."""
    return all(programs.find(str(name)) for marker in item.iter_markers("needs") for name in marker.args)


async def all_of(stories: Mapping[str, Awaitable[object]], *, most: int | None = None) -> None:
    """Runs the stories beside each other, or `most` at a time in their order, each to its end. Raises a group of what
    they raised, whose message names each story that failed, with the reason."""
    room = asyncio.Semaphore(most or len(stories))

    async def one(story: Awaitable[object]) -> None:
        async with room:
            await story

    ended = await asyncio.gather(*map(one, stories.values()), return_exceptions=True)
    failed = {name: error for name, error in zip(stories, ended, strict=True) if error is not None}
    if failed:
        told = "".join(f"\n{name}: {type(error).__name__}: {error}" for name, error in failed.items())
        raise BaseExceptionGroup(f"{len(failed)} of {len(stories)} failed:{told}\n", [*failed.values()])
