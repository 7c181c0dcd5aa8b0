"""Says why a connection failed: the full reason for the log, and the part that a client may read."""

from __future__ import annotations

from collections import Counter

from proxy.model import DIRECT, Action, Attempt, Outcome, Symptom

RELAYS_TOLD = 8
"""Relays that get a result each; more of them get one sentence together."""


def full_reason(outcome: Outcome) -> str:
    """Returns the full reason, for the log, and for a client whose answer no script can read."""
    destination = outcome.request.destination
    if not outcome.plan.routes:
        return f"{destination} was not tried: {outcome.plan.why}"
    if not outcome.attempts:
        return f"{destination} closed the connection before anything was sent to it"
    tries = Counter(a.route for a in outcome.attempts)
    results = {a.route: _result(a) for a in outcome.attempts}  # a later try of a route replaces the earlier one
    of_relays = [route for route in results if route.relays]
    all_relays = {route for route in outcome.plan.routes if route.relays}.union(of_relays)
    has_many = len(of_relays) > 1 and len(all_relays) > RELAYS_TOLD
    told = [
        f"{route}: {result}" + (f" ({tries[route]} tries)" if tries[route] > 1 else "")
        for route, result in results.items()
        if not (has_many and route.relays)
    ]
    if has_many:
        told.append(f"relays: none of {len(of_relays):,} tried of {len(all_relays):,} answered")
    reason = f"{destination} {_not_reached(outcome)} ({outcome.plan.why}). Tried {'; '.join(told)}."
    if has_many and len(of_relays) < len(all_relays):
        reason += " Reload, and Byway goes on with others; `byway relay test` tries all of them."
    return reason


def client_message(outcome: Outcome) -> str:
    """Returns the reason for a plain HTTP client. A script of the site may read it, so it names no relay, and no rule
    or belief, which may name one. The log has the full reason."""
    if outcome.plan.action is Action.BLOCK:
        return full_reason(outcome)
    tried = [f"direct: {_result(a)}" for a in outcome.attempts if a.route == DIRECT]
    if len(tried) < len(outcome.attempts):
        tried.append("all other routes failed too" if tried else "all allowed routes failed")
    reason = "; ".join(tried) or "no route is allowed"
    destination = outcome.request.destination
    return f"{destination} {_not_reached(outcome)}: {reason}. For details: `byway why {outcome.host}`"


def _not_reached(outcome: Outcome) -> str:
    return "is not reachable on this network" if outcome.plan.is_home else "could not be reached"


def _result(attempt: Attempt) -> str:
    if attempt.error or attempt.symptom not in (Symptom.NONE, Symptom.ABANDONED):
        return attempt.error or attempt.symptom
    return "no answer"
