"""Which step decides about a site."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.features.rules.ladder import Rung, decisive
from proxy.model import DIRECT, Action, Override, Plan
from proxy.routing.router import Decision
from proxy.routing.rule import Rule, RuleType

AUTO = Plan(Action.AUTO, (DIRECT,), "why")
RELAY = Plan(Action.RELAY, (), "why")
BLOCK = Plan(Action.BLOCK, (), "why")


def rule(action: Action) -> Rule:
    return Rule(1, RuleType.DOMAIN, "a.example", action, "", False, "rules.txt")


def override(action: Action) -> tuple[str, Override]:
    return "a.example", Override(action)


@pytest.mark.parametrize(
    ("decision", "plan", "is_learned", "decides"),
    [
        (Decision(), AUTO, False, Rung.ROUTE),
        (Decision(), AUTO, True, Rung.LEARNED),
        (Decision(is_replaced=True), RELAY, True, Rung.MODE),
        (Decision(rule=rule(Action.AUTO)), AUTO, False, Rung.RULE),
        (Decision(rule=rule(Action.AUTO)), AUTO, True, Rung.LEARNED),
        (Decision(rule=rule(Action.AUTO), is_replaced=True), RELAY, True, Rung.MODE),
        (Decision(rule=rule(Action.RELAY)), RELAY, True, Rung.RULE),
        (Decision(rule=rule(Action.BLOCK)), BLOCK, True, Rung.RULE),
        (Decision(override(Action.RELAY)), RELAY, True, Rung.OVERRIDE),
        (Decision(override(Action.AUTO)), AUTO, False, Rung.OVERRIDE),
        (Decision(override(Action.AUTO)), AUTO, True, Rung.LEARNED),
        (Decision(override(Action.AUTO), is_replaced=True), RELAY, False, Rung.MODE),
        (Decision(rule=rule(Action.RELAY)), BLOCK, False, Rung.ROUTE),
        (Decision(), BLOCK, False, Rung.ROUTE),
        (Decision(override(Action.RELAY)), replace(AUTO, before=RELAY), True, Rung.ADDONS),
    ],
)
def test_the_step_that_decides(decision: Decision, plan: Plan, is_learned: bool, decides: Rung) -> None:
    assert decisive(decision, plan, is_learned=is_learned) is decides
