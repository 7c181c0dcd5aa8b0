"""Our values as JSON objects: the stable API, one function a value.

Nothing secret goes in here, whoever asks: relay URLs are shown without passwords, commands that print passwords are
only said to be set. Times are seconds since the epoch, lengths are seconds, a time that is not set is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from proxy.config.schema import RelayConfig, Settings
from proxy.control.trial import Trial
from proxy.detect import words
from proxy.detect.evidence import Routes
from proxy.detect.health import RelayHealth
from proxy.detect.verdict import Verdict
from proxy.extend.keeper import AddonState
from proxy.model import Action, Attempt, Belief, Destination, NetworkId, Outcome, Override, Plan, State, Step
from proxy.routing.rules import Rule
from proxy.wire.relay_url import redact

VERSION = 1
"""Of every document. It grows only when what was there changes its meaning."""

Document = dict[str, Any]

_HIDDEN = frozenset({"password_cmd"})
"""Keys whose value may itself hold what it shall print."""


def versioned(**content: Any) -> Document:
    """A whole answer."""
    return {"version": VERSION, **content}


def belief(held: Belief) -> Document:
    word = words.word(held.state, held.cause)
    return {
        "scope": held.scope,
        "network": held.network,
        "state": str(held.state),
        "words": word.text,
        "glyph": word.glyph,
        "cause": held.cause,
        "because": words.cause_in_words(held.cause),
        "evidence": held.why,
        "score": round(held.score, 3),
        "episodes": held.episodes,
        "since": _time(held.since),
        "until": _time(held.until),
        "last_good": held.last_good,
        "last_good_at": _time(held.last_good_at),
        "retest_at": _time(held.retest_at),
        "successes": held.successes,
    }


def override(scope: str, said: Override) -> Document:
    return {"scope": scope, "action": str(said.action), "relay": said.relay}


def plan(made: Plan) -> Document:
    return {"action": str(made.action), "routes": [str(route) for route in made.routes], "why": made.why}


def attempt(tried: Attempt) -> Document:
    return {
        "route": str(tried.route),
        "stage": str(tried.stage),
        "symptom": str(tried.symptom),
        "error": redact(tried.error),
        "started_s": round(tried.started, 4),
        "elapsed_s": round(tried.elapsed, 4),
        "address": tried.address,
        "evidence": dict(tried.evidence),
    }


def outcome(seen: Outcome, network: NetworkId) -> Document:
    """The same object that the store's rows are."""
    destination = seen.request.destination
    return {
        "id": seen.request.id,
        "at": seen.at,
        "host": seen.host or destination.host,
        "port": destination.port,
        "inbound": str(seen.request.inbound),
        "action": str(seen.plan.action),
        "why": seen.plan.why,
        "winner": None if seen.winner is None else str(seen.winner),
        "error": redact(seen.error),
        "protocol": str(seen.protocol),
        "bytes_up": seen.bytes_up,
        "bytes_down": seen.bytes_down,
        "duration_s": round(seen.duration, 4),
        "closed_by": str(seen.closed_by),
        "network": network,
        "attempts": [attempt(tried) for tried in seen.attempts],
    }


def rule(said: Rule) -> Document:
    return {
        "source": said.source,
        "line": said.line,
        "text": said.text,
        "type": str(said.kind),
        "value": said.value,
        "action": str(said.action),
        "relay": said.relay,
    }


def relay(configured: RelayConfig, health: RelayHealth, *, failing: bool) -> Document:
    """`state` is "untried", "works", "failed" (the last time) or "failing" (so often that it is asked last)."""
    if failing:
        state = "failing"
    elif health.failures:
        state = "failed"
    else:
        state = "works" if health.worked_at else "untried"
    return {
        "name": configured.name,
        "url": redact(configured.url),
        "state": state,
        "failures": health.failures,
        "error": redact(health.last_error),
        "usual_s": round(health.usual_s, 4) or None,
        "worked_at": _time(health.worked_at),
        "failed_at": _time(health.failed_at),
    }


