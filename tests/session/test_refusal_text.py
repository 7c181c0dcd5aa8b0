"""What is said of a visit that no route delivered."""

from __future__ import annotations

from dataclasses import replace

from proxy.model import DIRECT, Route, Stage, Symptom
from proxy.session.refusal_text import RELAYS_TOLD, client_message, full_reason
from tests.support.outcomes import failed, outcome


def relays(count: int) -> tuple[Route, ...]:
    return tuple(Route((f"r{n}",)) for n in range(count))


def test_of_many_relays_it_is_told_how_many_were_tried_and_how_to_go_on() -> None:
    tried = [failed(Symptom.TIMEOUT, Stage.RELAY, route) for route in relays(23)]
    made = outcome(failed(Symptom.RESET), *tried)
    made = replace(made, plan=replace(made.plan, routes=(DIRECT, *relays(2000))))
    assert full_reason(made).endswith(
        "Tried direct: reset; relays: none of 23 tried of 2,000 answered. Reload, and Byway goes on with others; "
        "`byway relay test` tries all of them."
    )
    assert "23" not in client_message(made), "a script of the site may read it"


def test_when_all_of_many_were_tried_there_is_nothing_to_go_on_with() -> None:
    routes = relays(RELAYS_TOLD + 1)
    made = outcome(*(failed(Symptom.TIMEOUT, Stage.RELAY, route) for route in routes))
    made = replace(made, plan=replace(made.plan, routes=routes))
    assert full_reason(made).endswith(f"Tried relays: none of {len(routes)} tried of {len(routes)} answered.")


def test_of_a_few_relays_each_is_told() -> None:
    routes = relays(RELAYS_TOLD)
    made = outcome(*(failed(Symptom.TIMEOUT, Stage.RELAY, route) for route in routes))
    made = replace(made, plan=replace(made.plan, routes=routes))
    assert "r0: timeout; r1: timeout; " in full_reason(made)
