"""The page of the relays, subscriptions and groups: their state and their handshakes, and forms that add, test, order,
enable, disable and remove relays, refresh and remove subscriptions, and select a relay in a group.

After a form, the focus is on the same row, or on the undo of a removal. `autofocus` does that without JavaScript."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from urllib.parse import urlencode

from aiohttp import web

from proxy.config.relays import is_member
from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.visit import Part, Route, Visit
from proxy.features.relays.answers import GroupJson, RelayJson, RelaysAnswer
from proxy.features.relays.edits import Additions
from proxy.features.relays.endpoints import (
    RelayEndpoints,
    RelayTest,
    RelayTestRequest,
    SelectionRequest,
    SubscriptionRefreshRequest,
)
from proxy.features.relays.handshakes import HandshakesView, RelayHours, handshakes_view, read_hours
from proxy.features.relays.subscription_answers import SubscriptionJson, SubscriptionLine
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext, semicolons, sentences
from proxy.probe.list_refresh import Remedy

_LABELS = {
    "test": pgettext("button", "Test"),
    "up": pgettext("button", "Up"),
    "down": pgettext("button", "Down"),
    "enable": pgettext("button", "Enable"),
    "disable": pgettext("button", "Disable"),
    "remove": pgettext("button", "Remove"),
}
"""The actions on a relay by their values in the form, with the labels of their buttons."""

_NAMED = 8
"""Names in a sentence; of the others, the number."""

_OPPOSITES = {"up": "down", "down": "up", "enable": "disable", "disable": "enable"}


@frozen_dataclass
class RelayRow:
    """A relay with its actions, each as the value in the form and the label of its button. `is_withheld`: its user and
    password are not sent, because they would cross the network unencrypted."""

    relay: RelayJson
    actions: Sequence[tuple[str, str]]
    is_withheld: bool = False

    @property
    def kind(self) -> str:
        """The class in the style sheet of the relay's state."""
        return _kind(self.relay)

    @property
    def glyph(self) -> str:
        """The sign of the relay's state, so that colour is never the only difference."""
        return {"good": "✓", "bad": "✗", "warn": "◔", "quiet": "·"}[self.kind]


@frozen_dataclass
class SubscriptionRow:
    """A subscription with its relays. `is_open`: the last form was about one of them."""

    subscription: SubscriptionJson
    rows: Sequence[RelayRow]
    is_open: bool


@frozen_dataclass
class Focus:
    """The focus when the page opens: a button of a row, or `UNDO`, the undo of a removal."""

    relay: str = ""
    action: str = ""


NOWHERE, UNDO = Focus(), Focus(action="undo")


@frozen_dataclass
class RelaysView:
    """The values for the template of the page. `errors` are sentences about the last form, `text` is its text of relays
    to add, and `name` the name for them."""

    sentence: str
    rows: Sequence[RelayRow]
    subscriptions: Sequence[SubscriptionRow]
    groups: Sequence[GroupJson]
    handshakes: HandshakesView
    removed: Sequence[str]
    focus: Focus
    errors: Sequence[str]
    text: str
    name: str


def relays_view(
    answer: RelaysAnswer,
    written: Sequence[str],
    hours: Sequence[RelayHours],
    now: float,
    *,
    removed: Sequence[str] = (),
    after: Focus = NOWHERE,
    errors: Sequence[str] = (),
    text: str = "",
    name: str = "",
    withheld: Collection[str] = (),
) -> RelaysView:
    """Returns the page. `written` are the names in the configuration, in order; the answer also has a relay for each
    member of a chain over a group. `removed` are the relays that can be restored, `after` is the action of the last
    form, and `withheld` are the relays whose credentials are not sent."""
    names = {each.name for each in answer.subscriptions}
    rows = [RelayRow(relay, _actions(relay, written, names), relay.name in withheld) for relay in answer.relays]
    subscriptions = list[SubscriptionRow]()
    for each in answer.subscriptions:
        members = [row for row in rows if row.relay.name.startswith(f"{each.name}/")]
        subscriptions.append(SubscriptionRow(each, members, any(row.relay.name == after.relay for row in members)))
    return RelaysView(
        _sentence(answer.relays, names),
        [row for row in rows if row.relay.name.partition("/")[0] not in names],
        subscriptions,
        answer.groups,
        handshakes_view(hours, now),
        removed,
        _focus(rows, after),
        errors,
        text,
        name,
    )


def _kind(relay: RelayJson) -> str:
    if not relay.enabled:
        return "quiet"
    if relay.obstacle is not None or relay.words.startswith("fails"):
        return "bad"
    if relay.words == "slow":
        return "warn"
    return "good" if relay.words == "works" else "quiet"


