"""The control API, which the commands use to reach a running Byway: JSON over HTTP, under /v1.

Everything is read from Dependencies and answered with the values of `answers`. A request is accepted only in its exact
form (a body of at most 64 KiB; no unknown, repeated or wrongly typed field). No endpoint takes a path, a command or
code, and no answer has a password.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.typedefs import Middleware

from proxy.control.access import Guard, Handler, Refused, check_shape, secure_headers
from proxy.control.request_parsing import BODY_LIMIT
from proxy.control.responses import error
from proxy.control.streaming import FAULT
from proxy.control.subjects import Subjects
from proxy.model.errors import BywayError
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)


def make_app(subjects: Subjects, guard: Guard) -> web.Application:
    """Returns the API, for the clients that `guard` admits."""
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[_guarded(guard)])
    for subject in subjects:
        app.add_routes(subject.routes())
    app.on_response_prepare.append(secure_headers)
    app.on_shutdown.append(subjects.log.followers.stop)
    return app


def _guarded(guard: Guard) -> Middleware:
    """Returns the middleware that asks the guard first, and answers every refusal and fault in JSON."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            guard.check(request)
            check_shape(request)
            return await handler(request)
        except Refused as refused:
            return error(refused.status, str(refused))
        except web.HTTPException as refused:  # no such path, no such method there, a body that is too long
            return error(refused.status, refused.reason)
        except BywayError as fault:
            return error(500, redact(str(fault)))
        except Exception:
            resource = request.match_info.route.resource
            log.error("internal error while answering %s %s", request.method, resource.canonical if resource else "?")
            log.debug("traceback:", exc_info=True)  # the path, and a message, may name a site
            return error(500, FAULT)

    return middleware
