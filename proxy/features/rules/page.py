"""The page of the rules: what decides about a site, the rules as rows, their text, the overrides and the lists.

Each form has the version of rules.txt that it was made for, so an edit made elsewhere meanwhile is never overwritten.
Nothing with a mistake is saved, and what was typed stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.overrides import OverrideJson
from proxy.control.answers.plans import PlanJson
from proxy.control.dashboard.override_forms import override_text
from proxy.control.dashboard.sign_in import RulesChange
from proxy.control.dashboard.visit import Route, Visit, mode_mark
from proxy.control.request_parsing import parse_field, parse_number
from proxy.detect.verdict.labels import network_in_words
from proxy.features.rules.answers import CountedOverrideJson, RuleJson, counted_overrides
from proxy.features.rules.editor import (
    EDITOR_LIMIT,
    CheckedRules,
    RulesEditor,
    changed_meanwhile,
    mistakes_in,
    too_large,
)
from proxy.features.rules.endpoints import RuleEndpoints
from proxy.features.rules.ladder import Ladder, decisive
from proxy.features.rules.list_answers import ListJson
from proxy.features.rules.list_endpoints import ListEndpoints
from proxy.features.rules.rows import (
    ACTIONS,
    ROWS,
    TYPES,
    RuleRows,
    action_values,
    move_of,
    parts_of,
    rule_of,
    rule_rows,
)
from proxy.model import Action, State
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, sentences
from proxy.probe.site_name import site
from proxy.routing.edited_rules import NotInUse, RulesText
from proxy.routing.rule import RuleType, Situation
from proxy.routing.rules_text import moved, removed, rule_lines, switched

_FORM_LIMIT = 4 * EDITOR_LIMIT
"""A form has up to three bytes for one of the text (WHATWG URL, application/x-www-form-urlencoded)."""

_OVERRIDES = 50
"""Overrides on a page."""

_UNDO_LIMIT = 1024 * 1024
"""The most characters of a text that is kept for undo."""

_ORDER_LIMIT = 1000
"""Characters of an order: fifty numbers of lines."""

_ADDON_HOOK = "plan"

_CLOSED = (Action.RELAY, Action.BLOCK)


@frozen_dataclass
class NewRule:
    """The form of a new rule, with what was typed in it."""

    kind: str = ""
    value: str = ""
    action: str = "RELAY"
    first: bool = False
    checked: CheckedRules | None = None


@frozen_dataclass
class Focus:
    """The focus when the page opens: a button of the rule in a line, or `UNDO`."""

    line: int = 0
    action: str = ""


NOWHERE, UNDO = Focus(), Focus(action="undo")


@frozen_dataclass
class RulesView:
    """The values for the template of the page. `ladder` is about the requested `url`; None: there is none. `undo` is
    the last edit in words; empty: it cannot be undone. `hits` are those of lists by their names."""

    sentence: str
    url: str
    ladder: Ladder | None
    rows: RuleRows
    version: str
    unreadable: str
    errors: Sequence[str]
    notices: Sequence[str]
    focus: Focus
    undo: RulesChange | None
    new: NewRule
    types: Mapping[str, str]
    actions: Mapping[str, str]
    values: Sequence[str]
    overrides: Sequence[CountedOverrideJson]
    overrides_page: int
    overrides_pages: int
    lists: Sequence[ListJson]
    hits: Mapping[str, int]

    def query(self, **changed: int) -> str:
        """Returns the query of another page of rules or overrides."""
        asked = {"find": self.rows.find, "page": self.rows.page, "overrides": self.overrides_page, **changed}
        return urlencode({name: value for name, value in asked.items() if value not in ("", 1)})


def rules_sentence(rows: RuleRows) -> str:
    """Returns a sentence with the number of rules that are on, of those that decided nothing, and of those that are
    off."""
    if not rows.all:
        return _("No rules: AUTO decides about every site.")
    off = rows.all - rows.on
    return sentences(
        [
            ngettext("{count} rule is in use.", "{count} rules are in use.", rows.on),
            ngettext(
                "{count} of them decided nothing since the start.",
                "{count} of them decided nothing since the start.",
                rows.unused,
            )
            if rows.unused
            else "",
            ngettext("{count} is off.", "{count} are off.", off) if off else "",
        ]
    )


async def _page(
    visit: Visit,
    *,
    errors: Sequence[str] = (),
    focus: Focus = NOWHERE,
    new: NewRule | None = None,
    asked: Mapping[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    asked, parts, now = asked or {}, visit.parts, time.time()
    unreadable, file = "", RulesText("", "")
    try:
        file = await parts.rules_file.read()
    except BywayError as error:
        unreadable = str(error)
    page = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), asked.get("page", "1"))
    find, url = asked.get("find", "").strip(), asked.get("url", "").strip()
    lines = await asyncio.to_thread(rule_lines, file.text)
    if focus.line and "page" not in asked:
        page = next((place for place, rule in enumerate(lines) if rule.number == focus.line), 0) // ROWS + 1
    counted, router = parts.services.rule_hits, parts.setup().router
    rows = await asyncio.to_thread(rule_rows, lines, counted.of, page=page, find=find)
    of_lists: dict[str, int] = {}
    for rule in router.rules.rules.of_kind(lambda kind: kind.type is RuleType.LIST):
        of_lists[rule.value] = of_lists.get(rule.value, 0) + counted.of(rule.text).count
    overrides = counted_overrides(router.overrides, counted)
    shown = parse_field(lambda text: int(parse_number(text, least=1, most=1e6)), asked.get("overrides", "1"))
    pages = max(1, -(-len(overrides) // _OVERRIDES))
    shown = min(shown, pages)
    lists = (await visit.frame.one(ListEndpoints).lists()).lists
    change = visit.session.rules_change
    settings = parts.settings
    types = {
        kind: words
        for kind, words in TYPES.items()
        if (kind != RuleType.LIST or settings.list) and (kind != RuleType.NETWORK or settings.networks)
    }
    view = RulesView(
        sentence=rules_sentence(rows),
        url=url,
        ladder=await _ladder(visit, url, now) if url else None,
        rows=rows,
        version=file.version,
        unreadable=unreadable,
        errors=errors,
        notices=visit.frame.one(RuleEndpoints).notices(),
        focus=focus,
        undo=change if change is not None and change.version == file.version else None,
        new=new or NewRule(),
        types=types,
        actions=action_values(visit.frame.relays.usable_names()),
        values=[*(item.name for item in settings.list), *settings.networks],
        overrides=overrides[(shown - 1) * _OVERRIDES : shown * _OVERRIDES],
        overrides_page=shown,
        overrides_pages=pages,
        lists=lists,
        hits=of_lists,
    )
    return await visit.page("rules.html", title=_("Rules"), here="rules", view=view, status=status)


async def _ladder(visit: Visit, url: str, now: float) -> Ladder:
    parts, rules = visit.parts, visit.frame.one(RuleEndpoints)
    destination, network, router = parse_field(site, url), parts.network(), parts.setup().router
    situation, host = Situation(network), destination.host
    plan = await parts.plan(destination, situation)
    decision = router.decision(destination, situation, now=now)
    trace = await asyncio.to_thread(router.trace, destination, situation, now=now)
    listed = await rules.listed(host)
    rule = decision.rule or await asyncio.to_thread(router.rules.match, destination, None, situation)
    by = rule.value if rule is not None and rule.type is RuleType.LIST else None
    override = None if decision.override is None else OverrideJson.of(*decision.override)
    states = visit.frame.sites.states(now)
    state = states.host(states.meant(host)).state
    about = parts.beliefs.about(host, network=network, now=now, addresses=parts.addresses(host))
    is_blocked = about.belief.state in (State.SUSPECT, State.BLOCKED) and about.belief.until > now
    fault = network_in_words(about.network_state)
    mode: str = ""
    if decision.is_replaced:
        at_home = _("It is on the local network: direct only.")
        mode = at_home if router.is_home(destination, host) else mode_mark(parts.modes)
    kind, action = ACTIONS[plan.action]
    return Ladder(
        host=host,
        action=action,
        kind=kind,
        decides=decisive(decision, plan, is_learned=is_blocked or fault is not None),
        override=override,
        override_text="" if override is None else override_text(override),
        rule=None if rule is None else RuleJson.of(rule),
        in_list=next((each for each in listed if each.list == by), None),
        listed=[each for each in listed if each.list != by],
        trace=trace,
        mode=mode,
        words=state.status,
        glyph=state.status.glyph,
        cause=state.cause,
        network="" if fault is None else fault[0],
        addons=[addon.name for addon in parts.addons() if addon.runs and _ADDON_HOOK in addon.hooks],
        plan=PlanJson.of(plan),
    )


async def _rules(visit: Visit) -> web.Response:
    asked = visit.query("url", "tab", "page", "find", "overrides", "line", "did")
    if asked.get("tab") == "text":
        return await _text(visit, await _editor(visit))
    line = parse_field(lambda text: int(parse_number(text, least=0, most=1e9)), asked.get("line", "0"))
    return await _page(visit, asked=asked, focus=Focus(line, asked.get("did", "")))


def _done(visit: Visit, notice: str, focus: Focus) -> web.Response:
    return visit.see_other(f"rules?{urlencode({'line': focus.line, 'did': focus.action})}", notice)


async def _edit(visit: Visit) -> web.Response:
    """Switches a rule on or off, moves or removes it."""
    form = await visit.form("version", "line", "do", "before", "order")
    action = form.get("do", "")
    line, before = (
        parse_field(lambda text: int(parse_number(text, least=0, most=1e9)), form.get(name) or "0")
        for name in ("line", "before")
    )
    after = Focus(line, action)

    def change(text: str) -> str:
        nonlocal after
        if action in ("on", "off"):
            after = Focus(line, "off" if action == "on" else "on")
            return switched(text, line)
        if action == "remove":
            after = UNDO
            return removed(text, line)
        edited, number = moved(text, line, before)
        after = Focus(number, action)
        return edited

    try:
        lines = rule_lines((await visit.parts.rules_file.read()).text)
        if action == "move":
            order = [int(word) if word.isdecimal() else 0 for word in form.get("order", "")[:_ORDER_LIMIT].split()]
            line, before = move_of(lines, order) or (0, 0)
        if action not in _EDITS or (action == "move" and not line):
            raise Refused(400, _("The form asks for something unknown."))
        rule = next((each for each in lines if each.number == line), None)
        words = _EDITS[action].given(rule=rule.text if rule is not None else "")
        await _change(visit, change, version=form.get("version", ""), words=words)
    except NotInUse as error:
        return _done(visit, str(error), after)
    except LookupError:
        return await _page(visit, errors=[_("There is no rule in line {line}.", line=line)], status=400)
    except Refused as refused:
        return await _page(visit, errors=[refused.text], status=refused.status)
    except ConfigError as error:
        return await _page(visit, errors=error.problems, focus=Focus(line, action), status=400)
    except BywayError as error:
        return await _page(visit, errors=[str(error)], status=409)
    opens = action in ("off", "remove") and rule is not None and _closes(rule.text)
    may = _("What it matched may connect direct now.") if opens else ""
    return _done(visit, sentences([_("{what}.", what=words), may]), after)


_EDITS = {
    "on": _("On: {rule}"),
    "off": _("Off: {rule}"),
    "remove": _("Removed: {rule}"),
    "up": _("Moved up: {rule}"),
    "down": _("Moved down: {rule}"),
    "move": _("Moved: {rule}"),
}
"""The edits by their values in the form, in words."""


def _closes(rule: str) -> bool:
    """Whether a rule keeps what it matches from going direct."""
    return parts_of(rule)[2].partition(":")[0] in _CLOSED


async def _change(visit: Visit, change: Callable[[str], str], *, version: str, words: str) -> None:
    """Edits rules.txt, and keeps what undoes it. Raises Refused when the file was changed since the form was made, and
    the errors of an edit."""
    before = ""

    def noted(text: str) -> str:
        nonlocal before
        before = text
        return change(text)

    visit.session.rules_change = None
    edited = await visit.parts.rules_file.edit(noted, version=version)
    if edited is None:
        raise Refused(409, _("The rules have changed since this page was made, so nothing was changed. Try again."))
    if len(before) <= _UNDO_LIMIT and edited.version != version:
        visit.session.rules_change = RulesChange(before, edited.version, words)


async def _undo(visit: Visit) -> web.Response:
    """Undoes the last edit of this session, unless the file was changed since."""
    version, change = (await visit.form("version")).get("version", ""), visit.session.rules_change
    if change is None or change.version != version:
        refused = _("Nothing was undone: the rules have been changed since.")
        return await _page(visit, errors=[refused], status=409)
    try:
        if await visit.parts.rules_file.edit(lambda _text: change.before, version=version) is None:
            return await _page(visit, errors=[_("Nothing was undone: the rules have been changed since.")], status=409)
    except NotInUse as error:
        return visit.see_other("rules", str(error))
    except ConfigError as error:
        return await _page(visit, errors=error.problems, status=400)
    except BywayError as error:
        return await _page(visit, errors=[str(error)], status=409)
    visit.session.rules_change = None
    return visit.see_other("rules", _("Undone: {what}.", what=change.words))


async def _add(visit: Visit) -> web.Response:
    """Adds a rule: before all others, or by default before the first MATCH."""
    new, _is_part = await _new_rule(visit)
    if new.checked is None or not new.checked.is_good:
        return await _page(visit, new=new, status=400)
    line = rule_of(new.kind, new.value, new.action)
    try:
        before = await visit.parts.rules_file.read()
        added = await visit.parts.rules_file.add(line, at=1 if new.first else None)
    except NotInUse as error:
        return visit.see_other("rules", str(error))
    except ConfigError as error:
        return await _page(visit, new=_refused(new, mistakes_in(error, line, "value")), status=400)
    except BywayError as error:
        return await _page(visit, errors=[str(error)], new=new, status=409)
    file = await visit.parts.rules_file.read()
    words = _("Added: {rule}", rule=added.rule.text)
    is_alone = removed(file.text, added.rule.line) == before.text
    visit.session.rules_change = RulesChange(before.text, file.version, words) if is_alone else None
    return _done(visit, sentences([_("{what}.", what=words), *added.notices()]), Focus(added.rule.line, "down"))


def _refused(new: NewRule, checked: CheckedRules) -> NewRule:
    return NewRule(new.kind, new.value, new.action, new.first, checked)


async def _new_rule(visit: Visit) -> tuple[NewRule, bool]:
    """Returns the posted rule with what is wrong with it, and whether the page's script asks."""
    form = await visit.form("kind", "value", "action", "first", "part")
    new = NewRule(form.get("kind", ""), form.get("value", ""), form.get("action", ""), "first" in form)
    try:
        line = rule_of(new.kind, new.value, new.action)
        checked = await _checked(visit, line, "value")
        if checked.is_good:
            checked = CheckedRules(_("This rule is added: {rule}", rule=line), is_good=True, notices=checked.notices)
    except ValueError as error:
        checked = CheckedRules(str(error), into="value")
    return _refused(new, checked), "part" in form


