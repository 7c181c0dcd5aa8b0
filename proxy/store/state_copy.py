"""A copy in memory of the beliefs, results and overrides in the log's file.

The file is read once, when it is opened, and each change to it is also made here. A file that was lost or damaged is
written anew from this copy, so that damage costs only history.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from proxy.model import Belief, NetworkId, Override, ResultKey, StoredResult
from proxy.store import queries
from proxy.store.file import transaction
from proxy.store.retention import has_lapsed, is_old
from proxy.store.rows import Batch
from proxy.store.salvage import read_overrides


class StateCopy:
    """The stored beliefs by scope and network, the results, and the overrides by host. Only a holder of the database's
    lock changes it."""

    def __init__(self) -> None:
        self.beliefs: dict[tuple[str, NetworkId], Belief] = {}
        self.results: dict[ResultKey, StoredResult] = {}
        self.overrides: dict[str, Override] = {}
        self.is_complete = False
        """Whether it has everything that was in the file at the start."""

    def load(self, db: sqlite3.Connection) -> int:
        """Reads the file. Values that were recorded since the start are newer and win. Returns the number of unreadable
        rows."""
        beliefs, bad_beliefs = queries.beliefs(db)
        results, bad_results = queries.results(db)
        overrides, bad_overrides = queries.overrides(db)
        self.beliefs = {(belief.scope, belief.network): belief for belief in beliefs} | self.beliefs
        self.results = {result.key: result for result in results} | self.results
        self.overrides = overrides | self.overrides
        self.is_complete = True
        return bad_beliefs + bad_results + bad_overrides

    def salvage(self, damaged: Path | None) -> None:
        """Reads the overrides from a damaged file if the copy is not complete yet; None: there is no such file. The
        copy counts as complete afterwards, since nothing else can be read."""
        if damaged is not None and not self.is_complete:
            self.overrides = read_overrides(damaged) | self.overrides
        self.is_complete = True

    def write_to(self, db: sqlite3.Connection) -> None:
        """Replaces the beliefs, results and overrides in a file by those of the copy."""
        batch = Batch(beliefs=dict(self.beliefs), results=dict(self.results), overrides=dict(self.overrides))
        with transaction(db):
            db.execute("DELETE FROM belief")
            db.execute("DELETE FROM result")
            db.execute("DELETE FROM override")
            batch.write(db)

    def equals(self, db: sqlite3.Connection) -> bool:
        """Whether a file has the same content as the copy."""
        beliefs, bad_beliefs = queries.beliefs(db)
        results, bad_results = queries.results(db)
        return (
            queries.overrides(db) == (self.overrides, 0)
            and not (bad_beliefs or bad_results)
            and {result.key: result for result in results} == self.results
            and {(belief.scope, belief.network): belief for belief in beliefs} == self.beliefs
        )

    def set_belief(self, scope: str, network: NetworkId, belief: Belief | None) -> None:
        """None: the belief was forgotten."""
        if belief is None:
            self.beliefs.pop((scope, network), None)
        else:
            self.beliefs[scope, network] = belief

    def set_result(self, key: ResultKey, result: StoredResult | None) -> None:
        """None: the result was dropped or forgotten."""
        if result is None:
            self.results.pop(key, None)
        else:
            self.results[key] = result

    def set_override(self, host: str, override: Override | None) -> None:
        """None: the override was removed."""
        if override is None:
            self.overrides.pop(host, None)
        else:
            self.overrides[host] = override

    def remove_lapsed(self, now: float, *, keep_s: float) -> None:
        """Removes the beliefs and results that `retention.remove_old` removes from the file."""
        for key in [key for key, belief in self.beliefs.items() if has_lapsed(belief, now)]:
            del self.beliefs[key]
        for of in [of for of, result in self.results.items() if is_old(result, now, keep_s=keep_s)]:
            del self.results[of]
