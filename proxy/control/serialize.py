"""Serializes Byway's values as JSON objects, which are a stable API: one function for each kind of value.

No object holds a secret: relay URLs have no passwords, and a command that prints a password is shown as "(set)". Times
are seconds since the epoch, or null when they are not set; durations are seconds.

A belief, a verdict and a last result name the site's status alike: the word in `words`, its glyph in `glyph`, the id of
the cause in `cause`, and the cause in words in `because`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from proxy.config.relays import enabled_relays
from proxy.config.schema import RelayConfig, Settings
from proxy.control.relay_test import Trial, result_words
from proxy.control.relay_visits import NO_VISITS, WINDOW_S, RelayVisits, together
from proxy.control.version import VERSION
from proxy.detect.relay_faults import NotedFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import RelayObstacle
from proxy.detect.verdict import labels as words
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.site_status import LastResult, SiteState, SiteStatus, site_state, status_of
from proxy.detect.verdict.verdict import Verdict
from proxy.model import (
    Action,
    Attempt,
    Belief,
    Destination,
    GroupPolicy,
    MeasurementStep,
    NetworkId,
    Outcome,
    Override,
    Plan,
    RelayGroup,
    State,
)
from proxy.routing.router import override_text
from proxy.routing.rules import Rule, Rules
from proxy.session.rule_hits import Hits, RuleHits
from proxy.store.relay_tests import RelayTest
from proxy.wire.relay_url import redact

if TYPE_CHECKING:  # `byway log` needs this module while no Byway runs, and not the addons
    from proxy.control.dependencies import ModeControl
    from proxy.extend.manager import AddonState

Document = dict[str, Any]

_HIDDEN = re.compile(r"(?:^|_)(?:pass(?:word|wd)?|secret|token|credentials?|key)(?:_|$)", re.IGNORECASE)
"""Keys whose value may be a secret, or a command that prints one; also in options of addons, whose names are free."""


def versioned(**content: Any) -> Document:
    """Returns a complete document: `content` with the version of the API."""
    return {"version": VERSION, **content}


def belief(stored: Belief, current: SiteState | None = None) -> Document:
    """Serializes the stored status of a site, and its current one; without `current`, it is made of what is stored.

    `words`, `glyph`, `cause`, `because` and `evidence` are the current status (`site_state`): the last result when that
    is newer than the stored status. `found_at` is when this was found. `state`, `stored_words`, `stored_cause` and
    `stored_evidence` are the stored status alone; `last_result` is null, or as `last_result` writes it."""
    shown = current or site_state(stored)
    # "No route reached it" is not stored as a status: it passes, and the relays may be the reason.
    stored_status = shown.status if stored.state is State.DOWN else status_of(stored.state, stored.cause)
    return {
        "scope": stored.scope,
        "network": stored.network,
        "state": str(stored.state),
        "words": str(shown.status),
        "glyph": shown.status.glyph,
        "cause": shown.cause,
        "because": words.cause_in_words(shown.cause),
        "evidence": redact(shown.text),
        "found_at": _time(shown.at),
        "stored_words": str(stored_status),
        "stored_cause": stored.cause,
        "stored_evidence": stored.why,
        "last_result": None if shown.last is None else last_result(shown.last),
        "score": round(stored.score, 3),
        "episodes": stored.episodes,
        "since": _time(stored.since),
        "until": _time(stored.until),
        "last_good": stored.last_good,
        "last_good_at": _time(stored.last_good_at),
        "retest_at": _time(stored.retest_at),
        "successes": stored.successes,
    }


def last_result(result: LastResult) -> Document:
    """Serializes what last happened to a site. `source` is "measurement" or "connection"."""
    return {
        "words": str(result.status),
        "glyph": result.status.glyph,
        "cause": result.cause,
        "because": words.cause_in_words(result.cause),
        "text": redact(result.text),
        "at": result.at,
        "source": str(result.source),
    }


def override(scope: str, value: Override) -> Document:
    """Serializes an override. `until` is null for one without an end."""
    return {"scope": scope, "action": str(value.action), "relay": value.relay, "until": _time(value.until)}


def plan(value: Plan) -> Document:
    return {"action": str(value.action), "routes": [str(route) for route in value.routes], "why": value.why}


def attempt(value: Attempt) -> Document:
    return {
        "route": str(value.route),
        "stage": str(value.stage),
        "symptom": str(value.symptom),
        "error": redact(value.error),
        "started_s": round(value.started, 4),
        "elapsed_s": round(value.elapsed, 4),
        "address": value.address,
        "evidence": dict(value.evidence),
    }


def outcome(value: Outcome, network: NetworkId) -> Document:
    """Serializes an outcome as the store's rows are."""
    destination = value.request.destination
    return {
        "id": value.request.id,
        "at": value.at,
        "host": value.host or destination.host,
        "port": destination.port,
        "inbound": str(value.request.inbound),
        "action": str(value.plan.action),
        "why": value.plan.why,
        "winner": None if value.winner is None else str(value.winner),
        "error": redact(value.error),
        "protocol": str(value.protocol),
        "bytes_up": value.bytes_up,
        "bytes_down": value.bytes_down,
        "duration_s": round(value.duration, 4),
        "closed_by": str(value.closed_by),
        "network": network,
        "attempts": [attempt(each) for each in value.attempts],
    }


