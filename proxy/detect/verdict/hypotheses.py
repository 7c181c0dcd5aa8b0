"""Hypotheses about the fault of a site, and the choice of the next probe: `byway why` as an experimenter. Pure.

`MODELS` says what each hypothesis expects of each probe. Results of probes make a posterior (Bayes), and `next_probe`
chooses the probe with the most expected information about it. `remaining` returns the hypotheses that are left: more
than one, where no probe separates them. The verdict is still that of `decision`.

The hypotheses are about the connection to a known address. False DNS answers, other certificates and known block pages
are recognised without a comparison of probes, and need none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from proxy.detect.signals import REFUSALS
from proxy.detect.verdict.measured_routes import MeasuredRoutes
from proxy.model import DIRECT, DOH, MeasurementStep, StepKind, StepResult, Symptom
from proxy.model.frozen_dataclass import frozen_dataclass


class Hypothesis(StrEnum):
    """The faults that probes tell apart."""

    NOTHING = "nothing"  # the site opens
    NAME = "name"  # the network stops the name, at any address
    ADDRESS = "address"  # the network stops the address, for any name
    BOTH = "both"  # the network stops the name, and also the address
    PAIR = "pair"  # the network stops the name at this address, and neither alone
    SHAPE = "shape"  # the network stops the ClientHello of one program, and not that of another
    SIZE = "size"  # the network stops connections that carry more than some bytes
    TIME = "time"  # the network stops connections some seconds after the handshake
    SPEED = "speed"  # the network slows connections down
    REFUSAL = "refusal"  # the server refuses this visitor, or the ClientHello of one program
    DOWN = "down"  # the server fails for everybody
    NETWORK = "network"  # the network lets no foreign site through


class Probe(StrEnum):
    """What can be tried. Each probe is a connection of its own, direct unless it says otherwise."""

    NEUTRAL = "neutral"  # another name at the address of the site
    VISIT = "visit"  # the page of the site, with Byway's own ClientHello
    ELSEWHERE = "elsewhere"  # the name of the site at another of its addresses
    OTHER_HELLO = "other_hello"  # the name of the site at its address, with the ClientHello of the visit
    CUT = "cut"  # the same with a ClientHello that a local strategy hides
    TRANSFER = "transfer"  # many bytes of the site on one connection, at once
    PAUSE = "pause"  # two small requests on one connection, with a pause between them
    RELAY = "relay"  # the page of the site, through a relay
    RELAY_TRANSFER = "relay_transfer"  # as TRANSFER, through a relay
    RELAY_PAUSE = "relay_pause"  # as PAUSE, through a relay
    RELAY_OTHER_HELLO = "relay_other_hello"  # as OTHER_HELLO, through a relay
    CONTROL = "control"  # the page of another site


class Result(StrEnum):
    """How a probe ended."""

    DELIVERED = "delivered"  # all that was requested came; of a probe that sends a ClientHello alone, an answer
    REFUSED = "refused"  # the server said no: by a TLS alert or an HTTP status
    UNCONNECTED = "unconnected"  # no TCP connection; through a relay: it says that it cannot reach the site
    UNANSWERED = "unanswered"  # no answer to the ClientHello or the first request
    STOPPED = "stopped"  # it was answered, and ended too early
    SLOW = "slow"
    LOST = "lost"  # not known, or not yet


@frozen_dataclass
class Observation:
    """One probe, in the order in which they were sent."""

    probe: Probe
    result: Result


@frozen_dataclass
class Model:
    """One way in which a hypothesis may be true, with its prior probability and the result that it expects of each
    probe."""

    hypothesis: Hypothesis
    prior: float
    expects: Mapping[Probe, Result]
    """DELIVERED for those that are not named."""


# -- what the hypotheses expect ----------------------------------------------------------------------------------------

_AT_ADDRESS = (Probe.NEUTRAL, Probe.VISIT, Probe.OTHER_HELLO, Probe.CUT, Probe.TRANSFER, Probe.PAUSE)
"""Probes of the site's address."""

_NAMED = (Probe.VISIT, Probe.OTHER_HELLO, Probe.CUT, Probe.TRANSFER, Probe.PAUSE)
"""Those with its name."""

_IN_FULL = tuple(probe for probe in _NAMED if probe is not Probe.CUT)
"""Those whose hello has the name in one piece."""


def _all(result: Result, *probes: Probe, **others: Result) -> Mapping[Probe, Result]:
    return {**dict.fromkeys(probes, result), **{Probe(name): other for name, other in others.items()}}