def addon(state: AddonState) -> Document:
    """`state` is "off", "runs", "stopped" (it had its faults, and waits for an edit) or "faulty": it does not load. One
    that runs may have `problems` as well: its file was edited since, and that version does not load."""
    if not state.file.enabled:
        word = "off"
    elif state.is_off:
        word = "stopped"
    else:
        word = "runs" if state.running else "faulty"
    return {
        "name": state.name,
        "file": str(state.file.path),
        "shipped": state.file.shipped,
        "enabled": state.file.enabled,
        "state": word,
        "version": state.running,
        "since": _time(state.since),
        "hooks": list(state.hooks),
        "problems": [redact(problem) for problem in state.problems],
        "faults": state.faults,
        "last_fault": redact(state.last_fault),
        "slowest_s": round(state.slowest_s, 4),
        "dropped": state.dropped,
    }


def trial(tried: Trial) -> Document:
    return {**asdict(tried), "elapsed_s": round(tried.elapsed_s, 4), "error": redact(tried.error)}


def step(seen: Step) -> Document:
    """One step of a measurement. `result` is "ok", "failed" or "not_tested"; the last is never a no."""
    return {
        "route": str(seen.route),
        "part": str(seen.part),
        "result": str(seen.found),
        "symptom": str(seen.symptom),
        "text": redact(seen.text),
        "address": seen.address,
        "elapsed_s": round(seen.elapsed, 4),
        "evidence": dict(seen.evidence),
    }


def verdict(told: Verdict) -> Document:
    """What a measurement came to. `confirmed` implies `anomaly`: see detection.md, section 9."""
    return {
        "words": told.word.text,
        "glyph": told.word.glyph,
        "state": str(told.state),
        "cause": told.cause,
        "seen": redact(told.seen),
        "confidence": str(told.confidence),
        "reasons": [redact(reason) for reason in told.reasons],
        "instead": redact(told.instead),
        "do": told.do,
        "anomaly": told.anomaly,
        "confirmed": told.confirmed,
        "signals": [
            {"id": signal.id, "weight": signal.weight, "cause": signal.cause, "text": redact(signal.text)}
            for signal in told.signals
        ],
        "control": str(told.control),
        "through": [str(route) for route in told.through],
    }


def measured_routes(steps: Sequence[Step]) -> list[Document]:
    """How each route of a measurement ended, and how far it came."""
    routes = Routes.of(steps)
    rows = []
    for route in routes.all:
        last = routes.last(route)
        rows.append(
            {
                "route": str(route),
                "result": str(routes.found(route)),
                "stage": str(last.part) if last is not None else "",
                "symptom": str(last.symptom) if last is not None else "",
                "text": redact(last.text) if last is not None else "",
                "status": routes.status(route),
                "elapsed_s": round(sum(seen.elapsed for seen in routes.on(route)), 4),
            }
        )
    return rows


def settings(configured: Settings) -> Document:
    """All settings in effect."""
    shown: Document = _without_secrets(configured.model_dump(mode="json"))
    return shown


def advice(held: Belief, made: Plan, relays: Sequence[str]) -> str:
    """One sentence: what the user can do, or that nothing has to be done."""
    troubled = held.state in (State.SUSPECT, State.BLOCKED)
    if made.action is Action.BLOCK:
        return "It is refused here; the plan says why."
    if not made.routes:
        return "No route is left for it: add a relay with `byway relay add URL`, or change what the plan goes by."
    if made.action is not Action.AUTO:
        return "It goes where you said; nothing is decided by what was seen."
    if troubled and not any(route.relays for route in made.routes):
        if relays:
            return "It may not be rescued (`[auto] never_relay`); `byway site set` allows it."
        return "There is no relay to go around: add one with `byway relay add URL`."
    if troubled:
        return f"Nothing: it is opened through {made.routes[0]}, and direct is tried again by itself."
    if held.state is State.DOWN:
        return "Nothing got through to it on any route: wait, or try another relay."
    if held.state is State.REFUSED:
        return "The site itself refuses: another relay may be let in."
    if held.state is State.UNKNOWN:
        return "Open it once through the proxy, then ask again."
    return "Nothing: it opens."


def destination(asked: Destination) -> Document:
    return {"host": asked.host, "port": asked.port}


def _time(at: float) -> float | None:
    return at or None


def _without_secrets(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _without_secrets(part, name) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(part, key) for part in value]
    if isinstance(value, str):
        return "(set)" if key in _HIDDEN and value else redact(value)
    return value
