"""The pages of the proxy's own address: what Byway is, whether this browser uses it, and how to set a browser.

They are shown to anybody on this computer, before any sign-in: they name no site, no relay and no network, and have no
form. To clients of another computer `setup_page` shows how to set a browser, and not even what listens here.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from proxy.control.pac import Pac
from proxy.model import Destination
from proxy.session.inbound import OWN_NAME
from proxy.session.recent_clients import RECENT_S
from proxy.wire.html_page import Html, document, element, facts, link


class Family(StrEnum):
    """The kinds of browsers that are set in different ways. The value is the title of its steps."""

    FIREFOX = "Firefox"
    CHROMIUM = "Chrome, Chromium, Edge, Brave"
    SAFARI = "Safari"


class Use(StrEnum):
    """What is known of the browser that asks for the page."""

    CONFIRMED = "confirmed"  # its request came through the proxy
    RECENT = "recent"  # one with its User-Agent has just used the proxy
    NOT_SEEN = "not seen"


def family_of(user_agent: str) -> Family | None:
    """Returns the kind of browser that a User-Agent names; None for any other client."""
    if "Firefox/" in user_agent:
        return Family.FIREFOX
    if "Chrome/" in user_agent or "Chromium/" in user_agent:
        return Family.CHROMIUM
    return Family.SAFARI if "Safari/" in user_agent else None


def home_page(proxy: Destination, use: Use, user_agent: str) -> str:
    """Returns the page for a browser on this computer; `proxy` is where Byway listens."""
    return document(
        "Byway is running",
        element(
            "p",
            "Byway is a proxy on this computer. Sites that work go direct. Blocked sites are opened another way, "
            "through your relays where that is needed.",
        ),
        element("h2", "Does this browser use Byway?"),
        *_USE[use],
        element("h2", "A ready browser"),
        element(
            "p",
            "Run `byway browser` in a terminal. It opens a window with a profile of its own that uses Byway. Nothing "
            "else on this computer changes.",
        ),
        *_steps(proxy, family_of(user_agent), is_here=True),
        *_pac(proxy),
        element("p", "Programs of a terminal: `byway env` prints the variables to set.", class_="quiet"),
        element("h2", "Next"),
        element(
            "ul",
            element("li", "Open a site that is blocked here. The first visit may take some seconds."),
            element(
                "li", "`byway open` shows which sites are blocked and which route opens them; so does `byway status`."
            ),
            element("li", "`byway why SITE` tests all routes to a site and explains the result."),
            element(
                "li", "`byway relay add URL` adds a relay: Tor, `ssh -D`, any SOCKS or HTTP proxy that you may use."
            ),
        ),
    )


def setup_page(proxy: Destination, user_agent: str) -> str:
    """Returns the page for a client that reached `proxy` from elsewhere: the same for everybody with such a browser."""
    return document(
        "Proxy set-up",
        element("p", "This address is a proxy. It asks for a user and a password."),
        *_steps(proxy, family_of(user_agent), is_here=False),
        *_pac(proxy),
    )


_USE: dict[Use, Sequence[Html]] = {
    Use.CONFIRMED: (element("p", element("strong", "✓ Yes."), " This page came through the proxy.", class_="state"),),
    Use.RECENT: (
        element(
            "p",
            element("strong", "✓ It seems so."),
            f" A browser of exactly this kind used the proxy in the last {RECENT_S:.0f} seconds. To be sure, open ",
            link(f"http://{OWN_NAME}/"),
            ": it opens only through Byway.",
            class_="state",
        ),
    ),
    Use.NOT_SEEN: (
        element(
            "p",
            f"· Not seen. No request of this browser came to the proxy in the last {RECENT_S:.0f} seconds. Open any "
            "site, then reload this page. Or open ",
            link(f"http://{OWN_NAME}/"),
            ": it opens only through Byway.",
            class_="state",
        ),
    ),
}


def _steps(proxy: Destination, family: Family | None, *, is_here: bool) -> list[Html]:
    """How to set a browser of this kind, or each kind when it is not known. `is_here`: it runs on this computer."""
    if family is not None:
        return [element("h2", f"Set this browser: {family}"), *_steps_of(family, proxy, is_here=is_here)]
    page = [element("h2", "Set a browser")]
    for each in Family:
        page += [element("h3", each), *_steps_of(each, proxy, is_here=is_here)]
    return page


def _steps_of(family: Family, proxy: Destination, *, is_here: bool) -> list[Html]:
    pac = f"`http://{proxy}{Pac.LENIENT}`"
    match family:
        case Family.FIREFOX:
            steps = [
                "Open Settings, then General, Network Settings, Settings…",
                "Choose “Manual proxy configuration”.",
                f"HTTP Proxy: `{proxy.host}`, Port: `{proxy.port}`. Tick “Also use this proxy for HTTPS”.",
                "Press OK.",
            ]
        case Family.CHROMIUM:
            steps = [
                "It follows the settings of the system"
                + (
                    ": `byway system on` sets them."
                    if is_here
                    else ". Open Settings, then System, and its proxy settings."
                ),
                f"By hand: set the HTTP and the HTTPS proxy to `{proxy.host}`, port `{proxy.port}`, or the automatic "
                f"configuration to {pac}",
                f"Or close all its windows and start it with `--proxy-server=http://{proxy}`",
            ]
        case Family.SAFARI:
            steps = [
                "Open System Settings, then Network, your network, Details…, Proxies.",
                f"Turn on “Automatic proxy configuration”, with the URL {pac}",
                "Press OK.",
            ]
    return [element("ol", *(element("li", step) for step in steps))]


def _pac(proxy: Destination) -> list[Html]:
    base = f"http://{proxy}"
    return [
        element("h2", "Automatic configuration (PAC)"),
        facts(
            [
                ("Usual", element("span", link(base + Pac.LENIENT), " goes direct while the proxy does not run")),
                (
                    "Strict",
                    element(
                        "span",
                        link(base + Pac.STRICT),
                        " names no direct route; but a browser that cannot load the file goes direct",
                    ),
                ),
            ]
        ),
        element("p", "With both, addresses of the local network always go direct.", class_="quiet"),
    ]
