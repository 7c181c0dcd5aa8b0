"""Stories at once in the country (`tests.support.at_once`): each has one of its own."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.lab.country import Country
from tests.lab.visitor import Visit

Story = Callable[..., Awaitable[None]]


async def reloaded(country: Country, visit: Callable[[], Awaitable[Visit]]) -> Visit:
    """Makes a visit, and once more if no page came and the relay is not perfect: one that restarts breaks pages off,
    whatever Byway does."""
    seen = await visit()
    return seen if seen.genuine or country.conditions.is_fair else await visit()


def in_country(story: Story) -> Story:
    """Gives a story a country, and its folder."""

    @functools.wraps(story)
    async def made(folder: Path, **given: object) -> None:
        async with Country(folder) as country:
            await story(country, folder, **given)

    return made


def with_byway(detect: str) -> Callable[[Story], Story]:
    """Gives a story a country, and a Byway there with these lines of `[detect]`."""

    def decorate(story: Story) -> Story:
        @in_country
        @functools.wraps(story)
        async def made(country: Country, folder: Path, **given: object) -> None:
            async with country.byway(folder / "byway", config=country.config(detect=detect)) as byway:
                await story(country, byway, **given)

        return made

    return decorate
