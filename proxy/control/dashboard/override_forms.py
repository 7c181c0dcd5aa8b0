"""The override of one site, as forms of several pages show it and post it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.answers.overrides import OverrideJson
from proxy.control.dashboard.sign_in import OverrideChange
from proxy.control.dashboard.visit import Visit
from proxy.control.request_parsing import parse_field
from proxy.languages.amounts import ago
from proxy.model import Override
from proxy.model.frozen_dataclass import frozen_dataclass
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


@frozen_dataclass
class Undo:
    """A change of an override that can be undone: the host, what is set again, in words, and what the form posts."""

    host: str
    text: str
    id: str


def undo_of(visit: Visit) -> Undo | None:
    """Returns the last change of an override by this session, if it can be undone: nothing has been set since, by
    another tab or a command, and no relay is gone that is needed."""
    change, relays = visit.session.override_change, visit.frame.relays.usable_names()
    if change is None or visit.parts.setup().router.overrides.get(change.host) != change.after:
        return None
    if (before := change.before) is None or before.has_ended(time.time()):
        return Undo(change.host, action_names(())[NO_OVERRIDE], change.id)
    override = OverrideJson.of(change.host, before)
    text = action_names(relays).get(action_value(override))
    if text is None:
        return None
    ends = _("ends {when}", when=ago(before.until)) if before.until else ""
    return Undo(change.host, commas([text, ends] if ends else [text]), change.id)


async def undo_override(visit: Visit, id_: str) -> str:
    """Undoes the change of an override that a form names. Returns what was done, in a sentence. Raises Refused."""
    undo, change = undo_of(visit), visit.session.override_change
    if undo is None or change is None or undo.id != id_:
        raise Refused(409, _("Nothing was undone: the override has been changed since. Reload the page to see it."))
    before = change.before
    return await _set(visit, change.host, None if before is None or before.has_ended(time.time()) else before)


async def change_override(visit: Visit, host: str, word: str, hours: str = "") -> str:
    """Sets the override of a host as a form posts it, an action or NO_OVERRIDE, for one of LENGTHS. The session can
    undo it. Returns what was done, in a sentence. Raises Refused."""
    if hours not in LENGTHS:
        raise Refused(400, _("unknown length {hours}", hours=quoted(hours)))
    override = None
    if word != NO_OVERRIDE:
        usable = visit.frame.relays.usable_names()
        action, relay = parse_field(lambda text: parse_action(text, relays=usable), word)
        override = Override(action, relay, time.time() + float(hours) * 3600 if hours else 0.0)
    return await _set(visit, host, override)


async def _set(visit: Visit, host: str, override: Override | None) -> str:
    before = visit.parts.setup().router.overrides.get(host)
    visit.session.override_change = OverrideChange(host, before, override)
    await visit.frame.set_override(host, override)
    what = _("no override") if override is None else override_text(OverrideJson.of(host, override))
    return _("{host} and its subdomains: {what}.", host=host, what=what)
