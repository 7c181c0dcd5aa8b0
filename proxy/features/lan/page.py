"""The page Phones: the devices of the network that use Byway, and a code that a phone scans.

To turn it on, and to let a device in, needs a sign-in of the last minutes; to refuse and to end does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.lan import LanJson
from proxy.control.dashboard.guard import check_fresh
from proxy.control.dashboard.visit import Route, Visit
from proxy.features.lan.endpoints import answer_about, lan_of
from proxy.features.lan.qr import QrCode, qr_code
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _

CHOICES = (("1800", _("30 minutes")), ("7200", _("2 hours")), ("28800", _("8 hours")))
"""The lengths of time that the page offers, in seconds, and in words."""

_ANSWERS = ("allow", "deny", "remove")


@frozen_dataclass
class LanView:
    """The values for the template. `code` leads a phone to `lan.url`; None: there is none."""

    lan: LanJson
    code: QrCode | None
    choices: Sequence[tuple[str, Phrase]]
    errors: Sequence[str]


def _view(visit: Visit, errors: Sequence[str]) -> LanView:
    lan = visit.frame.lan() if visit.frame.lan is not None else LanJson(is_on=False)
    return LanView(lan, qr_code(lan.url) if lan.is_on else None, CHOICES, errors)


async def _page(visit: Visit, *, errors: Sequence[str] = (), status: int = 200) -> web.Response:
    return await visit.page("lan.html", here="phones", view=_view(visit, errors), status=status)


async def _phones(visit: Visit) -> web.Response:
    visit.query()
    return await _page(visit)


async def _on(visit: Visit) -> web.Response:
    """Serves devices for one of CHOICES."""
    form = await visit.form("for")
    try:
        if form.get("for") not in dict(CHOICES):
            raise Refused(400, _("Choose how long."))
        check_fresh(visit.session, asyncio.get_running_loop().time())
        await lan_of(visit.frame).turn_on(float(form["for"]))
    except (Refused, BywayError) as error:
        return await _refused(visit, error)
    return visit.see_other("phones")


async def _off(visit: Visit) -> web.Response:
    """Serves no devices any more."""
    await visit.form()
    if visit.frame.lan is not None:
        from proxy.features.lan.lan import BY_USER

        lan_of(visit.frame).turn_off(BY_USER)
    return visit.see_other("phones")


async def _answer(visit: Visit) -> web.Response:
    """Allows, denies or removes a device."""
    form = await visit.form("address", "hardware", "answer")
    answer = form.get("answer", "")
    try:
        if answer not in _ANSWERS:
            raise Refused(400, _("Choose an answer."))
        if answer == "allow":
            check_fresh(visit.session, asyncio.get_running_loop().time())
            if not form.get("hardware"):
                raise Refused(400, _("Choose an answer."))
        answer_about(lan_of(visit.frame), answer, form.get("address", ""), form.get("hardware", ""))
    except (Refused, BywayError) as error:
        return await _refused(visit, error)
    return visit.see_other("phones")


async def _refused(visit: Visit, error: Refused | BywayError) -> web.Response:
    if isinstance(error, Refused):
        return await _page(visit, errors=[error.text], status=error.status)
    return await _page(visit, errors=[str(error)], status=400)


ROUTES = (
    Route("GET", "phones", _phones),
    Route("POST", "phones/on", _on),
    Route("POST", "phones/off", _off),
    Route("POST", "phones/answer", _answer),
)
