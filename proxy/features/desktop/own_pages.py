"""The pages at the proxy's own address: what Byway is, whether this browser uses it, and how to configure a browser.

Anybody on this computer sees them, without a sign-in: they name no site, no relay and no network, and have no form. A
client on another computer gets `setup_page`, which only explains how to configure a browser, and does not name Byway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from proxy.control.pac import Pac
from proxy.control.speaker import speaker
from proxy.languages.language import Language
from proxy.model import Destination
from proxy.model.phrase import _, ngettext
from proxy.session.recent_clients import RECENT_S, Use
from proxy.wire.home_network import TYPED_BYPASS
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.html_page import Html, document, element, facts, link

Say = Callable[[str], str]
"""Returns a phrase in the language of the page."""


class Family(StrEnum):
    """The kinds of browsers that are configured in different ways. The value is the title of the steps."""

    FIREFOX = "Firefox"
    CHROMIUM = "Chrome, Chromium, Edge, Brave"
    SAFARI = "Safari"


def family_of(user_agent: str) -> Family | None:
    """Returns the kind of browser that a User-Agent names; None for any other client."""
    if "Firefox/" in user_agent:
        return Family.FIREFOX
    if "Chrome/" in user_agent or "Chromium/" in user_agent:
        return Family.CHROMIUM
    return Family.SAFARI if "Safari/" in user_agent else None


def front_page(proxy: Destination, use: Use | None, user_agent: str, language: Language) -> str:
    """Returns the page for a browser. `use` None: the browser is on another computer."""
    if use is None:
        return setup_page(proxy, user_agent, language)
    return home_page(proxy, use, user_agent, language)


def home_page(proxy: Destination, use: Use, user_agent: str, language: Language = Language.ENGLISH) -> str:
    """Returns the page for a browser on this computer; `proxy` is Byway's address."""
    say = speaker(language)
    return document(
        say(_("Byway is running")),
        element(
            "p",
            say(
                _(
                    "Byway is a proxy on this computer. Sites that work go direct. Blocked sites are opened another "
                    "way, through your relays where that is needed."
                )
            ),
        ),
        element("h2", say(_("Does this browser use Byway?"))),
        _use(use, say),
        element("h2", say(_("A ready browser"))),
        element(
            "p",
            say(
                _(
                    "Run `byway browser` in a terminal. It opens a window with a profile of its own that uses Byway. "
                    "Nothing else on this computer changes."
                )
            ),
        ),
        *_steps(proxy, family_of(user_agent), say, is_here=True),
        *_pac(proxy, say),
        element("p", say(_("Programs of a terminal: `byway env` prints the variables to set.")), class_="quiet"),
        element("h2", say(_("What next?"))),
        element(
            "ul",
            element("li", say(_("Open a site that is blocked here. The first visit may take some seconds."))),
            element(
                "li",
                say(
                    _("`byway open` shows which sites are blocked and which route opens them; so does `byway status`.")
                ),
            ),
            element("li", say(_("`byway why SITE` tests all routes to a site and explains the result."))),
            element(
                "li",
                say(_("`byway relay add URL` adds a relay: Tor, `ssh -D`, any SOCKS or HTTP proxy that you may use.")),
            ),
        ),
        language=language,
        direction=language.direction,
    )


def setup_page(proxy: Destination, user_agent: str, language: Language = Language.ENGLISH) -> str:
    """Returns the page for a client of `proxy` on another computer: the same for everybody with such a browser and
    language."""
    say = speaker(language)
    return document(
        say(_("Proxy set-up")),
        element("p", say(_("This address is a proxy. It asks for a user and a password."))),
        *_steps(proxy, family_of(user_agent), say, is_here=False),
        *_pac(proxy, say),
        language=language,
        direction=language.direction,
    )


