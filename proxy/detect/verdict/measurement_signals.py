"""Finds the signals of a measurement, with their weights, from the failures of direct.

The signals are those of docs/detection.md, "Signals", from steps instead of an outcome. A measurement shows more than a
visit: whether another SNI is answered at the same address, and what another route gets at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping

from proxy.config.detect_tuning import DetectTuning
from proxy.detect import signals
from proxy.detect.pages.page_difference import Page
from proxy.detect.signals import REFUSALS, Failure, signal_of
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.model import (
    DIRECT,
    DOH,
    Cause,
    MeasurementStep,
    Protocol,
    Route,
    SignalId,
    Stage,
    StepKind,
    StepResult,
    Symptom,
)
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _


@frozen_dataclass
class WeightedSignal:
    """One signal of a measurement: its cause, its weight (above 0 when it speaks for a block), and the text of the step
    that shows it."""

    id: SignalId
    weight: float
    cause: Cause
    text: str

    @property
    def confirms(self) -> bool:
        """Whether the signal alone proves a block (docs/detection.md, "Explaining a verdict")."""
        return self.id in (SignalId.DNS_TWO_ANSWERS, SignalId.HTTP_BLOCK_PAGE, SignalId.KNOWN_ROOT)


def weighted_signals(routes: MeasuredRoutes, detect: DetectTuning) -> tuple[WeightedSignal, ...]:
    """Returns the signals of direct, each id once, in the order of its steps; then those of comparisons with other
    routes."""
    by_id: dict[SignalId, WeightedSignal] = {}
    for step in routes.on(DIRECT):
        for signal, cause in _of_step(step, routes):
            by_id.setdefault(signal, WeightedSignal(signal, _weight(signal, detect), cause, step.text))
    for compared in (_throttled(routes, detect), _different_page(routes, detect)):
        if compared is not None:
            by_id[compared.id] = compared
    return tuple(by_id.values())


_MEASURED_ONLY: Mapping[SignalId, float] = {
    SignalId.KNOWN_ROOT: 6.0,
    SignalId.SNI_SWAP: signals.SNI_SWAP_WEIGHT,
}
"""Weights of the signals that only a measurement shows. All others are in `[detect.weights]`."""


def _weight(signal: SignalId, detect: DetectTuning) -> float:
    return _MEASURED_ONLY[signal] if signal in _MEASURED_ONLY else float(getattr(detect.weights, signal, 1.0))


_STAGES: Mapping[StepKind, tuple[Stage, Protocol]] = {
    StepKind.RESOLVE: (Stage.RESOLVE, Protocol.NONE),
    StepKind.CONNECT: (Stage.CONNECT, Protocol.NONE),
    StepKind.HELLO: (Stage.FIRST_BYTE, Protocol.TLS),
    StepKind.ANSWER: (Stage.FIRST_BYTE, Protocol.HTTP),
}
"""The stage and protocol of a connection when such a step fails."""


def _failure(step: MeasurementStep, *, in_tls: bool = False) -> Failure:
    """Returns a failed step as the failure of a connection. `in_tls`: a verified TLS handshake came before it, so the
    network sees only lengths and times, and a reset comes after the server's first byte."""
    stage, protocol = (Stage.DONE, Protocol.TLS) if in_tls else _STAGES[step.kind]
    return Failure(stage, step.symptom, protocol, step.evidence)


