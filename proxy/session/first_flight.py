"""Waits for the flight of a client that was told "connected", while its path is open and nothing is sent on it.

Browsers open tunnels ahead of need, so that a flight may come late, and the path may have closed by then. Or the server
speaks first: then there is no flight to wait for.
"""

from __future__ import annotations

import asyncio

from proxy.config.schema import Limits
from proxy.net.race.race import OpenPath, Race
from proxy.session.client import Client
from proxy.wire.flight import Flight


async def receive_flight(client: Client, flight: Flight, race: Race, limits: Limits) -> OpenPath:
    """Feeds `flight` until it is complete, the server has spoken, the client has left, or the time is over:
    `idle_timeout_s`, and `late_flight_s` once the path has closed. Returns what the path did meanwhile."""
    loop = asyncio.get_running_loop()
    ends_at, path = loop.time() + limits.idle_timeout_s, OpenPath.QUIET
    while client.read_flight(flight) and not flight.complete:
        was_closed, path = path is OpenPath.CLOSED, race.poll_open_path()
        if path is OpenPath.SERVER_FIRST:
            return path
        if path is OpenPath.CLOSED and not was_closed:
            ends_at = min(ends_at, loop.time() + limits.late_flight_s)
        if loop.time() >= ends_at:  # notified for less than a complete flight, too
            break
        await client.news.wait(ends_at)
    return race.poll_open_path()
