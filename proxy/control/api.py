"""The control API, by which commands reach a running Byway: JSON over HTTP, under /v1.

Endpoints read Dependencies, and answer with the classes of `answers` and of features. A request must have the exact
form: a body of at most 64 KiB, and no unknown, repeated or wrongly typed field. No endpoint accepts a path, a command
or code, and no answer contains a password.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Guard, Handler, Refused, check_shape, secure_headers
from proxy.control.dashboard.sign_in import CODE_S
from proxy.control.endpoint import ASKED, Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import BODY_LIMIT, Nothing, parse_body, parse_query
from proxy.control.streaming import FAULT, ErrorAnswer, Followers, phrases_as
from proxy.model.document import document
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)


def make_app(frame: Frame, guard: Guard) -> web.Application:
    """Returns the API as an application for the clients that `guard` admits."""
    followers = Followers()
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[_guarded(guard)])
    for endpoint in endpoints_of(frame):
        handler = _handler(endpoint, followers)
        if endpoint.method == "GET":
            app.router.add_get(endpoint.path, handler, allow_head=not endpoint.streams)
        else:
            app.router.add_route(endpoint.method, endpoint.path, handler)
    app.on_response_prepare.append(secure_headers)
    app.on_shutdown.append(followers.stop)
    return app


def endpoints_of(frame: Frame) -> list[Endpoint]:
    """Returns the endpoints of all features, and that for signing in."""
    kinds = frame.loaded((feature, name) for feature in frame.features for name in feature.endpoints)
    return [endpoint for kind in (*kinds, SignInEndpoints) for endpoint in frame.one(kind).routes()]


@frozen_dataclass
class SignInRequest:
    """The page to open first, by its name in `byway open`."""

    page: str = "today"


@frozen_dataclass
class CodeLine:
    """A code for one use, and the seconds for which it is valid."""

    code: str
    valid_s: float


@frozen_dataclass
class CodeUsedLine:
    """Whether the code was used while it was valid."""

    used: bool


class SignInEndpoints:
    """Gives codes to clients of the API, which already have access to everything that the dashboard shows."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def routes(self) -> list[Endpoint]:
        return [Endpoint("POST", "/v1/sign-in", self.new_code)]

    async def new_code(self, asked: SignInRequest) -> AsyncGenerator[CodeLine | CodeUsedLine, None]:
        """Makes a code that opens a page. Streams the code at once, then whether it was used, at the latest when it
        expires."""
        pages = self._frame.pages
        page = next((each for each in pages.values() if asked.page in (each.name, *each.also)), None)
        if page is None:
            raise Refused(400, f"unknown page {quoted(asked.page)}; it can be {one_of(list(pages))}")
        code = self._frame.sign_in.new_code(page.path, asyncio.get_running_loop().time())

        async def lines() -> AsyncGenerator[CodeLine | CodeUsedLine, None]:
            yield CodeLine(code.text, CODE_S)
            try:
                async with asyncio.timeout_at(code.ends_at):
                    await code.used.wait()
            except TimeoutError:
                pass
            yield CodeUsedLine(code.used.is_set())

        return lines()


def _handler(endpoint: Endpoint, followers: Followers) -> Handler:
    """Returns a handler that parses a request, calls the endpoint, and writes the answer."""
    asked = endpoint.asked

    async def handle(request: web.Request) -> web.StreamResponse:
        given: dict[str, Any] = dict(request.match_info)
        fields: object
        if endpoint.has_body:
            parse_query(request, Nothing)
            fields = await parse_body(request, asked or Nothing)
        else:
            fields = parse_query(request, asked or Nothing)
        if asked is not None:
            given[ASKED] = fields
        answer = await endpoint.handler(**given)
        if isinstance(answer, AsyncGenerator):
            return await followers.answer(request, answer)
        # In a thread, so that connections go on: a page of the log has ten thousand rows.
        said = phrases_as(request)
        return web.json_response(text=await asyncio.to_thread(lambda: json.dumps(document(answer, said))))

    return handle


def _guarded(guard: Guard) -> Middleware:
    """Returns the middleware that calls the guard first, and answers refusals and errors in JSON."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            guard.check(request)
            check_shape(request)
            return await handler(request)
        except Refused as refused:
            return _error(refused.status, str(refused))
        except web.HTTPException as refused:  # an unknown path, a wrong method, or a body that is too long
            return _error(refused.status, refused.reason)
        except BywayError as fault:
            return _error(500, redact(str(fault)))
        except Exception:
            resource = request.match_info.route.resource
            log.error("internal error while answering %s %s", request.method, resource.canonical if resource else "?")
            log.debug("traceback:", exc_info=True)  # the path and the message may contain a site
            return _error(500, FAULT)

    return middleware


def _error(status: int, text: str) -> web.Response:
    return web.json_response(document(ErrorAnswer(text)), status=status)
