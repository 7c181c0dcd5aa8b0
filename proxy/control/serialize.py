"""Our values as JSON objects: the stable API, one function a value.

Nothing secret goes in here, whoever asks: relay URLs are shown without passwords, commands that print passwords are
only said to be set. Times are seconds since the epoch, lengths are seconds, a time that is not set is null.

The word for a site is in `words`, its glyph in `glyph`, its cause's id in `cause` and in words in `because`: the same
in a belief, a verdict and a last result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from proxy.config.relays import enabled_relays
from proxy.config.schema import RelayConfig, Settings
from proxy.control.relay_test import Trial, result_words
from proxy.control.version import VERSION
from proxy.detect.relay_faults import NotedFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.verdict import labels as words
from proxy.detect.verdict.measurement_signals import MeasuredRoutes
from proxy.detect.verdict.site_status import LastResult, SiteState, SiteStatus, site_state, status_of
from proxy.detect.verdict.verdict import Verdict
from proxy.model import Action, Attempt, Belief, Destination, MeasurementStep, NetworkId, Outcome, Override, Plan, State
from proxy.routing.rules import Rule
from proxy.store.relay_tests import RelayTest
from proxy.wire.relay_url import redact

if TYPE_CHECKING:  # `byway log` needs this module while no Byway runs, and not the addons
    from proxy.extend.manager import AddonState

Document = dict[str, Any]

_HIDDEN = re.compile(r"(?:^|_)(?:pass(?:word|wd)?|secret|token|credentials?|key)(?:_|$)", re.IGNORECASE)
"""Keys whose value may be a secret, or a command that prints one; of addons too, which name theirs as they like."""


def versioned(**content: Any) -> Document:
    """A whole answer."""
    return {"version": VERSION, **content}


def belief(held: Belief, now_called: SiteState | None = None) -> Document:
    """What is stored about a site, and what it is called now.

    `words`, `glyph`, `cause`, `because` and `evidence` are those of the moment (`site_state`): of the last result when
    that is newer than the stored status. `found_at` is when this was found. `state`, `stored_words`, `stored_cause`
    and `stored_evidence` are the stored status alone; `last_result` is null, or as `last_result` writes it."""
    shown = now_called or site_state(held)
    # that no route reached it is no stored status but passes, and may be the relays' doing
    stored = shown.status if held.state is State.DOWN else status_of(held.state, held.cause)
    return {
        "scope": held.scope,
        "network": held.network,
        "state": str(held.state),
        "words": str(shown.status),
        "glyph": shown.status.glyph,
        "cause": shown.cause,
        "because": words.cause_in_words(shown.cause),
        "evidence": redact(shown.text),
        "found_at": _time(shown.at),
        "stored_words": str(stored),
        "stored_cause": held.cause,
        "stored_evidence": held.why,
        "last_result": None if shown.last is None else last_result(shown.last),
        "score": round(held.score, 3),
        "episodes": held.episodes,
        "since": _time(held.since),
        "until": _time(held.until),
        "last_good": held.last_good,
        "last_good_at": _time(held.last_good_at),
        "retest_at": _time(held.retest_at),
        "successes": held.successes,
    }


def last_result(result: LastResult) -> Document:
    """`source` is "measurement" or "connection"."""
    return {
        "words": str(result.status),
        "glyph": result.status.glyph,
        "cause": result.cause,
        "because": words.cause_in_words(result.cause),
        "text": redact(result.text),
        "at": result.at,
        "source": str(result.source),
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
        "type": str(said.type),
        "value": said.value,
        "action": str(said.action),
        "relay": said.relay,
    }


def relays(
    configured: Sequence[RelayConfig],
    tests: Mapping[str, RelayTest],
    health: Callable[[str], RelayHealth],
    failing: Callable[[str], bool] = lambda _: False,
) -> list[Document]:
    """The configured relays in their order, with the last test of each."""
    in_use = {each.name for each in enabled_relays(configured)}
    return [
        relay(
            each, health(each.name), failing=failing(each.name), in_use=each.name in in_use, test=tests.get(each.name)
        )
        for each in configured
    ]


def relay(
    configured: RelayConfig, health: RelayHealth, *, failing: bool, in_use: bool = True, test: RelayTest | None = None
) -> Document:
    """`words` says how the relay is ("works", "slow", "fails: …", "not tested", "disabled"), found at `found_at`: by
    visits and measurements, or by the last test if that is newer.

    `state` is what visits showed: "untried", "works", "failed" (the last time) or "failing": something is wrong with
    it, which is in `fault`, or it failed so often that it is used last. `fault` is null, or as `relay_fault` writes it;
    `test` is null, or as `relay_test` writes it. `enabled` is false for a relay that is not used."""
    if failing or health.fault is not None:
        state = "failing"
    elif health.failures:
        state = "failed"
    else:
        state = "works" if health.worked_at else "untried"
    text, found_at = _relay_words(state, health, test) if in_use else ("disabled", 0.0)
    return {
        "name": configured.name,
        "url": redact(configured.url),
        "words": text,
        "found_at": _time(found_at),
        "state": state,
        "failures": health.failures,
        "error": redact(health.last_error),
        "usual_s": round(health.usual_s, 4) or None,
        "worked_at": _time(health.worked_at),
        "failed_at": _time(health.failed_at),
        "fault": None if health.fault is None else relay_fault(configured.name, health.fault),
        "enabled": in_use,
        "test": None if test is None else relay_test(test),
    }


def _relay_words(state: str, health: RelayHealth, test: RelayTest | None) -> tuple[str, float]:
    """How a relay is, in words, and when that was found; 0: never."""
    found = []
    if state in ("failing", "failed"):
        fault = health.fault.fault.text if health.fault is not None else redact(health.last_error)
        found.append((health.failed_at, result_words(ok=False, elapsed_s=0, fault=fault)))
    elif state == "works":
        found.append((health.worked_at, result_words(ok=True, elapsed_s=health.usual_s, fault="")))
    if test is not None:
        found.append((test.at, result_words(ok=test.ok, elapsed_s=test.elapsed_s, fault=test.fault)))
    at, text = max(found, default=(0.0, "not tested"))
    return text, at


def relay_fault(name: str, noted: NotedFault) -> Document:
    """What is wrong with relay `name` now. `fault` is the id, `text` says it in words, `do` is what to do about it,
    ending with a command; `error` is the sentence of the last failure, with addresses."""
    return {
        "relay": name,
        "fault": str(noted.fault),
        "text": noted.fault.text,
        "do": noted.fault.fix(name),
        "since": noted.since,
        "seen_at": noted.seen_at,
        "error": redact(noted.error),
    }


def relay_test(test: RelayTest) -> Document:
    """The last `byway relay test` of a relay: `words` as in `trial`."""
    words = result_words(ok=test.ok, elapsed_s=test.elapsed_s, fault=test.fault)
    return {"at": test.at, "ok": test.ok, "words": words, "elapsed_s": round(test.elapsed_s, 4), "fault": test.fault}


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
    """`words` is "works", "slow" or "fails: …" with the fault, which is in `fault` alone."""
    return {
        **asdict(tried), "words": tried.words, "elapsed_s": round(tried.elapsed_s, 4), "error": redact(tried.error)
    }  # fmt: skip


def step(seen: MeasurementStep) -> Document:
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
    """What a measurement came to. `confirmed` implies `anomaly`: see docs/detection.md, "Explaining a verdict".
    `relay_faults` maps the names of relays that failed themselves to the fault in words."""
    return {
        "words": str(told.status),
        "glyph": told.status.glyph,
        "state": str(told.state),
        "cause": told.cause,
        "because": words.cause_in_words(told.cause),
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
        "relay_faults": {name: fault.text for name, fault in told.relay_faults.items()},
    }


def measured_routes(steps: Sequence[MeasurementStep]) -> list[Document]:
    """How each route of a measurement ended, and how far it came."""
    routes = MeasuredRoutes.of(steps)
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


def policy(held: Belief, made: Plan, relays: Sequence[str], status: SiteStatus = SiteStatus.NOT_TESTED) -> str:
    """One sentence: what the user can do, or that nothing has to be done. `status` is the word for the site now."""
    troubled = held.state in (State.SUSPECT, State.BLOCKED)
    if made.action is Action.BLOCK:
        return 'Blocked by a rule; see "plan".'
    if not made.routes:
        return "No route is allowed: add a relay with `byway relay add URL`, or change the rule."
    if status in _TO_DO:
        return _TO_DO[status]
    if made.action is not Action.AUTO:
        return "A rule or override decides the route; results do not change it."
    if troubled and not any(route.relays for route in made.routes):
        if relays:
            return "AUTO may not use relays for it (`[auto] never_relay`). To allow it: `byway site set`."
        return "There is no relay: add one with `byway relay add URL`."
    if troubled:
        return f"Nothing: {made.routes[0]} opens it, and direct is re-tested automatically."
    if held.state is State.UNKNOWN:
        return "Open it once through the proxy, then ask again."
    return "Nothing: it opens."


_TO_DO: Mapping[SiteStatus, str] = MappingProxyType(
    {
        SiteStatus.NO_SUCH_NAME: "Check the spelling.",
        SiteStatus.BAD_CERTIFICATE: "Do not enter passwords there. `byway why` names the reason.",
        SiteStatus.SITE_DOWN: "No route reached it. Wait, or try another relay.",
        SiteStatus.REFUSES_THIS_ROUTE: "The site refuses this route. Try another relay.",
        SiteStatus.RELAYS_FAIL: "The relays fail: see `byway status`, then `byway relay test`.",
        SiteStatus.NO_NETWORK: "Check your network connection.",
        SiteStatus.PORTAL: "Open any page in a browser and log in to the network.",
    }
)


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
        return "(set)" if _HIDDEN.search(key) and value else redact(value)
    return value
