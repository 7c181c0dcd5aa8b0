"""The page of a measurement: each step when it is done, then the verdict. Without JavaScript too."""

from __future__ import annotations

import contextlib

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.measurements import MeasuredSiteLine
from proxy.control.dashboard.answer import PAGE_HEADERS, log_fault
from proxy.control.dashboard.page_names import PAGE_NAMES
from proxy.control.dashboard.rendering import STREAM, render, render_line
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.endpoints.measurements import MeasurementRequest
from proxy.control.request_parsing import parse_field
from proxy.control.site import site
from proxy.control.streaming import FAULT
from proxy.languages.catalogue import catalogue
from proxy.model.phrase import _
from proxy.wire.html_page import element


async def _why(visit: Visit) -> web.Response:
    asked = visit.query("site").get("site", "").strip()
    return await visit.page("why.html", title=PAGE_NAMES["why"], here="why", view={"site": asked, "stream": ""})


async def _measure(visit: Visit) -> web.StreamResponse:
    """Measures a site, and sends the page as far as the measurement is."""
    form = await visit.form("site", "fresh")
    text = form.get("site", "").strip()
    destination = parse_field(site, text)
    is_here = destination.address is not None and not destination.address.is_global
    if is_here or visit.parts.beliefs.is_near(destination.host):
        sentence = _("{host} is not on the internet. To test it: `byway why {host}`", host=destination.host)
        raise Refused(400, sentence)
    lines = await visit.subjects.measurements.measure(MeasurementRequest(text, fresh="fresh" in form))
    page = render("why.html", visit.session, title=PAGE_NAMES["why"], here="why", view={"site": text, "stream": STREAM})
    before, between, after = page.split(STREAM)
    response = web.StreamResponse(headers={**PAGE_HEADERS, "Content-Type": "text/html; charset=utf-8"})
    with visit.streaming():
        await response.prepare(visit.request)
        try:
            await response.write(before.encode())
            async with contextlib.aclosing(lines):
                async for line in lines:
                    part = render_line(line, visit.session)
                    if isinstance(line, MeasuredSiteLine):  # the last one
                        part, between = between + part, ""
                    await response.write(part.encode())
            await response.write((between + after).encode())
        except ConnectionError:
            pass  # the tab was closed
        except Exception as error:  # the page has begun, and says so in its midst
            log_fault(error)
            with contextlib.suppress(ConnectionError):
                await response.write(
                    f"</ol>{element('p', catalogue(visit.session.language).say(FAULT), role='alert')}{after}".encode()
                )
    return response


ROUTES = (Route("GET", "why", _why), Route("POST", "why", _measure))
