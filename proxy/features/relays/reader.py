"""Reads the present state of relays and groups: health, tests, visits, and the used members."""

from __future__ import annotations

import asyncio
import time

from proxy.control.site_reader import ReadableParts
from proxy.features.relays.answers import RelaysAnswer, groups_json, relays_json
from proxy.features.relays.visits import read_visits


async def answer(parts: ReadableParts, now: float) -> RelaysAnswer:
    """Returns the relays and groups, with their state."""
    visits = await parts.read(lambda db: read_visits(db, now))
    tests = await asyncio.to_thread(parts.relay_tests.of_all, parts.settings.relay)
    relays = relays_json(parts, tests, visits, now)
    return RelaysAnswer(relays, groups_json(parts, relays, visits, now))


async def list_relays(parts: ReadableParts) -> RelaysAnswer:
    """As `answer`, with all visits that have ended by now."""
    await parts.flush()
    return await answer(parts, time.time())
