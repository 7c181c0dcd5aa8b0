"""Decides whether a request for the dashboard comes from a page of the dashboard, in this user's browser.

It checks, in this order: the Host is exactly ours (the only protection against a page that rebinds its name to
loopback); the client is on this computer and reached Byway at a loopback address; no other site caused the request; the
path and the cookie are of the same session; and a form has the session's token and our Origin.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from aiohttp import web

from proxy.control.access import Refused, check_host, check_shape
from proxy.control.dashboard.sign_in import FRESH_S, Session, SignIn
from proxy.model.phrase import _

FORM_LIMIT = 64 * 1024
"""The most bytes of a posted form."""

_FIELDS_MAX = 64

SIGNED_OUT = _("You are signed out. Run `byway open` in a terminal.")

NOT_FRESH = _(
    "This needs a sign-in of the last {count} minutes: run `byway open` in a terminal, and repeat it.",
    count=int(FRESH_S // 60),
)

_FOREIGN = _("Another site asked for this.")


def cookie_name(port: int) -> str:
    """Returns the name of the cookie, which contains the proxy's port: several Byways share the cookies of
    127.0.0.1."""
    return f"byway-{port}"


def cookies_of(request: web.BaseRequest, name: str) -> Sequence[str]:
    """Returns the values of all cookies with a name. Any server on this computer, at any port, can set such a cookie
    for 127.0.0.1, and the browser then sends both. The limit of the request head limits their number."""
    pairs = (pair.partition("=") for line in request.headers.getall("Cookie", ()) for pair in line.split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def check_client(request: web.BaseRequest, hosts: frozenset[str]) -> None:
    """Refuses a request whose Host is not one of `hosts`, or whose client is not on this computer. Raises Refused."""
    check_host(request, hosts)
    check_shape(request, of_browser=True)
    for name in ("peername", "sockname"):
        address = request.transport.get_extra_info(name) if request.transport is not None else None
        if not address or not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            raise Refused(404, _("Not found."))


def check_origin(request: web.BaseRequest) -> None:
    """Refuses a request that another site caused, by the browser's headers. Raises Refused."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") or request.headers.get("Sec-Fetch-Dest") in ("iframe", "frame", "embed"):
        raise Refused(403, _FOREIGN)
    origin = f"http://{request.headers['Host'].lower()}"
    if request.headers.get("Origin", origin) != origin:
        raise Refused(403, _FOREIGN)
    referer = request.headers.get("Referer", origin)
    if referer != origin and not referer.startswith(f"{origin}/"):
        raise Refused(403, _FOREIGN)


def session_of(request: web.BaseRequest, sign_in: SignIn, *, secret: str, port: int, now: float) -> Session:
    """Returns the session of a request, by its path and its cookie. Raises Refused when there is none."""
    for cookie in cookies_of(request, cookie_name(port)):
        if (session := sign_in.session(secret, cookie, now)) is not None:
            return session
    raise Refused(401, SIGNED_OUT)


def check_fresh(session: Session, now: float) -> None:
    """Refuses a session whose code was redeemed long ago, for a form that lets others in. A browser that was left open,
    or a stolen form token, is not enough then. Raises Refused."""
    if not session.is_fresh(now):
        raise Refused(403, NOT_FRESH)


async def posted_form(
    request: web.Request, session: Session | None, *names: str, limit: int = FORM_LIMIT
) -> Mapping[str, str]:
    """Returns the fields of a form of at most `limit` bytes. Each must be one of `names`, and occurs at most once. With
    a session, the form must have our Origin and the session's token; the sign-in form has none. Raises Refused."""
    if session is not None and request.headers.get("Origin") is None:
        raise Refused(403, _("The browser did not say where the form comes from."))
    if request.content_type != "application/x-www-form-urlencoded":
        raise Refused(415, _("A form is expected."))
    try:
        raw = await request.clone(client_max_size=limit).read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, _("A form has at most {count} bytes.", count=limit)) from None
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_FIELDS_MAX,
        )
    except ValueError:
        raise Refused(400, _("The form cannot be read.")) from None
    fields = dict(pairs)
    token = fields.pop("token", "")
    if session is not None and not hmac.compare_digest(token.encode(), session.form_token.encode()):
        raise Refused(403, _("The form is of another session. Reload the page and try again."))
    if len(pairs) != len(fields) + (session is not None) or not fields.keys() <= set(names):
        raise Refused(400, _("The form has an unknown field, or one twice."))
    return fields
