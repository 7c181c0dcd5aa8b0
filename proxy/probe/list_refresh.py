"""Fetches lists whose source is an https URL, and subscriptions: when the user asks, and beside a visit once a refresh
is due.

There is no timer: an idle Byway fetches nothing. A source is fetched through relays only, the healthiest first, unless
its table says `via = "direct"` and the rules allow that. A new copy is checked before it replaces the last good one. If
anything is wrong with it, the last good copy stays in use, and `byway list show`, `byway relay list` and `byway status`
show the reason. They are fetched one at a time.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TypedDict

from proxy.config.files import decode_pieces
from proxy.config.schema import ListConfig, Settings, SubscriptionConfig
from proxy.model import DIRECT, Action, Destination, Plan, Route, literal
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.tasks import spawn
from proxy.probe.download import Downloaded, DownloadFailed, Refuse, download
from proxy.probe.target import AGENT
from proxy.session.events import Delivered
from proxy.session.setup import Setup
from proxy.store.list_copies import COPY_LIMIT, CopyInfo, ListCopies
from proxy.wire import https_url
from proxy.wire.https_url import HttpsUrl
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)

LIST_S = 600.0
"""Seconds for one list over all relays."""

TRY_S = 120.0
"""Seconds after which no further relay is tried: with many that are gone, people would wait for minutes."""

BACK_OFF_S = 600.0
BACK_OFF_MAX_S = 86_400.0
"""After a failed fetch, the next one is due after BACK_OFF_S; the time doubles with each further failure."""

JITTER = 0.1
"""Due times are moved by up to this share."""

STALE_TIMES = 2.0
"""A copy is stale when it is older than this multiple of its `refresh`."""

_DAY_S = 86_400.0
UNCHANGED_S = 7 * _DAY_S
"""Time for which a server of a subscription may answer that nothing has changed. Then the file is fetched whole, as it
is on the day after a change if the user asks: a server that always answers so would keep relays that are gone."""

_REMEDY = 'set via = "direct" for it'
_ROUTES_SHOWN = 3
_LONGEST = 1000  # characters of a reason
_PAUSE_S = 0.001
"""Seconds between the pieces of a list that is checked, as in a reload (setup/reload.py)."""


Fetched = ListConfig | SubscriptionConfig
"""What has a source that is fetched."""


def fetched_in(settings: Settings) -> list[Fetched]:
    """Returns the lists and subscriptions that are fetched."""
    return [*(item for item in settings.list if item.url), *settings.subscription]


class Result(StrEnum):
    """The result of a fetch."""

    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    FAILED = "failed"


class Remedy(StrEnum):
    """What may help after a failed fetch, if the user wants it."""

    NONE = ""
    DIRECT = "direct"
    """Fetch it direct: the provider sees the host."""
    ACCEPT_SMALLER = "accept_smaller"
    """Take the smaller file all the same."""


@frozen_dataclass
class Refreshed:
    """The result for one list or subscription. After a failure, `why` is the reason, and the last good copy is in use,
    if there is one."""

    name: str
    result: Result
    entries: int
    """The number of entries of the copy in use now."""
    why: str = ""
    remedy: Remedy = Remedy.NONE


class _NotTaken(DownloadFailed):
    """What came cannot be used."""

    def __init__(self, reason: str, remedy: Remedy = Remedy.NONE) -> None:
        self.remedy = remedy
        super().__init__(reason, is_final=True)


@frozen_dataclass
class RefreshContext:
    """The services of the process that a refresh needs."""

    setup: Callable[[], Setup]
    may_go_direct: Callable[[Setup, Destination], Awaitable[bool]]
    """Returns whether rules and addons allow a direct route to a destination."""
    only_relays: Callable[[Setup, Destination], Awaitable[Sequence[Route] | None]]
    """Returns the relayed routes to a destination to which rules, overrides and addons limit it; see
    `relays_left_by`."""
    order: Callable[[Sequence[str]], Sequence[str]]
    """Orders relays by health."""
    is_private: Callable[[str], bool]
    """Returns whether a host is in `[log] never`. Nothing is sent there unless the user asks for it."""
    apply: Callable[[], Awaitable[object]]
    """Reads the configuration again, with new copies."""
    now: Callable[[], float]
    """Seconds since the epoch."""
    trust: ssl.SSLContext | None = None
    """Verifies certificates; None: with the system's roots."""


def relays_left_by(plan: Plan) -> Sequence[Route] | None:
    """Returns the relayed routes of a plan that allows no others; empty for a plan that blocks. Returns None when any
    relay may be used: a plan that goes direct does not forbid the relay of a list."""
    if plan.action is Action.BLOCK:
        return ()
    if plan.action is not Action.RELAY:
        return None
    return tuple(dict.fromkeys(Route(route.relays) for route in plan.routes if route.relays))