def rule(value: Rule, entries: int | None = None, hits: Hits | None = None) -> Document:
    """Serializes a rule. `entries` is how many its list has, null when it names none. `hits` are the connections that
    it decided about since the start, null when no Byway runs; `last_hit_at` is null until there is one."""
    return {
        "source": value.source,
        "line": value.line,
        "text": value.text,
        "type": str(value.type),
        "value": value.value,
        "action": str(value.action),
        "relay": value.relay,
        "entries": entries,
        **_hits(hits),
    }


def rules(value: Rules, overrides: Mapping[str, Override], counted: RuleHits | None = None) -> Document:
    """Serializes all rules in order, and the overrides, which win over rules. `counted`: none without a running Byway.
    When a text stands twice only the first one ever decides, so that one has the hits."""
    counts = {each.text: None if counted is None else counted.of(each.text) for each in value.rules}
    none = None if counted is None else Hits()
    return {
        "rules": [rule(each, value.entries(each), counts.pop(each.text, none)) for each in value.rules],
        "overrides": [
            {**override(host, each), **_hits(None if counted is None else counted.of(override_text(host, each)))}
            for host, each in sorted(overrides.items())
        ],
        "notices": list(value.notices),
    }


def _hits(value: Hits | None) -> Document:
    return {
        "hits": None if value is None else value.count,
        "last_hit_at": None if value is None else _time(value.last_at),
    }


_NO_OBSTACLES: Mapping[str, RelayObstacle] = MappingProxyType({})


def relays(
    configured: Sequence[RelayConfig],
    tests: Mapping[str, RelayTest],
    health: Callable[[str], RelayHealth],
    failing: Callable[[str], bool] = lambda _: False,
    *,
    visits: Mapping[str, RelayVisits],
    obstacles: Mapping[str, RelayObstacle] = _NO_OBSTACLES,
) -> list[Document]:
    """Serializes the configured relays in their order, with the last test of each and its `visits`. `failing`: whether
    a relay failed so often that it is used last. `obstacles`: what is in the way to each, by name."""
    in_use = {each.name for each in enabled_relays(configured)}
    return [
        relay(
            each,
            health(each.name),
            visits.get(each.name, NO_VISITS),
            failing=failing(each.name),
            in_use=each.name in in_use,
            test=tests.get(each.name),
            obstacle=obstacles.get(each.name),
        )
        for each in configured
    ]


def relay(
    configured: RelayConfig,
    health: RelayHealth,
    visits: RelayVisits = NO_VISITS,
    *,
    failing: bool,
    in_use: bool = True,
    test: RelayTest | None = None,
    obstacle: RelayObstacle | None = None,
) -> Document:
    """Serializes a relay. `words` is its status ("works", "slow", "fails: …", "not tested", "disabled"), found at
    `found_at` by visits and measurements, or by the last test if that is newer.

    `state` is what visits showed: "untried", "works", "failed" (the last time) or "failing": it has a fault, which is
    in `fault`, or it failed so often that it is used last. `fault` is null, or as `relay_fault` writes it; `test` is
    null, or as `relay_test` writes it; `obstacle` null, or as `relay_obstacle` writes it. `enabled` is false for a
    relay that is not used. `visits` and `last_fault` are as `relay_visits` writes them."""
    if failing or health.fault is not None:
        state = "failing"
    elif health.failures:
        state = "failed"
    else:
        state = "works" if health.worked_at else "untried"
    text, found_at = _relay_words(state, health, test) if in_use else ("disabled", 0.0)
    last = max(filter(None, (visits.last_fault, health.last_fault)), key=lambda fault: fault.seen_at, default=None)
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
        "obstacle": None if obstacle is None else relay_obstacle(configured.name, obstacle),
        "enabled": in_use,
        "test": None if test is None else relay_test(test),
        **relay_visits(configured.name, replace(visits, last_fault=last)),
    }


