"""The page of the rules, the overrides and the lists, with their effects and an editor of rules.txt.

The editor saves no invalid text, and does not overwrite an edit that was made elsewhere meanwhile.
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Sequence

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.overrides import OverrideJson
from proxy.control.answers.plans import PlanJson
from proxy.control.dashboard.override_forms import override_text
from proxy.control.dashboard.visit import Route, Visit
from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.rules.answers import CountedOverrideJson, RuleJson
from proxy.features.rules.endpoints import RuleEndpoints, RuleTestRequest
from proxy.features.rules.list_answers import ListJson
from proxy.features.rules.list_endpoints import ListEndpoints
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, ngettext, sentences
from proxy.routing.edited_rules import NotInUse, RulesText
from proxy.routing.router import covering

EDITOR_LIMIT = 256 * 1024
"""The most bytes of the text in the editor."""

_FORM_LIMIT = 4 * EDITOR_LIMIT
"""A form has up to three bytes for one of the text (WHATWG URL, application/x-www-form-urlencoded)."""

_DIFF_LINES = 200

_PLACE = re.compile(r"[^:]*:(?P<line>\d+): (?P<text>.*)", re.DOTALL)

_ADDON_HOOK = "plan"


@frozen_dataclass
class Problem:
    """A problem of the rules. `line` is the number of its line, 0 for none; `content` is the text of that line."""

    line: int
    content: str
    text: str


@frozen_dataclass
class CheckedRules:
    """The result of a check of a text: the number of its rules and the notices about them, or its problems. `is_good`:
    it can be saved."""

    sentence: str
    is_good: bool = False
    problems: Sequence[Problem] = ()
    notices: Sequence[str] = ()


@frozen_dataclass
class RulesEditor:
    """The editor: a text, and the version of the file that it replaces. `unreadable` is the reason for which there is
    no editor; `differences` are those to a file that was changed meanwhile."""

    text: str = ""
    version: str = ""
    checked: CheckedRules | None = None
    differences: Sequence[str] = ()
    unreadable: str = ""


@frozen_dataclass
class Trace:
    """The decisions about a host, by an override (None: there is none), the rules, the stored status, and addons.
    `words`, `glyph` and `cause` are the status and its cause. `addons` are the names of those that may change the
    routes."""

    host: str
    override: OverrideJson | None
    override_text: str
    rules: Sequence[str]
    words: SiteStatus
    glyph: str
    cause: str
    addons: Sequence[str]
    plan: PlanJson


@frozen_dataclass
class RulesView:
    """The values for the template of the page. `traced` is about the requested `url`; None: there is none."""

    sentence: str
    editor: RulesEditor
    rules: Sequence[RuleJson]
    overrides: Sequence[CountedOverrideJson]
    notices: Sequence[str]
    lists: Sequence[ListJson]
    url: str
    traced: Trace | None


def rules_sentence(rules: Sequence[RuleJson]) -> str:
    """Returns a sentence with the number of rules in use, and of those that decided nothing."""
    if not rules:
        return _("No rules: AUTO decides about every site.")
    unused = sum(not rule.hits for rule in rules)
    return sentences(
        [
            ngettext("{count} rule is in use.", "{count} rules are in use.", len(rules)),
            ngettext(
                "{count} of them decided nothing since the start.",
                "{count} of them decided nothing since the start.",
                unused,
            )
            if unused
            else "",
        ]
    )


def problems_of(error: ConfigError, text: str) -> CheckedRules:
    """Returns the problems of a text, each with its line."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    problems = []
    for problem in error.problems:
        place = _PLACE.fullmatch(problem)
        number = int(place["line"]) if place is not None else 0
        content = lines[number - 1] if 0 < number <= len(lines) else ""
        problems.append(Problem(number, content, problem if place is None else place["text"]))
    many = ngettext("{count} problem. Solve it to save.", "{count} problems. Solve them to save.", len(problems))
    return CheckedRules(many, problems=problems)


async def _checked(visit: Visit, text: str) -> CheckedRules:
    if len(text.encode()) > EDITOR_LIMIT:
        return CheckedRules(_too_large())
    try:
        rules = await visit.parts.rules_file.check(text)
    except ConfigError as error:
        return problems_of(error, text)
    many = ngettext("{count} rule, no problem.", "{count} rules, no problem.", len(rules))
    return CheckedRules(many, is_good=True, notices=rules.notices)