_REFUSED, _UNCONNECTED, _UNANSWERED = Result.REFUSED, Result.UNCONNECTED, Result.UNANSWERED
_STOPPED, _SLOW = Result.STOPPED, Result.SLOW
_EVERYWHERE = (*_AT_ADDRESS, Probe.ELSEWHERE)
_PAGES = (Probe.VISIT, Probe.TRANSFER, Probe.PAUSE)
"""Probes that request the page with Byway's own hello."""

_WHOLE = (Probe.VISIT, Probe.TRANSFER)
_WHOLE_BY_RELAY = (Probe.RELAY, Probe.RELAY_TRANSFER)
_BY_RELAY = (Probe.RELAY, Probe.RELAY_OTHER_HELLO)
"""Probes through a relay that fail with the first bytes."""


MODELS = (
    Model(Hypothesis.NOTHING, 0.15, {}),
    Model(Hypothesis.NOTHING, 0.01, _all(_SLOW, *_WHOLE, *_WHOLE_BY_RELAY)),  # a slow server
    Model(Hypothesis.NOTHING, 0.01, _all(_SLOW, Probe.TRANSFER, Probe.RELAY_TRANSFER)),  # with a small page
    Model(Hypothesis.NOTHING, 0.01, _all(_STOPPED, Probe.PAUSE, Probe.RELAY_PAUSE)),  # it closes idle connections
    Model(Hypothesis.NAME, 0.13, _all(_UNANSWERED, *_IN_FULL, Probe.ELSEWHERE)),
    Model(Hypothesis.NAME, 0.07, _all(_UNANSWERED, *_NAMED, Probe.ELSEWHERE)),  # reassembles a cut hello
    Model(Hypothesis.ADDRESS, 0.06, _all(_UNCONNECTED, *_AT_ADDRESS)),
    Model(Hypothesis.ADDRESS, 0.03, _all(_UNCONNECTED, *_EVERYWHERE)),  # all addresses of the site
    Model(Hypothesis.ADDRESS, 0.02, _all(_UNANSWERED, *_AT_ADDRESS)),
    Model(Hypothesis.ADDRESS, 0.01, _all(_UNANSWERED, *_EVERYWHERE)),
    Model(Hypothesis.BOTH, 0.02, _all(_UNCONNECTED, *_AT_ADDRESS, elsewhere=_UNANSWERED)),
    Model(Hypothesis.PAIR, 0.02, _all(_UNANSWERED, *_IN_FULL)),
    Model(Hypothesis.PAIR, 0.01, _all(_UNANSWERED, *_NAMED)),
    Model(Hypothesis.SHAPE, 0.015, _all(_UNANSWERED, *_PAGES, Probe.ELSEWHERE)),  # that of Byway, with this name
    Model(Hypothesis.SHAPE, 0.01, _all(_UNANSWERED, *_PAGES, Probe.NEUTRAL, Probe.CUT)),  # to this address
    Model(Hypothesis.SHAPE, 0.01, _all(_UNANSWERED, *_PAGES, Probe.NEUTRAL, Probe.CUT, Probe.ELSEWHERE, Probe.CONTROL)),
    Model(Hypothesis.SHAPE, 0.03, _all(_UNANSWERED, Probe.OTHER_HELLO)),  # that of the visit
    Model(Hypothesis.SIZE, 0.04, _all(_STOPPED, *_WHOLE)),
    Model(Hypothesis.SIZE, 0.04, _all(_STOPPED, Probe.TRANSFER)),
    Model(Hypothesis.TIME, 0.02, _all(_STOPPED, Probe.PAUSE)),
    Model(Hypothesis.TIME, 0.01, _all(_STOPPED, Probe.PAUSE, Probe.TRANSFER)),
    Model(Hypothesis.TIME, 0.01, _all(_STOPPED, Probe.PAUSE, *_WHOLE)),
    Model(Hypothesis.SPEED, 0.02, _all(_SLOW, Probe.TRANSFER)),
    Model(Hypothesis.SPEED, 0.02, _all(_SLOW, *_WHOLE)),
    Model(Hypothesis.REFUSAL, 0.03, _all(_REFUSED, *_PAGES)),  # by an HTTP status
    Model(Hypothesis.REFUSAL, 0.02, _all(_REFUSED, *_PAGES, Probe.RELAY)),
    Model(Hypothesis.REFUSAL, 0.02, _all(_REFUSED, *_NAMED, Probe.ELSEWHERE)),  # by a TLS alert
    Model(Hypothesis.REFUSAL, 0.01, _all(_REFUSED, *_NAMED, Probe.ELSEWHERE, *_BY_RELAY)),
    Model(Hypothesis.REFUSAL, 0.01, _all(_REFUSED, Probe.OTHER_HELLO, Probe.RELAY_OTHER_HELLO)),  # TLS of the program
    Model(Hypothesis.REFUSAL, 0.01, _all(_UNANSWERED, Probe.OTHER_HELLO, Probe.RELAY_OTHER_HELLO)),
    Model(Hypothesis.DOWN, 0.04, _all(_UNCONNECTED, *_EVERYWHERE, *_BY_RELAY)),
    Model(Hypothesis.DOWN, 0.02, _all(_UNANSWERED, *_EVERYWHERE, *_BY_RELAY)),
    Model(Hypothesis.DOWN, 0.01, _all(_UNANSWERED, *_NAMED, Probe.ELSEWHERE, *_BY_RELAY)),  # behind a router by name
    Model(Hypothesis.DOWN, 0.01, _all(_STOPPED, *_WHOLE, *_WHOLE_BY_RELAY)),  # it stalls
    Model(Hypothesis.DOWN, 0.01, _all(_STOPPED, Probe.TRANSFER, Probe.RELAY_TRANSFER)),
    Model(Hypothesis.NETWORK, 0.02, _all(_UNCONNECTED, *_EVERYWHERE, Probe.CONTROL, *_BY_RELAY)),
    Model(Hypothesis.NETWORK, 0.02, _all(_UNCONNECTED, *_EVERYWHERE, Probe.CONTROL)),  # a list of allowed addresses
    Model(Hypothesis.NETWORK, 0.01, _all(_UNANSWERED, *_EVERYWHERE, Probe.CONTROL)),  # a list of allowed names
)
"""The priors are first guesses. They matter most where no probe separates two hypotheses."""


