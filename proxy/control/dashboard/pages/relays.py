"""The page of the relays and groups."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from proxy.control.answers.relays import GroupJson, RelayJson, RelaysAnswer
from proxy.control.dashboard.kinds import relay_kind
from proxy.control.dashboard.visit import Route, Visit
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RelaysView:
    """What the page shows."""

    sentence: str
    relays: Sequence[RelayJson]
    groups: Sequence[GroupJson]


def relays_view(answer: RelaysAnswer) -> RelaysView:
    """Returns the page."""
    in_use = [relay for relay in answer.relays if relay.enabled]
    failing = [relay.name for relay in in_use if relay_kind(relay) == "bad"]
    if not in_use:
        sentence = "There is no relay in use. Blocked sites open only where a local strategy is enough."
    elif failing:
        names = ", ".join(failing)
        sentence = f"{len(failing)} of {len(in_use)} relays in use {'fails' if len(failing) == 1 else 'fail'}: {names}."
    else:
        sentence = (
            "1 relay is in use; it does not fail." if len(in_use) == 1 else f"None of {len(in_use)} relays fails."
        )
    return RelaysView(sentence, answer.relays, answer.groups)


async def _relays(visit: Visit) -> web.Response:
    visit.query()
    view = relays_view(await visit.subjects.relays.list_relays())
    return await visit.page("relays.html", title="Relays", here="relays", view=view)


ROUTES = (Route("GET", "relays", _relays),)