def _of_step(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    """Returns the signals of one step of direct, each with its cause."""
    if step.kind is StepKind.ANSWER and step.ok and routes.is_redirected_only_direct:
        return [(SignalId.HTTP_REDIRECT, Cause.BLOCK_PAGE)]
    if not step.failed:
        return []
    match step.kind:
        case StepKind.RESOLVE:
            return _of_lookup(step, routes)
        case StepKind.CONNECT:
            # One of several addresses may be unreachable, like IPv6 on many networks: it counts only if all fail.
            signal = None if routes.has_connected(DIRECT) else signal_of(_failure(step))
            return [(signal, signals.cause(signal))] if signal else []
        case StepKind.HELLO:
            signal = signal_of(_failure(step))
            if signal is None:
                return []
            cause = signals.cause(signal)
            swap = _answers_another_name(step, routes)
            return [(signal, cause), (SignalId.SNI_SWAP, cause)] if swap else [(signal, cause)]
        case StepKind.CERTIFICATE:
            return _of_certificate(step, routes)
        case StepKind.ANSWER:
            in_tls = routes.is_verified(DIRECT)
            signal = signal_of(_failure(step, in_tls=in_tls))
            return [(signal, Cause.FROZEN if in_tls else signals.cause(signal))] if signal else []
        case StepKind.TRANSFER:
            is_frozen = step.symptom is Symptom.FROZEN
            return [(SignalId.FROZEN, Cause.FROZEN) if is_frozen else (SignalId.THROTTLED, Cause.THROTTLED)]
        case StepKind.PAUSE:
            return [(SignalId.FROZEN, Cause.FROZEN)] if step is routes.cut_later else []
    return []


def _of_lookup(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    """Returns the signal of a failed or forged answer of the system's resolver."""
    finding = step.evidence.get("dns")
    # A CDN gives other resolvers other addresses, so a difference alone is no signal.
    if finding == SignalId.DNS_MISMATCH and not _is_wrong_address(routes):
        return []
    if finding:
        return [(finding, Cause.DNS)]
    failure = _failure(step)
    if signal_of(failure) is not SignalId.DNS_FAILED and step.symptom is not Symptom.FORGED:
        return []
    if routes.has_secure_answer and failure.is_resolver_silence:
        return [(SignalId.DNS_SILENT, Cause.DNS)]
    return [(SignalId.DNS_DENIED if routes.has_secure_answer else SignalId.DNS_FAILED, Cause.DNS)]


def _is_wrong_address(routes: MeasuredRoutes) -> bool:
    """Whether the server at the address from the system's resolver has no certificate for the site, or direct works
    only at the address from encrypted DNS."""
    is_refused = any(step.kind is StepKind.CERTIFICATE and step.failed for step in routes.on(DIRECT))
    works_by_doh = routes.result(DOH) is StepResult.OK and routes.result(DIRECT) is not StepResult.OK
    return is_refused or works_by_doh


def _of_certificate(step: MeasurementStep, routes: MeasuredRoutes) -> list[tuple[SignalId, Cause]]:
    """Returns the signal of a refused certificate. There is none if a relay gets a bad one too, which is the site's
    fault, or if no other route got a valid one."""
    if step.evidence.get("known_root"):
        return [(SignalId.KNOWN_ROOT, Cause.INTERCEPTION)]
    certificates = [other for other in routes.steps if other.kind is StepKind.CERTIFICATE]
    other_is_valid = any(other.ok and other.route != DIRECT for other in certificates)
    relay_gets_bad = any(other.failed and other.route.relays for other in certificates)
    return [(SignalId.TLS_BAD_CERT, Cause.INTERCEPTION)] if other_is_valid and not relay_gets_bad else []


def _answers_another_name(failed: MeasurementStep, routes: MeasuredRoutes) -> bool:
    """Whether another SNI was answered at the same address, by a whole handshake, and nothing of the answer to this one
    came. An alert shows little: it passes a path that loses full segments, and some servers send it to every client."""
    if failed.evidence.get("out_of_order") or failed.symptom is Symptom.FROZEN:
        return False
    return any(
        step.kind is StepKind.NEUTRAL and step.ok and step.symptom is Symptom.NONE and step.address == failed.address
        for step in routes.on(DIRECT)
    )


def _throttled(routes: MeasuredRoutes, detect: DetectTuning) -> WeightedSignal | None:
    """Returns the signal that direct is slow while another route is much faster; None: it is not."""
    direct = routes.speed(DIRECT)
    if direct is None or direct >= detect.measure_slow_bytes:
        return None
    others = [(speed, route) for route in routes.all if route != DIRECT and (speed := routes.speed(route)) is not None]
    fastest, route = max(others, key=lambda other: other[0], default=(0.0, DIRECT))
    if fastest < direct * detect.measure_slow_ratio:
        return None
    text = _(
        "{slow:.1f} kB/s direct and {fast:.0f} kB/s through {route}",
        slow=direct / 1000,
        fast=fastest / 1000,
        route=str(route),
    )
    return WeightedSignal(SignalId.THROTTLED, _weight(SignalId.THROTTLED, detect), Cause.THROTTLED, text)


def _different_page(routes: MeasuredRoutes, detect: DetectTuning) -> WeightedSignal | None:
    """Returns the signal that direct gets another page than a relay over plain HTTP, by length and title: it may be a
    block page without a fingerprint. None: the pages are alike, or not comparable."""
    pages = _compared_pages(routes)
    if pages is None or not pages.have_other_lengths or not pages.have_other_titles:
        return None
    if (pages.direct.status, pages.relayed.status) != (200, 200):
        return None
    text = _(
        "{count} bytes direct, {relayed} through {route}, and the titles have no word in common",
        count=pages.direct.length,
        relayed=pages.relayed.length,
        route=str(pages.route),
    )
    weight = _weight(SignalId.HTTP_DIFFERS, detect)
    return WeightedSignal(SignalId.HTTP_DIFFERS, weight, Cause.BLOCK_PAGE, text)


def page_difference(routes: MeasuredRoutes) -> str:
    """Returns the difference between the pages that direct and a relay got over plain HTTP, as half a sentence; empty:
    they are alike, or not comparable. One difference alone is no signal: a site may show another page elsewhere."""
    pages = _compared_pages(routes)
    if pages is None:
        return ""
    direct, relayed, route = pages.direct, pages.relayed, str(pages.route)
    if direct.status != relayed.status:
        return _(
            "HTTP {status} direct, HTTP {relayed} through {route}",
            status=str(direct.status),
            relayed=str(relayed.status),
            route=route,
        )
    if direct.status != 200:
        return ""
    if pages.have_other_titles and direct.words and relayed.words:
        return _(
            '"{title}" direct, "{relayed}" through {route}', title=direct.title, relayed=relayed.title, route=route
        )
    if pages.have_other_lengths:
        return _(
            "{count} bytes direct, {relayed} through {route}", count=direct.length, relayed=relayed.length, route=route
        )
    return ""


@frozen_dataclass
class _Pages:
    """The page that direct got over plain HTTP, which a middlebox may have sent, and the page of a relay."""

    direct: Page
    route: Route
    relayed: Page

    @property
    def have_other_lengths(self) -> bool:
        return self.direct.has_other_length(self.relayed)

    @property
    def have_other_titles(self) -> bool:
        return self.direct.has_other_title(self.relayed)


def _compared_pages(routes: MeasuredRoutes) -> _Pages | None:
    """Returns the pages to compare; None: direct got none over plain HTTP, or no relay got one, except refusals."""
    direct = _page(routes, DIRECT)
    if direct is None or routes.is_verified(DIRECT):
        return None
    relayed = ((route, _page(routes, route)) for route in routes.delivered if route.relays)
    return next((_Pages(direct, route, page) for route, page in relayed if page and page.status not in REFUSALS), None)


def _page(routes: MeasuredRoutes, route: Route) -> Page | None:
    """Returns the page that a route delivered; None: there is none."""
    for step in routes.on(route):
        length, status = step.evidence.get("bytes"), step.evidence.get("status")
        if step.kind is StepKind.ANSWER and step.ok and isinstance(length, int) and isinstance(status, int):
            return Page(status, length, str(step.evidence.get("title") or ""))
    return None
