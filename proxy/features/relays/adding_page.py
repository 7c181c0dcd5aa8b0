"""The forms that add relays: what is understood of a pasted text is shown first, each relay is tested before it is
saved, and one that fails is saved only if the user says so. A subscription is saved and fetched.

A password that would cross the network unencrypted is a question of its own: without an answer nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from aiohttp import web

from proxy.config.edit import NewRelay
from proxy.config.relays import is_loopback, is_name
from proxy.config.schema import RelayConfig
from proxy.control.access import Refused
from proxy.control.dashboard.rendering import STREAM, render
from proxy.control.dashboard.visit import Part, Route, Visit
from proxy.control.frame import Frame
from proxy.features.relays.endpoints import NewRelayTest, RelayEndpoints, SubscriptionRefreshRequest
from proxy.features.relays.page import done, refreshed_page, relays_page
from proxy.features.relays.pasted import NAMED_MAX, Pasted, named
from proxy.features.relays.view import Adding
from proxy.model import bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, sentences
from proxy.net.poller import make_poller
from proxy.probe.local_proxies import LOOPBACK, find_listeners, known_ports
from proxy.probe.relay_trial import Trial
from proxy.wire import relay_url

_NAMES = tuple(f"name-{number}" for number in range(NAMED_MAX))
_ANSWERS = tuple(f"unencrypted-{number}" for number in range(NAMED_MAX))

_KEPT_S = 600.0
_KEPT_MAX = 8


@dataclass(eq=False, slots=True)
class _Failed:
    """Relays that failed their test before they were saved, by name."""

    session: str
    until: float
    relays: dict[str, NewRelay] = field(repr=False)


class FailedRelays:
    """Relays that failed their test, for those who want to save them all the same. They are only in memory."""

    def __init__(self, _frame: Frame) -> None:
        self._kept: dict[str, _Failed] = {}

    def keep(self, session: str, relays: Mapping[str, NewRelay], now: float) -> str:
        """Keeps relays for a while. Returns the id by which a form refers to them."""
        ident = secrets.token_hex(8)
        self._kept = {key: each for key, each in self._kept.items() if now < each.until}
        self._kept[ident] = _Failed(session, now + _KEPT_S, dict(relays))
        while len(self._kept) > _KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        return ident

    def take(self, session: str, ident: str, name: str, now: float) -> NewRelay:
        """Removes and returns a relay. Raises Refused when it is not kept any more."""
        kept = self._kept.get(ident)
        if kept is None or kept.session != session or now >= kept.until or name not in kept.relays:
            raise Refused(409, _("This relay is not kept any more. Paste it again."))
        return kept.relays.pop(name)


@frozen_dataclass
class AddedView:
    """The end of a page that adds relays. `failed` are the names of those that failed, kept under `ident`.
    `place` is the query of the page with the focus on the first relay that was added."""

    sentence: str
    problem: str
    failed: Sequence[str]
    ident: str
    place: str


async def _add(visit: Visit) -> web.StreamResponse:
    """Shows what is understood, or tests and adds it: the latter if nothing is left out, or the user has seen what is,
    and if each question about a password has an answer."""
    form = await visit.form("urls", "do", "seen", *_NAMES, *_ANSWERS)
    text, answers = form.get("urls", ""), _numbered(form, "unencrypted-")
    try:
        pasted = await _understood(visit, form)
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], adding=Adding(text), status=refused.status)
    adding = Adding(text, pasted, answers)
    if form.get("do") == "preview":
        return await relays_page(visit, adding=adding)
    open_questions = [
        each.name for number, each in enumerate(pasted.relays) if each.asks and answers.get(number) not in ("yes", "no")
    ]
    if not pasted.is_new or open_questions or (pasted.problems and form.get("seen") != "1"):
        errors = [_("Say whether the password may be sent unencrypted: {names}.", names=commas(open_questions))]
        status = 400 if pasted.problems or open_questions else 200
        return await relays_page(visit, errors=errors if open_questions else (), adding=adding, status=status)
    if pasted.subscription is not None:
        return await _subscribe(visit, pasted, form.get("name-0", "").strip())
    endpoints = visit.frame.one(RelayEndpoints)
    new = [each for each in pasted.relays if not each.there]
    silent = [each.new for each in new if each.asks and not each.new.allow_plaintext_credentials]
    tested = [each.new for each in new if each.new not in silent]
    try:
        await endpoints.edits.check([each.new for each in new])
        test = endpoints.begin_new_test(tested) if tested else None
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], adding=adding, status=refused.status)
    if test is None:
        return await _saved(visit, silent, adding)
    view = {"to": f"{test.to}", "count": len(test.names), "stream": STREAM}
    page = visit.render("relay_test.html", title=_("Test of new relays"), here="relays", view=view)
    return await visit.stream(page, _results(visit, test, silent))


async def _results(visit: Visit, test: NewRelayTest, silent: Sequence[NewRelay]) -> AsyncGenerator[Part, None]:
    """Yields the results. Then saves the relays that work, and those that are not tested because their password may not
    be sent."""
    endpoints, trials = visit.frame.one(RelayEndpoints), list[Trial]()
    async with contextlib.aclosing(test.results):
        async for trial in test.results:
            trials.append(trial)
            yield Part(render("new_relay_trial.html", visit.session, visit.language, view=trial))
    works = {trial.relay for trial in trials if trial.ok}
    good = [relay for relay in test.relays if relay.name in works]
    failed = {str(relay.name): relay for relay in test.relays if relay.name not in works}
    sentence, problem = "", ""
    try:
        if good or silent:
            await endpoints.edits.add([*good, *silent])
            await endpoints.remember_tests([trial for trial in trials if trial.ok])
            sentence = _added([*good, *silent])
    except Refused as refused:
        problem = refused.text
        failed |= {str(relay.name): relay for relay in (*good, *silent)}
    ident = visit.frame.one(FailedRelays).keep(visit.session.secret, failed, time.monotonic()) if failed else ""
    place = urlencode({"row": str((good or silent)[0].name), "did": "test"}) if sentence else ""
    view = AddedView(sentence, problem, [*failed], ident, place)
    yield Part(render("new_relays_tested.html", visit.session, visit.language, view=view), is_behind_list=True)


async def _saved(visit: Visit, relays: Sequence[NewRelay], adding: Adding) -> web.StreamResponse:
    """Saves relays without a test."""
    try:
        await visit.frame.one(RelayEndpoints).edits.add(relays)
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], adding=adding, status=refused.status)
    return done(visit, _added(relays), row=str(relays[-1].name), did="allow")


def _added(relays: Sequence[NewRelay]) -> str:
    return _("Added: {names}.", names=commas([str(relay.name) for relay in relays]))


async def _add_anyway(visit: Visit) -> web.StreamResponse:
    """Saves a relay that failed its test."""
    form = await visit.form("id", "relay")
    try:
        relay = visit.frame.one(FailedRelays).take(
            visit.session.secret, form.get("id", ""), form.get("relay", ""), time.monotonic()
        )
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], status=refused.status)
    return await _saved(visit, [relay], Adding())


async def _subscribe(visit: Visit, pasted: Pasted, name: str) -> web.StreamResponse:
    """Saves a subscription and fetches it."""
    found, endpoints = pasted.subscription, visit.frame.one(RelayEndpoints)
    assert found is not None
    name = name or found.name
    try:
        await endpoints.edits.check([NewRelay(f"https://{bracketed(found.host)}", name)])
        await endpoints.edits.subscribe(name, found.address)
        results = await endpoints.refresh_subscriptions(SubscriptionRefreshRequest((name,)))
    except Refused as refused:
        return await relays_page(visit, errors=[refused.text], adding=Adding("", pasted), status=refused.status)
    return await refreshed_page(visit, name, results)


async def _check(visit: Visit) -> web.Response:
    """Returns the part of the page about a text that somebody types."""
    form = await visit.form("urls", "do", "part", "seen", *_NAMES, *_ANSWERS)
    text = form.get("urls", "")
    pasted, error = None, ""
    try:
        if text.strip():
            pasted = await visit.frame.one(RelayEndpoints).edits.understand(text)
    except Refused as refused:
        error = refused.text
    return await visit.part("pasted.html", {"pasted": pasted, "error": error, "answers": {}, "is_answer": False})


async def _understood(visit: Visit, form: Mapping[str, str]) -> Pasted:
    pasted = await visit.frame.one(RelayEndpoints).edits.understand(form.get("urls", ""))
    return named(pasted, _numbered(form, "name-"), _numbered(form, "unencrypted-"))


def _numbered(form: Mapping[str, str], prefix: str) -> Mapping[int, str]:
    return {int(name.removeprefix(prefix)): value for name, value in form.items() if name.startswith(prefix)}


async def _scan(visit: Visit) -> web.Response:
    """Looks for proxies on this computer, and shows those that are no relays yet as if they were pasted."""
    await visit.form()
    settings = await visit.parts.configured()
    own = {settings.listen.port, int(visit.parts.counters().get("port", 0))}
    with contextlib.closing(make_poller(asyncio.get_running_loop())) as poller:
        found = await find_listeners(known_ports(), poller, own=own)
    there = set(_local_ports(settings.relay))
    proxies = [each for each in found if each.is_proxy and each.known.port not in there]
    text = "\n".join(f"{each.url}#{each.known.name}" for each in proxies if not each.wants_user)
    locked = [str(each.known.port) for each in proxies if each.wants_user]
    known = sum(each.known.port in there for each in found)
    said = sentences(
        [
            ngettext(
                "{count} proxy was found on this computer.",
                "{count} proxies were found on this computer.",
                len(proxies),
            )
            if proxies
            else _("No further proxy was found on this computer. Start one, such as Tor, and search again."),
            ngettext("{count} relay here is configured already.", "{count} relays here are configured already.", known)
            if known
            else "",
            _("These ports want a user and a password: {ports}.", ports=commas(locked)) if locked else "",
        ]
    )
    visit.session.notice = said
    if not text:
        return await relays_page(visit)
    pasted = await visit.frame.one(RelayEndpoints).edits.understand(text)
    return await relays_page(visit, adding=Adding(text, pasted))


def _local_ports(relays: Sequence[RelayConfig]) -> Sequence[int]:
    """Returns the ports of this computer where relays listen."""
    urls = [relay_url.parse(each.url) for each in relays if ">" not in each.url and not is_name(each.url)
            and not relay_url.is_key(each.url)]  # fmt: skip
    return [url.port for url in urls if is_loopback(url.host) or url.host == LOOPBACK]


ROUTES = (
    Route("POST", "relays", _add),
    Route("POST", "relays/check", _check),
    Route("POST", "relays/anyway", _add_anyway),
    Route("POST", "relays/scan", _scan),
)
