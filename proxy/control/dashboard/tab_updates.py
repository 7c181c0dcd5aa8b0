"""Tells tabs that something has changed: server-sent events (WHATWG HTML)."""

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
"""Between two events to a tab. A page shows a visit within 5 s."""

_LOOK_S = 0.5
"""How often the state of the network and of the relays is compared."""

_PAUSE_BY_COST = 200.0
"""A tab waits so many times as long as the last page took: on a busy Byway, or one with very many sites, tabs follow
less often, and all of them take a few hundredths of its time."""

_CONNECTIONS = "connections"

_ALIVE_S = 15.0
"""After so many seconds without an event a comment is sent, so that a tab that is gone is noticed."""


async def _events(visit: Visit) -> web.StreamResponse:
    """Streams an event when connections have ended or something was learned, with a pause after each, and for a page
    that `follows` the open connections also as long as one is open. It has no content: the tab asks for its page again.
    What happens in the pause brings another one."""
    if (follows := visit.query("follows").get("follows", "")) not in ("", _CONNECTIONS):
        raise Refused(400, f"unknown word {quoted(follows)}; a page can follow {_CONNECTIONS}")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    changed = asyncio.Event()

    def note_end(_: Ended) -> None:
        changed.set()

    def note_learned(learned: Learned) -> None:
        """A connection that another route has rescued may stay open for hours, and evidence counts once a control site
        has answered: what was learned shows before an outcome does, or after."""
        if learned.changes:
            changed.set()

    with visit.streaming():
        noting = [
            spawn(_note_network(visit.parts, changed), name="note the state of the network for a tab"),
        ]
        if follows:
            noting.append(spawn(_note_open(visit.parts, changed), name="note open connections for a tab"))
        visit.parts.events.on(Ended, note_end)
        visit.parts.events.on(Learned, note_learned)
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
            visit.parts.events.off(Ended, note_end)
            visit.parts.events.off(Learned, note_learned)
            for task in noting:
                task.cancel()
    return response


def pause_s(page_took_s: float) -> float:
    """Returns the pause between two events to a tab whose session last waited so long for a page."""
    return min(max(page_took_s * _PAUSE_BY_COST, _PAUSE_MIN_S), _PAUSE_MAX_S)


async def _note_network(parts: Dependencies, changed: asyncio.Event) -> None:
    """Relays rest, and the network changes or becomes another one, also while no connection ends."""

    def state() -> tuple[object, ...]:
        return parts.health.version, parts.network(), parts.beliefs.network_state(parts.network())

    shown = state()
    while True:
        await asyncio.sleep(_LOOK_S)
        before, shown = shown, state()
        if shown != before:
            changed.set()


async def _note_open(parts: Dependencies, changed: asyncio.Event) -> None:
    """Ages and bytes change as long as a connection is open."""
    shown = 0
    while True:
        count = len(parts.open_connections.entries)
        if count or shown:
            changed.set()
        shown = count
        await asyncio.sleep(_PAUSE_MIN_S)


ROUTES = (Route("GET", "events", _events),)