def _use(use: Use, say: Say) -> Html:
    own = _own_link(f"http://{OWN_NAME}/")
    sure = say(_("It opens only through Byway."))
    match use:
        case Use.CONFIRMED:
            through = say(_("This page came through the proxy."))
            return element("p", element("strong", say(_("✓ Yes."))), f" {through}", class_="state")
        case Use.RECENT:
            seen = ngettext(
                "A browser of exactly this kind used the proxy in the last {count} second.",
                "A browser of exactly this kind used the proxy in the last {count} seconds.",
                round(RECENT_S),
            )
            open_it = say(_("To be sure, open:"))
            return element(
                "p",
                element("strong", say(_("✓ It seems so."))),
                f" {say(seen)} {open_it} ",
                own,
                f" {sure}",
                class_="state",
            )
        case Use.NOT_SEEN:
            seen = ngettext(
                "· Not seen. No request of this browser came to the proxy in the last {count} second.",
                "· Not seen. No request of this browser came to the proxy in the last {count} seconds.",
                round(RECENT_S),
            )
            what = say(_("Open any site, then reload this page. Or open:"))
            return element("p", f"{say(seen)} {what} ", own, f" {sure}", class_="state")


def _own_link(url: str) -> Html:
    """Returns a link between our name and our address. To a browser these are two sites: the referrer shows that the
    request comes from a page of ours."""
    return link(url, referrerpolicy="origin")


def _steps(proxy: Destination, family: Family | None, say: Say, *, is_here: bool) -> list[Html]:
    """Returns the steps to configure a browser of this kind; None: of each kind. `is_here`: it runs on this
    computer."""
    if family is not None:
        title = say(_("Set this browser: {browser}", browser=str(family)))
        return [element("h2", title), _steps_of(family, proxy, say, is_here=is_here)]
    page = [element("h2", say(_("Set a browser")))]
    for each in Family:
        page += [element("h3", each), _steps_of(each, proxy, say, is_here=is_here)]
    return page


def _steps_of(family: Family, proxy: Destination, say: Say, *, is_here: bool) -> Html:
    return element("ol", *(element("li", say(step)) for step in browser_steps(family, proxy, is_here=is_here)))


def browser_steps(family: Family, proxy: Destination, *, is_here: bool) -> Sequence[str]:
    """Returns the steps to configure a browser of this kind; words between two backticks are code."""
    pac, host, port = f"http://{proxy}{Pac.LENIENT}", proxy.host, str(proxy.port)
    match family:
        case Family.FIREFOX:
            return [
                _("Open Settings, then General, Network Settings, Settings…"),
                _("Choose “Manual proxy configuration”."),
                _("HTTP Proxy: `{host}`, Port: `{port}`. Tick “Also use this proxy for HTTPS”.", host=host, port=port),
                _("No proxy for: `{bypass}`", bypass=TYPED_BYPASS),
                _("Press OK."),
            ]
        case Family.CHROMIUM:
            return [
                _("It follows the settings of the system: `byway system on` sets them.")
                if is_here
                else _("It follows the settings of the system. Open Settings, then System, and its proxy settings."),
                _(
                    "By hand: set the HTTP and the HTTPS proxy to `{host}`, port `{port}`, or the automatic "
                    "configuration to `{pac}`",
                    host=host,
                    port=port,
                    pac=pac,
                ),
                _("By hand, no proxy for: `{bypass}`", bypass=TYPED_BYPASS),
                _("Or close all its windows and start it with `--proxy-server=http://{proxy}`", proxy=str(proxy)),
            ]
        case Family.SAFARI:
            return [
                _("Open System Settings, then Network, your network, Details…, Proxies."),
                _("Turn on “Automatic proxy configuration”, with the URL `{pac}`", pac=pac),
                _("Press OK."),
            ]


def _pac(proxy: Destination, say: Say) -> list[Html]:
    base = f"http://{proxy}"
    lenient = say(_("goes direct while the proxy does not run"))
    strict = say(_("names no direct route; but a browser that cannot load the file goes direct"))
    return [
        element("h2", say(_("Automatic configuration (PAC)"))),
        facts(
            [
                (say(_("Usual")), element("span", _own_link(base + Pac.LENIENT), f" {lenient}")),
                (say(_("Strict")), element("span", _own_link(base + Pac.STRICT), f" {strict}")),
            ]
        ),
        element("p", say(_("With both, addresses of the local network always go direct.")), class_="quiet"),
    ]
