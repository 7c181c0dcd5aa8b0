"""What a hook may answer, and what is no answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from proxy.config.relays import Relay
from proxy.extend.guard import hook_results
from proxy.extend.guard.hook_results import WrongAnswer
from proxy.model import DIRECT, Action, Plan, Route, Signal, SignalId
from proxy.net.dialers.registry import Registry
from tests.support.rows import each_row

NOBODY: Any = None
REGISTRY = Registry(
    [Relay.parse("tor", "socks5h://127.0.0.1:9050"), Relay.parse("vps", "http://127.0.0.1:8080")],
    direct=NOBODY,
    to_relays=NOBODY,
)
BEFORE = Plan(Action.AUTO, (DIRECT, Route(("tor",))), "AUTO")
CLOSED = Plan(Action.RELAY, (), "rules.txt:1 RELAY; no relay is available")


@each_row(
    "made",
    [
        BEFORE.via("tor"),
        BEFORE.via("vps>tor", "tor|tlsrec"),
        BEFORE.prefer("vps"),
        BEFORE.direct(),
        BEFORE.block("why"),
        BEFORE.inspect(),
        replace(BEFORE, routes=(Route(("vps",)),)),
    ],
    ids=str,
)
def test_a_plan_that_can_be_gone_is_taken(made: Plan) -> None:
    assert hook_results.plan(made, BEFORE, REGISTRY) == made


@each_row("same", [None, BEFORE, replace(BEFORE), BEFORE.inspect(False)])
def test_the_plan_as_it_was_is_no_change(same: Plan | None) -> None:
    assert hook_results.plan(same, BEFORE, REGISTRY) is None


def test_a_plan_that_is_closed_for_want_of_a_relay_may_stay_so() -> None:
    assert hook_results.plan(CLOSED.inspect(), CLOSED, REGISTRY) == CLOSED.inspect()


@each_row(
    ("made", "words"),
    [
        ("tor", "a str, not a plan"),
        (Plan, "a type, not a plan"),
        ([], "a list"),
        (0, "an int"),
        (replace(BEFORE, action="RELAY"), "another type"),  # type: ignore[arg-type]
        (replace(BEFORE, why=None), "another type"),  # type: ignore[arg-type]
        (replace(BEFORE, routes=[DIRECT]), "not a tuple"),  # type: ignore[arg-type]
        (replace(BEFORE, routes=("direct",)), "not a tuple of routes"),  # type: ignore[arg-type]
        (replace(BEFORE, routes=(Route("tor"),)), "whose relays are not names"),  # type: ignore[arg-type]
        (replace(BEFORE, routes=(Route((1,)),)), "whose relays are not names"),  # type: ignore[arg-type]
        (BEFORE.via("nobody"), "there is no relay 'nobody'"),
        (BEFORE.via("tor|nonsense"), "there is no 'nonsense'"),
        (BEFORE.via(">".join(["tor"] * 9)), "more than 8 relays"),
        (BEFORE.via("direct"), "RELAY with a direct route"),
        (replace(BEFORE.via("tor"), routes=(Route(("tor",)), DIRECT)), "RELAY with a direct route"),
        (replace(BEFORE.direct(), routes=(Route(("tor",)),)), "DIRECT with a relay"),
        (replace(BEFORE.block("x"), routes=(DIRECT,)), "BLOCK with routes"),
        (BEFORE.via(), "RELAY without a route"),
        (replace(BEFORE, routes=()), "AUTO without a route"),
    ],
)
def test_a_plan_that_breaks_its_promise_is_none(made: object, words: str) -> None:
    with pytest.raises(WrongAnswer, match=words):
        hook_results.plan(made, BEFORE, REGISTRY)


def test_a_closed_plan_cannot_become_another_that_is_empty() -> None:
    with pytest.raises(WrongAnswer, match="AUTO without a route"):
        hook_results.plan(replace(CLOSED, action=Action.AUTO), CLOSED, REGISTRY)


def test_a_reason_is_one_inert_line() -> None:
    made = hook_results.plan(BEFORE.block("a\nb\x1b[31m" + "c" * 1000), BEFORE, REGISTRY)
    assert made is not None
    assert made.why.startswith("a b\\x1b[31mccc")
    assert len(made.why) == hook_results.SENTENCE_LIMIT


SIGNAL = Signal(SignalId.TLS_RESET, 2.0, "sni_reset", 5.0)


def test_a_signal_keeps_what_it_is() -> None:
    assert hook_results.signal(None, SIGNAL) is None
    assert hook_results.signal(Signal(SignalId.TLS_EOF, 3, "ip", 9.0), SIGNAL) == replace(
        SIGNAL, weight=3.0, cause="ip"
    )


@each_row("weight", [-0.1, 100.1, math.inf, math.nan, "2", True, None])
def test_a_weight_out_of_range_is_none(weight: Any) -> None:
    with pytest.raises(WrongAnswer, match="weight"):
        hook_results.signal(replace(SIGNAL, weight=weight), SIGNAL)


def test_a_signal_is_a_signal() -> None:
    with pytest.raises(WrongAnswer, match="a float, not a signal"):
        hook_results.signal(3.0, SIGNAL)


def test_a_page_is_named_or_the_sites_own_or_unknown() -> None:
    assert hook_results.page(None) is None
    assert hook_results.page(False) is False
    assert hook_results.page("a\tb") == "a b"
    for answer in (True, 1, "", " ", b"x"):
        with pytest.raises(WrongAnswer):
            hook_results.page(answer)


def test_a_refusal_is_a_sentence() -> None:
    assert hook_results.refusal(None, BEFORE, "pin") is None
    assert hook_results.refusal("not  now\r\n", BEFORE, "pin") == BEFORE.block("addon pin: not now")
    for answer in (True, "", b"x", ["x"]):
        with pytest.raises(WrongAnswer):
            hook_results.refusal(answer, BEFORE, "pin")


@pytest.mark.parametrize("url", ["http://a.test", "HTTPS://a.test:8443/x?y=z#w", "https://[::1]/"])
def test_a_url_of_the_web_is_one(url: str) -> None:
    assert hook_results.url(url) == url


@each_row(
    "url",
    [
        "",
        "a.test",
        "//a.test",
        "ftp://a.test",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://a.test/\r\nX: y",
        "http://a.test/ x",
        "http://a.test/\x00",
        "http://ä.test/",
        "http://[::1",
        f"http://a.test/{'x' * 2048}",
        b"http://a",
    ],
)
def test_what_is_no_url_of_the_web_is_none(url: Any) -> None:
    with pytest.raises(WrongAnswer):
        hook_results.url(url)


def test_a_stream_is_a_stream() -> None:
    assert hook_results.stream(None) is None
    with pytest.raises(WrongAnswer, match="a tuple, not a stream"):
        hook_results.stream(("reader", "writer"))
