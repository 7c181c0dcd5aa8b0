"""Answers about measurements of a site: their steps and their verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxy.control.answers.mode import ModeJson
from proxy.control.answers.plans import PlanJson
from proxy.control.answers.relay_faults import RelayFaultJson, RelayObstacleJson
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.labels import cause_in_words, plain_cause
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.detect.verdict.measurement_signals import WeightedSignal
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Verdict
from proxy.features.sites.answers import SiteJson, SpellJson
from proxy.model import Destination, MeasurementStep, State, StepKind, StepResult
from proxy.model.document import fields_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.logged import LoggedConnection, StatusChange
from proxy.wire.relay_url import redact


@frozen_dataclass
class StepJson:
    """A step of a measurement. A `result` of "not_tested" is no evidence."""

    route: str
    part: StepKind
    result: StepResult
    symptom: str
    text: str
    address: str
    elapsed_s: float
    evidence: Mapping[str, Any]

    @classmethod
    def of(cls, value: MeasurementStep) -> StepJson:
        return cls(
            route=str(value.route),
            part=value.kind,
            result=value.result,
            symptom=str(value.symptom),
            text=redact(value.text),
            address=value.address,
            elapsed_s=round(value.elapsed, 4),
            evidence=value.evidence,
        )


@frozen_dataclass
class VerdictJson:
    """The verdict of a measurement. `plain` is the plain word for its cause, `because` the sentence of an engineer.
    `confirmed` implies `anomaly` (docs/detection.md, "Explaining a verdict").
    `relay_faults` maps the names of relays that failed themselves to their fault in words. `through` are the routes
    that delivered, `instead` is the other explanation."""

    words: SiteStatus
    glyph: str
    state: State
    cause: str
    plain: str
    because: str
    seen: str
    confidence: Confidence
    reasons: tuple[str, ...]
    instead: str
    do: str
    anomaly: bool
    confirmed: bool
    signals: tuple[WeightedSignal, ...]
    control: StepResult
    through: tuple[str, ...]
    relay_faults: Mapping[str, str]

    @classmethod
    def of(cls, value: Verdict) -> VerdictJson:
        return cls(
            words=value.status,
            glyph=value.status.glyph,
            state=value.state,
            cause=value.cause,
            plain=plain_cause(value.cause),
            because=cause_in_words(value.cause),
            seen=redact(value.summary),
            confidence=value.confidence,
            reasons=tuple(map(redact, value.reasons)),
            instead=redact(value.alternative),
            do=value.advice,
            anomaly=value.anomaly,
            confirmed=value.confirmed,
            signals=tuple(replace(signal, text=redact(signal.text)) for signal in value.signals),
            control=value.control,
            through=tuple(map(str, value.delivered_by)),
            relay_faults={name: fault.text for name, fault in value.relay_faults.items()},
        )


@frozen_dataclass
class RouteResultJson:
    """The result of a route of a measurement, and its last stage. `stage` is empty if nothing was tested; `status` is
    the HTTP status of the answer, null without one. `address` is the contacted one, and `secure_dns`: whether only
    encrypted DNS returned it, for a direct route."""

    route: str
    result: StepResult
    stage: str
    symptom: str
    text: str
    status: int | None
    address: str
    secure_dns: bool
    elapsed_s: float

    @classmethod
    def of(cls, steps: Sequence[MeasurementStep]) -> tuple[RouteResultJson, ...]:
        """Returns the results of all routes in these steps."""
        routes = MeasuredRoutes(tuple(steps))
        rows = []
        for route in routes.all:
            last = routes.deciding_step(route)
            rows.append(
                cls(
                    route=str(route),
                    result=routes.result(route),
                    stage=str(last.kind) if last is not None else "",
                    symptom=str(last.symptom) if last is not None else "",
                    text=redact(last.text) if last is not None else "",
                    status=routes.status(route),
                    address=last.address if last is not None else "",
                    secure_dns=routes.is_resolved_by_secure_dns(route),
                    elapsed_s=round(sum(each.elapsed for each in routes.on(route)), 4),
                )
            )
        return tuple(rows)


@frozen_dataclass
class MeasurementJson:
    """A complete measurement. `measured_on` is the network."""

    url: str
    verdict: VerdictJson
    routes: tuple[RouteResultJson, ...]
    steps: tuple[StepJson, ...]
    measured_at: float
    measured_s: float
    measured_on: str


@frozen_dataclass
class MeasurementsAnswer:
    """The measurements of a host in the last minutes."""

    host: str
    measurements: tuple[MeasurementJson, ...]


@frozen_dataclass
class BriefMeasurementAnswer(MeasurementJson):
    """A brief measurement of one site of many. `kept`: whether the store keeps its result. `measured_again`: whether it
    was not cached."""

    measured_again: bool
    host: str
    port: int
    kept: bool

    @classmethod
    def of(
        cls, made: MeasurementJson, destination: Destination, *, measured_again: bool, kept: bool
    ) -> BriefMeasurementAnswer:
        return cls(
            **fields_of(made), measured_again=measured_again, host=destination.host, port=destination.port, kept=kept
        )


@frozen_dataclass
class KnownSiteAnswer:
    """All stored data about a site, and the plan for a request to it now. `advice` is the remedy, in one sentence.
    `connections` are the last ones, `changes` are those of its status, both the newest first."""

    host: str
    port: int
    belief: SiteJson
    relay_faults: tuple[RelayFaultJson, ...]
    relay_obstacles: tuple[RelayObstacleJson, ...]
    plan: PlanJson
    mode: ModeJson
    advice: str
    connections: tuple[LoggedConnection, ...]
    timeline: tuple[SpellJson, ...]
    changes: tuple[StatusChange, ...]


@frozen_dataclass
class StepLine:
    """A step of a measurement, as soon as it is done."""

    step: StepJson


@frozen_dataclass
class MeasuredSiteLine(KnownSiteAnswer):
    """The last line of a measurement: the stored data about the site, and the measurement (`MeasurementJson`).
    `measured_again`: whether it was not cached."""

    url: str
    verdict: VerdictJson
    routes: tuple[RouteResultJson, ...]
    steps: tuple[StepJson, ...]
    measured_at: float
    measured_s: float
    measured_on: str
    measured_again: bool

    @classmethod
    def of(cls, known: KnownSiteAnswer, made: MeasurementJson, *, measured_again: bool) -> MeasuredSiteLine:
        # A dataclass with slots cannot inherit from two.
        return cls(**fields_of(known), **fields_of(made), measured_again=measured_again)