async def _check_new(visit: Visit) -> web.Response:
    """Checks a new rule. Sends the result as a part of the page to the page's script; otherwise the page with it."""
    new, is_part = await _new_rule(visit)
    if is_part:
        return await visit.part("rules_checked.html", new.checked)
    return await _page(visit, new=new)


async def _checked(visit: Visit, text: str, into: str = "rules-text") -> CheckedRules:
    if len(text.encode()) > EDITOR_LIMIT:
        return CheckedRules(too_large())
    try:
        rules = await visit.parts.rules_file.check(text)
    except ConfigError as error:
        return mistakes_in(error, text, into)
    many = ngettext("{count} rule, no problem.", "{count} rules, no problem.", len(rules))
    return CheckedRules(many, is_good=True, notices=rules.notices)


async def _text(visit: Visit, editor: RulesEditor) -> web.Response:
    return await visit.page("rules_text.html", title=_("Rules"), here="rules", view=editor)


async def _editor(visit: Visit) -> RulesEditor:
    """Returns the editor of the present file, with its mistakes."""
    try:
        file = await visit.parts.rules_file.read()
    except BywayError as error:
        return RulesEditor(unreadable=str(error))
    if len(file.text.encode()) > EDITOR_LIMIT:
        return RulesEditor(unreadable=too_large())
    checked = await _checked(visit, file.text)
    return RulesEditor(file.text, file.version, None if checked.is_good else checked)


