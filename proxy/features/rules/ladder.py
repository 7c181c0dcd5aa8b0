"""The steps that decide about a site, in their order: override, rule, mode, status, addons, route. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from proxy.control.answers.overrides import OverrideJson
from proxy.control.answers.plans import PlanJson
from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.rules.answers import ListedJson, RuleJson
from proxy.model import Action, Plan
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.router import Decision


class Rung(StrEnum):
    """The step that decides."""

    OVERRIDE = "override"
    RULE = "rule"
    MODE = "mode"
    LEARNED = "learned"
    ADDONS = "addons"
    ROUTE = "route"
    """Nothing decides but the usual order, or what no rule may change."""


@frozen_dataclass
class Ladder:
    """The decision about a host; `action` says it in words, `kind` is the class of its chip. `rule` is the first one
    that matches, `in_list` the entry of its list, and `listed`
    those of other lists. `mode` is what replaces AUTO, in words; empty: nothing. `words`, `glyph` and `cause` are the
    status and its cause, `network` is what is wrong on this network. `addons` are the names of those that may change
    routes, `trace` are sentences for each rule that matters."""

    host: str
    decides: Rung
    action: str
    kind: str
    override: OverrideJson | None
    override_text: str
    rule: RuleJson | None
    in_list: ListedJson | None
    listed: Sequence[ListedJson]
    trace: Sequence[str]
    mode: str
    words: SiteStatus
    glyph: str
    cause: str
    network: str
    addons: Sequence[str]
    plan: PlanJson


def decisive(decision: Decision, plan: Plan, *, is_learned: bool) -> Rung:
    """Returns the step that decides. `is_learned`: a status of the site or of the network changes the order of the
    routes under AUTO."""
    if plan.before is not None:
        return Rung.ADDONS
    chosen = None if decision.override is None else decision.override[1]
    by = Rung.OVERRIDE if chosen is not None else Rung.RULE if decision.rule is not None else Rung.ROUTE
    action = Action.AUTO
    if chosen is not None:
        action = chosen.action
    elif decision.rule is not None:
        action = decision.rule.action
    if plan.action is Action.BLOCK and action is not Action.BLOCK:
        return Rung.ROUTE  # the address guard refuses it, whatever a rule says
    if action is not Action.AUTO:
        return by
    if decision.is_replaced:
        return Rung.MODE
    return Rung.LEARNED if is_learned else by