def _sentence(relays: Sequence[RelayJson], subscriptions: Collection[str]) -> str:
    """Returns what can be said of all relays. Those of subscriptions count only where there are no others: many of them
    are often gone."""
    in_use = [relay for relay in relays if relay.enabled]
    in_use = [relay for relay in in_use if relay.name.partition("/")[0] not in subscriptions] or in_use
    failing = [relay.name for relay in in_use if _kind(relay) == "bad"]
    if not in_use:
        return _("There is no relay in use. Blocked sites open only where a local strategy is enough.")
    if failing:
        return ngettext(
            "{count} of {all} relays in use fails: {names}.",
            "{count} of {all} relays in use fail: {names}.",
            len(failing),
            all=len(in_use),
            names=_some(failing),
        )
    return ngettext("{count} relay is in use; it does not fail.", "None of {count} relays fails.", len(in_use))


def _some(names: Sequence[str]) -> str:
    """Returns a list of names that is not too long to read."""
    more = len(names) - _NAMED
    if more <= 0:
        return commas(names)
    rest = ngettext("and {count} more", "and {count} more", more)
    return _("{first} {rest}", first=commas(names[:_NAMED]), rest=rest)


def _actions(relay: RelayJson, written: Sequence[str], subscriptions: Collection[str]) -> Sequence[tuple[str, str]]:
    actions = ["test"] if relay.enabled else []
    if relay.name.partition("/")[0] in subscriptions:
        actions += ["disable" if relay.enabled else "enable"]
    if relay.name in written:
        place = written.index(relay.name)
        actions += ["up"] if place else []
        actions += ["down"] if place < len(written) - 1 else []
        actions += ["disable" if relay.enabled else "enable", "remove"]
    return [(action, _LABELS[action]) for action in actions]


def _focus(rows: Sequence[RelayRow], after: Focus) -> Focus:
    """Returns the same button of the same row, else its opposite, else the first one of the row."""
    for row in rows:
        if row.relay.name == after.relay and row.is_withheld and after.action == "allow":
            return after
        if row.relay.name == after.relay and row.actions:
            actions = [action for action, _ in row.actions]
            preferred = (after.action, _OPPOSITES.get(after.action, ""))
            return Focus(after.relay, next((action for action in preferred if action in actions), actions[0]))
    return after if after == UNDO else NOWHERE


async def _page(
    visit: Visit,
    *,
    after: Focus = NOWHERE,
    errors: Sequence[str] = (),
    text: str = "",
    name: str = "",
    status: int = 200,
) -> web.Response:
    now, parts, removed = time.time(), visit.parts, visit.session.removed_relays
    view = relays_view(
        await visit.frame.one(RelayEndpoints).list_relays(),
        [relay.name for relay in parts.setup().loaded.settings.relay if not is_member(relay.name)],
        await asyncio.to_thread(read_hours, parts.store, now),
        now,
        removed=() if removed is None else [name for name, _, _ in removed.tables],
        after=after,
        errors=errors,
        text=text,
        name=name,
        withheld=visit.frame.one(RelayEndpoints).edits.withheld(),
    )
    return await visit.page("relays.html", here="relays", view=view, status=status)


async def _relays(visit: Visit) -> web.Response:
    query = visit.query("row", "did")
    return await _page(visit, after=Focus(query.get("row", ""), query.get("did", "")))


def _done(visit: Visit, notice: str, *, row: str = "", did: str) -> web.Response:
    return visit.see_other(f"relays?{urlencode({'row': row, 'did': did})}", notice)


async def _add(visit: Visit) -> web.StreamResponse:
    """Adds the pasted relays and tests the new ones, except those for which the user must first allow that they get
    their password unencrypted."""
    form = await visit.form("urls", "name")
    text, name = form.get("urls", ""), form.get("name", "").strip()
    try:
        made = await visit.frame.one(RelayEndpoints).edits.add(text, name)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], text=text, name=name, status=refused.status)
    visit.session.notice = notice = _added(made)
    if made.problems:
        return await _page(visit, errors=made.problems, text="\n".join(made.left), name=name, status=400)
    new = [each.name for each in made.added if each.was_there is None and each.name not in made.withheld]
    if not new:
        return _done(visit, notice, row=made.added[-1].name, did="allow" if made.withheld else "test")
    return await _tested(visit, new)


async def _allow(visit: Visit) -> web.StreamResponse:
    """Allows that a relay gets its user and password unencrypted, and tests it."""
    name = (await visit.form("relay")).get("relay", "")
    try:
        await visit.frame.one(RelayEndpoints).edits.allow_plaintext(name)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    visit.session.notice = _("{relay} gets its user and password unencrypted.", relay=name)
    return await _tested(visit, [name])


def _added(made: Additions) -> str:
    new = [each.name for each in made.added if each.was_there is None]
    old = [each.name for each in made.added if each.was_there is not None]
    added = _("Added: {names}.", names=commas(new)) if new else ""
    not_added = _("There already, with the same host, port and user: {names}.", names=commas(old)) if old else ""
    return sentences([added, not_added])


