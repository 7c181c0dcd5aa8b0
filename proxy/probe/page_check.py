"""Compares a doubted page of a visit over plain HTTP with the page of another route.

Direct delivered, but the page may be a block page without a fingerprint (`PageDoubt`). So it is requested once more
beside the visit: direct, through a relay and, if that brings something else, direct with the strategy that hides the
Host header. All of them send the same: the path of the visit and the header fields by which sites choose a language and
a layout, but no query, no cookie and no password. If direct does not bring the doubted page for that as well, the page
was an answer to the rest, and nothing is compared. At most once a day and host. `detect` decides what the comparison
means.
"""

from __future__ import annotations

import re
from dataclasses import replace

from proxy.detect.beliefs.events import PageCompared
from proxy.detect.pages.page_difference import Page
from proxy.model import DIRECT, Outcome, PageDoubt, Protocol, Route
from proxy.model.errors import PeerError
from proxy.net.tasks import spawn
from proxy.probe.beside import BesideVisit, beside
from proxy.probe.same_flight import get_page
from proxy.routing.strategies import HOSTCASE
from proxy.session.events import Doubted, SignalWaits
from proxy.session.services import Services
from proxy.wire.http1 import RequestHead, whole_request_head

CHECKS_AT_ONCE = 4
"""The most checks at once: a page may have many hosts. Those beyond them are checked at another visit."""

RELAYS_MAX = 3
"""The most relays that are tried until one brings an answer."""

_SENT = {"user-agent": "User-Agent", "accept": "Accept", "accept-language": "Accept-Language"}
"""The header fields of the visit that are sent besides Host. Others may identify its user."""

_OF_A_USER = frozenset({"cookie", "authorization"})

_LIKE_TOKENS = re.compile(r"[A-Za-z0-9+_=-]{16,}")
_WORDS = re.compile(r"[a-z]+(?:[-_][a-z]+)*")
"""What may be a secret in a path, such as of a link to unsubscribe: base64, hex or a UUID. Words joined are none."""


class PageCheck:
    """Starts checks beside visits with a doubted page. Belongs to one loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._under_way = 0

    def on_doubted(self, visit: Doubted) -> None:
        """Starts a check if the user lets Byway make one for this visit, and it is due."""
        outcome, setup, services = visit.record.outcome, visit.setup, self._services
        direct, request = outcome.direct_attempt, _request_of(visit.flight.data)
        relays = [route for route in outcome.plan.routes if route.relays][:RELAYS_MAX]
        if direct is None or request is None or not relays or self._under_way >= CHECKS_AT_ONCE:
            return
        doubt = PageDoubt(direct.evidence["doubt"])
        if doubt is not PageDoubt.SHARED and _is_personal(request):
            return  # its page may be one for its user alone
        if (
            outcome.protocol is not Protocol.HTTP
            or visit.flight.server_name not in (None, outcome.host)  # of a request in a tunnel
        ):
            return
        frame = beside(services, setup, visit.record.network, outcome)
        if frame and services.beliefs.page_check_due(outcome.host, network=frame.network, now=services.now()):
            event = PageCompared(
                host=outcome.host,
                mark=setup.knowledge.classify(visit.answer, outcome.host, complete=True).page_mark,
                address=direct.address,
                sent=outcome.flight_at,
                doubt=doubt,
                other=DIRECT,
                is_unlike=False,
            )
            self._under_way += 1
            run = self._run(frame, outcome, event, relays, _plain(request))
            spawn(run, name=f"compare the page of {outcome.host}")

    async def _run(
        self, frame: BesideVisit, visit: Outcome, event: PageCompared, relays: list[Route], request: bytes
    ) -> None:
        """Requests the page direct, through one relay after the other until one brings an answer, and with the
        strategy. Two routes have to bring what the one that is told brings."""

        async def page_by(route: Route) -> Page | None:
            page = await get_page(frame.setup, frame.services.tcp_info, visit, route, request)
            return page if frame.is_same() else None

        try:
            shown = await page_by(DIRECT)
            if shown is None or not shown.mark or shown.mark != event.mark:
                return
            for relay in relays:
                if (page := await page_by(relay)) is None:
                    if not frame.is_same():
                        return
                    continue
                is_unlike = shown.is_unlike(page)
                if is_unlike is None:
                    return
                other = relay
                if is_unlike and HOSTCASE in visit.plan.routes:
                    cased = await page_by(HOSTCASE)
                    if cased is not None and shown.is_unlike(cased) and page.is_unlike(cased) is False:
                        other = HOSTCASE
                if frame.report(replace(event, other=other, is_unlike=is_unlike)):
                    frame.services.events.emit(SignalWaits())
                return
        finally:
            self._under_way -= 1


def _request_of(flight: bytes) -> RequestHead | None:
    """Returns the request of a visit if it is a GET for a path that can be sent again, also through a relay; else
    None."""
    try:
        request = whole_request_head(flight)
    except PeerError:
        return None
    if request is None or request.method != "GET" or not request.bodiless or request.named is None:
        return None
    path = request.target.partition("?")[0]
    has_token = any(not _WORDS.fullmatch(found) for found in _LIKE_TOKENS.findall(path))
    return None if has_token else request


def _is_personal(request: RequestHead) -> bool:
    return "?" in request.target or any(name.lower() in _OF_A_USER for name, _ in request.headers)


def _plain(request: RequestHead) -> bytes:
    """Returns the same request without what may identify its user."""
    fields = {name.lower(): value for name, value in request.headers}
    kept = [f"{name}: {fields[key]}" for key, name in _SENT.items() if key in fields]
    path = request.target.partition("?")[0]
    lines = (f"GET {path} HTTP/1.1", f"Host: {request.host}", *kept, "Connection: close", "", "")
    return "\r\n".join(lines).encode("latin-1")
