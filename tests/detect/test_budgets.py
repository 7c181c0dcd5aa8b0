"""How many Python functions run for what every connection needs. A budget is what it takes now: a change that
needs one more knows that it is made for each connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.pages import block_pages
from proxy.detect.pages.block_pages import BlockPages, parse_fingerprints
from proxy.detect.pages.page_classifier import PageKind, classify_page
from proxy.detect.relay_health import Health
from proxy.wire.http1_response import take_response_head
from proxy.wire.reader import Reader
from tests.support.calls import counting
from tests.support.outcomes import HOME, HOST, TOR, delivered, outcome, works
from tests.support.rows import each_row

NOW = 1_700_000_000.0
NEAR = "192.168.1.10"
PAGES = BlockPages(
    parse_fingerprints(Path(block_pages.__file__).with_suffix(".csv").read_text("utf-8"), "shipped").fingerprints
)


def calls(act: Callable[[], object], *, times: int = 3) -> int:
    """The calls of one run, after others have filled what is remembered."""
    for _ in range(times):
        with counting() as counted:
            act()
    return counted.total()


@each_row(
    "body",
    [bytes(1024), b"<title>Home</title><p>an ordinary page</p>", b"<p>an ordinary page</p>\n" * 4000],
    ids=["short", "marked", "long"],
)
@each_row(
    ("fields", "budget"),
    [
        ("", 3),
        ("Content-Type: text/html\r\n", 3),
        ("Content-Type: text/html; charset=utf-8\r\nServer: nginx\r\nDate: x\r\nCache-Control: no-store\r\n", 5),
        ("Content-Type: image/png\r\n", 1),
    ],
)
def test_an_ordinary_answer(fields: str, budget: int, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    answer = bytearray(head + body)

    def classify() -> None:
        assert classify_page(answer, "www.example.com", ended=False, pages=PAGES).kind is PageKind.PLAIN

    def parse() -> None:
        reader[:] = head
        assert take_response_head(reader, "GET") is not None

    reader = Reader()
    assert calls(classify) - calls(parse) == budget


@pytest.fixture
def beliefs() -> Beliefs:
    made = Beliefs(DetectTuning(), near=frozenset({NEAR}).__contains__)
    for host in (HOST, NEAR):
        made.learn(works(host), network=HOME, now=NOW)
    return made


@pytest.mark.parametrize("host", [HOST, NEAR])
def test_a_host_that_works(beliefs: Beliefs, host: str) -> None:
    again = works(host)

    assert calls(lambda: beliefs.lookup(host, network=HOME, now=NOW + 1)) == 3
    assert calls(lambda: beliefs.about(host, network=HOME, now=NOW + 1)) == 9, "for a plan that is not kept"
    assert calls(lambda: beliefs.generation(HOME, host)) == 1, "for one that is"
    assert calls(lambda: beliefs.comparison_due(host, network=HOME, now=NOW + 1)) == 3
    assert calls(lambda: beliefs.works_again(host, again.attempts[0], network=HOME, now=NOW + 1)) == 3
    assert calls(lambda: beliefs.learn(again, network=HOME, now=NOW + 1)) == 4
    assert calls(lambda: beliefs.needs_control(HOME)) == 1
    assert calls(lambda: beliefs.page_doubt(host, 7, "192.0.2.1:80", network=HOME, now=NOW + 1)) == 4
    assert calls(lambda: beliefs.is_near(host)) == 0, "but for what it was given"


def test_relays_in_good_health() -> None:
    health = Health(DetectTuning())
    for elapsed_s in (0.1, 0.2):
        health.learn(outcome(delivered(TOR, elapsed=elapsed_s)), NOW)

    assert calls(lambda: health.order(("tor", "vps"), NOW)) == 1
    assert calls(lambda: health.worked("tor", NOW, elapsed_s=0.3)) == 1
