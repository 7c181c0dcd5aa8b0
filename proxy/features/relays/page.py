"""The page of the relays, subscriptions and groups: a card each with the state of the relay and the last 48 hours, and
forms that test, order, rename, enable, disable and remove relays, take a user and a password, refresh and remove
subscriptions, and select a relay in a group. `adding_page` adds relays.

After a form, the focus is on the same card, or on the undo of a removal. `autofocus` does that without JavaScript.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from urllib.parse import urlencode

from aiohttp import web

from proxy.config.relays import is_member, takes_password, withheld_credentials
from proxy.config.schema import RelayConfig
from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.visit import Part, Route, Visit
from proxy.detect.relay_faults import RelayFault
from proxy.features.relays.answers import GroupJson, RelayJson
from proxy.features.relays.cards import Strip, Verdict, by_relay, first_half, strip_of, verdict_of
from proxy.features.relays.endpoints import (
    RelayEndpoints,
    RelayTest,
    RelayTestRequest,
    SelectionRequest,
    SubscriptionRefreshRequest,
)
from proxy.features.relays.pasted import Pasted
from proxy.features.relays.subscription_answers import SubscriptionJson, SubscriptionLine
from proxy.languages.language import Language
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext, semicolons, sentences
from proxy.probe.list_refresh import Remedy
from proxy.store import route_queries
from proxy.store.route_queries import RelayHalf, RelaySite
from proxy.wire import relay_url

ROWS = 50
"""Cards or rows on one page."""

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
class Pages:
    """The pages of a list. `page` is the present one, from 1."""

    page: int
    count: int

    @classmethod
    def of(cls, rows: int, page: int) -> Pages:
        """Returns the pages of so many rows. A page that is not there becomes the nearest one."""
        count = max(1, -(-rows // ROWS))
        return cls(min(max(page, 1), count), count)

    @property
    def rows(self) -> slice:
        """The rows of the present page."""
        return slice((self.page - 1) * ROWS, self.page * ROWS)


@frozen_dataclass
class Credentials:
    """The form for the user and the password of a relay. `user` is the present user; `is_open`: the relay refuses what
    it got; `asks`: they would cross the network unencrypted, and that is not allowed yet."""

    user: str
    is_open: bool
    asks: bool


@frozen_dataclass
class Card:
    """A relay with its actions, each as the value in the form and the label of its button. `sites` is the number of
    sites that it opens and direct does not. `is_withheld`: its user and password are not sent, because they would cross
    the network unencrypted. `is_written`: it stands in the configuration file, not in a subscription. `credentials`:
    None when it takes none."""

    relay: RelayJson
    verdict: Verdict
    strip: Strip
    sites: int
    actions: Sequence[tuple[str, str]]
    is_written: bool
    is_withheld: bool
    credentials: Credentials | None


@frozen_dataclass
class SubscriptionCard:
    """A subscription with the relays of one page of it. `is_open`: the last form was about one of them, or another page
    was asked for."""

    subscription: SubscriptionJson
    cards: Sequence[Card]
    pages: Pages
    count: int
    is_open: bool


@frozen_dataclass
class Focus:
    """The focus when the page opens: a button of a card, or `UNDO`, the undo of a removal."""

    relay: str = ""
    action: str = ""


NOWHERE, UNDO = Focus(), Focus(action="undo")


@frozen_dataclass
class Adding:
    """The form that adds relays: its text, what is understood of it (None: nothing was asked), and the answers by the
    number of a relay."""

    text: str = ""
    pasted: Pasted | None = None
    answers: Mapping[int, str] = MappingProxyType({})


NOTHING_ADDED = Adding()


@frozen_dataclass
class Known:
    """The state from which the page is made. `written` are the relays of the configuration file, in order; an answer
    also has a relay for each member of a chain over a group. `sites` are the numbers of sites by relay."""

    relays: Sequence[RelayJson]
    groups: Sequence[GroupJson]
    subscriptions: Sequence[SubscriptionJson]
    written: Sequence[RelayConfig]
    halves: Mapping[str, Sequence[RelayHalf]]
    sites: Mapping[str, int]
    version: str
    now: float
    language: Language

    def verdict(self, relay: RelayJson) -> Verdict:
        return verdict_of(relay, self.halves.get(relay.name, ()), self.now, self.language)


@frozen_dataclass
class RelaysView:
    """The values for the template of the page. `errors` are sentences about the last form."""

    sentence: str
    cards: Sequence[Card]
    pages: Pages
    subscriptions: Sequence[SubscriptionCard]
    groups: Sequence[GroupJson]
    version: str
    removed: Sequence[str]
    focus: Focus
    errors: Sequence[str]
    adding: Adding


def relays_view(
    known: Known,
    *,
    removed: Sequence[str] = (),
    after: Focus = NOWHERE,
    errors: Sequence[str] = (),
    adding: Adding = NOTHING_ADDED,
    page: int = 0,
    of: str = "",
) -> RelaysView:
    """Returns the page. `removed` are the relays that can be restored, and `after` is the action of the last form.
    `page` is a page of the cards, or of the relays of the subscription `of`; 0: the one with the relay of `after`."""
    names = {each.name for each in known.subscriptions}
    written = {relay.name: relay for relay in known.written}
    own = [relay for relay in known.relays if relay.name.partition("/")[0] not in names]

    def cards(relays: Sequence[RelayJson], asked: int) -> tuple[Sequence[Card], Pages]:
        place = next((place for place, relay in enumerate(relays) if relay.name == after.relay), 0)
        pages = Pages.of(len(relays), asked or place // ROWS + 1)
        return [_card(relay, known, written, names) for relay in relays[pages.rows]], pages

    subscriptions = list[SubscriptionCard]()
    for each in known.subscriptions:
        members = [relay for relay in known.relays if relay.name.startswith(f"{each.name}/")]
        shown, pages = cards(members, page if of == each.name else 0)
        is_open = of == each.name or any(relay.name == after.relay for relay in members)
        subscriptions.append(SubscriptionCard(each, shown, pages, len(members), is_open))
    shown, pages = cards(own, 0 if of else page)
    everywhere = [*shown, *(card for each in subscriptions for card in each.cards)]
    return RelaysView(
        _sentence(known, names),
        shown,
        pages,
        subscriptions,
        known.groups,
        known.version,
        removed,
        _focus(everywhere, after),
        errors,
        adding,
    )


def _card(relay: RelayJson, known: Known, written: Mapping[str, RelayConfig], subscriptions: Collection[str]) -> Card:
    halves, configured = known.halves.get(relay.name, ()), written.get(relay.name)
    is_withheld = configured is not None and bool(withheld_credentials(configured))
    return Card(
        relay,
        known.verdict(relay),
        strip_of(halves, known.now, known.language),
        known.sites.get(relay.name, 0),
        _actions(relay, [*written], subscriptions),
        configured is not None,
        is_withheld,
        None if configured is None else _credentials(relay, configured),
    )


def _credentials(relay: RelayJson, configured: RelayConfig) -> Credentials | None:
    """Returns the form for user and password; None for a relay that takes none there."""
    if not takes_password(configured):
        return None
    faults = {RelayFault.CREDENTIALS_REFUSED.text, RelayFault.CREDENTIALS_IN_CLEAR.text}
    told = {relay.fault.text if relay.fault is not None else "", relay.test.fault if relay.test is not None else ""}
    would_be = replace(configured, url=_with_user(configured.url))
    return Credentials(
        relay_url.parse(configured.url).user, not faults.isdisjoint(told), bool(withheld_credentials(would_be))
    )


def _with_user(url: str) -> str:
    """Returns the URL of a relay as it would be with a user."""
    parsed = relay_url.parse(url)
    return f"{parsed.kind}://user@{parsed.endpoint}"


def _sentence(known: Known, subscriptions: Collection[str]) -> str:
    """Returns what can be said of all relays. Those of subscriptions count only where there are no others: many of them
    are often gone."""
    in_use = [relay for relay in known.relays if relay.enabled]
    in_use = [relay for relay in in_use if relay.name.partition("/")[0] not in subscriptions] or in_use
    kinds = {
        relay.name: verdict_of(relay, known.halves.get(relay.name, ()), known.now, known.language).kind
        for relay in in_use
    }
    failing = [name for name, kind in kinds.items() if kind == "bad"]
    unknown = [name for name, kind in kinds.items() if kind == "quiet"]
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
    if len(unknown) == len(in_use):
        return ngettext(
            "{count} relay is in use; it was not tested yet.",
            "{count} relays are in use; none was tested yet.",
            len(in_use),
        )
    if unknown:
        return ngettext(
            "{working} of {count} relay works; the other was not tested yet.",
            "{working} of {count} relays work; the others were not tested yet.",
            len(in_use),
            working=len(in_use) - len(unknown),
        )
    return ngettext("{count} relay is in use; it works.", "All {count} relays in use work.", len(in_use))


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


def _focus(cards: Sequence[Card], after: Focus) -> Focus:
    """Returns the same button of the same card, else its opposite, else the first one of the card."""
    for card in cards:
        can_ask = {"allow": card.is_withheld, "password": card.credentials is not None}
        if card.relay.name == after.relay and can_ask.get(after.action):
            return after
        if card.relay.name == after.relay and card.actions:
            actions = [action for action, _ in card.actions]
            preferred = (after.action, _OPPOSITES.get(after.action, ""))
            return Focus(after.relay, next((action for action in preferred if action in actions), actions[0]))
    return after if after == UNDO else NOWHERE


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


@frozen_dataclass
class RelayView:
    """The values for the page of one relay: its half-hours with visits, the newest first, and the sites that it opened
    last and that direct does not open."""

    relay: RelayJson
    verdict: Verdict
    strip: Strip
    halves: Sequence[RelayHalf]
    sites: Sequence[RelaySite]
    count: int
    pages: Pages


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
    return done(visit, _("The order of the relays is: {names}.", names=_some(names)), did="order")


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