# -- from results to probabilities -------------------------------------------------------------------------------------

SURE = 0.95
"""The probability from which hypotheses are all that is left."""

_FOLLOWS: Mapping[Probe, tuple[Probe, Collection[Result]]] = {
    Probe.OTHER_HELLO: (Probe.VISIT, frozenset(Result) - {Result.LOST}),
    Probe.CUT: (Probe.VISIT, (Result.UNANSWERED, Result.REFUSED)),
    Probe.TRANSFER: (Probe.VISIT, (Result.DELIVERED, Result.STOPPED, Result.SLOW)),
    Probe.PAUSE: (Probe.VISIT, (Result.DELIVERED, Result.STOPPED, Result.SLOW)),
    Probe.RELAY_TRANSFER: (Probe.TRANSFER, (Result.STOPPED, Result.SLOW)),
    Probe.RELAY_PAUSE: (Probe.PAUSE, (Result.STOPPED,)),
    Probe.RELAY_OTHER_HELLO: (Probe.OTHER_HELLO, (Result.UNANSWERED, Result.REFUSED)),
}
"""The probe, with one of these results, after which another one is sent at the earliest."""

TRIES = 3
"""How often a probe is sent at most: a silence may be a lost segment."""

_SILENCES = 2
"""Silences of another name that are no loss."""

_LEAST_BITS = 0.01
"""A probe that is expected to tell less is not worth a connection."""

_ACCIDENTS: Mapping[Result, float] = {
    Result.DELIVERED: 0.01,
    Result.REFUSED: 0.001,
    Result.UNCONNECTED: 0.002,
    Result.UNANSWERED: 0.04,
    Result.STOPPED: 0.01,
    Result.SLOW: 0.01,
}
"""The chance of each result where a model expects another one. A silence may be loss; an answer hardly comes by
accident, and a SYN is sent three times."""

_ANSWERS = (Result.DELIVERED, Result.REFUSED, Result.STOPPED, Result.SLOW)

_NONE_EXPECTED: Mapping[Result, float] = {
    result: chance / 10 if result in _ANSWERS else chance for result, chance in _ACCIDENTS.items()
}
"""The same where a model expects no answer: none is slow, stops or is complete that a filter has stopped before."""

_TOTALS = {True: sum(_ACCIDENTS.values()), False: sum(_NONE_EXPECTED.values())}

_RESIDUE = 0.3
"""The chance of silence at an address where a filter of `_OF_A_NAME` has just stopped the name: residual blocking stops
all names there for minutes."""

_OF_A_NAME = (Hypothesis.NAME, Hypothesis.PAIR)


def posterior(observed: Sequence[Observation]) -> Mapping[Hypothesis, float]:
    """Returns the probability of each hypothesis after these results."""
    return _by_hypothesis(_weights(observed))


