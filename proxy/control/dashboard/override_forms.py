"""The forms for the override of a site, which several pages have."""

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
"""The value by which the form removes an override."""

LENGTHS: Mapping[str, str] = {"": _("until I change it"), "1": _("1 hour"), "24": _("1 day"), "168": _("1 week")}
"""The durations of an override, by the hours that the form posts."""


def override_text(override: OverrideJson) -> str:
    """Returns the action of an override and its end: `relay tor, ends in 3 h`."""
    action = str(override.action).lower()
    what = f"{action} {override.relay}" if override.relay else action
    return commas([what, _("ends {when}", when=ago(override.until))]) if override.until else what


def action_names(relays: Sequence[str]) -> Mapping[str, str]:
    """Returns the actions for a site with their labels, by the value that the form posts
    (`routing.rule_parser.parse_action`)."""
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
    """Returns the value that the form posts for an override."""
    word = str(override.action).lower()
    return f"{word}:{override.relay}" if override.relay else word


@frozen_dataclass
class Undo:
    """A change of an override that can be undone: the host, the earlier override in words, and the id that the form
    posts."""

    host: str
    text: str
    id: str


def undo_of(visit: Visit) -> Undo | None:
    """Returns the last change of an override by this session; None when it cannot be undone, because the override was
    changed since, by another tab or a command, or the relay of the earlier one is not configured."""
    change, relays = visit.session.override_change, visit.frame.relays.usable_names()
    if change is None or visit.parts.overrides.get(change.host) != change.after:
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
    """Undoes the change of an override with this id. Returns a sentence about the result. Raises Refused."""
    undo, change = undo_of(visit), visit.session.override_change
    if undo is None or change is None or undo.id != id_:
        raise Refused(409, _("Nothing was undone: the override has been changed since. Reload the page to see it."))
    before = change.before
    return await _set(visit, change.host, None if before is None or before.has_ended(time.time()) else before)


def override_mark(override: Override | None) -> str:
    """Returns the value by which a form says which override it was made for."""
    if override is None:
        return NO_OVERRIDE
    return f"{override.action}:{override.relay}:{override.until:.3f}"


async def change_override(visit: Visit, host: str, word: str, hours: str = "", was: str | None = None) -> str:
    """Sets the override of a host to a posted action or NO_OVERRIDE, for one of LENGTHS. The session can undo it. `was`
    is the `override_mark` of the form: when another tab or a command has changed the override since the form was made,
    nothing is changed; None: the form has none. Returns a sentence about the result. Raises Refused."""
    present = visit.parts.overrides.get(host)
    if was is not None and was != override_mark(present):
        what = _("no override") if present is None else override_text(OverrideJson.of(host, present))
        return _(
            "Nothing was changed: the override has been changed since you opened the page. It is now: {what}.",
            what=what,
        )
    if hours not in LENGTHS:
        raise Refused(400, _("unknown length {hours}", hours=quoted(hours)))
    override = None
    if word != NO_OVERRIDE:
        usable = visit.frame.relays.usable_names()
        action, relay = parse_field(lambda text: parse_action(text, relays=usable), word)
        override = Override(action, relay, time.time() + float(hours) * 3600 if hours else 0.0)
    return await _set(visit, host, override)


async def _set(visit: Visit, host: str, override: Override | None) -> str:
    before = visit.parts.overrides.get(host)
    visit.session.override_change = OverrideChange(host, before, override)
    await visit.frame.set_override(host, override)
    what = _("no override") if override is None else override_text(OverrideJson.of(host, override))
    return _("{host} and its subdomains: {what}.", host=host, what=what)