async def _edit(visit: Visit) -> web.Response:
    form = await visit.form("relay", "do")
    name, action = form.get("relay", ""), form.get("do", "")
    edits = visit.frame.one(RelayEndpoints).edits
    try:
        if action in ("up", "down"):
            place = await edits.move(name, by=-1 if action == "up" else 1)
            notice: str = _("{relay} is now relay {place} in the order.", relay=name, place=place)
        elif action == "enable":
            await edits.enable(name, True)
            notice = _("{relay} is used again.", relay=name)
        elif action == "disable":
            places = await edits.enable(name, False)
            notice = _("{relay} is not used any more.", relay=name)
            if places:
                needed = _("Other settings still name it: {places}.", places=semicolons(places))
                notice = sentences([notice, needed])
        elif action == "remove":
            visit.session.removed_relays = await edits.remove(name)
            return _done(visit, _("{relay} was removed.", relay=name), did=UNDO.action)
        else:
            raise Refused(400, f"unknown action {quoted(action)}")
    except Refused as refused:
        return await _page(visit, after=Focus(name, action), errors=[refused.text], status=refused.status)
    return _done(visit, notice, row=name, did=action)


async def _subscription(visit: Visit) -> web.StreamResponse:
    """Fetches a subscription again and streams the result, or removes it."""
    form = await visit.form("name", "do")
    name, action = form.get("name", ""), form.get("do", "")
    try:
        if action == "remove":
            visit.session.removed_relays = await visit.frame.one(RelayEndpoints).edits.remove(name)
            return _done(visit, _("Subscription {name} was removed.", name=name), did=UNDO.action)
        if action not in ("refresh", Remedy.DIRECT, Remedy.ACCEPT_SMALLER):
            raise Refused(400, f"unknown action {quoted(action)}")
        asked = SubscriptionRefreshRequest(
            (name,), accept_smaller=action == Remedy.ACCEPT_SMALLER, direct=action == Remedy.DIRECT
        )
        results = await visit.frame.one(RelayEndpoints).refresh_subscriptions(asked)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    view = {"name": name, "stream": STREAM}
    title = _("Refresh of a subscription")
    page = visit.render("subscription_refresh.html", title=title, here="relays", view=view)
    return await visit.stream(page, _refreshed(visit, results))


async def _refreshed(visit: Visit, results: AsyncGenerator[SubscriptionLine, None]) -> AsyncGenerator[Part, None]:
    async with contextlib.aclosing(results):
        async for line in results:
            yield Part(render("subscription_result.html", visit.session, visit.language, view=line))
            text = render("subscription_refreshed.html", visit.session, visit.language, view=line)
            yield Part(text, is_behind_list=True)


async def _undo(visit: Visit) -> web.Response:
    form, removed = await visit.form("relays"), visit.session.removed_relays
    if removed is None:
        return await _page(visit, errors=[_("There is no removal to undo.")], status=409)
    names = [name for name, _, _ in removed.tables]
    if form.get("relays", "") != " ".join(names):  # of a page that was opened before another removal
        return await _page(visit, after=UNDO, errors=[_("Another relay was removed since.")], status=409)
    visit.session.removed_relays = None  # a form that is posted twice undoes once
    try:
        await visit.frame.one(RelayEndpoints).edits.restore(removed)
    except Refused as refused:
        visit.session.removed_relays = visit.session.removed_relays or removed
        return await _page(visit, after=UNDO, errors=[refused.text], status=refused.status)
    return _done(visit, _("Restored: {names}.", names=commas(names)), row=names[0], did="remove")


async def _select(visit: Visit) -> web.Response:
    form = await visit.form("group", "use")
    group, relay = form.get("group", ""), form.get("use", "")
    await visit.frame.one(RelayEndpoints).select_relay(group, SelectionRequest(relay))
    return visit.see_other("relays", _("Group {group} uses {relay}.", group=group, relay=relay))


async def _test(visit: Visit) -> web.StreamResponse:
    """Tests one relay, or all, and streams the results."""
    form = await visit.form("relay", "do")
    name = form.get("relay", "")
    return await _tested(visit, [name] if name else [])


async def _tested(visit: Visit, names: Sequence[str]) -> web.StreamResponse:
    """Tests these relays; without names, all. Raises nothing: errors are on the page."""
    try:
        test = visit.frame.one(RelayEndpoints).begin_test(RelayTestRequest(tuple(names)))
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    name = names[0] if len(names) == 1 else ""
    view = {"to": f"{test.to}", "count": len(test.names), "stream": STREAM}
    page = visit.render("relay_test.html", title=_("Test of relays"), here="relays", view=view)
    return await visit.stream(page, _results(visit, test, name))


async def _results(visit: Visit, test: RelayTest, name: str) -> AsyncGenerator[Part, None]:
    working = 0
    async with contextlib.aclosing(test.results):
        async for result in test.results:
            working += result.ok
            yield Part(render("relay_trial.html", visit.session, visit.language, view=result))
    end = {
        "working": working,
        "count": len(test.names),
        "relay": name,
        "place": urlencode({"row": name, "did": "test"}),
    }
    yield Part(render("relay_tested.html", visit.session, visit.language, view=end), is_behind_list=True)


ROUTES = (
    Route("GET", "relays", _relays),
    Route("POST", "relays", _add),
    Route("POST", "relays/allow", _allow),
    Route("POST", "relays/edit", _edit),
    Route("POST", "relays/subscription", _subscription),
    Route("POST", "relays/undo", _undo),
    Route("POST", "relays/test", _test),
    Route("POST", "relays/group", _select),
)