def remaining(observed: Sequence[Observation]) -> tuple[Hypothesis, ...]:
    """Returns the hypotheses that these results leave, the most probable first: one of them is true, nearly certainly.
    More than one: they are not separable by what was probed."""
    left: list[Hypothesis] = []
    probability = 0.0
    for hypothesis, share in sorted(posterior(observed).items(), key=lambda item: -item[1]):
        if probability < SURE:
            left.append(hypothesis)
            probability += share
    return tuple(left)


def next_probe(observed: Sequence[Observation], possible: Collection[Probe] = tuple(Probe)) -> Probe | None:
    """Returns the probe with the most expected information, of those that are possible here; None: a hypothesis is
    nearly certain, or no probe tells enough."""
    left = [probe for probe in Probe if probe in possible and _may_follow(probe, observed)]
    if (first := _first(observed, left)) is not None:
        return first
    if len(remaining(observed)) == 1:
        return None
    weights = _weights(observed)
    bits = {probe: _information(weights, probe, observed) for probe in left}
    best = max(left, key=bits.__getitem__, default=None)
    return best if best is not None and bits[best] >= _LEAST_BITS else None


def _first(observed: Sequence[Observation], left: Collection[Probe]) -> Probe | None:
    """Returns the probe of those that are left with which to begin; None: the beginning is made. Another name goes
    before that of the site, since its silence afterwards may be residual blocking. All other probes are variations of
    the visit, without which there is no verdict."""
    neutral, visit = (
        [each.result for each in observed if each.probe is probe and each.result is not Result.LOST]
        for probe in (Probe.NEUTRAL, Probe.VISIT)
    )
    is_silent = set(neutral) <= {Result.UNANSWERED} and len(neutral) < _SILENCES
    if Probe.NEUTRAL in left and is_silent and not any(each.probe in _NAMED for each in observed):
        return Probe.NEUTRAL
    return Probe.VISIT if Probe.VISIT in left and not visit and Result.UNCONNECTED not in neutral else None


def _may_follow(probe: Probe, observed: Sequence[Observation]) -> bool:
    """Whether a probe may be sent after these: not too often, and a variation of the visit only after it."""
    if (needed := _FOLLOWS.get(probe)) is not None:
        before, results = needed
        if not any(each.probe is before and each.result in results for each in observed):
            return False
    return sum(each.probe is probe for each in observed) < TRIES


def _weights(observed: Sequence[Observation]) -> list[float]:
    """Returns the probability of each model, in their order."""
    weights = [model.prior for model in MODELS]
    for number, each in enumerate(observed):
        if each.result is not Result.LOST:
            weights = _updated(weights, each.probe, each.result, observed[:number])
    total = sum(weights)
    return [weight / total for weight in weights]


def _updated(weights: Sequence[float], probe: Probe, result: Result, before: Sequence[Observation]) -> list[float]:
    """Returns the weights after one more result; their sum is its probability."""
    return [weight * _chance(model, probe, result, before) for model, weight in zip(MODELS, weights, strict=True)]


def _chance(model: Model, probe: Probe, result: Result, before: Sequence[Observation]) -> float:
    """Returns the probability of a result if the model is true."""
    residue = 0.0
    if model.hypothesis in _OF_A_NAME and probe in _AT_ADDRESS:
        struck = (each.probe in _NAMED and each.result is Result.UNANSWERED for each in before)
        residue = _RESIDUE if any(struck) else 0.0
    expected = model.expects.get(probe, Result.DELIVERED)
    accidents = _ACCIDENTS if expected in _ANSWERS else _NONE_EXPECTED
    chance = accidents[result] + (residue if result is Result.UNANSWERED else 0.0)
    if result is expected:
        chance += 1.0 - _TOTALS[expected in _ANSWERS] - residue
    return chance


def _by_hypothesis(weights: Sequence[float]) -> dict[Hypothesis, float]:
    found = dict.fromkeys(Hypothesis, 0.0)
    for model, weight in zip(MODELS, weights, strict=True):
        found[model.hypothesis] += weight
    return found


def _information(weights: Sequence[float], probe: Probe, before: Sequence[Observation]) -> float:
    """Returns the expected information of a probe about the hypotheses, in bits."""
    bits = _entropy(_by_hypothesis(weights).values(), 1.0)
    for result in _ACCIDENTS:
        after = _by_hypothesis(_updated(weights, probe, result, before)).values()
        chance = sum(after)
        bits -= chance * _entropy(after, chance)
    return bits


def _entropy(weights: Collection[float], total: float) -> float:
    shares = (weight / total for weight in weights if weight > 0)
    return -sum(share * math.log2(share) for share in shares)


# -- from the steps of a measurement -----------------------------------------------------------------------------------

