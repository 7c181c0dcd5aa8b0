"""The override of one site, as forms show it and post it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from aiohttp import web

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.amounts import ago
from proxy.control.answers.sites import OverrideJson
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.control.site import scope
from proxy.model import Override
from proxy.model.phrase import _, commas, pgettext
from proxy.routing.rule_parser import parse_action

NO_OVERRIDE = "none"
"""What the form posts to remove an override."""

LENGTHS: Mapping[str, str] = {
    "": _("until I change it"),
    "1": _("1 hour"),
    "24": _("1 day"),
    "168": _("1 week"),
}
"""How long an override can last, by the hours that the form posts."""


def override_text(override: OverrideJson) -> str:
    """Returns what an override does, and when it ends: `relay tor, ends in 3 h`."""
    action = str(override.action).lower()
    what = f"{action} {override.relay}" if override.relay else action
    return commas([what, _("ends {when}", when=ago(override.until))]) if override.until else what


def action_names(relays: Sequence[str]) -> Mapping[str, str]:
    """Returns what can be set for a site, as the form posts it (`routing.rule_parser.parse_action`), with its name."""
    return {
        NO_OVERRIDE: _("no override: rules decide"),
        "auto": _("auto, whatever the rules say"),
        "direct": pgettext("override", "direct"),
        "relay": _("a relay, never direct"),
        **{f"relay:{name}": _("{relay}, never direct", relay=name) for name in relays},
        "prefer-relay": _("a relay first, then direct"),
        "block": pgettext("override", "block"),
    }


def action_value(override: OverrideJson) -> str:
    """Returns an override as the form posts it."""
    word = str(override.action).lower()
    return f"{word}:{override.relay}" if override.relay else word


async def _set_override(visit: Visit) -> web.Response:
    form = await visit.form("action", "hours")
    host = parse_field(scope, visit.fields["host"])
    notice = await change_override(visit, host, form.get("action", ""), form.get("hours", ""))
    return visit.see_other(f"sites/{visit.fields['host']}", notice)


async def change_override(visit: Visit, host: str, word: str, hours: str = "") -> str:
    """Sets the override of a host as a form posts it, an action or NO_OVERRIDE, for one of LENGTHS. The session can
    undo it. Returns what was done, in a sentence. Raises Refused."""
    if hours not in LENGTHS:
        raise Refused(400, _("unknown length {hours}", hours=quoted(hours)))
    before = visit.parts.setup().router.overrides.get(host)
    override = None
    if word != NO_OVERRIDE:
        usable = visit.subjects.relays.relays.usable_names()
        action, relay = parse_field(lambda text: parse_action(text, relays=usable), word)
        override = Override(action, relay, time.time() + float(hours) * 3600 if hours else 0.0)
    await visit.subjects.sites.set_override(host, override)
    visit.session.undo = (host, NO_OVERRIDE if before is None else action_value(OverrideJson.of(host, before)))
    what = _("no override") if override is None else override_text(OverrideJson.of(host, override))
    return _("{host} and its subdomains: {what}.", host=host, what=what)


ROUTES = (Route("POST", "sites/{host}/override", _set_override),)
