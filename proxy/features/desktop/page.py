"""The page of the set-up: whether this browser uses Byway, how to set it, the system proxy, and what is wrong.

It says what the commands do that a page may not: start a browser, listen for other computers.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Sequence

from aiohttp import web

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.answers.problems import Problem
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.frame import Moment
from proxy.control.pac import Pac
from proxy.features.desktop.answers import RESTORED, SystemProxyOffAnswer, SystemProxyOnAnswer
from proxy.features.desktop.endpoints import SystemProxyEndpoints, SystemProxyRequest
from proxy.features.desktop.own_pages import browser_steps, family_of
from proxy.model import Destination
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, sentences
from proxy.session.recent_clients import RECENT_S
from proxy.setup.desktop.proxy_settings import this_desktop
from proxy.wire.home_network import TYPED_BYPASS
from proxy.wire.hostnames import OWN_NAME


@frozen_dataclass
class SetupView:
    """The values for the template of the page. `uses`: whether a browser of this kind has just used the proxy;
    `inspecting` is the first rule that has INSPECT, empty without one. `is_system_proxy` is None when that cannot be
    read."""

    uses: bool
    browser: str
    test_url: str
    steps: Sequence[str]
    pac: str
    strict_pac: str
    proxy: str
    no_proxy: str
    desktop: str
    is_system_proxy: bool | None
    others: str
    inspecting: str
    problems: Sequence[Problem]
    errors: Sequence[str]


async def _page(visit: Visit, *, errors: Sequence[str] = (), status: int = 200) -> web.Response:
    parts = visit.parts
    listen = parts.settings.listen
    port = int(parts.counters().get("port", listen.port))
    address = str(parts.counters().get("listen", listen.address))
    proxy = Destination(address, port).from_here()
    user_agent = visit.request.headers.get("User-Agent", "")
    is_system_proxy = None
    try:
        is_system_proxy = await parts.system_proxy.is_in_use()
    except BywayError as error:
        errors = [*errors, str(error)]
    uses, family = parts.recent_clients.has_used(user_agent), family_of(user_agent)
    view = SetupView(
        uses=uses,
        browser=_of_browser(uses),
        test_url=f"http://{OWN_NAME}/",
        steps=[] if family is None else browser_steps(family, proxy, is_here=True),
        pac=f"http://{proxy}{Pac.LENIENT}",
        strict_pac=f"http://{proxy}{Pac.STRICT}",
        proxy=str(proxy),
        no_proxy=TYPED_BYPASS,
        desktop=this_desktop(os.environ).label,
        is_system_proxy=is_system_proxy,
        others=_of_others(address, port),
        inspecting=next((rule.text for rule in parts.setup().router.rules.rules.of_kind(lambda it: it.intercept)), ""),
        problems=await visit.frame.problems(Moment(visit.frame, time.time())),
        errors=errors,
    )
    return await visit.page("setup.html", here="setup", view=view, status=status)


def _of_browser(uses: bool) -> str:
    if uses:
        return ngettext(
            "It seems so: a browser of exactly this kind used the proxy in the last {count} second.",
            "It seems so: a browser of exactly this kind used the proxy in the last {count} seconds.",
            round(RECENT_S),
        )
    return ngettext(
        "Not seen: no request of this browser came to the proxy in the last {count} second. Open any site first.",
        "Not seen: no request of this browser came to the proxy in the last {count} seconds. Open any site first.",
        round(RECENT_S),
    )


def _of_others(address: str, port: int) -> str:
    """Returns a sentence about the use of Byway by phones and other computers."""
    if ipaddress.ip_address(address).is_loopback:
        return _(
            "Byway listens for this computer only. For a phone, set `address`, `user` and `password_cmd` in `[listen]` "
            "of `config.toml`, and restart Byway: everybody on your network is then asked for the user and password."
        )
    return _(
        "Byway listens on {address}, port {port}, for other computers and phones too. There, set this computer's "
        "address and this port as HTTP proxy, with the user and password of `[listen]`.",
        address=address,
        port=str(port),
    )


async def _setup(visit: Visit) -> web.Response:
    visit.query()
    return await _page(visit)


async def _switch(visit: Visit) -> web.Response:
    """Makes Byway the system proxy of this desktop, or restores the earlier setting."""
    action = (await visit.form("do")).get("do", "")
    try:
        if action not in ("on", "off"):
            raise Refused(400, f"unknown action {quoted(action)}")
        desktop = this_desktop(os.environ)
        request = SystemProxyRequest(on=action == "on", desktop=str(desktop) if action == "on" else "")
        answer = await visit.frame.one(SystemProxyEndpoints).set_system_proxy(request)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    except BywayError as error:
        return await _page(visit, errors=[str(error)], status=409)
    return visit.see_other("setup", _notice(answer))


def _notice(answer: SystemProxyOnAnswer | SystemProxyOffAnswer) -> str:
    if isinstance(answer, SystemProxyOffAnswer):
        return RESTORED[answer.restored]
    strict = _(
        "It is strict, because of {reason}: if Byway crashes, no site opens until `byway system off` or the next "
        "start of Byway.",
        reason=answer.strict_by,
    )
    notice = [
        _("The system proxy of {desktop} is now {url}.", desktop=answer.desktop.label, url=answer.url),
        strict if answer.strict_by else _("It is lenient: while Byway is not running, programs connect direct."),
        _("Every program asks for the user name and the password of `[listen]`.") if answer.asks_password else "",
        _("Programs that are open may have to be restarted."),
    ]
    return sentences(notice)


ROUTES = (Route("GET", "setup", _setup), Route("POST", "setup/system", _switch))