async def fetch(
    context: RefreshContext,
    url: HttpsUrl,
    known_at: float,
    *,
    direct: bool,
    asked: bool,
    limit: int,
    remedy: str,
    agent: str = AGENT,
) -> Downloaded | None:
    """Fetches a file over its routes, until one works: through relays, or only `direct`. `known_at`, `limit` and the
    result are those of `download`; `asked`: the user asked for the fetch; `remedy`: what makes it direct. Raises
    DownloadFailed."""
    setup = context.setup()

    async def through(route: Route) -> Downloaded | None:
        refuse = _refusal(context, setup, route, asked=asked, remedy=remedy)
        dialer, trust = setup.registry.dialer(route), context.trust
        return await download(dialer, url, known_at, limit=limit, refuse=refuse, trust=trust, agent=agent)

    if direct:
        return await through(DIRECT)
    names = setup.registry.relay_names
    if not names:
        raise DownloadFailed(f"there is no relay to fetch it through; add one, or {remedy}")
    routes = await context.only_relays(setup, url.destination)
    if routes is None:
        routes = [Route((name,)) for name in context.order(names)]
    if not routes:
        raise DownloadFailed("a rule blocks its host, or leaves no relay for it")
    failures, is_final = list[str](), False
    ends_at = asyncio.get_running_loop().time() + TRY_S
    for route in routes:
        if failures and asyncio.get_running_loop().time() >= ends_at:
            left = len(routes) - len(failures)
            failures[_ROUTES_SHOWN - 1 :] = [f"{left} more relays were not tried, after {TRY_S:g} s"]
            break
        try:
            return await through(route)
        except DownloadFailed as error:
            failures.append(f"through {route}: {error}")
            if is_final := error.is_final:
                break
    more = len(failures) - _ROUTES_SHOWN
    why = "; ".join(failures[:_ROUTES_SHOWN]) + (f"; and {more} more relays" if more > 0 else "")
    raise DownloadFailed(why, is_final=is_final)


def _refusal(context: RefreshContext, setup: Setup, route: Route, *, asked: bool, remedy: str) -> Refuse:
    """Returns the check of each URL of a download over one route, also of a redirect, before its request."""

    async def refuse(url: HttpsUrl, is_redirect: bool) -> str:
        destination = url.destination
        address = literal(url.host)
        is_public = not setup.guard.is_near(url.host) and (address is None or address.is_global)
        if is_redirect and not is_public:  # even if `[safety] allow` lets the user visit it
            return f"redirects to {url.host}, which is no public place"
        if reason := setup.guard.refuse_host(destination):
            return f"is refused: {reason}"
        if not asked and context.is_private(url.host):
            return "is at a host of `[log] never`, so it is fetched only by `byway list refresh`"
        if route.is_direct:
            allowed = await context.may_go_direct(setup, destination)
            return "" if allowed else "is at a host for which a rule or an addon forbids direct"
        if not is_public:
            return f"is in a private network, where no relay leads: {remedy}"
        if not setup.registry.carries(route, destination):
            return "the relay takes addresses only"
        only = await context.only_relays(setup, destination) if is_redirect else None
        return "" if only is None or route in only else "redirects to a host that a rule keeps from this relay"

    return refuse


class _Request(TypedDict):
    limit: int
    agent: str


def _request_of(item: Fetched) -> _Request:
    """Returns the most bytes of the answer, and the User-Agent of the request."""
    if isinstance(item, ListConfig):
        return _Request(limit=COPY_LIMIT, agent=AGENT)
    from proxy.config.subscriptions import FILE_LIMIT  # few have one

    return _Request(limit=FILE_LIMIT, agent=item.user_agent)


def _known_at(item: Fetched, info: CopyInfo, now: float, *, asked: bool) -> float:
    """Returns the time since which a source is asked for changes; 0: it sends the whole file. A time in the future
    comes from a wrong clock: until then, a source would answer that nothing has changed."""
    if info.fetched_at > now:
        return 0.0
    unchanged_s = _DAY_S if asked else UNCHANGED_S
    is_old = isinstance(item, SubscriptionConfig) and now - info.changed_at > unchanged_s
    return 0.0 if is_old else info.fetched_at