def relay_visits(name: str, visits: RelayVisits) -> Document:
    """Serializes what the visits of the last 24 hours showed of a relay or a group. `visits`: how many it delivered,
    how many failed at it, the share that it delivered (null without a visit), and the median seconds in which it opened
    a path (null when not measured). `last_fault` is null, or as `relay_fault` writes it; it may be over."""
    count = visits.delivered + visits.failed
    return {
        "visits": {
            "hours": int(WINDOW_S / 3600),
            "delivered": visits.delivered,
            "failed": visits.failed,
            "share": round(visits.delivered / count, 4) if count else None,
            "handshake_s": round(visits.handshake_s, 4) or None,
        },
        "last_fault": None if visits.last_fault is None else relay_fault(name, visits.last_fault),
    }


def relay_groups(
    groups: Sequence[RelayGroup],
    relays: Sequence[Document],
    visits: Mapping[str, RelayVisits],
    leading: Callable[[RelayGroup], str],
    lost: Mapping[str, str],
) -> list[Document]:
    """Serializes the groups: `relays` are the members, `first` the one that goes first now (null for a sticky group,
    where it depends on the site, and for one without a member in use), `words` its state. `selects_by` is the group in
    which `byway relay use` selects for it. `problem` is a sentence, when the selected relay is no member any more.
    `relays` are the documents of all relays, `lost` the problems by group."""
    by_name = {relay["name"]: relay for relay in relays}
    words = {name: relay["words"] for name, relay in by_name.items()}
    documents = []
    for group in groups:
        first = leading(group)
        if not group.members or (first and words.get(first) == "disabled"):
            text = "all relays disabled" if not group.members else f"{first}: disabled"
        elif group.policy is GroupPolicy.STICKY:
            text = f"{sum(not words.get(member, '').startswith('fails') for member in group.members)} of "
            text += f"{len(group.members)} relays usable"
        else:
            text = f"{first}: {words.get(first, 'not tested')}"
        faults = [fault for name in group.members if (fault := by_name.get(name, {}).get("last_fault"))]
        documents.append(
            {
                "name": group.name,
                "policy": str(group.policy),
                "relays": list(group.members),
                "first": first or None,
                "selects_by": group.selected_in if group.policy is GroupPolicy.SELECT else None,
                "words": text,
                "problem": lost.get(group.selected_in, ""),
                **relay_visits(group.name, together([visits.get(name, NO_VISITS) for name in group.members])),
                "last_fault": max(faults, key=lambda fault: float(fault["seen_at"]), default=None),
            }
        )
    return documents


def _relay_words(state: str, health: RelayHealth, test: RelayTest | None) -> tuple[str, float]:
    """Returns a relay's status in words, the latest that was found, and when that was; 0: never."""
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
    """Serializes the present fault of relay `name`. `fault` is its id, `text` says it in words, `do` is the remedy,
    which ends with a command; `error` is the sentence of the last failure, with addresses."""
    return {
        "relay": name,
        "fault": str(noted.fault),
        "text": noted.fault.text,
        "do": noted.fault.fix(name),
        "since": noted.since,
        "seen_at": noted.seen_at,
        "error": redact(noted.error),
    }


def relay_obstacle(name: str, obstacle: RelayObstacle) -> Document:
    """Serializes what is in the way to relay `name` on this network. `obstacle` is its id, `words` and `text` say it,
    `do` is the remedy, which ends with a command; `way` is what failed, `instead` what works (empty: nothing)."""
    return {
        "relay": name,
        "obstacle": str(obstacle.kind),
        "words": obstacle.words,
        "text": obstacle.text(name),
        "do": obstacle.fix(name),
        "at": obstacle.at,
        "way": str(obstacle.failed),
        "instead": "" if obstacle.instead is None else str(obstacle.instead),
    }


def relay_test(test: RelayTest) -> Document:
    """Serializes the last `byway relay test` of a relay; `words` are as in `trial`."""
    words = result_words(ok=test.ok, elapsed_s=test.elapsed_s, fault=test.fault)
    return {"at": test.at, "ok": test.ok, "words": words, "elapsed_s": round(test.elapsed_s, 4), "fault": test.fault}


def addon(state: AddonState) -> Document:
    """Serializes an addon. `state` is "off", "runs", "stopped" (disabled after faults, until its file is edited) or
    "faulty" (it does not load). One that runs may have `problems` too: the edited version of its file does not load."""
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


