"""Notifies tabs of changes by server-sent events (WHATWG HTML)."""

from __future__ import annotations

import asyncio

from aiohttp import web

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.dependencies import Dependencies
from proxy.net.tasks import spawn
from proxy.session.events import Ended, Learned

_PAUSE_MIN_S, _PAUSE_MAX_S = 1.0, 4.0
"""Seconds between two events to a tab. A page shows a visit within 5 s."""

_LOOK_S = 0.5
"""Seconds between two comparisons of the state of the network and the relays."""

_PAUSE_BY_COST = 200.0
"""The pause as a multiple of the time for the last page. On a busy Byway, or one with very many sites, tabs update less
often, so that together they take a few percent of its time."""

_CONNECTIONS = "connections"

_ALIVE_S = 15.0
"""Seconds without an event after which a comment is sent, to detect a closed tab."""


async def _events(visit: Visit) -> web.StreamResponse:
    """Streams an event when a connection has ended or a belief has changed, with a pause after each event. A page that
    `follows` the open connections also gets events while one is open. Events have no content: the tab requests its page
    again. A change during the pause causes another event after it."""
    if (follows := visit.query("follows").get("follows", "")) not in ("", _CONNECTIONS):
        raise Refused(400, f"unknown word {quoted(follows)}; a page can follow {_CONNECTIONS}")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    changed = asyncio.Event()

    def note_end(_: Ended) -> None:
        changed.set()

    def note_learned(learned: Learned) -> None:
        """Notes a change of a belief, which may come long before or after an outcome: a rescued connection may stay
        open for hours, and evidence may wait for a control page."""
        if learned.changes:
            changed.set()

    with visit.streaming():
        noting = [spawn(_note_network(visit.parts, changed), name="note the state of the network for a tab")]
        if follows:
            noting.append(spawn(_note_open(visit.parts, changed), name="note open connections for a tab"))
        visit.parts.services.events.on(Ended, note_end)
        visit.parts.services.events.on(Learned, note_learned)
        try:
            await response.prepare(visit.request)
            while True:
                try:
                    async with asyncio.timeout(_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    await response.write(b":\n\n")
                    continue
                changed.clear()
                await response.write(b"event: changed\ndata:\n\n")
                await asyncio.sleep(pause_s(visit.session.page_took_s))
        except ConnectionError:
            pass  # the tab was closed
        finally:
            visit.parts.services.events.off(Ended, note_end)
            visit.parts.services.events.off(Learned, note_learned)
            for task in noting:
                task.cancel()
    return response


def pause_s(page_took_s: float) -> float:
    """Returns the pause between two events to a tab, by the time that a page of its session took."""
    return min(max(page_took_s * _PAUSE_BY_COST, _PAUSE_MIN_S), _PAUSE_MAX_S)


async def _note_network(parts: Dependencies, changed: asyncio.Event) -> None:
    """Sets `changed` when the configuration, the state of the network or that of a relay changes, also without
    connections."""

    def state() -> tuple[object, ...]:
        network = parts.network()
        return (
            parts.health.version,
            network,
            parts.beliefs.network_state(network),
            parts.counters().get("config_problem"),
        )

    shown, setup = state(), parts.setup()
    while True:
        await asyncio.sleep(_LOOK_S)
        before, shown = shown, state()
        old, setup = setup, parts.setup()
        if shown != before or old is not setup:
            changed.set()


async def _note_open(parts: Dependencies, changed: asyncio.Event) -> None:
    """Sets `changed` regularly while a connection is open: its age and its bytes change."""
    shown = 0
    while True:
        count = len(parts.services.open_connections.entries)
        if count or shown:
            changed.set()
        shown = count
        await asyncio.sleep(_PAUSE_MIN_S)


ROUTES = (Route("GET", "events", _events),)
