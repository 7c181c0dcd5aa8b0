"""Reads what is known of relays and groups now: health, tests, visits, and which member is used."""

from __future__ import annotations

import asyncio
from functools import partial

from proxy.control.frame import Moment
from proxy.features.relays.answers import RelaysAnswer, groups_json, relays_json
from proxy.features.relays.visits import read_visits


async def answer(moment: Moment) -> RelaysAnswer:
    """Returns the relays and groups, with their state."""
    parts, now = moment.frame.parts, moment.now
    setup, health, groups = parts.setup(), parts.health, parts.groups
    visits = await asyncio.to_thread(read_visits, parts.store.read, now)
    tests = await asyncio.to_thread(parts.relay_tests.of_all, setup.settings.relay)
    relays = relays_json(
        setup.settings.relay,
        tests,
        health.of,
        lambda name: health.is_open(name, now),
        visits=visits,
        obstacles=parts.relay_obstacles(),
    )
    leading, lost = partial(groups.leading, now=now), groups.lost_selections(setup.groups)
    return RelaysAnswer(relays, groups_json(setup.groups, relays, visits, leading, lost))