_NO_CONNECTION = frozenset({Symptom.TIMEOUT, Symptom.REFUSED, Symptom.UNREACHABLE})
"""Symptoms of a control page that TCP did not reach."""

_NO_ANSWER = frozenset({Symptom.RESET, Symptom.EOF, Symptom.DROPPED, Symptom.SILENT, Symptom.TIMEOUT, Symptom.GARBAGE})

_SHOWN_ITSELF = frozenset({Symptom.CERTIFICATE, Symptom.BLOCK_PAGE, Symptom.REDIRECTED, Symptom.FORGED})
"""Symptoms that show the fault without a comparison of probes."""

_HELLO_ONLY = (Probe.ELSEWHERE, Probe.CUT)
"""Probes of which only the first answer counts."""

_LAST = (
    StepKind.NEUTRAL, StepKind.SHAPE, StepKind.ANSWER, StepKind.TRANSFER, StepKind.PAUSE, StepKind.CONTROL,
)  # fmt: skip
"""The last step of a probe that succeeds."""


def observed_in(steps: Sequence[MeasurementStep], *, slow_bytes: float) -> list[Observation]:
    """Returns the probes that a measurement has made, with their results. `slow_bytes`: bytes a second below which an
    answer is slow."""
    routes = MeasuredRoutes(tuple(steps))
    first = StepKind.HELLO if any(step.kind is StepKind.HELLO for step in steps) else StepKind.ANSWER
    observed = []
    for step in steps:
        if step.result is StepResult.NOT_TESTED or step.kind in (StepKind.RESOLVE, StepKind.SECURE):
            continue
        if (probe := _probe_of(step, routes)) is None:
            continue
        is_last = step.kind is first if probe in _HELLO_ONLY else step.kind in _LAST
        is_open = step.kind in (StepKind.CONNECT, StepKind.RELAY)
        if (is_last or (step.failed and (is_open or probe not in _HELLO_ONLY))) and step.symptom not in _SHOWN_ITSELF:
            observed.append(Observation(probe, _result_of(step, routes, slow_bytes)))
    return observed


def _probe_of(step: MeasurementStep, routes: MeasuredRoutes) -> Probe | None:
    """Returns the probe of a step; None: it is none of them, but another name at another address of the site."""
    if step.kind is StepKind.CONTROL:
        return Probe.CONTROL
    by_relay = _RELAY_PROBES if step.route.relays else _DIRECT_PROBES
    first = next((other.address for other in routes.on(DIRECT) if other.address), step.address)
    if step.kind is StepKind.NEUTRAL:
        return Probe.NEUTRAL if step.address == first else None
    if step.kind in by_relay:
        return by_relay[step.kind]
    if step.route.relays:
        return Probe.RELAY
    if step.route == DOH or (step.route == DIRECT and step.address != first):
        return Probe.ELSEWHERE
    return Probe.VISIT if step.route == DIRECT else Probe.CUT


_DIRECT_PROBES = {
    StepKind.SHAPE: Probe.OTHER_HELLO,
    StepKind.TRANSFER: Probe.TRANSFER,
    StepKind.PAUSE: Probe.PAUSE,
}
_RELAY_PROBES = {
    StepKind.SHAPE: Probe.RELAY_OTHER_HELLO,
    StepKind.TRANSFER: Probe.RELAY_TRANSFER,
    StepKind.PAUSE: Probe.RELAY_PAUSE,
}
"""The probes that have a step of their own."""


def _result_of(step: MeasurementStep, routes: MeasuredRoutes, slow_bytes: float) -> Result:
    """Returns the result that the last step of a probe shows."""
    if step.ok:
        is_refused = step.evidence.get("status") in REFUSALS
        if is_refused or (step.kind is StepKind.SHAPE and step.symptom is Symptom.ALERT):
            return Result.REFUSED
        return Result.SLOW if step.evidence.get("bytes_per_s", math.inf) < slow_bytes else Result.DELIVERED
    if step.kind is StepKind.RELAY:
        return Result.LOST if routes.is_relays_fault(step.route) else Result.UNCONNECTED
    if step.kind is StepKind.CONNECT or (step.kind is StepKind.CONTROL and step.symptom in _NO_CONNECTION):
        return Result.UNCONNECTED
    if step.symptom is Symptom.ALERT:
        return Result.REFUSED
    if step.symptom is Symptom.THROTTLED:
        return Result.SLOW
    if step.kind is StepKind.PAUSE:
        return Result.STOPPED
    in_tls = step.kind in (StepKind.ANSWER, StepKind.TRANSFER) and routes.is_verified(step.route)
    return Result.UNANSWERED if step.symptom in _NO_ANSWER and not in_tls else Result.STOPPED
