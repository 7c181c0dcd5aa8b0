"""Checks the answers of hooks. A wrong value is a fault of the addon, and counts as no answer.

An addon's plan replaces the one of the user's rules, so its routes must fit its action: RELAY with a direct route would
open a site that was closed. A wrong plan of RELAY or BLOCK still closes the site, because its intent is clear.
"""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any
from urllib.parse import urlsplit

from proxy.model import Action, Cause, Plan, Route, Signal
from proxy.model.errors import ConfigError
from proxy.net.dialers.registry import Registry
from proxy.net.stream import Stream
from proxy.wire.relay_url import CHAIN_LIMIT

WEIGHT_MAX = 100.0
SENTENCE_LIMIT = 300
URL_LIMIT = 2048


class WrongAnswer(Exception):
    """A hook returned a wrong value. The text is the reason."""

    def __init__(self, sentence: str, instead: Any = None) -> None:
        super().__init__(sentence)
        self.instead = instead
        """The answer to use in its place if the intent is clear; None: there is none."""


def refusal(answer: object, plan: Plan, addon: str) -> Plan | None:
    """Returns `plan` as a BLOCK; None when the request is admitted."""
    if answer is None:
        return None
    if type(answer) is not str or not answer.strip():
        raise WrongAnswer(f"returned {_kind(answer)}, not a sentence or None")
    return plan.block(f"addon {addon}: {inert(answer)}")


def plan(answer: object, before: Plan, registry: Registry) -> Plan | None:
    """Returns a plan whose routes exist and fit its action; None when it equals `before`."""
    if answer is None or answer is before:
        return None
    if type(answer) is not Plan:
        raise WrongAnswer(f"returned {_kind(answer)}, not a plan or None")
    try:
        return _checked(answer, before, registry)
    except WrongAnswer as error:
        if answer.action not in (Action.RELAY, Action.BLOCK) or answer.action is before.action:
            raise  # keeping the plan unchanged opens nothing
        raise WrongAnswer(str(error), instead=closed(answer, before, registry, str(error))) from None


def closed(intended: Plan, before: Plan, registry: Registry, why: str) -> Plan:
    """Returns a plan with the action of `intended` (RELAY or BLOCK), and its existing relays. Without any, it has the
    routes of `before` if that is RELAY too; else no route."""
    routes: tuple[Route, ...] = ()
    if intended.action is Action.RELAY:
        from_addon = intended.routes if type(intended.routes) is tuple else ()
        routes = tuple(route for route in from_addon if _is_relayed(route, registry))
        if not routes and before.action is Action.RELAY:
            routes = before.routes
    return dataclasses.replace(before, action=Action(intended.action), routes=routes, why=inert(why))


def _is_relayed(route: object, registry: Registry) -> bool:
    if type(route) is not Route or route.is_direct:
        return False
    try:
        _check_route(route, registry)
    except WrongAnswer:
        return False
    return True


def _checked(answer: Plan, before: Plan, registry: Registry) -> Plan | None:
    if type(answer.action) is not Action or type(answer.why) is not str or type(answer.intercept) is not bool:
        raise WrongAnswer("returned a plan with an action, a reason or `intercept` of another type")
    if type(answer.routes) is not tuple or not all(type(route) is Route for route in answer.routes):
        raise WrongAnswer("returned a plan whose routes are not a tuple of routes")
    for route in answer.routes:
        _check_route(route, registry)
    _check_promise(answer, before)
    why = before.why if answer.why == before.why else inert(answer.why)
    made = dataclasses.replace(answer, why=why, before=before.before)
    return None if made == before else made


def _check_route(route: Route, registry: Registry) -> None:
    words = (*route.relays, *route.wrap)
    if not all(type(part) is tuple for part in (route.relays, route.wrap)) or not all(type(w) is str for w in words):
        raise WrongAnswer("returned a route whose relays are not names")
    if len(route.relays) > CHAIN_LIMIT:
        raise WrongAnswer(f"returned a chain of more than {CHAIN_LIMIT} relays")
    try:
        registry.check(route)
    except (ConfigError, ValueError) as error:
        raise WrongAnswer(f"returned a plan that cannot be used: {error}") from None


def _check_promise(made: Plan, before: Plan) -> None:
    direct = [route for route in made.routes if route.is_direct]
    match made.action:
        case Action.BLOCK if made.routes:
            raise WrongAnswer("returned a plan of BLOCK with routes; use plan.block(why)")
        case Action.RELAY if direct:
            raise WrongAnswer("returned a plan of RELAY with a direct route")
        case Action.DIRECT if len(direct) < len(made.routes):
            raise WrongAnswer("returned a plan of DIRECT with a relay")
    was_closed = made.action is before.action and not before.routes  # a plan without a relay may stay so
    if not made.routes and made.action is not Action.BLOCK and not was_closed:
        raise WrongAnswer(f"returned a plan of {made.action} without a route; to refuse, use plan.block(why)")


def signal(answer: object, before: Signal) -> Signal | None:
    """Returns the signal with the new weight and cause; None for no answer."""
    if answer is None:
        return None
    if type(answer) is not Signal:
        raise WrongAnswer(f"returned {_kind(answer)}, not a signal or None")
    if type(answer.weight) not in (int, float) or type(answer.cause) not in (str, Cause):
        raise WrongAnswer("returned a signal whose weight is not a number or whose cause is not text")
    if not math.isfinite(answer.weight) or not 0 <= answer.weight <= WEIGHT_MAX:
        raise WrongAnswer(f"returned a weight of {answer.weight:g}; allowed are 0 to {WEIGHT_MAX:g}")
    return dataclasses.replace(before, weight=float(answer.weight), cause=inert(answer.cause))


def page(answer: object) -> str | bool | None:
    """Returns the name of a block page, False for the site's own page, None when the addon does not know."""
    if answer is None or answer is False:
        return answer
    if type(answer) is not str or not answer.strip():
        raise WrongAnswer(f"returned {_kind(answer)}, not a name, False or None")
    return inert(answer)


def url(answer: object) -> str | None:
    """Returns the URL of a redirect: http or https, in ASCII, without characters that could end a header line."""
    if answer is None:
        return None
    if (
        type(answer) is not str
        or len(answer) > URL_LIMIT
        or not re.fullmatch(r"https?://[!-~]+", answer, re.IGNORECASE)
    ):
        raise WrongAnswer("must return None or an http(s) URL in ASCII of at most 2048 characters")
    try:
        host = urlsplit(answer).hostname
    except ValueError:
        host = None
    if not host:
        raise WrongAnswer("returned a URL without a host")
    return answer


def stream(answer: object) -> Stream | None:
    """Returns an open path; None when the addon opened none."""
    if answer is None or isinstance(answer, Stream):
        return answer
    raise WrongAnswer(f"returned {_kind(answer)}, not a stream or None")


def inert(text: str) -> str:
    """Returns the text as one line of at most SENTENCE_LIMIT, with control characters escaped, on which a terminal
    would act."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)[:SENTENCE_LIMIT]


def _kind(answer: object) -> str:
    name = type(answer).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"