async def _editor(visit: Visit) -> RulesEditor:
    """Returns the editor of the present file, with its problems."""
    try:
        file = await visit.parts.rules_file.read()
    except BywayError as error:
        return RulesEditor(unreadable=str(error))
    if len(file.text.encode()) > EDITOR_LIMIT:
        return RulesEditor(unreadable=_too_large())
    checked = await _checked(visit, file.text)
    return RulesEditor(file.text, file.version, None if checked.is_good else checked)


def changed_meanwhile(text: str, file: RulesText) -> RulesEditor:
    """Returns the editor with a text whose file was changed since the text was opened. To save it again replaces the
    changed file."""
    diff = difflib.unified_diff(file.text.splitlines(), text.splitlines(), lineterm="", n=1)
    differences = [line for line in diff if not line.startswith(("---", "+++"))][:_DIFF_LINES]
    sentence = _("The file has changed since you opened it. Nothing is saved. To replace the changed file, save again.")
    return RulesEditor(text, file.version, CheckedRules(sentence), differences)


def _too_large() -> str:
    return _("rules.txt is too large for this page. Edit it with a text editor.")


async def _page(visit: Visit, editor: RulesEditor, url: str = "") -> web.Response:
    answer, listed = await visit.frame.one(RuleEndpoints).rules(), await visit.frame.one(ListEndpoints).lists()
    view = RulesView(
        rules_sentence(answer.rules),
        editor,
        answer.rules,
        answer.overrides,
        answer.notices,
        listed.lists,
        url,
        await _trace(visit, url) if url else None,
    )
    return await visit.page("rules.html", title=_("Rules"), here="rules", view=view)


async def _trace(visit: Visit, url: str) -> Trace:
    tested = await visit.frame.one(RuleEndpoints).test_rules(RuleTestRequest(url))
    decides = covering(tested.host, visit.parts.overrides)
    override = None if decides is None else OverrideJson.of(*decides)
    states = visit.frame.sites.states(time.time())
    state = states.host(states.meant(tested.host)).state
    return Trace(
        tested.host,
        override,
        "" if override is None else override_text(override),
        tested.trace,
        state.status,
        state.status.glyph,
        state.cause,
        [addon.name for addon in visit.parts.addons() if addon.runs and _ADDON_HOOK in addon.hooks],
        tested.plan,
    )


async def _rules(visit: Visit) -> web.Response:
    return await _page(visit, await _editor(visit), visit.query("url").get("url", "").strip())


async def _save(visit: Visit) -> web.Response:
    """Saves a valid text, unless the file was changed meanwhile."""
    text, version, _part = await _posted(visit)
    checked = await _checked(visit, text)
    if not checked.is_good:
        return await _page(visit, RulesEditor(text, version, checked))
    file = visit.parts.rules_file
    try:
        rules = await file.replace(text, version=version)
        if rules is None:
            return await _page(visit, changed_meanwhile(text, await file.read()))
    except NotInUse as error:
        return visit.see_other("rules", str(error))
    except ConfigError as error:
        return await _page(visit, RulesEditor(text, version, problems_of(error, text)))
    except BywayError as error:
        return await _page(visit, RulesEditor(text, version, CheckedRules(str(error))))
    many = ngettext("Saved: {count} rule, in use now.", "Saved: {count} rules, in use now.", len(rules))
    return visit.see_other("rules", many)


async def _check(visit: Visit) -> web.Response:
    """Checks a text. Sends the result as a part of the page to the page's script; otherwise the page with the text."""
    text, version, is_part = await _posted(visit)
    checked = await _checked(visit, text)
    if is_part:
        return await visit.part("rules_checked.html", checked)
    return await _page(visit, RulesEditor(text, version, checked))


async def _posted(visit: Visit) -> tuple[str, str, bool]:
    form = await visit.form("text", "version", "part", limit=_FORM_LIMIT)
    if "text" not in form or "version" not in form:
        raise Refused(400, _("The form has no text."))
    return form["text"], form["version"], "part" in form


ROUTES = (Route("GET", "rules", _rules), Route("POST", "rules", _save), Route("POST", "rules/check", _check))
