"""The page of the relays and groups."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from proxy.control.answers.relays import GroupJson, RelayJson, RelaysAnswer
from proxy.control.dashboard.kinds import relay_kind
from proxy.control.dashboard.page_names import PAGE_NAMES
from proxy.control.dashboard.visit import Route, Visit
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext


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
        sentence: str = _("There is no relay in use. Blocked sites open only where a local strategy is enough.")
    elif failing:
        names = ", ".join(failing)
        sentence = ngettext(
            "{count} of {all} relays in use fails: {names}.",
            "{count} of {all} relays in use fail: {names}.",
            len(failing),
            all=len(in_use),
            names=names,
        )
    else:
        sentence = ngettext("{count} relay is in use; it does not fail.", "None of {count} relays fails.", len(in_use))
    return RelaysView(sentence, answer.relays, answer.groups)


async def _relays(visit: Visit) -> web.Response:
    visit.query()
    view = relays_view(await visit.subjects.relays.list_relays())
    return await visit.page("relays.html", title=PAGE_NAMES["relays"], here="relays", view=view)


ROUTES = (Route("GET", "relays", _relays),)
