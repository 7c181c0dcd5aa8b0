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
from proxy.control.dependencies import Dependencies
from proxy.control.endpoints.lists import ListEndpoints
from proxy.control.endpoints.log import LogEndpoints
from proxy.control.endpoints.measurements import MeasurementEndpoints
from proxy.control.endpoints.relays import RelayEndpoints
from proxy.control.endpoints.rules import RuleEndpoints
from proxy.control.endpoints.settings import SettingsEndpoints
from proxy.control.endpoints.sites import SiteEndpoints
from proxy.control.endpoints.status import StatusEndpoints
from proxy.control.measurement_cache import Measurements
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import BODY_LIMIT
from proxy.control.responses import error
from proxy.control.site_reader import SiteReader
from proxy.control.streaming import FAULT, Followers
from proxy.model.errors import BywayError
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)


def make_app(parts: Dependencies, guard: Guard) -> web.Application:
    """Returns the API, for the clients that `guard` admits."""
    sites, relays = SiteReader(parts), RelayReader(parts)
    followers, measured = Followers(), Measurements(parts)
    subjects = (
        StatusEndpoints(parts, sites, relays),
        LogEndpoints(parts, sites, followers),
        SiteEndpoints(parts, sites, relays),
        MeasurementEndpoints(parts, sites, relays, followers, measured),
        RuleEndpoints(parts),
        ListEndpoints(parts, sites, followers),
        RelayEndpoints(parts, relays),
        SettingsEndpoints(parts, relays, measured),
    )
    app = web.Application(client_max_size=BODY_LIMIT, middlewares=[_guarded(guard)])
    for subject in subjects:
        app.add_routes(subject.routes())
    app.on_response_prepare.append(secure_headers)
    app.on_shutdown.append(followers.stop)
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
