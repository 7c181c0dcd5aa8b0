"""The page of the addons."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from aiohttp import web

from proxy.config import edit
from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.control.dashboard.visit import Route, Visit
from proxy.extend.loading.static_scan import scan
from proxy.features.addons.answers import AddonJson, AddonsAnswer, AddonWord
from proxy.features.addons.endpoints import AddonEndpoints
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, pgettext, sentences

_WORDS = {
    AddonWord.OFF: ("quiet", "·", pgettext("addon", "off")),
    AddonWord.RUNS: ("good", "✓", pgettext("addon", "runs")),
    AddonWord.STOPPED: ("bad", "✗", _("disabled after faults")),
    AddonWord.FAULTY: ("bad", "✗", _("does not load")),
}
"""For each state, its class in the style sheet, its sign, and its words."""


@frozen_dataclass
class AddonRow:
    """An addon, with its state in words. `about` is the sentence at the top of its file."""

    addon: AddonJson
    about: str
    kind: str
    glyph: str
    words: str


@frozen_dataclass
class AddonsView:
    """The values for the template of the page."""

    sentence: str
    rows: Sequence[AddonRow]
    errors: Sequence[str]


def addons_view(answer: AddonsAnswer, about: Mapping[str, str], errors: Sequence[str] = ()) -> AddonsView:
    """Returns the page: those with a problem first, then those that run. `about` are sentences by names of addons."""
    order = (AddonWord.FAULTY, AddonWord.STOPPED, AddonWord.RUNS, AddonWord.OFF)
    addons = sorted(answer.addons, key=lambda addon: (order.index(addon.state), addon.name))
    running = sum(addon.state is AddonWord.RUNS for addon in addons)
    # An addon whose file has a problem may still run in an earlier version.
    wrong = sum(addon.state is AddonWord.STOPPED or bool(addon.problems) for addon in addons)
    summary = [
        ngettext("{count} addon runs.", "{count} addons run.", running),
        ngettext("{count} has a problem.", "{count} have a problem.", wrong) if wrong else "",
    ]
    rows = [AddonRow(addon, about.get(addon.name, ""), *_WORDS[addon.state]) for addon in addons]
    return AddonsView(sentences(summary), rows, errors)


async def _page(visit: Visit, *, errors: Sequence[str] = (), status: int = 200) -> web.Response:
    answer = await visit.frame.one(AddonEndpoints).addons()
    about = await asyncio.to_thread(lambda: {addon.name: scan(Path(addon.file)).about for addon in answer.addons})
    view = addons_view(answer, about, errors)
    return await visit.page("addons.html", here="addons", view=view, status=status)


async def _addons(visit: Visit) -> web.Response:
    visit.query()
    return await _page(visit)


async def _switch(visit: Visit) -> web.Response:
    """Enables or disables an existing addon. Its code is in its own file; the form has none of it."""
    form = await visit.form("addon", "do")
    name, action = form.get("addon", ""), form.get("do", "")
    names = [addon.name for addon in (await visit.frame.one(AddonEndpoints).addons()).addons]
    try:
        if name not in names or action not in ("enable", "disable"):
            raise Refused(400, f"there is no addon {quoted(name)}{suggestion(name, names)}")
        change = partial(edit.set_addon, name=name, enabled=action == "enable")
        await visit.frame.edits.run(change)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    enabled = _("{addon} is enabled. What it does: see its state.", addon=name)
    return visit.see_other("addons", enabled if action == "enable" else _("{addon} is disabled.", addon=name))


ROUTES = (Route("GET", "addons", _addons), Route("POST", "addons", _switch))
