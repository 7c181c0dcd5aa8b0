from __future__ import annotations

import sqlite3
import time
from contextlib import closing

from proxy.control.site_days import DayKind
from proxy.features.sites.calendar import DAYS, calendar_of, read_calendar
from proxy.model import Belief, NetworkId, State
from proxy.store.file import open_store
from proxy.store.rows import Batch
from tests.support.outcomes import AWAY, HOME, HOST, rescued, works

DAY_S = 86_400.0


def log_of(*seen: tuple[NetworkId, float, bool]) -> sqlite3.Connection:
    db, batch = open_store(None).db, Batch()
    for number, (network, at, is_free) in enumerate(seen, start=1):
        batch.add_outcome(number, works(HOST, at=at) if is_free else rescued(host=HOST, at=at), network)
    batch.write(db)
    return db


def test_each_network_has_its_days_and_a_day_without_a_record_is_neither_free_nor_blocked() -> None:
    now = time.time()
    with closing(log_of((HOME, now, False), (HOME, now - 3 * DAY_S, True), (AWAY, now - DAY_S, True))) as db:
        recorded = read_calendar(db, [HOST], now)
    held = [Belief(HOST, HOME, State.BLOCKED, began=now - 2 * DAY_S, since=now - 2 * DAY_S)]
    here, away = calendar_of(recorded, held, HOME, {HOME: "home"})
    assert (here.name, here.is_here, away.name, away.is_here) == ("home", True, "", False)
    assert len(here.strip) == DAYS
    none = DayKind.NONE
    assert [day.kind for day in here.strip[-5:]] == [none, DayKind.FREE, none, none, DayKind.BLOCKED]
    assert {day.kind for day in here.strip[:-5]} == {none}
    assert [day.kind for day in away.strip[-3:]] == [none, DayKind.FREE, none]


def test_this_network_is_there_without_a_record() -> None:
    with closing(log_of()) as db:
        (here,) = calendar_of(read_calendar(db, [HOST], time.time()), [], HOME, {})
    assert here.is_here
    assert {day.kind for day in here.strip} == {DayKind.NONE}
