"""What may be written down: which connections are counted, which are named, and which beliefs are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxy.config.schema import Log
from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Action,
    Change,
    Inbound,
    Outcome,
    Route,
    Stage,
    State,
    StoredResult,
    Symptom,
)
from proxy.store.privacy import Kept, LogPrivacy, is_storable, needed_a_decision
from tests.support.outcomes import HOME, HOST, TOR, delivered, down, failed, outcome, rescued, works
from tests.support.rows import each_row

LEARNED = Change(0.0, HOST, HOME, State.SUSPECT, State.BLOCKED, "sni_reset", "the evidence", None)


def said(**settings: Any) -> LogPrivacy:
    return LogPrivacy(Log(**settings))


@each_row(
    ("seen", "needed"),
    [
        (works(), False),
        (replace(works(), plan=replace(works().plan.direct(), action=Action.AUTO, before=works().plan)), True),
        (outcome(winner=DIRECT), False),
        (outcome(delivered(), failed(Symptom.ABANDONED, Stage.RELAY, TOR)), True),  # a hedge
        (rescued(), True),
        (outcome(delivered(TOR)), True),
        (outcome(delivered(Route((), ("tlsrec",)))), True),
        (down(), True),
        (outcome(error="refused", action=Action.BLOCK), True),
        (outcome(delivered(), action=Action.DIRECT), True),
    ],
)
def test_what_needed_a_decision(seen: Outcome, needed: bool) -> None:
    assert needed_a_decision(seen) is needed


def test_interception_is_a_decision() -> None:
    seen = works()

    assert needed_a_decision(replace(seen, plan=replace(seen.plan, intercept=True)))


@each_row(
    ("hosts", "seen", "kept"),
    [
        ("decisions", works(), Kept.DIRECT_COUNT),
        ("decisions", outcome(winner=DIRECT), Kept.COUNT),
        ("decisions", rescued(), Kept.ROW),
        ("all", works(), Kept.ROW),
        ("off", rescued(), Kept.NOTHING),
        ("off", works(), Kept.NOTHING),
        ("all", outcome(failed(), delivered(TOR), inbound=Inbound.RETEST), Kept.NOTHING),
        ("decisions", outcome(delivered(), inbound=Inbound.RETEST), Kept.NOTHING),
    ],
)
def test_who_is_counted_and_who_is_named(hosts: str, seen: Outcome, kept: Kept) -> None:
    assert said(hosts=hosts).kept(seen) is kept


def test_never_holds_for_what_was_asked_and_for_what_it_turned_out_to_be() -> None:
    discretion = said(hosts="all", never=("*.Gov.kz", "secret?.example"))
    for host in ("egov.gov.kz", "gov.kz", "secret1.example"):
        assert discretion.kept(works(host)) is Kept.COUNT
        assert discretion.kept(replace(works("192.0.2.1"), host=host)) is Kept.COUNT
        assert not discretion.may_list(replace(LEARNED, scope=host))
        assert not discretion.may_store(replace(LEARNED, scope=host))
    for host in ("notgov.kz", "secret.example"):
        assert discretion.kept(works(host)) is Kept.ROW


@pytest.mark.parametrize(
    ("change", "is_kept"),
    [
        (LEARNED, True),
        (replace(LEARNED, network=UNKNOWN_NETWORK), False),
        (replace(LEARNED, after=State.DOWN), False),
    ],
)
def test_what_passes_by_itself_is_told_and_not_held(change: Change, is_kept: bool) -> None:
    assert is_storable(change) is is_kept
    assert said().may_list(change)
    assert said().may_store(change) is is_kept
    assert not said(hosts="off").may_store(change)
    assert not said(hosts="off").may_list(change)


@each_row(
    ("settings", "host", "status", "is_kept"),
    [
        ({"hosts": "decisions"}, HOST, "site down", True),
        ({"hosts": "decisions"}, HOST, "works", False),
        ({"hosts": "all"}, HOST, "works", True),
        ({"hosts": "off"}, HOST, "site down", False),
        ({"hosts": "all", "never": ("*.gov.kz",)}, "e.gov.kz", "site down", False),
        ({"hosts": "all", "never": ("*.gov.kz",)}, HOST, "site down", True),
    ],
)
def test_which_results_are_kept(settings: dict[str, Any], host: str, status: str, is_kept: bool) -> None:
    result = StoredResult(HOME, host, 443, status, 0.0, "connection")
    assert said(**settings).may_keep(result) is is_kept
    assert not said(**settings).may_keep(replace(result, network=UNKNOWN_NETWORK))
    is_allowed = settings["hosts"] != "off" and host == HOST
    assert said(**settings).may_keep(result, is_troubled=True) is is_allowed
