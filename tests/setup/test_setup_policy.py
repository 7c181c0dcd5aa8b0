"""What an answer means to a race."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.detect.pages.block_pages import BlockPages, parse_fingerprints
from proxy.detect.pages.page_classifier import classify_page
from proxy.model import Symptom
from proxy.net.race.policy import ClassifiedAnswer
from proxy.setup.runtime import NO_RUNTIME, NoRuntime
from proxy.setup.setup_policy import SetupPolicy
from proxy.wire.tls import Verdict
from tests.support.calls import counting

ROWS = "name,scope,location_found,pattern_type,pattern\nstop,isp,body,contains,stop.test/law\n"
PAGES = BlockPages(parse_fingerprints(ROWS, "rows.csv").fingerprints)
UNUSED: Any = SimpleNamespace()
POLICY = SetupPolicy(UNUSED, lambda: PAGES, NO_RUNTIME)
HOST = "www.example.com"


def answer(body: bytes, *fields: str, status: int = 200) -> bytes:
    lines = (f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *fields)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Told(NoRuntime):
    """What was told of flights."""

    def __init__(self) -> None:
        super().__init__()
        self.flights: list[tuple[str, str, str]] = []

    def report_broken_flight(self, address: str, host: str) -> None:
        self.flights.append(("broken", address, host))

    def report_answered_flight(self, address: str, host: str) -> None:
        self.flights.append(("answered", address, host))


def test_what_became_of_a_flight_is_told() -> None:
    told = Told()
    policy = SetupPolicy(UNUSED, lambda: PAGES, told)
    policy.report_broken_flight("192.0.2.1", HOST)
    policy.report_answered_flight("192.0.2.1", HOST)
    assert told.flights == [("broken", "192.0.2.1", HOST), ("answered", "192.0.2.1", HOST)]


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
    assert POLICY.classify(data, HOST, complete=complete) == expected


def test_what_answers_share_cannot_be_written_to() -> None:
    shared: Any = POLICY.classify(answer(b"hello"), HOST, complete=True).evidence
    with pytest.raises(TypeError):
        shared["status"] = 500


def test_an_ordinary_answer_takes_two_calls_more_than_its_page() -> None:
    data = answer(b"hello")
    for _ in range(2):
        with counting() as policy:
            POLICY.classify(data, HOST, complete=False)
        with counting() as page:
            classify_page(data, HOST, ended=False, pages=PAGES)

    assert policy.total() - page.total() == 2
