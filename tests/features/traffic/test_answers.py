"""Connections as answers: the host of the flight, and nothing secret; a row of the log answers as its outcome did."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from proxy.config.schema import Log
from proxy.features.traffic.answers import ConnectionJson
from proxy.store.store import Store
from tests.support.outcomes import HOME, TOR, delivered, failed, outcome, rescued

SECRET = "correct-horse"
LEAK = f"relay socks5h://u:{SECRET}@h:1 refused"


def test_an_outcome_is_kept_under_the_name_of_its_flight() -> None:
    told = ConnectionJson.of(outcome(delivered(TOR), host="example.org"), HOME)
    assert (told.host, told.winner, told.network) == ("example.org", "tor", HOME)


def test_I16_errors_hold_no_secret() -> None:
    told = ConnectionJson.of(outcome(failed(error=LEAK), error=LEAK), HOME)
    assert SECRET not in repr(told)
    assert told.error == told.attempts[0].error == "relay socks5h://u:***@h:1 refused"


def test_a_row_of_the_log_answers_as_its_outcome_did(tmp_path: Path) -> None:
    seen = rescued(host="a.example", at=time.time())
    store = Store(tmp_path / "byway.sqlite", Log(hosts="all"))
    store.start()
    try:
        store.record(seen, network=HOME)
        assert store.flush()
        (row,) = store.log()
    finally:
        store.close()
    told = ConnectionJson.of_row(row)
    assert len(told.attempts) == 2
    assert replace(told, id=0) == replace(ConnectionJson.of(seen, HOME), id=0)
