"""The page of the relays, subscriptions and groups: a card each with the state of the relay and the last 48 hours, and
forms that test, order, rename, enable, disable and remove relays, take a user and a password, refresh and remove
subscriptions, and select a relay in a group. `adding_page` adds relays.

After a form, the focus is on the same card, or on the undo of a removal. `autofocus` does that without JavaScript.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from urllib.parse import urlencode

from aiohttp import web

from proxy.config.relays import is_member
from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.visit import Part, Route, Visit
from proxy.features.relays.cards import by_relay, first_half, strip_of
from proxy.features.relays.endpoints import (
    RelayEndpoints,
    RelayTest,
    RelayTestRequest,
    SelectionRequest,
    SubscriptionRefreshRequest,
)
from proxy.features.relays.subscription_answers import SubscriptionLine
from proxy.features.relays.view import (
    NOTHING_ADDED,
    NOWHERE,
    ROWS,
    UNDO,
    Adding,
    Focus,
    Known,
    Pages,
    RelayView,
    relays_view,
    some,
)
from proxy.model.phrase import _, commas, semicolons, sentences
from proxy.probe.list_refresh import Remedy
from proxy.store import route_queries


async def _known(visit: Visit) -> Known:
    now, parts = time.time(), visit.parts
    endpoints = visit.frame.one(RelayEndpoints)
    answer = await endpoints.list_relays()
    halves = await parts.read(lambda db: route_queries.relay_halves(db, first_half(now)))
    sites = await parts.read(lambda db: route_queries.relay_sites(db, parts.network()))
    written = [relay for relay in parts.setup().loaded.settings.relay if not is_member(relay.name)]
    version = await visit.frame.edits.version()
    return Known(
        answer.relays,
        answer.groups,
        answer.subscriptions,
        written,
        by_relay(halves),
        sites,
        version,
        now,
        visit.language,
    )


async def relays_page(
    visit: Visit,
    *,
    after: Focus = NOWHERE,
    errors: Sequence[str] = (),
    adding: Adding = NOTHING_ADDED,
    page: int = 0,
    of: str = "",
    status: int = 200,
) -> web.Response:
    """Returns the page after a form, or as it is."""
    removed = visit.session.removed_relays
    view = relays_view(
        await _known(visit),
        removed=() if removed is None else [name for name, _, _ in removed.tables],
        after=after,
        errors=errors,
        adding=adding,
        page=page,
        of=of,
    )
    return await visit.page("relays.html", here="relays", view=view, status=status)


async def _relays(visit: Visit) -> web.Response:
    query = visit.query("row", "did", "page", "of")
    after = Focus(query.get("row", ""), query.get("did", ""))
    return await relays_page(visit, after=after, page=_page_number(query), of=query.get("of", ""))


def _page_number(query: Mapping[str, str]) -> int:
    """Returns the page that is asked for; 0: none. Raises Refused."""
    text = query.get("page", "")
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise Refused(400, f"{quoted(text)} is no number of a page")
    return int(text)


async def _relay(visit: Visit) -> web.Response:
    query = visit.query("name", "page")
    name, known = query.get("name", ""), await _known(visit)
    relay = next((relay for relay in known.relays if relay.name == name), None)
    if relay is None:
        raise Refused(404, f"unknown relay {quoted(name)}{suggestion(name, [each.name for each in known.relays])}")
    count, network = known.sites.get(name, 0), visit.parts.network()
    pages = Pages.of(count, _page_number(query))
    first = pages.rows.start
    halves = known.halves.get(name, ())
    view = RelayView(
        relay,
        known.verdict(relay),
        strip_of(halves, known.now, known.language),
        [half for half in reversed(halves) if half.delivered + half.failed],
        await visit.parts.read(lambda db: route_queries.sites_by_relay(db, network, name, first=first, count=ROWS)),
        count,
        pages,
    )
    return await visit.page("relay.html", title=_("Relay {name}", name=name), here="relays", view=view)


def done(visit: Visit, notice: str, *, row: str = "", did: str) -> web.Response:
    """Returns to the page after a form, with the focus on a button of a card."""
    return visit.see_other(f"relays?{urlencode({'row': row, 'did': did})}", notice)


async def _allow(visit: Visit) -> web.StreamResponse:
    """Allows that a relay gets its user and password unencrypted, and tests it."""
    name = (await visit.form("relay")).get("relay", "")
    try:
        await visit.frame.one(RelayEndpoints).edits.allow_plaintext(name)
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], status=refused.status)
    visit.session.notice = _("{relay} gets its user and password unencrypted.", relay=name)
    return await _tested(visit, [name])


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
            return done(visit, _("{relay} was removed.", relay=name), did=UNDO.action)
        else:
            raise Refused(400, f"unknown action {quoted(action)}")
    except Refused as refused:
        return await relays_page(visit, after=Focus(name, action), errors=[refused.text], status=refused.status)
    return done(visit, notice, row=name, did=action)


async def _order(visit: Visit) -> web.Response:
    """Puts the cards of the page in another order, unless the file was edited since."""
    form = await visit.form("order", "version")
    names = form.get("order", "").split()
    try:
        await visit.frame.one(RelayEndpoints).edits.order(names, version=_version(form))
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], status=refused.status)
    return done(visit, _("The order of the relays is: {names}.", names=some(names)), did="order")


async def _rename(visit: Visit) -> web.Response:
    form = await visit.form("relay", "name", "version")
    name, new = form.get("relay", ""), form.get("name", "").strip()
    try:
        await visit.frame.one(RelayEndpoints).edits.rename(name, new, version=_version(form))
    except Refused as refused:
        return await relays_page(visit, after=Focus(name, "test"), errors=[refused.text], status=refused.status)
    return done(visit, _("{relay} is now called {name}.", relay=name, name=new), row=new, did="test")


async def _enter(visit: Visit) -> web.StreamResponse:
    """Takes the user and the password of a relay, and tests it. Neither is shown again."""
    form = await visit.form("relay", "user", "password", "unencrypted", "version")
    name = form.get("relay", "")
    try:
        await visit.frame.one(RelayEndpoints).edits.enter(
            name,
            form.get("user", ""),
            form.get("password", ""),
            in_the_clear=form.get("unencrypted", "") == "yes",
            version=_version(form),
        )
    except Refused as refused:
        return await relays_page(visit, after=Focus(name, "test"), errors=[refused.text], status=refused.status)
    visit.session.notice = _("{relay} has another user and password.", relay=name)
    return await _tested(visit, [name])


def _version(form: Mapping[str, str]) -> str:
    """Returns the version of the configuration for which a form is meant. Raises Refused."""
    if not (version := form.get("version", "")):
        raise Refused(400, _("The form has no version of the configuration. Reload the page and try again."))
    return version


async def _subscription(visit: Visit) -> web.StreamResponse:
    """Fetches a subscription again and streams the result, or removes it."""
    form = await visit.form("name", "do")
    name, action = form.get("name", ""), form.get("do", "")
    try:
        if action == "remove":
            visit.session.removed_relays = await visit.frame.one(RelayEndpoints).edits.remove(name)
            return done(visit, _("Subscription {name} was removed.", name=name), did=UNDO.action)
        if action not in ("refresh", Remedy.DIRECT, Remedy.ACCEPT_SMALLER):
            raise Refused(400, f"unknown action {quoted(action)}")
        asked = SubscriptionRefreshRequest(
            (name,), accept_smaller=action == Remedy.ACCEPT_SMALLER, direct=action == Remedy.DIRECT
        )
        results = await visit.frame.one(RelayEndpoints).refresh_subscriptions(asked)
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], status=refused.status)
    return await refreshed_page(visit, name, results)


async def refreshed_page(
    visit: Visit, name: str, results: AsyncGenerator[SubscriptionLine, None]
) -> web.StreamResponse:
    """Streams the results of a fetch of a subscription."""
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
        return await relays_page(visit, errors=[_("There is no removal to undo.")], status=409)
    names = [name for name, _, _ in removed.tables]
    if form.get("relays", "") != " ".join(names):  # of a page that was opened before another removal
        return await relays_page(visit, after=UNDO, errors=[_("Another relay was removed since.")], status=409)
    visit.session.removed_relays = None  # a form that is posted twice undoes once
    try:
        await visit.frame.one(RelayEndpoints).edits.restore(removed)
    except Refused as refused:
        visit.session.removed_relays = visit.session.removed_relays or removed
        return await relays_page(visit, after=UNDO, errors=[refused.text], status=refused.status)
    return done(visit, _("Restored: {names}.", names=commas(names)), row=names[0], did="remove")


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
        return await relays_page(visit, errors=[refused.text], status=refused.status)
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
    Route("GET", "relays/one", _relay),
    Route("POST", "relays/allow", _allow),
    Route("POST", "relays/edit", _edit),
    Route("POST", "relays/order", _order),
    Route("POST", "relays/name", _rename),
    Route("POST", "relays/password", _enter),
    Route("POST", "relays/subscription", _subscription),
    Route("POST", "relays/undo", _undo),
    Route("POST", "relays/test", _test),
    Route("POST", "relays/group", _select),
)