def due_at(item: Fetched, info: CopyInfo, now: float) -> float:
    """Returns the time at which a list is due beside a visit, in seconds since the epoch; infinite: never. A stored
    time in the future comes from a wrong clock, and is ignored."""
    if not item.refresh_s:
        return float("inf")
    fetched_at = info.fetched_at if info.fetched_at <= now else 0.0
    due = fetched_at + item.refresh_s * info.jitter if fetched_at else 0.0
    if info.failures and info.failed_at <= now:
        back_off = min(BACK_OFF_S * 2.0 ** min(info.failures - 1, 30), BACK_OFF_MAX_S)
        due = max(due, info.failed_at + back_off * info.jitter)
    return due


def is_stale(item: Fetched, info: CopyInfo, now: float) -> bool:
    """Whether a copy with a `refresh` is older than STALE_TIMES of it."""
    return bool(item.refresh_s and info.has_copy) and now - info.fetched_at > STALE_TIMES * item.refresh_s


class ListRefresh:
    """Fetches lists. Belongs to one loop."""

    def __init__(self, context: RefreshContext, copies: ListCopies, *, rng: random.Random | None = None) -> None:
        self._context = context
        self._copies = copies
        self._rng = rng if rng is not None else random.SystemRandom()
        self._one_at_a_time = asyncio.Lock()
        self._under_way = False
        self._looked_at = 0.0  # the time of the last search for lists that are due
        self._look_again_at = 0.0

    def on_delivered(self, _: Delivered) -> None:
        """Starts fetching the lists that are due, beside a visit. Usually it only compares two numbers."""
        now = self._context.now()
        if self._under_way or self._looked_at <= now < self._look_again_at:
            return
        self._under_way, self._looked_at, self._look_again_at = True, now, now + BACK_OFF_S
        spawn(self._refresh_due(), name="refresh lists")

    def on_configuration(self) -> None:
        """Searches again at the next visit: another list, or another time, may be configured."""
        self._look_again_at = 0.0

    async def _refresh_due(self) -> None:
        try:
            now, lists = self._context.now(), fetched_in(self._context.setup().settings)
            infos = await asyncio.to_thread(lambda: [self._copies.info(item.url) for item in lists])
            due = [item for item, info in zip(lists, infos, strict=True) if due_at(item, info, now) <= now]
            async for _ in self.refresh(due, asked=False):
                pass
            now = self._context.now()
            infos = await asyncio.to_thread(lambda: [self._copies.info(item.url) for item in lists])
            times = [due_at(item, info, now) for item, info in zip(lists, infos, strict=True)]
            self._looked_at, self._look_again_at = now, min(times, default=float("inf"))
        finally:
            self._under_way = False

    async def refresh(
        self, lists: Sequence[Fetched], *, asked: bool, accept_smaller: bool = False, direct: bool = False
    ) -> AsyncGenerator[Refreshed, None]:
        """Fetches these lists, one after the other, and yields the result of each; at the end the new copies come into
        use. `asked`: the user asked for the fetch. `accept_smaller`: a list that shrank is accepted, too. `direct`: all
        are fetched direct."""
        async with self._one_at_a_time:
            replaced = False
            try:
                for item in lists:
                    is_direct = direct or item.via == "direct"
                    refreshed = await self._refresh_one(item, is_direct, asked=asked, accept_smaller=accept_smaller)
                    replaced |= refreshed.result is Result.REPLACED
                    yield refreshed
            finally:
                if replaced:
                    await self._context.apply()
                    used = {item.url for item in (*lists, *fetched_in(self._context.setup().settings))}
                    await asyncio.to_thread(self._copies.delete_unused, used, self._context.now())

    async def _refresh_one(self, item: Fetched, direct: bool, *, asked: bool, accept_smaller: bool) -> Refreshed:
        before = await asyncio.to_thread(self._copies.info, item.url)
        kept = await asyncio.to_thread(self._kept, item.url)
        # A lost copy is fetched whole, although its stored facts have a time.
        now = self._context.now()
        known_at = _known_at(item, before, now, asked=asked) if kept is not None else 0.0
        try:
            with deadline(LIST_S):
                downloaded = await fetch(
                    self._context,
                    https_url.parse(item.url),
                    known_at,
                    direct=direct,
                    asked=asked,
                    remedy=_REMEDY,
                    **_request_of(item),
                )
            now = self._context.now()
            after = replace(before, fetched_at=now, jitter=self._jitter(), failed_at=0.0, failures=0, error="")
            if downloaded is not None:
                after = replace(after, said=downloaded.userinfo)
            if downloaded is None or downloaded.content == kept:
                await asyncio.to_thread(self._copies.note, after)
                return Refreshed(item.name, Result.UNCHANGED, after.entries)
            last = before.entries if kept is not None else 0
            check = partial(self._check, item) if isinstance(item, ListConfig) else partial(self._check_relays, item)
            entries = await asyncio.to_thread(check, downloaded, last, accept_smaller=accept_smaller)
            after = replace(after, changed_at=now, entries=entries)
            await asyncio.to_thread(self._copies.replace, after, downloaded.content)
        except TimeoutError:
            remedy = Remedy.NONE if direct else Remedy.DIRECT
            return await self._failed(item, before, f"took longer than {LIST_S:g} s", remedy)
        except _NotTaken as error:
            return await self._failed(item, before, redact(str(error)), error.remedy)
        except DownloadFailed as error:
            remedy = Remedy.NONE if direct or error.is_final else Remedy.DIRECT
            return await self._failed(item, before, redact(str(error)), remedy)
        except BywayError as error:
            return await self._failed(item, before, redact(str(error)))
        except Exception as error:  # a fault of ours: this list backs off, and the next ones are fetched
            what = "List" if isinstance(item, ListConfig) else "Subscription"
            log.error("%s %s: the fetch failed by a fault of Byway", what, item.name, exc_info=error)
            return await self._failed(item, before, f"a fault of Byway ({type(error).__name__}): please report it")
        return Refreshed(item.name, Result.REPLACED, entries)

    def _kept(self, url: str) -> bytes | None:
        """Returns the text of the last good copy; None when there is none, or it cannot be read."""
        try:
            return self._copies.content(url)
        except ConfigError:
            return None

    async def _failed(self, item: Fetched, before: CopyInfo, why: str, remedy: Remedy = Remedy.NONE) -> Refreshed:
        after = replace(
            before,
            failed_at=self._context.now(),
            failures=before.failures + 1,
            jitter=self._jitter(),
            error=why[:_LONGEST],
        )
        await asyncio.to_thread(self._copies.note, after)
        if not before.failures:  # logged once, without a host
            serves = "the last good copy stays in use" if before.has_copy else "there is no copy of it"
            is_list = isinstance(item, ListConfig)
            what, see = ("List", f"list show {item.name}") if is_list else ("Subscription", "relay list")
            log.warning("%s %s could not be fetched; %s: see `byway %s`", what, item.name, serves, see)
        return Refreshed(item.name, Result.FAILED, before.entries, why, remedy)

    def _jitter(self) -> float:
        return self._rng.uniform(1 - JITTER, 1 + JITTER)

    def _check_relays(
        self, item: SubscriptionConfig, downloaded: Downloaded, last: int, *, accept_smaller: bool
    ) -> int:
        """As `_check`, for a subscription, whose entries are relays. Keeps the names of its relays."""
        from proxy.config.subscriptions import names_of, read_entries, refusal  # few have one
        from proxy.routing.lists.acceptance import is_web_page

        if is_web_page(downloaded.content, downloaded.content_type):
            raise DownloadFailed("a web page came in place of the file")
        try:
            entries = read_entries("".join(decode_pieces(Path(item.name), downloaded.content)))
        except ConfigError as error:
            raise _NotTaken(f"what came cannot be used: {error.problems[0]}") from None
        if reason := refusal(entries, last, accept_smaller=accept_smaller):
            has_shrunk = not refusal(entries, last, accept_smaller=True)
            raise _NotTaken(reason, Remedy.ACCEPT_SMALLER if has_shrunk else Remedy.NONE)
        self._copies.keep_names(item.url, names_of(item.name, entries, self._copies.names(item.url)))
        return sum(not entry.why for entry in entries)

    def _check(self, item: ListConfig, downloaded: Downloaded, last_entries: int, *, accept_smaller: bool) -> int:
        """Parses a download, in a thread. Returns the number of its entries. Raises DownloadFailed when it must not
        replace the last good copy."""
        from proxy.routing.lists.acceptance import is_web_page, refusal  # as in setup/rule_files.py
        from proxy.routing.lists.formats import parse_list

        if is_web_page(downloaded.content, downloaded.content_type):
            raise DownloadFailed("a web page came in place of the list")
        pieces = decode_pieces(Path(item.name), downloaded.content, pause_s=_PAUSE_S)
        try:
            self._copies.trials.require(
                downloaded.content, source=item.name, format=item.format, allow_suffixes=item.allow_suffixes
            )
            listed = parse_list(
                pieces,
                size=len(downloaded.content),
                source=item.name,
                format=item.format,
                allow_empty=item.allow_empty,
                allow_suffixes=item.allow_suffixes,
            )
        except ConfigError as error:
            place, _, problem = error.problems[0].partition(": ")
            line = place.removeprefix(item.name).removeprefix(":")
            raise DownloadFailed(f"what came cannot be used: {line and f'line {line} '}{problem}") from None
        if reason := refusal(listed, last_entries, accept_smaller=accept_smaller):
            raise DownloadFailed(reason)
        return len(listed.listed)
