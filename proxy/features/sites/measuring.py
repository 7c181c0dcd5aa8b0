"""A measurement on the page of a site: each step when it is done, then the verdict. Without JavaScript too."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from functools import partial

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.dashboard.rendering import render
from proxy.control.dashboard.visit import Part, Visit
from proxy.control.request_parsing import parse_field
from proxy.features.sites.measurement_answers import MeasuredSiteLine, StepLine
from proxy.features.sites.measurement_endpoints import MeasurementEndpoints, MeasurementRequest
from proxy.features.sites.measurement_text import grouped_routes, route_result, step_cells
from proxy.model.document import fields_of
from proxy.model.phrase import _
from proxy.probe.site_name import site


async def stream_measurement(visit: Visit, text: str, *, fresh: bool, page: str) -> web.StreamResponse:
    """Measures a site, and streams a page with the steps and the verdict. The page has STREAM twice: at the place of
    the steps, and after their list, at the place of the verdict. Raises Refused for a site that is not on the
    internet."""
    destination = parse_field(site, text)
    is_here = destination.address is not None and not destination.address.is_global
    if is_here or visit.parts.beliefs.is_near(destination.host):
        sentence = _("{host} is not on the internet. To test it: `byway why {host}`", host=destination.host)
        raise Refused(400, sentence)
    lines = await visit.frame.one(MeasurementEndpoints).measure(MeasurementRequest(text, fresh=fresh))
    return await visit.stream(page, _parts(visit, lines))


async def _parts(visit: Visit, lines: AsyncGenerator[StepLine | MeasuredSiteLine, None]) -> AsyncGenerator[Part, None]:
    async with contextlib.aclosing(lines):
        async for line in lines:
            yield Part(_line(visit, line), is_behind_list=isinstance(line, MeasuredSiteLine))


def _line(visit: Visit, line: StepLine | MeasuredSiteLine) -> str:
    """Returns a step of a measurement, or its end, as a part of a page."""
    part = partial(render, session=visit.session, language=visit.language)
    if isinstance(line, StepLine):
        route, what, ended = step_cells(fields_of(line.step))
        return part("step.html", route=route, what=what, ended=ended)
    routes = [
        (row["route"], route_result(row), row["elapsed_s"])
        for row in grouped_routes([fields_of(route) for route in line.routes])
    ]
    return part("verdict.html", end=line, routes=routes)
