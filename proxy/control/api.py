"""The control API, which the commands use to reach a running Byway: JSON over HTTP, under /v1.

Everything is read from Dependencies and written by `serialize`. A request is accepted only in its exact form (a body of
at most 64 KiB; no unknown, repeated or wrongly typed field). No endpoint takes a path, a command or code, and no answer
has a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Unpack

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy import __version__
from proxy.config.relays import check_selection, enabled_relays, relay_names
from proxy.config.schema import ListConfig
from proxy.config.suggestions import nearest, one_of, quoted, suggestion
from proxy.control import lists, serialize
from proxy.control.access import Guard, Handler, Refused, check_shape, secure_headers
from proxy.control.dependencies import Dependencies
from proxy.control.measurement_cache import Measurements
from proxy.control.problems import StatusSnapshot, problems
from proxy.control.relay_test import remembered_tests, try_relays
from proxy.control.relay_visits import RelayVisits, read_visits
from proxy.control.request_parsing import BODY_LIMIT, parse_body, parse_field, parse_number, parse_query
from proxy.control.serialize import Document, versioned
from proxy.control.site import scope, site
from proxy.control.streaming import FAULT, Followers, outcome_filter
from proxy.control.timeline import scopes, spells
from proxy.desktop.proxy_settings import DesktopName
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.verdict.site_status import SiteState, site_state
from proxy.model import (
    AutoMode,
    Belief,
    Destination,
    Inbound,
    NetworkId,
    Override,
    Plan,
    Protocol,
    Request,
    Route,
    State,
    bracketed,
)
from proxy.model.errors import BywayError
from proxy.probe.measure.inputs import measured_routes
from proxy.probe.target import ProbeTarget, names_port, page_of
from proxy.routing.rules import Rule, RuleType, Situation, parse_action, parse_network
from proxy.session.events import Learned
from proxy.store.file import LAST_ID
from proxy.store.forgetting import Forgotten
from proxy.store.queries import LogFilter
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)

LOG_LIMIT = 10_000
"""Rows in one answer, at most."""

OVERRIDE_MAX_S = 366 * 86_400
"""An override that ends lasts a year at most."""

_RECENT_S = 3600.0
"""A site that failed within this time is listed even if nothing is stored about it."""
_SUCCESS_WINDOW_S = 86_400.0
_LAST_CONNECTIONS = 5
_FLUSH_S = 1.0
"""How long an answer waits for rows that were just recorded. A disk that takes longer is reported as a problem."""
_FAR_FUTURE = 1e11
PAUSE_MAX_S = 7 * 86_400.0
"""A pause that is meant to last is `byway mode direct`."""

_NO_REQUEST_ID = 0
"""The id of a request that no client made: only its plan is of interest."""


def make_app(parts: Dependencies, guard: Guard) -> web.Application:
    """Returns the API, for the clients that `guard` admits."""
    api = _Api(parts)
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[_guarded(guard)])
    app.add_routes(
        [
            web.get("/v1/status", api.status),
            web.get("/v1/log", api.log),
            web.get("/v1/log/follow", api.follow, allow_head=False),
            web.get("/v1/why", api.why),
            web.post("/v1/why", api.measure),
            web.post("/v1/test", api.test),
            web.get("/v1/measurements/{host}", api.measurements),
            web.get("/v1/rules", api.rules),
            web.post("/v1/rules/test", api.test_rules),
            web.get("/v1/lists", api.lists),
            web.post("/v1/lists/refresh", api.refresh_lists),
            web.get("/v1/lists/{name}/report", api.report_list),
            web.get("/v1/relays", api.relays),
            web.put("/v1/groups/{name}", api.select_relay),
            web.post("/v1/relays/test", api.test_relays),
            web.get("/v1/addons", api.addons),
            web.get("/v1/sites", api.sites),
            web.get("/v1/sites/{host}", api.site),
            web.put("/v1/sites/{host}", api.set_site),
            web.delete("/v1/sites/{host}", api.forget_site),
            web.post("/v1/forget", api.forget),
            web.get("/v1/mode", api.mode),
            web.put("/v1/mode", api.set_mode),
            web.put("/v1/system-proxy", api.set_system_proxy),
            web.get("/v1/config", api.config),
            web.post("/v1/reload", api.reload),
        ]
    )
    app.on_response_prepare.append(secure_headers)
    app.on_shutdown.append(api.followers.stop)
    return app


def _guarded(guard: Guard) -> Middleware:
    """Returns the middleware that asks the guard first, and answers every refusal and fault in JSON."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            guard.check(request)
            check_shape(request)
            return await handler(request)
        except Refused as error:
            return _error(error.status, str(error))
        except web.HTTPException as error:  # no such path, no such method there, a body that is too long
            return _error(error.status, error.reason)
        except BywayError as error:
            return _error(500, redact(str(error)))
        except Exception:
            resource = request.match_info.route.resource
            log.error("internal error while answering %s %s", request.method, resource.canonical if resource else "?")
            log.debug("traceback:", exc_info=True)  # the path, and a message, may name a site
            return _error(500, FAULT)

    return middleware


