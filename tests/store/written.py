"""Outcomes written as the store writes them."""

from __future__ import annotations

import sqlite3

from proxy.model import NetworkId, Outcome
from proxy.store.rows import Batch
from tests.support.outcomes import HOME


def keep(db: sqlite3.Connection, *seen: Outcome, network: NetworkId = HOME) -> None:
    (last,) = db.execute("SELECT max(id) FROM outcome").fetchone()
    batch = Batch()
    for number, one in enumerate(seen, start=(last or 0) + 1):
        batch.add_outcome(number, one, network)
        batch.count(one, network)
    batch.write(db)
