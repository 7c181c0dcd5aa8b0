"""The page Help: what the words mean, how to get help, the kill switch, and the keyboard."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from proxy.control.dashboard.visit import Route, Visit
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, pgettext


@frozen_dataclass
class Word:
    """A word of the pages, and its meaning in plain words. Its anchor is `word-` with `id`."""

    id: str
    word: Phrase
    meaning: Phrase


WORDS: Sequence[Word] = (
    Word("direct", _("Direct"), _("Byway connects to the site itself, as a program without Byway does.")),
    Word(
        "relay",
        _("Relay"),
        _("Another computer through which Byway connects: a proxy, Tor or a key. Your provider sees it, not the site."),
    ),
    Word(
        "strategy",
        _("Local strategy"),
        _("A way to connect direct that some filters do not recognise. Your provider still sees the site."),
    ),
    Word(
        "auto", Phrase("AUTO", "", 1, "", {}), _("Direct first. If the site is blocked, another way is tried at once.")
    ),
    Word("rule", _("Rule"), _("A line that says which way a site goes. The first rule that matches decides.")),
    Word(
        "override", _("Override"), _("Your decision about one site. It comes before all rules, and may end by itself.")
    ),
    Word("list", _("List"), _("A file with many sites, which one rule can name.")),
    Word(
        "blocked",
        pgettext("word", "Blocked"),
        _("Another way opens the site here, direct does not, and other sites open direct."),
    ),
    Word(
        "sni",
        _("Name filter"),
        _("The network reads the name of the site at the start of a connection, and breaks it off."),
    ),
    Word("dns", _("DNS lies"), _("The network answers with a wrong address for the name of the site.")),
    Word("ip", _("Address blocked"), _("The network lets nothing through to the address of the site.")),
    Word(
        "interception",
        _("Foreign certificate"),
        _("Another server answers in place of the site, and can read what you send. Enter no password."),
    ),
    Word("frozen", _("Cut off while loading"), _("The site begins to load, and stops after some kilobytes.")),
    Word("portal", _("Login page of a network"), _("The network wants you to log in before anything opens.")),
)
"""In the order of the page: first the ways, then decisions, then what networks do."""

KEYS: Sequence[tuple[str, Phrase]] = (
    ("Tab", _("to the next link, field or button; with Shift to the one before")),
    ("Enter", _("follows a link, presses a button; the first Tab on each page is “Skip to content”")),
    ("Space", _("ticks a box, opens a list")),
    ("Esc", _("closes the menu")),
)
"""Keys, and what they do on every page."""


@frozen_dataclass
class HelpView:
    """The values for the template of the page."""

    words: Sequence[Word]
    keys: Sequence[tuple[str, Phrase]]


async def _help(visit: Visit) -> web.Response:
    visit.query()
    return await visit.page("help.html", here="help", view=HelpView(WORDS, KEYS))


ROUTES = (Route("GET", "help", _help),)