def trial(value: Trial, obstacle: RelayObstacle | None = None) -> Document:
    """Serializes a test of a relay. `words` is "works", "slow" or "fails: …" with the fault; `fault` is that alone.
    `obstacle` is null, or as `relay_obstacle` writes it."""
    return {
        **asdict(value), "words": value.words, "elapsed_s": round(value.elapsed_s, 4), "error": redact(value.error),
        "obstacle": None if obstacle is None else relay_obstacle(value.relay, obstacle),
    }  # fmt: skip


def step(value: MeasurementStep) -> Document:
    """Serializes a step of a measurement. `result` is "ok", "failed" or "not_tested", which is no evidence."""
    return {
        "route": str(value.route),
        "part": str(value.kind),
        "result": str(value.result),
        "symptom": str(value.symptom),
        "text": redact(value.text),
        "address": value.address,
        "elapsed_s": round(value.elapsed, 4),
        "evidence": dict(value.evidence),
    }


def verdict(value: Verdict) -> Document:
    """Serializes the verdict of a measurement. `confirmed` implies `anomaly` (docs/detection.md, "Explaining a
    verdict"). `relay_faults` maps the names of relays that failed themselves to their fault in words."""
    return {
        "words": str(value.status),
        "glyph": value.status.glyph,
        "state": str(value.state),
        "cause": value.cause,
        "because": words.cause_in_words(value.cause),
        "seen": redact(value.summary),
        "confidence": str(value.confidence),
        "reasons": [redact(reason) for reason in value.reasons],
        "instead": redact(value.alternative),
        "do": value.advice,
        "anomaly": value.anomaly,
        "confirmed": value.confirmed,
        "signals": [
            {"id": signal.id, "weight": signal.weight, "cause": signal.cause, "text": redact(signal.text)}
            for signal in value.signals
        ],
        "control": str(value.control),
        "through": [str(route) for route in value.delivered_by],
        "relay_faults": {name: fault.text for name, fault in value.relay_faults.items()},
    }


def measured_routes(steps: Sequence[MeasurementStep]) -> list[Document]:
    """Serializes the result of each route of a measurement, and how far the route came."""
    routes = MeasuredRoutes.of(steps)
    rows = []
    for route in routes.all:
        last = routes.deciding_step(route)
        rows.append(
            {
                "route": str(route),
                "result": str(routes.result(route)),
                "stage": str(last.kind) if last is not None else "",
                "symptom": str(last.symptom) if last is not None else "",
                "text": redact(last.text) if last is not None else "",
                "status": routes.status(route),
                "elapsed_s": round(sum(each.elapsed for each in routes.on(route)), 4),
            }
        )
    return rows


def settings(configured: Settings) -> Document:
    """Serializes all settings in effect."""
    document: Document = _without_secrets(asdict(configured))
    for table in document["addons"].values():
        table |= table.pop("options")
    return document


def policy(stored: Belief, made: Plan, relays: Sequence[str], status: SiteStatus = SiteStatus.NOT_TESTED) -> str:
    """Returns one sentence: what the user can do, or that nothing has to be done. `status` is the current one."""
    troubled = stored.state in (State.SUSPECT, State.BLOCKED)
    if made.action is Action.BLOCK:
        return 'Blocked by a rule; see "plan".'
    if not made.routes:
        return "No route is allowed: add a relay with `byway relay add URL`, or change the rule."
    if status.advice:
        return status.advice
    if made.action is not Action.AUTO:
        return "A rule or override decides the route; results do not change it."
    if troubled and not any(route.relays for route in made.routes):
        if relays:
            return "AUTO may not use relays for it (`[auto] never_relay`). To allow it: `byway site set`."
        return "There is no relay: add one with `byway relay add URL`."
    if troubled:
        return f"Nothing: {made.routes[0]} opens it, and direct is re-tested automatically."
    if stored.state is State.UNKNOWN:
        return "Open it once through the proxy, then ask again."
    return "Nothing: it opens."


def mode(modes: ModeControl) -> Document:
    """Serializes what AUTO does. `paused_until` is null when it is not paused."""
    return {"mode": str(modes.mode), "paused_until": _time(modes.paused_until)}


def destination(value: Destination) -> Document:
    return {"host": value.host, "port": value.port}


def _time(at: float) -> float | None:
    return at or None


def _without_secrets(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: _without_secrets(part, name) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(part, key) for part in value]
    if isinstance(value, str):
        return "(set)" if _HIDDEN.search(key) and value else redact(value)
    return value.isoformat() if isinstance(value, date | time) else value  # TOML has them; JSON has not