def _error(status: int, text: str) -> web.Response:
    return web.json_response(versioned(error=text), status=status)


class _Api:
    """The endpoints, one method for each."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts
        self.followers = Followers()
        self._measurements = Measurements(parts)

    # -- status ----------------------------------------------------------------------------------------------------

    async def status(self, request: web.Request) -> web.Response:
        parse_query(request)
        parts, now = self._parts, time.time()
        success = await asyncio.to_thread(parts.store.route_success, now - _SUCCESS_WINDOW_S)
        network = parts.network()
        state = parts.beliefs.network_state(network)
        troubled = [site for site in self._sites(now) if site["network"] == network and site["is_trouble"]]
        visits = await self._visits(now)
        relays = await self._relays(now, visits)
        in_use = [relay for relay in relays if relay["enabled"]]
        settings = parts.setup().settings
        listen = settings.listen
        live = dict(parts.counters())
        known_lists = await self._lists(parts.setup().settings.list)
        return _answer(
            pid=os.getpid(),
            byway=__version__,
            now=now,
            listen=f"{bracketed(listen.address)}:{live.get('port', listen.port)}",
            network=network,
            network_name=next((name for name, its in settings.networks.items() if its == network), ""),
            network_state=str(state),
            mode=self._mode(),
            problems=problems(
                StatusSnapshot(live, state, in_use, troubled, parts.addons(), parts.store.trouble, known_lists, now)
            ),
            notices=[
                redact(notice)
                for notice in (*parts.setup().loaded.notices, *self._lost_selections().values(), *parts.store.notices)
            ],
            live=live,
            overrides=[
                serialize.override(host, override)
                for host, override in sorted(parts.setup().router.overrides.items())
                if override.until
            ],
            relays=relays,
            groups=self._groups(relays, visits, now),
            routes=success,
            routes_hours=int(_SUCCESS_WINDOW_S / 3600),
            sites=troubled,
        )

    async def config(self, request: web.Request) -> web.Response:
        parse_query(request)
        setup = self._parts.setup()
        path = setup.loaded.path
        return _answer(
            path=None if path is None else str(path),
            notices=[redact(notice) for notice in setup.loaded.notices],
            settings=serialize.settings(setup.loaded.settings),
        )

    async def reload(self, request: web.Request) -> web.Response:
        await parse_body(request, {})
        problems = await self._parts.reload()
        return _answer(taken=not problems, problems=[redact(problem) for problem in problems])

    async def forget(self, request: web.Request) -> web.Response:
        """Forgets everything, a host, or what came since a moment: exactly one of the three is asked for."""
        asked = await parse_body(request, {"all": bool, "host": str, "since": float})
        if len(asked) != 1 or asked.get("all") is False:
            raise Refused(400, "One of all, host and since is needed.")
        host = parse_field(scope, asked["host"]) if "host" in asked else ""
        since = asked.get("since", 0.0)
        if "since" in asked:
            parse_field(lambda text: parse_number(text, least=1, most=_FAR_FUTURE), str(since))
        self._measurements.forget()
        return _answer(deleted=await self._parts.forget(Forgotten(host, since)))

    async def mode(self, request: web.Request) -> web.Response:
        parse_query(request)
        return _answer(mode=self._mode(), relays=len(self._enabled_relays()))

    async def set_mode(self, request: web.Request) -> web.Response:
        """Sets the mode, or begins a pause of `pause_s` seconds (0: ends one)."""
        asked = await parse_body(request, {"mode": str, "pause_s": float})
        modes = self._parts.modes
        if len(asked) != 1:
            raise Refused(400, "Either mode or pause_s is needed.")
        if (name := asked.get("mode")) is not None:
            settable = [mode for mode in AutoMode if mode is not AutoMode.PAUSED]
            if name not in settable:
                raise Refused(400, f"unknown mode {quoted(name)}; it can be {one_of(settable)}")
            modes.set_mode(AutoMode(name))
        elif asked["pause_s"] == 0:
            modes.resume()
        else:
            modes.pause(parse_field(lambda text: parse_number(text, least=1, most=PAUSE_MAX_S), str(asked["pause_s"])))
        return _answer(mode=self._mode(), relays=len(self._enabled_relays()))

    def _mode(self) -> Document:
        modes = self._parts.modes
        return {"mode": modes.mode, "paused_until": modes.paused_until or None}

    async def set_system_proxy(self, request: web.Request) -> web.Response:
        asked = await parse_body(request, {"desktop": str, "on": bool})
        if not asked.get("on", False):
            return _answer(on=False, restored=await self._parts.system_proxy.turn_off())
        name = asked.get("desktop", "")
        if name not in list(DesktopName):
            raise Refused(400, f"unknown desktop {quoted(name)}; it can be {one_of(list(DesktopName))}")
        desktop = DesktopName(name)
        now = await self._parts.system_proxy.turn_on(desktop)
        listen = self._parts.setup().settings.listen
        return _answer(
            on=True,
            desktop=now.desktop,
            url=now.url,
            strict_by=now.strict_by,
            listen=listen.address,
            asks_password=bool(listen.user),
        )

    # -- the log ---------------------------------------------------------------------------------------------------

    async def log(self, request: web.Request) -> web.Response:
        asked = parse_query(request, "since", "site", "route", "outcome", "id", "limit")
        since = parse_field(lambda text: parse_number(text, least=0, most=_FAR_FUTURE), asked.get("since", "0"))
        limit = parse_field(lambda text: parse_number(text, least=1, most=LOG_LIMIT), asked.get("limit", "200"))
        only = parse_field(scope, asked["site"]) if "site" in asked else None
        row_id = (
            parse_field(lambda text: parse_number(text, least=0, most=LAST_ID), asked["id"]) if "id" in asked else None
        )
        try:
            rows = await self._rows(
                since=since,
                site=only,
                route=asked.get("route"),
                outcome=asked.get("outcome"),
                row_id=None if row_id is None else int(row_id),
                limit=int(limit),
            )
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return _answer(rows=rows)

    async def _rows(self, **selected: Unpack[LogFilter]) -> list[Document]:
        """Returns rows of the log, with all connections that have ended until now. Raises ValueError for an unknown
        outcome."""
        store = self._parts.store

        def read() -> list[Document]:
            store.flush(_FLUSH_S)
            return store.log(**selected)

        return await asyncio.to_thread(read)

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Streams one JSON object a line, as connections end, until either side closes."""
        is_wanted = outcome_filter(parse_query(request, "site", "route", "outcome"))
        outcomes = self._parts.follow()

        async def rows() -> AsyncGenerator[Document, None]:
            try:
                async for outcome, network in outcomes:
                    if is_wanted(outcome):
                        yield serialize.outcome(outcome, network)
            finally:
                if isinstance(outcomes, AsyncGenerator):
                    await outcomes.aclose()

        return await self.followers.answer(request, rows())

    # -- one site --------------------------------------------------------------------------------------------------

    async def why(self, request: web.Request) -> web.Response:
        asked = parse_query(request, "host")
        if "host" not in asked:
            raise Refused(400, "host is missing")
        return _answer(**await self._known(parse_field(site, asked["host"])))

    async def _known(self, destination: Destination) -> Document:
        """Returns all that is stored about a site, and the plan for a request to it now."""
        stored, made = await self._plan(destination)
        now = time.time()
        rows = await self._rows(site=destination.host, limit=_LAST_CONNECTIONS)
        changes = await self._changes(destination.host)
        return {
            **serialize.destination(destination),
            "belief": self._site(stored, now, destination.host),
            "relay_faults": [serialize.relay_fault(*noted) for noted in self._parts.health.faults().items()],
            "relay_obstacles": [serialize.relay_obstacle(*found) for found in self._parts.relay_obstacles().items()],
            "plan": serialize.plan(made),
            "mode": self._mode(),
            "advice": serialize.policy(
                stored, made, self._enabled_relays(), self._current(stored, now, destination.host).status
            ),
            "connections": [row for row in rows if row.get("host") == destination.host],
            "timeline": spells(changes, [stored]),
            "changes": changes,
        }

    async def measure(self, request: web.Request) -> web.StreamResponse:
        """Measures a site. Streams one JSON object a line: a `step` for each step as it is done, then the `verdict`."""
        asked = await parse_body(request, {"site": str, "fresh": bool})
        if "site" not in asked:
            raise Refused(400, "site is missing")
        page, otherwise = await self._page(asked["site"])
        lines = self._measurements.lines(page, self._plan, otherwise=otherwise, skip_cache=asked.get("fresh", False))

        async def documents() -> AsyncGenerator[Document, None]:
            async with contextlib.aclosing(lines):
                async for line in lines:
                    if "verdict" not in line:
                        yield line
                    else:
                        yield {**await self._known(page_of(line["url"]).destination), **line}

        return await self.followers.answer(request, documents())

    async def test(self, request: web.Request) -> web.Response:
        """Measures one site of many, briefly: see Measurements.brief. `kept`: whether the store keeps the result."""
        asked = await parse_body(request, {"site": str, "routes": list})
        if "site" not in asked:
            raise Refused(400, "site is missing")
        page, _ = await self._page(asked["site"])
        routes = tuple(self._route(text) for text in asked.get("routes", ())) or None
        measured = await self._measurements.brief(page, self._plan, routes)
        kept = self._parts.setup().settings.log.hosts != "off" and not self._parts.store.is_private(page.host)
        return _answer(**serialize.destination(page.destination), kept=kept and self._parts.store.has_file, **measured)

    async def _page(self, text: str) -> tuple[ProbeTarget, ProbeTarget | None]:
        """Returns the page that `text` means, and the one to measure when no server listens there.

        For a host alone these are the page last visited, or, without a visit, the https page and then the http page."""
        page = parse_field(page_of, text)
        if names_port(text):
            return page, None
        visited = self._parts.beliefs.visited(page.host, network=self._parts.network())
        if visited is not None:
            return replace(page, protocol=visited.protocol, port=visited.port), None
        rows = await self._rows(since=0.0, site=page.host, route=None, outcome=None, limit=_LAST_CONNECTIONS)
        for row in sorted(rows, key=lambda row: float(row["at"]), reverse=True):
            if row.get("host") == page.host and row["protocol"] in (Protocol.TLS, Protocol.HTTP):
                return replace(page, protocol=Protocol(row["protocol"]), port=row["port"]), None
        return page, replace(page, protocol=Protocol.HTTP, port=80)

    def _route(self, text: object) -> Route:
        known = measured_routes(self._parts.setup().settings)
        for route in known:
            if str(route) == text:
                return route
        names = [str(route) for route in known]
        meant = nearest(str(text), names)
        choices = f"; did you mean {meant}?" if meant is not None else f"; it can be {one_of(names)}"
        raise Refused(400, f"unknown route {quoted(str(text))}{choices}")

    async def measurements(self, request: web.Request) -> web.Response:
        """Answers with the measurements of a site in the last minutes, for reports."""
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        return _answer(host=host, measurements=self._measurements.of(host))

    async def sites(self, request: web.Request) -> web.Response:
        parse_query(request)
        overrides = self._parts.setup().router.overrides
        return _answer(
            network=self._parts.network(),
            sites=self._sites(time.time()),
            overrides=[serialize.override(host, override) for host, override in sorted(overrides.items())],
        )

    def _sites(self, now: float) -> list[Document]:
        """Returns all sites with a stored status, and those that failed recently on this network."""
        parts, here = self._parts, self._parts.network()
        stored = parts.beliefs.all(now=now)
        known = {belief.scope for belief in stored if belief.network == here}
        recent = parts.beliefs.recent_results(network=here, now=now, within_s=_RECENT_S)
        stored += [Belief(host, here) for host, result in recent if host not in known and result.status.is_trouble]
        return [self._site(belief, now) for belief in stored]

    def _site(self, stored: Belief, now: float, host: str = "") -> Document:
        """Returns the stored and the current status of a site; `host` names it where the stored scope is wider."""
        current = self._current(stored, now, host)
        return {**serialize.belief(stored, current), "is_trouble": current.status.is_trouble}

    def _current(self, stored: Belief, now: float, host: str = "") -> SiteState:
        """Returns the current status of a site."""
        parts = self._parts
        if stored.network != parts.network():
            return site_state(stored)
        last = parts.beliefs.last_result(host or stored.scope, network=stored.network, now=now)
        working = parts.health.working(self._enabled_relays(), now)
        return site_state(stored, last, parts.beliefs.network_state(stored.network), working)

    async def site(self, request: web.Request) -> web.Response:
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        now = time.time()
        here = self._belief(host, now)
        elsewhere = [
            belief
            for belief in self._parts.beliefs.all(now=now)
            if belief.scope == host and belief.network != here.network
        ]
        covering = self._override_of(host)
        changes = await self._changes(host)
        return _answer(
            host=host,
            belief=self._site(here, now, host),
            elsewhere=[self._site(belief, now) for belief in elsewhere],
            override=None if covering is None else serialize.override(*covering),
            timeline=spells(changes, [here, *elsewhere]),
            changes=changes,
        )

    async def _changes(self, host: str) -> list[Document]:
        """Returns the changes of status of a host and of the domains above it, the newest first."""

        def read() -> list[Document]:
            store = self._parts.store
            store.flush(_FLUSH_S)
            rows = [row for scope in scopes(host) for row in store.changes(scope)]
            return sorted(rows, key=lambda row: float(row["at"]), reverse=True)

        return await asyncio.to_thread(read)

    async def set_site(self, request: web.Request) -> web.Response:
        host = parse_field(scope, request.match_info["host"])
        asked = await parse_body(request, {"action": str, "for_s": int})
        if "action" not in asked:
            raise Refused(400, "action is missing")
        if not 0 < asked.get("for_s", 1) <= OVERRIDE_MAX_S:
            raise Refused(400, f"for_s must be from 1 to {OVERRIDE_MAX_S}")
        action, relay = parse_field(lambda text: parse_action(text, relays=self._names()), asked["action"])
        override = Override(action, relay, time.time() + asked["for_s"] if "for_s" in asked else 0.0)
        self._parts.override(host, override)
        await asyncio.to_thread(self._parts.store.flush, _FLUSH_S)  # answer only once it is stored
        return _answer(host=host, override=serialize.override(host, override))

    async def forget_site(self, request: web.Request) -> web.Response:
        parse_query(request)
        host = parse_field(scope, request.match_info["host"])
        below = [name for name in self._parts.setup().router.overrides if name == host or name.endswith(f".{host}")]
        for name in below:
            self._parts.override(name, None)
        changes = self._parts.beliefs.forget(host)
        self._parts.events.emit(Learned(changes))
        return _answer(host=host, forgotten=sorted({change.scope for change in changes}), overrides=sorted(below))

    def _override_of(self, host: str) -> tuple[str, Override] | None:
        """Returns the most specific override that covers the host, with its scope."""
        overrides = self._parts.setup().router.overrides
        while True:
            if host in overrides:
                return host, overrides[host]
            _, dot, host = host.partition(".")
            if not dot:
                return None

    def _belief(self, host: str, now: float) -> Belief:
        """Returns the belief that sessions use for a host here. The known addresses of its name count, too."""
        known = self._parts.setup().resolver.known(host)
        return self._parts.beliefs.lookup(host, network=self._parts.network(), now=now, addresses=known)

    async def _plan(self, destination: Destination) -> tuple[Belief, Plan]:
        """Returns the belief about a destination, and the plan for a request to it now."""
        request = Request(_NO_REQUEST_ID, destination, Inbound.CONNECT, client="")
        return self._belief(destination.host, time.time()), await self._parts.plan(request)

    # -- rules -----------------------------------------------------------------------------------------------------

    async def rules(self, request: web.Request) -> web.Response:
        parse_query(request)
        router = self._parts.setup().router
        return _answer(**serialize.rules(router.rules, router.overrides, self._parts.rule_hits))

    async def test_rules(self, request: web.Request) -> web.Response:
        asked = await parse_body(request, {"url": str, "process": str, "network": str})
        if "url" not in asked:
            raise Refused(400, "url is missing")
        destination, networks = parse_field(site, asked["url"]), self._parts.setup().settings.networks
        network = self._parts.network()
        if "network" in asked:
            named = parse_field(lambda text: parse_network(text, networks), asked["network"])
            network = NetworkId(networks.get(named, named))
        situation = Situation(network, asked.get("process", "").lower())
        made = await self._parts.plan(Request(_NO_REQUEST_ID, destination, Inbound.CONNECT, client=""), situation)
        trace = self._parts.setup().router.trace(destination, situation)
        return _answer(
            **serialize.destination(destination), plan=serialize.plan(made), trace=list(trace), mode=self._mode()
        )

    # -- lists -----------------------------------------------------------------------------------------------------

    async def lists(self, request: web.Request) -> web.Response:
        parse_query(request)
        return _answer(lists=await self._lists(await self._parts.configured_lists()))

    async def _lists(self, configured: Sequence[ListConfig]) -> list[Document]:
        in_use = self._parts.setup().router.rules.lists
        return await lists.describe(configured, in_use, self._parts.copies, time.time())

    async def refresh_lists(self, request: web.Request) -> web.StreamResponse:
        """Fetches lists, by name or all whose source is a URL. Streams one JSON object a line: the result of each list
        when it is there, then `problem`: why the configuration with the new lists is not in use."""
        asked = await parse_body(request, {"names": list, "accept_smaller": bool})
        configured, names = await self._parts.configured_lists(), [str(name) for name in asked.get("names", ())]
        try:
            wanted = lists.wanted_lists(configured, names)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        results = self._parts.list_refresh.refresh(
            wanted, asked=True, accept_smaller=asked.get("accept_smaller", False)
        )

        async def documents() -> AsyncGenerator[Document, None]:
            async with contextlib.aclosing(results):
                async for result in results:
                    yield lists.refreshed(result)
            yield {"problem": redact(str(self._parts.counters().get("config_problem", "")))}

        return await self.followers.answer(request, documents())

    async def report_list(self, request: web.Request) -> web.Response:
        """Compares a list with the user's visits on this network; with `diff`, returns a diff of its text as well."""
        asked, name = parse_query(request, "diff"), request.match_info["name"]
        parts, now = self._parts, time.time()
        in_use = parts.setup().router.rules.lists
        item = next((item for item in parts.setup().settings.list if item.name == name), None)
        if item is None or name not in in_use:
            raise Refused(404, f"unknown list {quoted(name)}{suggestion(name, in_use)}")
        network, visited = parts.network(), dict[str, float]()
        for row in await self._rows(outcome="direct", limit=LOG_LIMIT):
            if row.get("network") == network and isinstance(row.get("host"), str):
                visited[row["host"]] = max(visited.get(row["host"], 0.0), float(row["at"]))
        for host, at in parts.beliefs.working_direct(network=network):
            visited[host] = max(visited.get(host, 0.0), at)
        open_hosts = {
            host: at
            for host, at in visited.items()
            if not parts.store.is_private(host) and self._belief(host, now).state not in (State.SUSPECT, State.BLOCKED)
        }
        troubled = [
            site
            for site in self._sites(now)
            if site["network"] == network and not parts.store.is_private(site["scope"])
        ]
        compared = await asyncio.to_thread(lists.compare, name, in_use, open_hosts, troubled)
        diff = None
        if "diff" in asked and (compared.remove or compared.add):
            text = await parts.list_text(item)
            diff = await asyncio.to_thread(lists.diff, name, text, in_use[name], compared)
        return _answer(
            name=name,
            network=network,
            network_state=str(parts.beliefs.network_state(network)),
            rules=[str(rule.action) for rule in parts.setup().router.rules.rules if _is_of_list(rule, name)],
            free=list(compared.free),
            blocked=list(compared.blocked),
            diff=diff,
        )

    # -- addons ----------------------------------------------------------------------------------------------------

    async def addons(self, request: web.Request) -> web.Response:
        parse_query(request)
        return _answer(addons=[serialize.addon(state) for state in self._parts.addons()])

    # -- relays ----------------------------------------------------------------------------------------------------

    async def relays(self, request: web.Request) -> web.Response:
        parse_query(request)
        now = time.time()
        await asyncio.to_thread(self._parts.store.flush, _FLUSH_S)
        visits = await self._visits(now)
        relays = await self._relays(now, visits)
        return _answer(relays=relays, groups=self._groups(relays, visits, now))

    async def select_relay(self, request: web.Request) -> web.Response:
        """Selects the relay of a group whose policy is "select"."""
        setup, name = self._parts.setup(), request.match_info["name"]
        asked = await parse_body(request, {"use": str})
        if "use" not in asked:
            raise Refused(400, "use is missing")
        parse_field(lambda relay: check_selection(setup.loaded.settings, name, relay), asked["use"])
        await self._parts.select(name, asked["use"])
        return _answer(group=name, use=asked["use"])

    async def test_relays(self, request: web.Request) -> web.Response:
        asked = await parse_body(request, {"names": list, "to": str})
        relays = self._parts.setup().settings.relay
        known, members = self._enabled_relays(), {group.name: group.members for group in self._parts.setup().groups}
        given_names = [str(name) for name in asked.get("names") or known]
        wanted = list(dict.fromkeys(each for name in given_names for each in members.get(name, (name,))))
        for name in wanted:
            if name not in self._relay_names():
                raise Refused(404, f"unknown relay {quoted(name)}{suggestion(name, self._names())}")
            if name not in known:
                raise Refused(400, f"Relay {name} is disabled. Run `byway relay enable {name}` first.")
        given = "to" in asked
        target = parse_field(site, asked["to"]) if given else self._control()
        # A target that the user named may be private, so no name server is asked for it; a control is no secret.
        setup = self._parts.setup()
        trials = await try_relays(setup.registry, wanted, target, resolver=None if given else setup.resolver)
        now = time.time()
        for trial in trials:
            if trial.ok and _may_be_cleared(self._parts.health.of(trial.relay)):
                self._parts.health.worked(trial.relay, now)
        may_blame = self._parts.beliefs.may_blame_relays(self._parts.network(), now)
        tests = remembered_tests(trials, relays, now, whatever_target=given, may_blame=may_blame)
        await asyncio.to_thread(self._parts.relay_tests.record, tests, known=self._relay_names())
        obstacles = self._parts.relay_obstacles()
        results = [serialize.trial(trial, obstacles.get(trial.relay)) for trial in trials]
        return _answer(to=serialize.destination(target), results=results)

    def _control(self) -> Destination:
        """Returns the destination of a relay test when the user names none."""
        controls = self._parts.setup().settings.auto.controls
        if not controls:
            raise Refused(400, "`[auto] controls` is empty: name a destination to connect to.")
        return parse_field(site, controls[0])

    def _enabled_relays(self) -> list[str]:
        return [relay.name for relay in enabled_relays(self._parts.setup().settings.relay)]

    def _relay_names(self) -> list[str]:
        """Returns the names of all configured relays, disabled ones too."""
        return [relay.name for relay in self._parts.setup().settings.relay]

    def _names(self) -> tuple[str, ...]:
        """Returns the names that rules and overrides may give a relay: those of relays and of groups."""
        return relay_names(self._parts.setup().loaded.settings)

    async def _visits(self, now: float) -> Mapping[str, RelayVisits]:
        return await asyncio.to_thread(read_visits, self._parts.store.read, now)

    async def _relays(self, now: float, visits: Mapping[str, RelayVisits]) -> list[Document]:
        relays, health = self._parts.setup().settings.relay, self._parts.health
        tests = await asyncio.to_thread(self._parts.relay_tests.of_all, relays)
        return serialize.relays(
            relays,
            tests,
            health.of,
            lambda name: health.is_open(name, now),
            visits=visits,
            obstacles=self._parts.relay_obstacles(),
        )

    def _groups(self, relays: Sequence[Document], visits: Mapping[str, RelayVisits], now: float) -> list[Document]:
        groups = self._parts.groups
        leading = partial(groups.leading, now=now)
        return serialize.relay_groups(self._parts.setup().groups, relays, visits, leading, self._lost_selections())

    def _lost_selections(self) -> Mapping[str, str]:
        return self._parts.groups.lost_selections(self._parts.setup().groups)


def _is_of_list(rule: Rule, name: str) -> bool:
    return rule.type is RuleType.LIST and rule.value == name


def _may_be_cleared(health: RelayHealth) -> bool:
    """Whether an open path proves that the relay's fault is over: not for a relay whose paths open and then deliver
    nothing."""
    return health.fault is None or health.fault.fault is not RelayFault.DELIVERS_NOTHING


def _answer(**content: Any) -> web.Response:
    return web.json_response(versioned(**content))
