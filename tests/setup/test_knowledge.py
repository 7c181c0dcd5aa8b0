"""What `net` is told while Byway runs: of names, relays and pages."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs import network_health
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.beliefs.events import CertificateAccepted, ControlAnswered
from proxy.detect.pages.block_pages import BlockPages, parse_fingerprints
from proxy.detect.pages.page_classifier import classify_page
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_health import Health
from proxy.extend.dispatch import Addons
from proxy.model import (
    Belief,
    Cause,
    ConnectivityResult,
    CutHellos,
    Destination,
    DnsFinding,
    NetworkId,
    NetworkState,
    PageDoubt,
    Route,
    SignalId,
    State,
    Symptom,
)
from proxy.net.knowledge import ClassifiedAnswer
from proxy.net.race.shared_findings import SharedFindings
from proxy.setup.knowledge import BywayKnows, SetupInUse
from proxy.wire.tls import Verdict
from tests.support.calls import counting
from tests.support.outcomes import works

HOME = NetworkId("home")


class Believed:
    """Beliefs, rules and the network in one: what each says is set by the test."""

    def __init__(self) -> None:
        self.hidden: set[str] = set()
        self.listed: set[str] = set()
        self.relayed: set[str] = set()
        self.working: set[str] = set()
        self.lapsed: set[str] = set()
        self.network_is = NetworkState.OK
        self.router = self
        self.rules = self

    def pages(self) -> BlockPages:
        return PAGES

    def current(self) -> NetworkId:
        return HOME

    def lookup(self, host: str, *, network: NetworkId, now: float) -> Any:
        assert network == HOME
        assert now > 0
        if host in self.working:
            return Belief(host, network, State.WORKS)
        if host in self.lapsed:
            return Belief(host, network, cause=Cause.FROZEN)
        return Belief(host, network, State.SUSPECT if host in self.hidden else State.UNKNOWN)

    @property
    def registry(self) -> Any:
        return SimpleNamespace(relay_names=("vps", "tor"))

    def network_state(self, network: NetworkId) -> NetworkState:
        return self.network_is

    def is_listed(self, host: str) -> bool:
        return host in self.listed

    def may_go_direct(self, destination: Destination, network: NetworkId, now: float) -> bool:
        return destination.host not in self.relayed


def asking(
    known: Any, down: Any = None, *, beliefs: Any = None, health: Any = None, ways: Any = None, addons: Any = None
) -> BywayKnows:
    """`known` is the Setup, the network and all that is not given."""
    in_use = SetupInUse()
    in_use.setup = known
    given = (beliefs or known, down, health or known, ways or known, addons or known)
    return BywayKnows(in_use, known, *given, is_private="private.test".__eq__)


@pytest.mark.parametrize("why", ["hidden", "listed", "relayed"])
async def test_a_name_is_suspect_by_belief_by_list_or_by_the_users_word(why: str) -> None:
    known = Believed()
    asked = asking(known)
    assert asked.network() == HOME
    assert not asked.is_suspect("a.test")
    getattr(known, why).add("a.test")
    assert asked.is_suspect("a.test")
    assert not asked.is_suspect("b.test")


@pytest.mark.parametrize(
    ("worked_at", "failed", "is_hidden"),
    [(None, False, False), (-3590.0, False, True), (-3590.0, True, True), (-3610.0, False, False)],
)
async def test_a_stall_that_nothing_proved_hides_a_name_where_a_relay_may_ask_for_it(
    worked_at: float | None, failed: bool, is_hidden: bool
) -> None:
    """Encrypted DNS may be blocked: without a relay, one stall would close the site for a day."""
    known, health, now = Believed(), Health(DetectTuning()), time.time()
    known.lapsed.add("stalled.test")
    known.hidden.add("suspect.test")
    if worked_at is not None:
        health.worked("tor", now + worked_at)
    if failed:
        health.failed("tor", now)
    asked = asking(known, health=health)
    assert asked.is_suspect("stalled.test") is is_hidden
    assert asked.is_suspect("suspect.test")


async def test_a_second_opinion_is_wanted_of_hosts_that_are_not_known_to_work() -> None:
    known = Believed()
    known.working.add("works.test")
    asked = asking(known)
    wanted = {host: asked.wants_second_opinion(host) for host in ("new.test", "works.test", "private.test")}
    assert wanted == {"new.test": True, "works.test": False, "private.test": False}
    known.network_is = NetworkState.PORTAL
    assert not asked.wants_second_opinion("new.test")


async def test_a_forged_answer_lets_waiting_races_go_on() -> None:
    down = SharedFindings(asyncio.get_running_loop().time, lasts_s=1)
    asking(Believed(), down).on_forged("a.test", DnsFinding(SignalId.DNS_TWO_ANSWERS, "", 1.0))
    assert down.is_down("a.test")
    assert not down.is_down("b.test")


async def test_it_asks_what_this_network_punishes() -> None:
    beliefs = Beliefs(DetectTuning())
    asked = asking(Believed(), beliefs=beliefs)
    assert not asked.hellos_are_counted()
    assert not asked.cuts_are_punished()
    record = network_health.record_of(beliefs._state, HOME)
    record.hellos_counted_at = record.cuts_punished_at = time.time()
    assert asked.hellos_are_counted()
    assert asked.cuts_are_punished()
    assert asked.cut_hellos("www.a.test", []) is CutHellos.NEVER


async def test_a_portal_may_answer_until_a_certificate_was_valid() -> None:
    beliefs = Beliefs(DetectTuning())
    asked = asking(Believed(), beliefs=beliefs)
    assert asked.may_be_portal()
    beliefs.note(CertificateAccepted(), network=HOME, now=time.time())
    assert not asked.may_be_portal()


async def test_it_reports_what_is_believed_now() -> None:
    beliefs, health = Beliefs(DetectTuning()), Health(DetectTuning())
    asked = asking(Believed(), beliefs=beliefs, health=health)
    address = ipaddress.ip_address("192.0.2.1")
    assert not asked.in_residual_window(address)
    asked.report_broken_flight("192.0.2.1:443", "a.test")
    assert asked.in_residual_window(address)
    asked.report_answered_flight("192.0.2.1:443", "a.test")
    assert not asked.in_residual_window(address)
    assert not asked.is_portal()
    now = time.time()
    assert asked.cut_hellos("www.a.test", ["192.0.2.1:443"]) is CutHellos.ALLOWED
    beliefs.learn(works("www.a.test", at=now), network=HOME, now=now)
    assert asked.cut_hellos("www.a.test", ["192.0.2.1:443"]) is CutHellos.LAST
    beliefs.learn(ControlAnswered("control.test", ConnectivityResult.PORTAL, started=now - 1), network=HOME, now=now)
    assert asked.is_portal()
    chain = Route(("vps", "tor"))
    assert not asked.is_failing(chain)
    for _ in range(10):
        health.failed("vps>tor", now, fault=RelayFault.CONNECTION_REFUSED)
    assert asked.is_failing(chain), "a chain has a name of its own"
    assert not asked.is_failing(Route(("vps",)))


async def test_an_addon_dials_only_where_one_has_the_hook() -> None:
    asked = asking(Believed(), addons=Addons())
    assert await asked.dial_by_addon("none", Route(("none",)), Destination("a.test", 1)) is None


async def test_the_setup_in_use_is_asked_whichever_it_is() -> None:
    in_use, first, second = SetupInUse(), Believed(), Believed()
    first.listed.add("a.test")
    in_use.setup = cast(Any, first)
    assert cast(Any, in_use.get()) is first
    assert in_use.is_listed("a.test")
    in_use.setup = cast(Any, second)
    assert cast(Any, in_use.get()) is second
    assert not in_use.is_listed("a.test")


def test_to_ask_for_the_setup_in_use_calls_no_function_of_python() -> None:
    in_use = SetupInUse()
    in_use.setup = cast(Any, None)
    with counting() as calls:
        in_use.get()
    assert calls.total() == 0


# -- what an answer is -------------------------------------------------------------------------------------------------

ROWS = "name,scope,location_found,pattern_type,pattern\nstop,isp,body,contains,stop.test/law\n"
PAGES = BlockPages(parse_fingerprints(ROWS, "rows.csv").fingerprints)
HOST = "www.example.com"
CLASSIFIES = asking(Believed(), addons=Addons())


def answer(body: bytes, *fields: str, status: int = 200) -> bytes:
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("data", "complete", "expected"),
    [
        (answer(b"hello"), False, ClassifiedAnswer(Verdict.VALID, evidence={"status": 200})),
        (answer(b"", status=404), False, ClassifiedAnswer(Verdict.VALID, evidence={"status": 404})),
        (b"no HTTP\r\n\r\n", True, ClassifiedAnswer(Verdict.VALID, evidence={"status": 0})),
        (b"HTTP/1.1 200", False, ClassifiedAnswer(Verdict.MORE)),
        (answer(b"hello")[:-1], False, ClassifiedAnswer(Verdict.MORE)),
        (answer(b"hello")[:-1], True, ClassifiedAnswer(Verdict.VALID, evidence={"status": 200})),
        (
            answer(b"see stop.test/law", status=403),
            False,
            ClassifiedAnswer(Verdict.GARBAGE, Symptom.BLOCK_PAGE, {"page": "stop", "status": 403}),
        ),
        (
            answer(b"", "Location: http://elsewhere.test/", status=302),
            False,
            ClassifiedAnswer(
                Verdict.GARBAGE,
                Symptom.REDIRECTED,
                {"elsewhere": "elsewhere.test", "status": 302},
                answer_fingerprint="elsewhere elsewhere.test",
            ),
        ),
    ],
)
def test_what_an_answer_means(data: bytes, complete: bool, expected: ClassifiedAnswer) -> None:
    assert CLASSIFIES.classify(data, HOST, complete=complete) == expected


async def test_a_page_that_comes_for_two_sites_is_doubted() -> None:
    asked = asking(Believed(), beliefs=Beliefs(DetectTuning()), addons=Addons())
    mark = asked.classify(answer(b"<p>stop"), HOST, complete=True).page_mark
    assert mark == asked.classify(answer(b"<p>stop"), "www.news.test", complete=True).page_mark != 0
    assert asked.page_doubt(HOST, mark, "192.0.2.1:80") is None
    assert asked.page_doubt("www.news.test", mark, "192.0.2.2:80") is PageDoubt.SHARED


def test_an_addon_may_tell_what_a_page_is() -> None:
    addons = Addons()
    addons.classifies = True
    addons.classify = lambda *_: "its own page"  # type: ignore[method-assign]
    page = asking(Believed(), addons=addons).classify(answer(b"hello"), HOST, complete=True)
    assert (page.symptom, page.evidence) == (Symptom.BLOCK_PAGE, {"page": "its own page", "status": 200})


def test_what_answers_share_cannot_be_written_to() -> None:
    shared: Any = CLASSIFIES.classify(answer(b"hello"), HOST, complete=True).evidence
    with pytest.raises(TypeError):
        shared["status"] = 500


def test_an_ordinary_answer_takes_one_call_more_than_its_page() -> None:
    data = answer(b"hello")
    for _ in range(2):
        with counting() as asked:
            CLASSIFIES.classify(data, HOST, complete=False)
        with counting() as page:
            classify_page(data, HOST, ended=False, pages=PAGES)

    assert asked.total() - page.total() == 1
