"""The experimenter names made censors, with few probes, also where results are lost or late; and it agrees with the
judge."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.verdict.confidence import Confidence
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.hypotheses import (
    MODELS,
    TRIES,
    Hypothesis,
    Observation,
    Probe,
    Result,
    next_probe,
    observed_in,
    posterior,
    remaining,
)
from proxy.detect.verdict.site_status import SiteStatus
from proxy.detect.verdict.verdict import Verdict
from proxy.model import (
    DIRECT,
    DOH,
    UNKNOWN_NETWORK,
    Belief,
    Cause,
    MeasurementStep,
    Route,
    State,
    StepKind,
    StepResult,
    Symptom,
    as_evidence,
)
from tests.detect.verdict.worlds import CAUSES, CENSORS, INNOCENT, WORLDS, World
from tests.support.outcomes import TOR
from tests.support.rows import each_row

SEEDS = 30
ALL = frozenset(Probe)
DETECT = DetectTuning()


# -- one investigation -------------------------------------------------------------------------------------------------

_next_probe = cache(lambda observed, possible: next_probe(observed, possible))
_remaining = cache(lambda observed: remaining(observed))

Trouble = Callable[["Investigation", Result], Result]
"""What the experimenter gets in place of a result."""


class Investigation:
    """Probes a world until nothing is left to tell."""

    def __init__(self, world: World, *, possible: frozenset[Probe] = ALL, trouble: Trouble | None = None) -> None:
        self.late: dict[int, tuple[int, Result]] = {}
        """By the number of a probe: when its result comes, and that."""
        self.observed: list[Observation] = []
        while True:
            self._take_late(len(self.observed))
            probe = _next_probe(tuple(self.observed), possible)
            if probe is None and not self.late:
                break
            if probe is None:
                self._take_late(10**6)
                continue
            result = world.result(probe, [each.probe for each in self.observed])
            self.observed.append(Observation(probe, result if trouble is None else trouble(self, result)))
        self.remaining = _remaining(tuple(self.observed))

    def _take_late(self, now: int) -> None:
        for number, (at, result) in [*self.late.items()]:
            if at <= now:
                self.observed[number] = Observation(self.observed[number].probe, result)
                del self.late[number]


def _lost(_: Investigation, __: Result) -> Result:
    return Result.LOST


def _late(made: Investigation, result: Result) -> Result:
    """It comes after two more probes."""
    number = len(made.observed)
    made.late[number] = (number + 3, result)
    return Result.LOST


def _too_late(_: Investigation, __: Result) -> Result:
    """It comes after the time limit, and is taken for silence."""
    return Result.UNANSWERED


def in_a_tenth(trouble: Trouble, seed: int) -> Trouble:
    rng = random.Random(seed)
    return lambda made, result: trouble(made, result) if rng.random() < 0.1 else result


# -- right, and with few probes ----------------------------------------------------------------------------------------


@each_row("name", WORLDS)
def test_it_names_what_stops_a_site(name: str) -> None:
    made = Investigation(WORLDS[name])
    assert made.remaining == (WORLDS[name].truth,), made.observed
    assert len(made.observed) <= 9


def test_there_are_twenty_censors_and_half_need_five_probes_at_most() -> None:
    assert len(CENSORS) >= 20
    assert {world.truth for world in (*CENSORS, *INNOCENT)} == set(Hypothesis)
    for worlds in (CENSORS, INNOCENT):
        assert statistics.median(len(Investigation(world).observed) for world in worlds) <= 5


@pytest.mark.parametrize("trouble", [_lost, _late, _too_late])
@pytest.mark.parametrize("worlds", [CENSORS, INNOCENT], ids=["censors", "innocent"])
def test_a_tenth_of_the_results_may_be_lost_or_late(worlds: Sequence[World], trouble: Trouble) -> None:
    made = [
        (world.truth, Investigation(world, trouble=in_a_tenth(trouble, seed)))
        for world in worlds
        for seed in range(SEEDS)
    ]
    right = sum(each.remaining == (truth,) for truth, each in made)
    wrong = sum(truth not in each.remaining for truth, each in made)
    assert right >= 0.95 * len(made)
    assert trouble is _too_late or wrong <= 0.01 * len(made)
    assert statistics.median(len(each.observed) for _, each in made) <= 5


def test_without_the_choice_it_takes_more() -> None:
    """The control: the same number of probes in an order by chance tells less."""

    def by_chance(world: World, seed: int) -> bool:
        order = random.Random(seed).sample([*Probe], len(Probe))[:5]
        results = [Observation(probe, world.result(probe, order[:number])) for number, probe in enumerate(order)]
        return remaining(results) == (world.truth,)

    right = sum(by_chance(world, seed) for world in CENSORS for seed in range(5))
    assert right <= 0.6 * 5 * len(CENSORS)


BY_RELAY = {Probe.RELAY, Probe.RELAY_TRANSFER, Probe.RELAY_PAUSE, Probe.RELAY_OTHER_HELLO}

GONE = (
    {Probe.ELSEWHERE},  # the site has one address
    {Probe.OTHER_HELLO},  # no hello of a visit was kept
    BY_RELAY,
    {Probe.CONTROL},
    {Probe.NEUTRAL},
    {Probe.PAUSE},
    {Probe.ELSEWHERE, Probe.OTHER_HELLO, *BY_RELAY},
)


@each_row("gone", GONE, ids=lambda gone: " ".join(sorted(gone)))
@each_row("name", WORLDS)
def test_what_cannot_be_told_stays_open(name: str, gone: set[Probe]) -> None:
    """Where a probe is not possible, the truth is among what remains, and little else is."""
    made = Investigation(WORLDS[name], possible=ALL - gone)
    assert WORLDS[name].truth in made.remaining
    assert len(made.remaining) <= 3
    assert gone.isdisjoint(each.probe for each in made.observed)


@each_row(
    ("gone", "name", "left"),
    [
        ({Probe.ELSEWHERE}, "name, reset", {Hypothesis.NAME, Hypothesis.PAIR}),
        ({Probe.OTHER_HELLO}, "name, reset", {Hypothesis.NAME, Hypothesis.SHAPE}),
        ({Probe.OTHER_HELLO}, "fingerprint of Byway", {Hypothesis.SHAPE, Hypothesis.NETWORK}),
        ({Probe.RELAY_OTHER_HELLO}, "fingerprint of the browser", {Hypothesis.SHAPE, Hypothesis.REFUSAL}),
        ({Probe.RELAY_OTHER_HELLO}, "TLS of the browser is hung up on", {Hypothesis.SHAPE, Hypothesis.REFUSAL}),
        (BY_RELAY, "server hangs", {Hypothesis.ADDRESS, Hypothesis.DOWN}),
        (BY_RELAY, "throttled", {Hypothesis.SPEED, Hypothesis.NOTHING}),
        (BY_RELAY, "cut 30 s later", {Hypothesis.TIME, Hypothesis.NOTHING}),
        ({Probe.PAUSE}, "cut 2 s later", {Hypothesis.SIZE, Hypothesis.TIME}),
    ],
)
def test_which_probe_separates_what(gone: set[Probe], name: str, left: set[Hypothesis]) -> None:
    assert set(Investigation(WORLDS[name], possible=ALL - gone).remaining) == left


# -- the order of probes -----------------------------------------------------------------------------------------------


def seen(*results: tuple[Probe, Result]) -> list[Observation]:
    return [Observation(probe, result) for probe, result in results]


def test_another_name_goes_first() -> None:
    assert next_probe([]) is Probe.NEUTRAL
    assert next_probe(seen((Probe.NEUTRAL, Result.LOST))) is Probe.NEUTRAL
    assert next_probe(seen((Probe.NEUTRAL, Result.UNANSWERED))) is Probe.NEUTRAL
    assert next_probe(seen((Probe.NEUTRAL, Result.DELIVERED))) is Probe.VISIT
    assert next_probe([], ALL - {Probe.NEUTRAL}) is Probe.VISIT


def test_silence_after_the_name_may_be_residual_blocking() -> None:
    """It shows less of the address than before."""
    named, neutral = (Probe.VISIT, Result.UNANSWERED), (Probe.NEUTRAL, Result.UNANSWERED)
    first, later = posterior(seen(neutral, named)), posterior(seen(named, neutral))
    assert later[Hypothesis.NAME] > 2 * first[Hypothesis.NAME]
    assert later[Hypothesis.ADDRESS] < first[Hypothesis.ADDRESS]
    answered = (Probe.NEUTRAL, Result.DELIVERED)
    assert all(remaining(seen(*order))[0] is Hypothesis.NAME for order in ((answered, named), (named, answered)))


@each_row("name", WORLDS)
def test_no_probe_is_sent_too_often_or_before_its_visit(name: str) -> None:
    for seed in range(5):
        observed = Investigation(WORLDS[name], trouble=in_a_tenth(_lost, seed)).observed
        sent = [each.probe for each in observed]
        assert max(map(sent.count, sent)) <= TRIES
        for number, each in enumerate(observed):
            results = {before.result for before in observed[:number] if before.probe is Probe.VISIT}
            if each.probe in (Probe.TRANSFER, Probe.PAUSE, Probe.RELAY_TRANSFER, Probe.RELAY_PAUSE):
                assert results & {Result.DELIVERED, Result.STOPPED, Result.SLOW}
            if each.probe is Probe.CUT:
                assert results & {Result.UNANSWERED, Result.REFUSED}


def test_what_is_lost_tells_nothing() -> None:
    some = seen((Probe.NEUTRAL, Result.DELIVERED), (Probe.VISIT, Result.UNANSWERED))
    more = [some[0], Observation(Probe.RELAY, Result.LOST), some[1]]
    assert posterior(more) == pytest.approx(posterior(some))


def test_the_models_are_a_distribution_over_all_hypotheses() -> None:
    assert {model.hypothesis for model in MODELS} == set(Hypothesis)
    assert all(model.prior > 0 for model in MODELS)
    assert math.isclose(sum(posterior([]).values()), 1.0)
    assert all(Result.LOST not in model.expects.values() for model in MODELS)
    twins = [one for one, other in itertools.combinations(MODELS, 2) if one.expects == other.expects]
    assert twins == [], "no probe would separate them"


# -- steps of a measurement --------------------------------------------------------------------------------------------

HERE, THERE, FOREIGN = "203.0.113.5:443", "198.51.100.5:443", "192.0.2.1:443"
CUT = Route(wrap=("tlsrec",))
_FAILED = {
    Result.UNCONNECTED: Symptom.TIMEOUT,
    Result.REFUSED: Symptom.ALERT,
    Result.STOPPED: Symptom.FROZEN,
}


def step(
    kind: StepKind, route: Route = DIRECT, symptom: Symptom = Symptom.NONE, at: str = HERE, **evidence: object
) -> MeasurementStep:
    result = StepResult.OK if symptom is Symptom.NONE else StepResult.FAILED
    return MeasurementStep(kind, route, result, symptom, str(kind), at, evidence=as_evidence(evidence))


OTHER_HELLOS = (Probe.OTHER_HELLO, Probe.RELAY_OTHER_HELLO)


def has_no_step(made: Observation) -> bool:
    """Whether a measurement has no step of it: a recorded hello that found no connection."""
    return made.probe in OTHER_HELLOS and made.result is Result.UNCONNECTED


def steps_of(probe: Probe, result: Result, silence: Symptom, *, is_large: bool) -> list[MeasurementStep]:
    """The steps that a measurement has of a probe with this result. `silence`: how it looks if there is no answer.
    `is_large`: the page is large enough to show a speed."""
    if result is Result.LOST or has_no_step(Observation(probe, result)):
        return []
    symptom = silence if result is Result.UNANSWERED else _FAILED.get(result, Symptom.NONE)
    rate: dict[str, object] = {"bytes_per_s": 4_000} if result is Result.SLOW else {}
    is_transfer = probe in (Probe.TRANSFER, Probe.RELAY_TRANSFER)
    if result is Result.DELIVERED and (is_transfer or is_large):
        rate = {"bytes_per_s": 900_000}
    if probe is Probe.CONTROL:
        return [step(StepKind.CONTROL, symptom=symptom, at=FOREIGN)]
    route = CUT if probe is Probe.CUT else TOR if probe in BY_RELAY else DIRECT
    if probe in OTHER_HELLOS:
        done = step(StepKind.SHAPE, route, symptom if result is Result.UNANSWERED else Symptom.NONE)
        return [replace(done, symptom=Symptom.ALERT) if result is Result.REFUSED else done]
    if probe in (Probe.PAUSE, Probe.RELAY_PAUSE):
        return [step(StepKind.PAUSE, route, symptom)]
    at = THERE if probe is Probe.ELSEWHERE else HERE
    opens = StepKind.RELAY if route.relays else StepKind.CONNECT
    if result is Result.UNCONNECTED:
        return [step(opens, route, Symptom.RELAY_REFUSED if route.relays else symptom, at)]
    if probe is Probe.NEUTRAL:
        return [step(StepKind.NEUTRAL, symptom=symptom)]
    if is_transfer:
        return [step(StepKind.TRANSFER, route, symptom, at, bytes=65_536, **rate)]
    opened, hello = step(opens, route, at=at), step(StepKind.HELLO, route, at=at)
    if result is Result.UNANSWERED:
        return [opened, step(StepKind.HELLO, route, silence, at)]
    status = 451 if result is Result.REFUSED else 200
    symptom = Symptom.FROZEN if result is Result.STOPPED else Symptom.NONE
    answer = step(StepKind.ANSWER, route, symptom, at, status=status, bytes=30_000, **rate)
    return [opened, hello, step(StepKind.CERTIFICATE, route, at=at), answer]


def steps_of_all(observed: Sequence[Observation], silence: Symptom = Symptom.RESET) -> list[MeasurementStep]:
    is_large = any(made.probe is Probe.VISIT and made.result is Result.SLOW for made in observed)
    return [each for made in observed for each in steps_of(made.probe, made.result, silence, is_large=is_large)]


@each_row("name", WORLDS)
def test_probes_are_read_from_the_steps_of_a_measurement(name: str) -> None:
    made = Investigation(WORLDS[name]).observed
    steps = steps_of_all(made, WORLDS[name].silence)
    # A connection that fails has the same step under another name. Of a hello alone, an alert is read, and no status.
    same = {(Probe.NEUTRAL, Result.UNCONNECTED): (Probe.VISIT, Result.UNCONNECTED)}
    expected = [Observation(*same.get((it.probe, it.result), (it.probe, it.result))) for it in made]
    assert observed_in(steps, slow_bytes=DETECT.measure_slow_bytes) == [
        each for each in expected if not has_no_step(each)
    ]


TLS = (step(StepKind.CONNECT), step(StepKind.HELLO), step(StepKind.CERTIFICATE))
NOT_TESTED = MeasurementStep(StepKind.RELAY, TOR, StepResult.NOT_TESTED, Symptom.SKIPPED)


@each_row(
    ("steps", "expected"),
    [
        ([step(StepKind.CONNECT), step(StepKind.HELLO, symptom=Symptom.ALERT)], [(Probe.VISIT, Result.REFUSED)]),
        ([*TLS, step(StepKind.ANSWER, symptom=Symptom.RESET)], [(Probe.VISIT, Result.STOPPED)]),
        ([step(StepKind.CONNECT), step(StepKind.ANSWER, symptom=Symptom.RESET)], [(Probe.VISIT, Result.UNANSWERED)]),
        ([step(StepKind.CONNECT), step(StepKind.ANSWER, CUT)], [(Probe.CUT, Result.DELIVERED)]),  # plain HTTP
        ([*TLS, step(StepKind.ANSWER, DOH, Symptom.FROZEN)], []),  # its hello is what counts
        ([step(StepKind.HELLO, DOH), step(StepKind.ANSWER, DOH)], [(Probe.ELSEWHERE, Result.DELIVERED)]),
        ([step(StepKind.TRANSFER, symptom=Symptom.THROTTLED)], [(Probe.TRANSFER, Result.SLOW)]),
        ([step(StepKind.RELAY, TOR, Symptom.RELAY_DOWN)], [(Probe.RELAY, Result.LOST)]),  # its own fault
        ([step(StepKind.RELAY, TOR, Symptom.TIMEOUT)], [(Probe.RELAY, Result.LOST)]),  # the same, perhaps
        ([step(StepKind.CONTROL, symptom=Symptom.RESET)], [(Probe.CONTROL, Result.UNANSWERED)]),
        ([step(StepKind.CONTROL, symptom=Symptom.REFUSED)], [(Probe.CONTROL, Result.UNCONNECTED)]),
        ([*TLS[:2], step(StepKind.CERTIFICATE, symptom=Symptom.CERTIFICATE)], []),
        ([step(StepKind.CONNECT), step(StepKind.ANSWER, symptom=Symptom.BLOCK_PAGE)], []),
        ([step(StepKind.RESOLVE, symptom=Symptom.NO_NAME), step(StepKind.SECURE, DOH), NOT_TESTED], []),
    ],
)
def test_what_a_step_shows(steps: Sequence[MeasurementStep], expected: Sequence[tuple[Probe, Result]]) -> None:
    assert observed_in(steps, slow_bytes=DETECT.measure_slow_bytes) == seen(*expected)


# -- the judge ---------------------------------------------------------------------------------------------------------


def judged(observed: Sequence[Observation], silence: Symptom = Symptom.RESET) -> Verdict:
    belief = Belief("site.test", UNKNOWN_NETWORK)
    steps = steps_of_all(observed, silence)
    return decide(steps, belief, detect=DETECT, relays=("tor",), working_relays=("tor",))


def knows(verdict: Verdict) -> bool:
    """Whether the judge is sure: "likely blocked" and a site that is down by one failure alone are guesses."""
    if verdict.state is State.DOWN:
        return verdict.confidence is not Confidence.LOW
    return verdict.state in (State.BLOCKED, State.WORKS, State.REFUSED) or verdict.status is SiteStatus.NO_NETWORK


LIKELY: frozenset[tuple[Hypothesis, Cause]] = frozenset(
    {
        (Hypothesis.ADDRESS, Cause.SNI_RESET),  # a hello was stopped; its alternative is the address
        (Hypothesis.ADDRESS, Cause.SNI_DROP),
        (Hypothesis.SHAPE, Cause.SNI_RESET),  # no other hello was sent: a cut one passed
        (Hypothesis.NETWORK, Cause.IP),  # where it is not told that the network is restricted
        (Hypothesis.NETWORK, Cause.SNI_RESET),
        (Hypothesis.NETWORK, Cause.SNI_DROP),
    }
)
"""What the judge calls likely, where probes tell more."""


def differs(hypothesis: Hypothesis, observed: Sequence[Observation], verdict: Verdict) -> bool:
    """Whether the judge contradicts the experimenter."""
    if verdict.status is SiteStatus.NOT_TESTED or verdict.cause in CAUSES.get(hypothesis, ()):
        return False
    if verdict.status is SiteStatus.WORKS:
        opens_elsewhere = Observation(Probe.ELSEWHERE, Result.DELIVERED) in observed
        opens_here = Observation(Probe.VISIT, Result.DELIVERED) in observed
        return not (opens_elsewhere or (hypothesis is Hypothesis.REFUSAL and opens_here))  # it refuses a program
    return knows(verdict) or (verdict.state is State.SUSPECT and (hypothesis, verdict.cause) not in LIKELY)


@each_row("name", WORLDS)
def test_the_judge_agrees_about_made_censors(name: str) -> None:
    world = WORLDS[name]
    made = Investigation(world)
    verdict = judged(made.observed, world.silence)
    assert not differs(world.truth, made.observed, verdict), (verdict.status, verdict.cause)


def test_of_most_made_censors_the_judge_knows_the_cause() -> None:
    """The control: it is no agreement if nobody says anything."""
    verdicts = [judged(Investigation(world).observed, world.silence) for world in WORLDS.values()]
    agreeing = [
        world.name
        for world, verdict in zip(WORLDS.values(), verdicts, strict=True)
        if verdict.cause in CAUSES.get(world.truth, ())
    ]
    assert len(agreeing) >= 18


_CHOSEN = (Probe.ELSEWHERE, Probe.CUT, Probe.TRANSFER, Probe.PAUSE, Probe.RELAY, Probe.RELAY_TRANSFER, Probe.CONTROL)


def expected_results() -> Iterator[list[Observation]]:
    """What each model expects of each set of probes that may be sent."""
    for model in MODELS:
        visit = model.expects.get(Probe.VISIT, Result.DELIVERED)
        is_answered = visit in (Result.DELIVERED, Result.STOPPED, Result.SLOW)
        possible = {Probe.ELSEWHERE, Probe.RELAY, Probe.CONTROL}
        possible |= {Probe.TRANSFER, Probe.PAUSE, Probe.RELAY_TRANSFER} if is_answered else {Probe.CUT}
        for chosen in itertools.product((False, True), repeat=len(_CHOSEN)):
            more = [*itertools.compress(_CHOSEN, chosen)]
            if not possible.issuperset(more) or (Probe.RELAY_TRANSFER in more and Probe.TRANSFER not in more):
                continue
            for probes in ((Probe.VISIT, *more), (Probe.NEUTRAL, Probe.VISIT, *more)):
                yield [Observation(probe, model.expects.get(probe, Result.DELIVERED)) for probe in probes]


def test_the_judge_agrees_about_all_that_the_models_expect() -> None:
    contradictions, agreements = [], 0
    for observed in expected_results():
        left = _remaining(tuple(observed))
        if len(left) == 1:
            verdict = judged(observed)
            if differs(left[0], observed, verdict):
                contradictions.append((left[0], observed, verdict.status, verdict.cause))
            agreements += verdict.cause in CAUSES.get(left[0], ()) and knows(verdict)
    assert contradictions == []
    assert agreements >= 50


def test_a_contradiction_is_found() -> None:
    """The control."""
    observed = seen(
        (Probe.NEUTRAL, Result.DELIVERED), (Probe.VISIT, Result.UNANSWERED), (Probe.RELAY, Result.DELIVERED)
    )
    verdict = judged(observed)
    assert verdict.cause == Cause.SNI_RESET
    assert not differs(Hypothesis.NAME, observed, verdict)
    assert differs(Hypothesis.DOWN, observed, verdict)
    assert differs(Hypothesis.SIZE, observed, replace(verdict, state=State.SUSPECT))
