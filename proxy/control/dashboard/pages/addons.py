"""The page of the addons."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from proxy.control.answers.status import AddonJson, AddonsAnswer, AddonWord
from proxy.control.dashboard.page_names import PAGE_NAMES
from proxy.control.dashboard.visit import Route, Visit
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext, sentences

_WORDS = {
    AddonWord.OFF: ("quiet", "·", pgettext("addon", "off")),
    AddonWord.RUNS: ("good", "✓", pgettext("addon", "runs")),
    AddonWord.STOPPED: ("bad", "✗", _("disabled after faults")),
    AddonWord.FAULTY: ("bad", "✗", _("does not load")),
}
"""Of each state: its class in the style sheet, its sign, and its words."""


@frozen_dataclass
class AddonRow:
    """An addon, with its state as people read it."""

    addon: AddonJson
    kind: str
    glyph: str
    words: str


@frozen_dataclass
class AddonsView:
    """What the page shows."""

    sentence: str
    rows: Sequence[AddonRow]


def addons_view(answer: AddonsAnswer) -> AddonsView:
    """Returns the page: those with a problem first, then those that run."""
    order = (AddonWord.FAULTY, AddonWord.STOPPED, AddonWord.RUNS, AddonWord.OFF)
    addons = sorted(answer.addons, key=lambda addon: (order.index(addon.state), addon.name))
    running = sum(addon.state is AddonWord.RUNS for addon in addons)
    wrong = sum(addon.state in (AddonWord.FAULTY, AddonWord.STOPPED) for addon in addons)
    said = [
        ngettext("{count} addon runs.", "{count} addons run.", running),
        ngettext("{count} has a problem.", "{count} have a problem.", wrong) if wrong else "",
    ]
    return AddonsView(sentences(said), [AddonRow(addon, *_WORDS[addon.state]) for addon in addons])


async def _addons(visit: Visit) -> web.Response:
    visit.query()
    view = addons_view(await visit.subjects.status.addons())
    return await visit.page("addons.html", title=PAGE_NAMES["addons"], here="addons", view=view)


ROUTES = (Route("GET", "addons", _addons),)
