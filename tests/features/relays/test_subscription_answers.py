"""What is said of a subscription, the same by `relay list`, `status` and the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from proxy.config.schema import SubscriptionConfig
from proxy.features.relays.subscription_answers import MemberState, SubscriptionJson, describe
from proxy.store.list_copies import CopyInfo, ListCopies
from tests.support.rows import each_row

URL = "https://shop.example/sub/hunter2?token=hunter2"
NOW = datetime(2026, 12, 2, 12).astimezone().timestamp()
DAY = 86_400.0
FILE = b"socks5h://me:hunter2@de.example:1080#DE\nsocks5h://nl.example:1080#NL\nhello\n"
WORKS, FAILS = MemberState(True, NOW - 60, False), MemberState(True, 0.0, True)
GOOD = CopyInfo(URL, fetched_at=NOW - 60, changed_at=NOW - 3 * DAY, entries=2)


def described(info: CopyInfo, members: Mapping[str, MemberState] | None = None) -> SubscriptionJson:
    copies = ListCopies(Path("/nonexistent"), ephemeral=True)
    copies.replace(info, FILE)
    states = {"shop/DE": WORKS, "shop/NL": FAILS} if members is None else members
    (made,) = describe([SubscriptionConfig("shop", URL, refresh="1d")], copies, states, NOW)
    assert "hunter2" not in repr(made)
    return made


def test_relays_are_counted_by_what_came_through_them_lately() -> None:
    made = described(GOOD)
    assert (made.relays, made.not_taken, made.answered) == (2, 1, 1)
    assert (made.host, made.source) == ("shop.example", "https://shop.example/***/***?token=***")
    assert (made.fetched_at, made.changed_at, made.account, made.problems) == (NOW - 60, NOW - 3 * DAY, "", ())
    long_ago, of_another = replace(WORKS, answered_at=NOW - 2 * DAY), {"other/DE": WORKS}
    assert described(GOOD, {"shop/DE": long_ago, "shop/NL": FAILS, **of_another}).answered == 0
    assert described(GOOD, {"shop/DE": replace(WORKS, answered_at=NOW + DAY), "shop/NL": WORKS}).answered == 1


@each_row(
    ("info", "failing", "texts"),
    [
        (GOOD, (), []),
        (GOOD, ("shop/DE",), []),
        (GOOD, ("shop/DE", "shop/NL"), ["Every relay of subscription shop keeps failing."]),
        (replace(GOOD, error="through tor: answered 403"), (),
         ["Subscription shop could not be fetched: through tor: answered 403"]),
        (CopyInfo(URL), (), ["Subscription shop is not fetched yet, so its group has no relays."]),
        (CopyInfo(URL, error="answered 403"), (), ["Subscription shop could not be fetched: answered 403"]),
        (replace(GOOD, said=f"expire={NOW + DAY:.0f}"), (), []),
        (replace(GOOD, said=f"expire={NOW - DAY:.0f}"), (),
         ["The account of subscription shop expired on 2026-12-01, says its server."]),
        (replace(GOOD, said="upload=10; download=20; total=1000"), (), []),
        (replace(GOOD, said="upload=400; download=600; total=1000"), (),
         ["The account of subscription shop has used all of its 1.0 kB, says its server."]),
        (replace(GOOD, said="upload=400; download=600; total=0"), (), []),
        (replace(GOOD, fetched_at=NOW + 60), (), []),
        (replace(GOOD, fetched_at=NOW + 400 * DAY), (),
         ["Subscription shop was fetched on 2028-01-06, which is still to come: this computer's clock is wrong now, or "
          "was wrong then."]),
    ],
)  # fmt: skip
def test_each_problem_is_a_sentence_with_what_to_do(info: CopyInfo, failing: tuple[str, ...], texts: list[str]) -> None:
    states = {name: FAILS if name in failing else WORKS for name in ("shop/DE", "shop/NL")}
    problems = described(info, states).problems
    assert [each.text for each in problems] == texts
    assert all(each.do.endswith("byway relay refresh shop") for each in problems)


def test_a_relay_that_is_disabled_does_not_count_as_one_that_fails() -> None:
    disabled = MemberState(False, 0.0, False)
    assert [each.text for each in described(GOOD, {"shop/DE": FAILS, "shop/NL": disabled}).problems] == [
        "Every relay of subscription shop keeps failing."
    ]
    assert described(GOOD, {"shop/DE": disabled, "shop/NL": disabled}).problems == ()


@pytest.mark.parametrize(
    ("said", "account"),
    [
        ("upload=1000; download=2000; total=50000; expire=1796256000", "3.0 kB of 50.0 kB used, expires 2026-12-03"),
        ("expire=1795000000", "expired 2026-11-18"),
        ("total=0; expire=0", ""),
        ("expire=99999999999999999999", ""),
        ("hello", ""),
    ],
)
def test_the_account_is_told_with_dates(monkeypatch: pytest.MonkeyPatch, said: str, account: str) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert described(replace(GOOD, said=said)).account == account
    monkeypatch.undo()
    time.tzset()
