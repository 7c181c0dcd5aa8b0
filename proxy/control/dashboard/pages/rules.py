"""The page of the rules, the overrides and the lists."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from proxy.control.answers.lists import ListJson, ListsAnswer
from proxy.control.answers.rules import CountedOverrideJson, RuleJson, RulesAnswer, RuleTestAnswer
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.endpoints.rules import RuleTestRequest
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RulesView:
    """What the page shows. `traced` is what is decided about the `url` that was asked for; None: none was."""

    sentence: str
    rules: Sequence[RuleJson]
    overrides: Sequence[CountedOverrideJson]
    notices: Sequence[str]
    lists: Sequence[ListJson]
    url: str
    traced: RuleTestAnswer | None


def rules_view(answer: RulesAnswer, listed: ListsAnswer, traced: RuleTestAnswer | None, url: str) -> RulesView:
    """Returns the page."""
    unused = sum(not rule.hits for rule in answer.rules)
    many = "1 rule" if len(answer.rules) == 1 else f"{len(answer.rules)} rules"
    never = f"; {unused} of them decided nothing since the start" if unused else ""
    nothing = "No rules: AUTO decides about every site."
    return RulesView(
        f"{many}{never}." if answer.rules else nothing,
        answer.rules,
        answer.overrides,
        answer.notices,
        listed.lists,
        url,
        traced,
    )


async def _rules(visit: Visit) -> web.Response:
    subjects, text = visit.subjects, visit.query("url").get("url", "").strip()
    traced = await subjects.rules.test_rules(RuleTestRequest(text)) if text else None
    view = rules_view(await subjects.rules.rules(), await subjects.lists.lists(), traced, text)
    return await visit.page("rules.html", title="Rules", here="rules", view=view)


ROUTES = (Route("GET", "rules", _rules),)
