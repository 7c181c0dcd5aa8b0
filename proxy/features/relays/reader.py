"""Reads what is known of relays and groups now: health, tests, visits, and which member is used."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from proxy.control.site_reader import ReadableParts
from proxy.features.relays.answers import RelaysAnswer, groups_json, relays_json
from proxy.features.relays.visits import read_visits

if TYPE_CHECKING:
    from proxy.control.frame import Moment


async def answer(moment: Moment) -> RelaysAnswer:
    """Returns the relays and groups, with their state."""
    return await _answer(moment.frame.parts, moment.now)


async def list_relays(parts: ReadableParts) -> RelaysAnswer:
    """Returns the relays and groups, with their state: all visits that have ended count."""
    await parts.flush()
    return await _answer(parts, time.time())


async def _answer(parts: ReadableParts, now: float) -> RelaysAnswer:
    visits = await parts.read(lambda db: read_visits(db, now))
    tests = await asyncio.to_thread(parts.relay_tests.of_all, parts.settings.relay)
    relays = relays_json(parts, tests, visits, now)
    return RelaysAnswer(relays, groups_json(parts, relays, visits, now))