async def _save(visit: Visit) -> web.Response:
    """Saves a valid text, unless the file was changed meanwhile."""
    text, version, _part = await _posted(visit)
    checked = await _checked(visit, text)
    if not checked.is_good:
        return await _text(visit, RulesEditor(text, version, checked))
    file = visit.parts.rules_file
    try:
        rules = await file.replace(text, version=version)
        if rules is None:
            return await _text(visit, changed_meanwhile(text, await file.read()))
    except NotInUse as error:
        return visit.see_other("rules?tab=text", str(error))
    except ConfigError as error:
        return await _text(visit, RulesEditor(text, version, mistakes_in(error, text)))
    except BywayError as error:
        return await _text(visit, RulesEditor(text, version, CheckedRules(str(error))))
    many = ngettext("Saved: {count} rule, in use now.", "Saved: {count} rules, in use now.", len(rules))
    return visit.see_other("rules?tab=text", many)


async def _check(visit: Visit) -> web.Response:
    """Checks a text. Sends the result as a part of the page to the page's script; otherwise the page with the text."""
    text, version, is_part = await _posted(visit)
    checked = await _checked(visit, text)
    if is_part:
        return await visit.part("rules_checked.html", checked)
    return await _text(visit, RulesEditor(text, version, checked))


async def _posted(visit: Visit) -> tuple[str, str, bool]:
    form = await visit.form("text", "version", "part", limit=_FORM_LIMIT)
    if "text" not in form or "version" not in form:
        raise Refused(400, _("The form has no text."))
    return form["text"], form["version"], "part" in form


ROUTES = (
    Route("GET", "rules", _rules),
    Route("POST", "rules", _save),
    Route("POST", "rules/check", _check),
    Route("POST", "rules/edit", _edit),
    Route("POST", "rules/undo", _undo),
    Route("POST", "rules/add", _add),
    Route("POST", "rules/add/check", _check_new),
)
