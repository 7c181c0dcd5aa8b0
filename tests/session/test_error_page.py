"""The page for a browser whose plain HTTP site did not open, and who gets the sentence instead."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_health import Health
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Destination,
    HttpRequest,
    Inbound,
    NetworkState,
    Plan,
    Request,
    Route,
    Stage,
    Symptom,
)
from proxy.session.connection_record import ConnectionRecord
from proxy.session.error_page import error_answer, prefers_html
from proxy.session.services import Services
from proxy.wire.html_page import CONTENT_SECURITY_POLICY
from tests.session.test_connection_record import Race
from tests.support.outcomes import HOME, failed, open_uplink
from tests.support.rows import each_row
from tests.support.services import services
from tests.wire.test_html_page import Tags
from tests.wire.test_http1_error import read

RELAY = Route(("berlin",))
BROWSER = (("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"),)
AUTO = Plan(Action.AUTO, (DIRECT, RELAY), "AUTO (no rule matches): direct first")


class Portal(Beliefs):
    """On a network that shows its login page in place of every site."""

    def network_state(self, network: Any) -> NetworkState:
        return NetworkState.PORTAL


def lost(
    *attempts: Attempt, plan: Plan = AUTO, host: str = "site.test", beliefs: Beliefs | None = None
) -> tuple[ConnectionRecord, Services]:
    """A plain HTTP request that no route answered."""
    shared = services(
        beliefs=beliefs or Beliefs(DetectTuning()),
        health=Health(DetectTuning()),
        network=lambda: HOME,
        now=lambda: 1e9,
    )
    request = Request(1, Destination(host, 80), Inbound.HTTP, "127.0.0.1:50000", HttpRequest("GET", "/"))
    setup = SimpleNamespace(own_url="http://127.0.0.1:8119/", registry=SimpleNamespace(relay_names=["berlin"]))
    record = ConnectionRecord(request, plan, network=HOME, setup=cast(Any, setup), services=shared)
    record.on_lost(cast(Any, Race(*attempts)))
    return record, shared


RESET = failed(Symptom.RESET)
REFUSED = failed(Symptom.RELAY_REFUSED, Stage.RELAY, RELAY, error="berlin: no route to host")


def shown(record: ConnectionRecord, shared: Services) -> str:
    head, body = read(error_answer(record, shared, BROWSER))
    assert dict(head.headers)[b"content-type"] == b"text/html; charset=utf-8"
    assert dict(head.headers)[b"content-security-policy"].decode() == CONTENT_SECURITY_POLICY
    assert dict(head.headers)[b"cache-control"] == b"no-store"
    assert dict(head.headers)[b"cross-origin-resource-policy"] == b"same-origin"
    page = body.decode()
    assert not {"script", "form", "img", "iframe", "input"} & set(Tags(page).names)
    return page


def online() -> Beliefs:
    """Another site has just opened direct."""
    beliefs = Beliefs(DetectTuning())
    open_uplink(beliefs, now=1e9 - 5)
    return beliefs


def test_a_page_says_the_verdict_the_cause_and_what_to_do() -> None:
    page = shown(*lost(RESET, REFUSED, beliefs=online()))
    assert "<title>site.test did not open</title>" in page
    assert "<dd>↓ site down</dd>" in page
    assert "<dd>Opens on no route: no route reaches it</dd>" in page
    assert "No route reached it. Wait, or try another relay." in page
    assert "direct: reset; all other routes failed too" in page
    assert '<code dir="ltr">byway why site.test</code>' in page
    assert '<code dir="ltr">http://127.0.0.1:8119/</code>' in page
    assert "<a " not in page, "a page of ours refuses what comes from a page of another site"
    assert "HTTP 502" in page


def test_a_site_is_not_down_when_no_route_is_known_to_work() -> None:
    page = shown(*lost(RESET))
    assert "<dd>· not tested</dd>" in page
    assert "site down" not in page


@each_row("accept", [BROWSER, ()])
@each_row("action", [Action.AUTO, Action.RELAY])
def test_neither_form_names_a_relay_or_a_rule(accept: Any, action: Action) -> None:
    plan = Plan(action, (DIRECT, RELAY), "rules.txt:3: DOMAIN,site.test,RELAY:berlin")
    answer = error_answer(*lost(RESET, REFUSED, plan=plan), accept)
    assert b"berlin" not in answer
    assert b"rules.txt" not in answer


def test_a_site_that_is_blocked_by_a_rule_is_no_failure() -> None:
    page = shown(*lost(plan=Plan(Action.BLOCK, (), "rules.txt:3: DOMAIN,site.test,BLOCK")))
    assert "refused by a rule" in page
    assert "rules.txt" not in page
    assert "HTTP 403" in page
    assert "site down" not in page


@each_row("accept", [BROWSER, ()])
def test_a_program_that_is_kept_out_is_told_why_and_that_no_rule_is_to_blame(accept: Any) -> None:
    why = "/usr/bin/spy is none of `[listen] programs`, which alone get relays"
    refused = Plan(Action.BLOCK, (), f"it may not go direct, and {why}", kept_out=why)
    answer = error_answer(*lost(plan=refused), accept).decode()
    assert "/usr/bin/spy is none of" in answer
    assert "403" in answer
    assert "refused by a rule" not in answer
    went_direct = Plan(Action.AUTO, (DIRECT,), f"direct only, since {why}", kept_out=why)
    page = shown(*lost(RESET, plan=went_direct))
    assert "not reached direct" in page
    assert "byway config set listen.programs" in page
    assert "relay add" not in page


def test_a_site_that_an_addon_refuses_has_the_addons_sentence_and_no_rule_is_blamed() -> None:
    before = Plan(Action.AUTO, (DIRECT,), "AUTO")
    page = shown(*lost(plan=replace(before.block("not during <work>"), before=before)))
    assert "refused by an addon on this computer" in page
    assert "<dd>not during &lt;work&gt;</dd>" in page
    assert "byway addons disable NAME" in page
    assert "rule" not in page
    assert "site set" not in page
    # A rule that an addon left as it was is the rule's.
    blocked = Plan(Action.BLOCK, (), "rules.txt:3: DOMAIN,site.test,BLOCK")
    assert "refused by a rule" in shown(*lost(plan=replace(blocked, before=blocked)))


def test_without_a_route_a_relay_is_to_be_added() -> None:
    page = shown(*lost(plan=Plan(Action.RELAY, (), "RELAY, but there is no relay")))
    assert "byway relay add URL" in page
    assert "· not tested" in page


@each_row(
    ("attempts", "words"),
    [
        ((failed(Symptom.REFUSED, Stage.CONNECT),), "· not tested"),
        ((failed(Symptom.NO_NAME, Stage.RESOLVE), failed(Symptom.NO_NAME, Stage.RESOLVE, Route(wrap=("doh",)))),
         "? no such name"),
        ((RESET, failed(Symptom.RELAY_AUTH, Stage.RELAY, RELAY)), "! relays fail"),
        ((RESET, failed(Symptom.TIMEOUT, Stage.RELAY, RELAY)), "! relays fail"),
    ],
)  # fmt: skip
def test_the_verdict_is_that_of_this_connection(attempts: tuple[Attempt, ...], words: str) -> None:
    assert f"<dd>{words}</dd>" in shown(*lost(*attempts))


def test_a_portal_is_named_as_such() -> None:
    page = shown(*lost(RESET, beliefs=Portal(DetectTuning())))
    assert "– portal" in page
    assert "log in to the network" in page


def test_a_host_cannot_write_markup() -> None:
    page = shown(*lost(RESET, host="<script>alert(1)</script>.test"))
    assert "&lt;script&gt;" in page


def test_other_programs_read_the_sentence() -> None:
    record, shared = lost(RESET)
    head, body = read(error_answer(record, shared, (("Accept", "*/*"),)))
    assert dict(head.headers)[b"content-type"] == b"text/plain; charset=utf-8"
    assert body.decode() == f"{record.client_message}\n"


@each_row(
    ("accept", "is_page"),
    [
        (BROWSER[0][1], True),
        ("text/html", True),
        ("TEXT/HTML;level=1;q=0.5, */*", True),
        ("application/xhtml+xml", True),
        ("*/*", False),
        ("text/*", False),
        ("", False),
        ("application/json, text/plain, */*", False),
        ("text/plain, text/html;q=0.9", False),
        ("text/html;q=0", False),
        ("text/html;q=x", False),
        ("text/html;q=nan", False),
    ],
)
def test_who_gets_a_page(accept: str, is_page: bool) -> None:
    assert prefers_html((("accept", accept),)) == is_page
    assert prefers_html((("Accept", "image/png"), ("ACCEPT", accept))) == is_page
    assert not prefers_html((("User-Agent", "text/html"),))
