"""What measurements teach: only what is proven, and only through both gates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.events import BlockMeasured, OpenMeasured
from proxy.detect.verdict.decision import decide
from proxy.detect.verdict.evidence import block_measured, open_measured
from proxy.model import DIRECT, DOH, Belief, Cause, Protocol, Route, SignalId, State, StepKind, Symptom
from tests.detect.verdict.test_decision import (
    AT,
    BLOCK_PAGE,
    BOGON,
    FAST,
    FORGED,
    HELLO_LOST,
    ILL,
    MISMATCH,
    RELAY_DEAD,
    RESET,
    ROGUE,
    SLOW,
    SWAPPED,
    UNKNOWN,
    WELL,
    Steps,
    bad,
    ok,
    page,
)
from tests.support.outcomes import HOME, TOR
from tests.support.rows import each_row

FROZEN = (ok(StepKind.CERTIFICATE), bad(StepKind.ANSWER, Symptom.FROZEN, bytes=16384))


def taught(*steps: Steps) -> BlockMeasured | None:
    all_of_them = tuple(step for some in steps for step in some)
    verdict = decide(all_of_them, UNKNOWN, detect=DetectTuning(), relays=["tor"])
    return block_measured("site.test", Protocol.TLS, all_of_them, verdict, 1000.0)


@each_row(
    ("steps", "kind", "cause", "winner"),
    [
        ((*FROZEN, *page(TOR)), SignalId.FROZEN, Cause.FROZEN, TOR),
        ((*SLOW, *FAST), SignalId.THROTTLED, Cause.THROTTLED, TOR),
        ((*SWAPPED, *page(TOR)), SignalId.SNI_SWAP, Cause.SNI_RESET, TOR),
        ((*FORGED, *page(DOH)), SignalId.DNS_TWO_ANSWERS, Cause.DNS, DOH),
        ((*BOGON, *page(TOR)), SignalId.DNS_BOGON, Cause.DNS, TOR),
        ((*MISMATCH, *page(DOH)), SignalId.DNS_MISMATCH, Cause.DNS, DOH),
    ],
    ids=["frozen", "throttled", "another SNI is answered", "two answers", "a private address", "another address"],
)
def test_what_is_proven_becomes_evidence(steps: Steps, kind: SignalId, cause: Cause, winner: Route) -> None:
    event = taught(steps, WELL)
    assert event is not None
    assert (event.host, event.signal.id, event.signal.cause, event.signal.at) == ("site.test", kind, cause, 1000.0)
    assert event.winner == winner
    assert event.address == AT
    assert event.text


@each_row(
    "steps",
    [
        (page(DIRECT), page(TOR), WELL),
        (FROZEN, page(TOR), ILL),
        (FROZEN, page(TOR)),
        (FROZEN, RELAY_DEAD, WELL),
        (FROZEN, (bad(StepKind.ANSWER, Symptom.FROZEN, TOR),), WELL),
        (RESET, page(TOR), WELL),
        (BLOCK_PAGE, page(TOR), WELL),
        (ROGUE, page(TOR), WELL),
    ],
    ids=[
        "it works",
        "no other site is reached",
        "no other site was asked",
        "the relay is dead",
        "it pauses on every route",
        "a visit shows it too",
        "a block page is shown to a visit as well",
        "interception has a check of its own",
    ],
)
def test_nothing_else_does(steps: tuple[Steps, ...]) -> None:
    assert taught(*steps) is None


def opened(*steps: Steps, belief: Belief = UNKNOWN, same_page: int = 0, protocol: Protocol = Protocol.TLS) -> bool:
    all_of_them = tuple(step for some in steps for step in some)
    verdict = decide(all_of_them, belief, detect=DetectTuning(), relays=["tor"], sites_with_same_page=same_page)
    event = open_measured("site.test", protocol, all_of_them, verdict)
    assert event in (None, OpenMeasured("site.test", protocol, AT))
    return event is not None


SUSPECT = Belief("site.test", HOME, State.SUSPECT, Cause.SNI_RESET)


@pytest.mark.parametrize("steps", [(*SWAPPED, ok(StepKind.SHAPE)), (*page(DIRECT), *HELLO_LOST)])
def test_what_depends_on_the_program_is_learned_neither_as_a_block_nor_as_open(steps: Steps) -> None:
    all_of_them = (*steps, *page(TOR), *WELL)
    verdict = decide(all_of_them, UNKNOWN, detect=DetectTuning(), relays=["tor"])
    assert verdict.cause == Cause.CLIENT_HELLO
    assert taught(all_of_them) is None
    assert open_measured("site.test", Protocol.TLS, all_of_them, verdict) is None


@pytest.mark.parametrize("belief", [UNKNOWN, SUSPECT, replace(SUSPECT, state=State.BLOCKED)])
def test_that_direct_opens_a_site_is_evidence_too(belief: Belief) -> None:
    assert opened(page(DIRECT), page(TOR), WELL, belief=belief)
    assert opened(page(DIRECT), belief=belief), "it needs no comparison"


def test_what_may_be_the_page_of_a_censor_is_none() -> None:
    moved = (ok(StepKind.ANSWER, elsewhere="other.test", status=302),)
    assert not opened(moved, WELL), "no relay got that redirect"
    assert not opened(page(DIRECT), WELL, same_page=3), "three unrelated sites show the same page"
    assert not opened(BLOCK_PAGE, page(TOR), WELL)
    assert not opened(RESET, page(TOR), WELL)
    dns = Belief("site.test", HOME, State.SUSPECT, Cause.DNS)
    assert not opened(page(DIRECT), WELL, belief=dns), "at the address from encrypted DNS"
    frozen = Belief("site.test", HOME, State.SUSPECT, Cause.FROZEN)
    assert not opened(page(DIRECT), WELL, belief=frozen), "too little of it"
