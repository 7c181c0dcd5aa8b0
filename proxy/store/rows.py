"""Converts values of the model to rows and back. No other module knows both the model and the tables.

Every value is a parameter, never a part of the SQL. Text that UTF-8 cannot encode (a lone surrogate, from bytes of a
peer) is stored as a blob and read back unchanged. Rows of a damaged file that cannot be read are skipped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Belief,
    Change,
    ClosedBy,
    Evidence,
    Inbound,
    NetworkId,
    Outcome,
    Override,
    Plan,
    Protocol,
    ResultKey,
    Route,
    Stage,
    State,
    StoredResult,
    Symptom,
)

if TYPE_CHECKING:
    import sqlite3

HOUR_S = 3600
NO_ROUTE = ""
"""In the place of a route in the hourly sums: connections that no route delivered."""
HALF_S = 1800
"""Seconds of a half-hour, by which visits through relays are counted."""

MOMENT_MAX = 1e11
"""The latest valid time, in seconds since the epoch: the year 5138, which `datetime` can represent."""

_PORT_MAX = 65_535

NOT_COUNTED = frozenset(
    {Symptom.NONE, Symptom.ABANDONED, Symptom.SKIPPED, Symptom.FORBIDDEN, Symptom.LOCAL, Symptom.OFFLINE}
)
"""Symptoms that are evidence neither for nor against a route."""

_EVIDENCE = json.JSONEncoder(default=str)
"""A shared encoder: `json.dumps` makes a new one for each call with a default."""

Row = tuple[Any, ...]
Document = dict[str, Any]
Read = Callable[[Any], Any]
"""Reads a value of a column. Raises ValueError for an invalid value, from a damaged file or another program."""

BELIEF_COLUMNS = tuple(f.name for f in fields(Belief))
RESULT_COLUMNS = tuple(f.name for f in fields(StoredResult))

_INSERT_OUTCOME = (
    "INSERT INTO outcome (id, at, host, port, inbound, action, why, winner, error, protocol, bytes_up, bytes_down,"
    " duration_s, closed_by, network, plan, tried)",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)
_INSERT_ATTEMPT = (
    "INSERT INTO attempt (outcome_id, place, route, stage, symptom, error, started_s, elapsed_s, address, evidence)",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
)
_INSERT_DELIVERED = (_INSERT_ATTEMPT[0], "(?, ?, ?, 'done', '', '', ?, ?, ?, ?)")
_ROWS_AT_ONCE = (64, 8, 1)
"""Rows of one statement: 64 have 1,088 values, of the 32,766 that a statement may have."""

_INSERT_CHANGE = "INSERT INTO change (at, scope, network, before, after, cause, why) VALUES (?, ?, ?, ?, ?, ?, ?)"
_UPSERT_BELIEF = (
    f"INSERT OR REPLACE INTO belief ({', '.join(BELIEF_COLUMNS)}) VALUES ({', '.join('?' * len(BELIEF_COLUMNS))})"  # noqa: S608 - names of our own fields
)
_UPSERT_RESULT = (
    f"INSERT OR REPLACE INTO result ({', '.join(RESULT_COLUMNS)}) VALUES ({', '.join('?' * len(RESULT_COLUMNS))})"  # noqa: S608 - names of our own fields
)
_UPSERT_OVERRIDE = "INSERT OR REPLACE INTO override (host, action, relay, until) VALUES (?, ?, ?, ?)"
_ADD_ROUTE_HOUR = (
    "INSERT INTO route_hour (hour, network, route, delivered, failed, bytes_up, bytes_down)"
    " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hour, network, route) DO UPDATE SET"
    " delivered = delivered + excluded.delivered, failed = failed + excluded.failed,"
    " bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down"
)
_ADD_RELAY_HOUR = (
    "INSERT INTO relay_hour (hour, network, relay, delivered, failed, elapsed_s)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hour, network, relay) DO UPDATE SET"
    " delivered = delivered + excluded.delivered, failed = failed + excluded.failed,"
    " elapsed_s = elapsed_s + excluded.elapsed_s"
)


def to_text(value: str) -> str | bytes:
    """Returns the text, or its bytes if it has a lone surrogate, which SQLite cannot store as text."""
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")
    return value


def from_text(value: object) -> str:
    """The inverse of `to_text`. It never raises, also for values of a damaged file."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


@dataclass(slots=True)
class DirectSums:
    """Connections that direct delivered at once, in one hour on one network."""

    hour: int
    network: NetworkId
    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(slots=True)
class Batch:
    """Rows to write in one transaction."""

    outcomes: list[Any] = field(default_factory=list)  # the values of all rows, one row after the other
    attempts: list[Any] = field(default_factory=list)  # the same for attempts that failed
    delivered: list[Any] = field(default_factory=list)  # the same for other attempts, which are most
    changes: list[Row] = field(default_factory=list)
    beliefs: dict[tuple[str, NetworkId], Belief | None] = field(default_factory=dict)
    results: dict[ResultKey, StoredResult | None] = field(default_factory=dict)
    overrides: dict[str, Override | None] = field(default_factory=dict)
    routes: dict[tuple[int, str, str], list[int]] = field(default_factory=dict)
    relays: dict[tuple[int, str, str], list[float]] = field(default_factory=dict)

    def add_outcome(self, row_id: int, outcome: Outcome, network: NetworkId) -> None:
        """Adds an outcome with its host and its attempts."""
        request, plan, winner, tried = outcome.request, outcome.plan, outcome.winner, ""
        for place, attempt in enumerate(outcome.attempts):
            route = "direct" if attempt.route is DIRECT else _route(attempt.route)
            address, evidence = to_text(attempt.address), _evidence(attempt.evidence)
            if attempt.stage is Stage.DONE and not (attempt.symptom or attempt.error):
                self.delivered += (row_id, place, route, attempt.started, attempt.elapsed, address, evidence)
            else:
                stage, symptom, error = _TEXTS[attempt.stage], _TEXTS[attempt.symptom], to_text(attempt.error)
                self.attempts += (
                    *(row_id, place, route, stage, symptom, error),
                    *(attempt.started, attempt.elapsed, address, evidence),
                )
            name = route if type(route) is str else str(attempt.route)
            tried += f"\n{'+' if attempt.stage is Stage.DONE else '-'}{name}\n"  # as `tried_text`, without its call
        self.outcomes += (
            row_id,
            outcome.at,
            to_text(outcome.host or request.destination.host),
            request.destination.port,
            _TEXTS[request.inbound],
            _TEXTS[plan.action],
            to_text(plan.why),
            None if winner is None else "direct" if winner is DIRECT else _route(winner),
            outcome.error and to_text(outcome.error),
            _TEXTS[outcome.protocol],
            outcome.bytes_up,
            outcome.bytes_down,
            outcome.duration,
            _TEXTS[outcome.closed_by],
            network,
            _plan(plan),
            tried if tried.isascii() else to_text(tried),
        )

    def count(self, outcome: Outcome, network: NetworkId) -> None:
        """Adds a connection to the hourly sums of its routes and the half-hourly sums of its relays, without its host.
        A route that was tried twice counts once, since the sums are shown as numbers of visits. A connection that no
        route delivered counts as a failure of NO_ROUTE as well."""
        at = int(outcome.at)
        hour, half = at // HOUR_S * HOUR_S, at // HALF_S * HALF_S
        if outcome.winner is None and outcome.error and outcome.plan.action is not Action.BLOCK:
            self.routes.setdefault((hour, network, NO_ROUTE), [0, 0, 0, 0])[1] += 1
        attempts: Iterable[Attempt] = outcome.attempts
        if outcome.attempts[1:]:
            attempts = _one_a_route(attempts)
        for attempt in attempts:
            route = attempt.route
            delivered = attempt.stage is Stage.DONE
            failed = not delivered and attempt.symptom not in NOT_COUNTED
            if failed and route.relays and not _is_relays_failure(attempt, outcome):
                continue  # a failure of the site: no other route delivered it either
            if not delivered and not failed:
                continue
            key = (hour, network, "direct" if route is DIRECT else str(route))
            counts = self.routes.get(key)
            if counts is None:
                counts = self.routes[key] = [0, 0, 0, 0]
            counts[0] += delivered
            counts[1] += failed
            if delivered and route == outcome.winner:
                counts[2] += outcome.bytes_up
                counts[3] += outcome.bytes_down
            for relay in route.relays:
                tally = self.relays.setdefault((half, network, relay), [0, 0, 0.0])
                tally[0] += delivered
                tally[1] += failed
                tally[2] += attempt.elapsed if delivered else 0.0

    def add_direct(self, sums: DirectSums) -> None:
        """Adds the sums of connections that direct delivered."""
        counts = self.routes.setdefault((sums.hour, sums.network, "direct"), [0, 0, 0, 0])
        counts[0] += sums.connections
        counts[2] += sums.bytes_up
        counts[3] += sums.bytes_down

    def add_change(self, change: Change, *, in_ledger: bool, stored: bool) -> None:
        """Adds a change to the ledger (`in_ledger`) and its belief to the stored ones (`stored`)."""
        if in_ledger:
            self.changes.append(
                (
                    change.at,
                    to_text(change.scope),
                    change.network,
                    str(change.before),
                    str(change.after),
                    to_text(change.cause),
                    to_text(change.why),
                )
            )
        if stored:
            self.beliefs[change.scope, change.network] = change.belief

    def write(self, db: sqlite3.Connection) -> None:
        """Writes everything; the caller begins and ends the transaction. Raises sqlite3.Error, and OverflowError for a
        number of more than 64 bits."""
        _insert(db, _INSERT_OUTCOME, self.outcomes)
        _insert(db, _INSERT_ATTEMPT, self.attempts)
        _insert(db, _INSERT_DELIVERED, self.delivered)
        db.executemany(_INSERT_CHANGE, self.changes)
        db.executemany(_UPSERT_BELIEF, [_belief(belief) for belief in self.beliefs.values() if belief is not None])
        db.executemany(
            "DELETE FROM belief WHERE scope = ? AND network = ?",
            [(to_text(scope), network) for (scope, network), belief in self.beliefs.items() if belief is None],
        )
        db.executemany(_UPSERT_RESULT, [_result(result) for result in self.results.values() if result is not None])
        db.executemany(
            "DELETE FROM result WHERE network = ? AND host = ? AND port = ?",
            [(key[0], to_text(key[1]), key[2]) for key, result in self.results.items() if result is None],
        )
        set_now = {host: override for host, override in self.overrides.items() if override is not None}
        db.executemany(
            _UPSERT_OVERRIDE,
            [(to_text(host), str(it.action), to_text(it.relay), it.until) for host, it in set_now.items()],
        )
        db.executemany(
            "DELETE FROM override WHERE host = ?",
            [(to_text(host),) for host, override in self.overrides.items() if override is None],
        )
        db.executemany(_ADD_ROUTE_HOUR, [(h, n, to_text(r), *counts) for (h, n, r), counts in self.routes.items()])
        db.executemany(_ADD_RELAY_HOUR, [(h, n, to_text(r), *counts) for (h, n, r), counts in self.relays.items()])


def _is_relays_failure(attempt: Attempt, outcome: Outcome) -> bool:
    """Whether a failed attempt counts against its relay: by its symptom, or because another route delivered the site. A
    relay that refuses a destination has not failed."""
    if attempt.symptom.blames_relay:
        return True
    return outcome.winner is not None and attempt.symptom is not Symptom.RELAY_REFUSED


def _one_a_route(attempts: Iterable[Attempt]) -> Iterable[Attempt]:
    """Returns one attempt of each route: one that delivered, else one that counts as failed, else any."""
    chosen: dict[Route, Attempt] = {}
    for attempt in attempts:
        before = chosen.get(attempt.route)
        if before is None or (
            before.stage is not Stage.DONE and (attempt.stage is Stage.DONE or before.symptom in NOT_COUNTED)
        ):
            chosen[attempt.route] = attempt
    return chosen.values()


def _insert(db: sqlite3.Connection, insert: tuple[str, str], values: list[Any]) -> None:
    """Inserts the rows of `values`, many in one statement: after each statement this thread may wait 5 ms until a busy
    loop's thread releases the interpreter. `insert` is the statement without values, and the parameters of one row."""
    start, width = 0, insert[1].count("?")
    for rows in _ROWS_AT_ONCE:
        while start + rows * width <= len(values):
            db.execute(_statement(*insert, rows), values[start : start + rows * width])
            start += rows * width


@lru_cache
def _statement(head: str, row: str, rows: int) -> str:
    """Returns the text of a statement. The cache gives the same text each time, by which sqlite3 finds its compiled
    statement."""
    return f"{head} VALUES {', '.join([row] * rows)}"


def read_rows(rows: Iterable[Row], columns: Mapping[str, Read]) -> list[Document]:
    """Returns the values of each row by name. `columns` are the names in the order of the row, each with its Read. A
    row that cannot be read is left out."""
    documents = []
    for row in rows:
        try:
            documents.append({name: read(value) for (name, read), value in zip(columns.items(), row, strict=True)})
        except ValueError:
            continue
    return documents


def read_beliefs(rows: Iterable[Sequence[object]]) -> tuple[list[Belief], int]:
    """Reads beliefs from rows of `BELIEF_COLUMNS`. Returns them and the number of unreadable rows."""
    beliefs, unreadable = [], 0
    for row in rows:
        try:
            beliefs.append(_to_belief(dict(zip(BELIEF_COLUMNS, row, strict=True))))
        except (ValueError, TypeError, OverflowError, RecursionError):  # RecursionError: deeply nested JSON
            unreadable += 1
    return beliefs, unreadable


def read_results(rows: Iterable[Sequence[object]]) -> tuple[list[StoredResult], int]:
    """Reads results from rows of `RESULT_COLUMNS`. Returns them and the number of unreadable rows."""
    results, unreadable = [], 0
    for row in rows:
        try:
            results.append(_to_result(dict(zip(RESULT_COLUMNS, row, strict=True))))
        except (ValueError, TypeError, RecursionError):
            unreadable += 1
    return results, unreadable


def read_overrides(rows: Iterable[Sequence[object]]) -> tuple[dict[str, Override], int]:
    """Reads overrides from rows of (host, action, relay, until). Returns them and the number of unreadable rows."""
    overrides, unreadable = {}, 0
    for host, action, relay, until in rows:
        try:
            overrides[from_text(host)] = Override(Action(from_text(action)), from_text(relay), read_moment(until))
        except ValueError:
            unreadable += 1
    return overrides, unreadable


_TEXTS: Mapping[str, str] = {
    member: str(member) for kind in (Action, ClosedBy, Inbound, Protocol, Stage, Symptom) for member in kind
}
"""Members of enums as the plain strings that sqlite3 needs: `str` of a member takes three times as long."""


def _evidence(evidence: Evidence) -> str:
    if not evidence:
        return "{}"
    if len(evidence) == 1 and type(status := evidence.get("status")) is int:  # plain HTTP: faster than the encoder
        return f'{{"status": {status}}}'
    return _EVIDENCE.encode(dict(evidence))


@lru_cache(maxsize=1000)
def _route(route: Route) -> str | bytes:
    return to_text(str(route))


def tried_text(route: str, *, delivered: bool) -> str:
    """Returns the part of the column `tried` about an attempt of a route, which did or did not deliver."""
    return f"\n{'+' if delivered else '-'}{route}\n"


def _plan(plan: Plan) -> str:
    """Returns the plan as JSON, without `action` and `why`, which have columns. `before` is the plan before addons
    changed it."""
    before = plan.before
    if before is None:
        return _unchanged_plan(plan.routes, plan.intercept)
    routes = [str(route) for route in before.routes]
    stored: Document = {
        "routes": [str(route) for route in plan.routes],
        "intercept": plan.intercept,
        "before": {"action": before.action, "routes": routes, "why": before.why, "intercept": before.intercept},
    }
    return json.dumps(stored)  # escapes everything but ASCII, also a lone surrogate


@lru_cache(maxsize=1000)
def _unchanged_plan(routes: tuple[Route, ...], intercept: bool) -> str:
    """Returns the JSON of a plan that no addon changed. Few differ, and to make the JSON takes a tenth of the time of a
    row."""
    return json.dumps({"routes": [str(route) for route in routes], "intercept": intercept})


def read_plan(action: object, why: object, stored: object) -> Plan | None:
    """Reads a plan; None: a row of an older Byway. Raises ValueError, TypeError or KeyError for an invalid plan."""
    if stored is None:
        return None
    document = json.loads(from_text(stored))
    if not isinstance(document, dict):
        raise TypeError("a plan is a JSON object")
    before = document.get("before")
    plan = Plan(Action(from_text(action)), _routes(document), from_text(why), bool(document["intercept"]))
    if before is None:
        return plan
    plan_before = Plan(Action(before["action"]), _routes(before), str(before["why"]), bool(before["intercept"]))
    return replace(plan, before=plan_before)


def read_evidence(text: object) -> Document:
    """Reads an attempt's evidence. Only values that are a text, a finite number, a bool or null are returned."""
    try:
        stored = json.loads(from_text(text))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {
        name: value
        for name, value in stored.items()
        if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    }


def read_moment(value: object) -> float:
    """Reads a time in seconds since the epoch. Raises ValueError."""
    return _number(value, most=MOMENT_MAX)


def read_span(value: object) -> float:
    """Reads a length of time in seconds. Raises ValueError."""
    return _number(value)


def read_count(value: object) -> int:
    """Reads a count. Raises ValueError."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def read_port(value: object) -> int:
    """Reads the number of a port. Raises ValueError."""
    if (port := read_count(value)) > _PORT_MAX:
        raise ValueError(f"{value!r} is no port")
    return port


def _routes(document: Document) -> tuple[Route, ...]:
    return tuple(Route.parse(str(route)) for route in document["routes"])


def _belief(belief: Belief) -> Row:
    row: list[Any] = []
    for name in BELIEF_COLUMNS:
        value = getattr(belief, name)
        if name in ("exits", "rungs_failed"):
            row.append(json.dumps(value))
        else:
            row.append(to_text(str(value)) if isinstance(value, str) else value)
    return tuple(row)


def _to_belief(row: Document) -> Belief:
    """Raises ValueError, TypeError or OverflowError for invalid values."""
    texts = {name: from_text(row[name]) for name in ("scope", "network", "cause", "last_good", "why")}
    if texts["last_good"]:
        Route.parse(texts["last_good"])
    rungs_failed = json.loads(from_text(row["rungs_failed"]))
    if not isinstance(rungs_failed, list):
        raise TypeError("rungs_failed is not a list")
    return Belief(
        scope=texts["scope"],
        network=NetworkId(texts["network"]),
        state=State(from_text(row["state"])),
        cause=texts["cause"],
        score=_number(row["score"]),
        since=read_moment(row["since"]),
        began=read_moment(row["began"]),
        until=read_moment(row["until"]),
        last_good=texts["last_good"],
        last_good_at=read_moment(row["last_good_at"]),
        scored_at=read_moment(row["scored_at"]),
        signal_at=read_moment(row["signal_at"]),
        signal_weight=_number(row["signal_weight"]),
        episodes=int(_number(row["episodes"])),
        episode_at=read_moment(row["episode_at"]),
        retest_at=read_moment(row["retest_at"]),
        retest_step=int(_number(row["retest_step"])),
        successes=int(_number(row["successes"])),
        success_at=read_moment(row["success_at"]),
        exits=tuple(read_moment(at) for at in json.loads(from_text(row["exits"]))),
        why=texts["why"],
        family=int(_number(row["family"])),
        protocol=Protocol(from_text(row["protocol"])),
        rungs_failed=tuple(map(str, rungs_failed)),
        rungs_failed_at=read_moment(row["rungs_failed_at"]),
    )


def _result(result: StoredResult) -> Row:
    row: list[Any] = []
    for name in RESULT_COLUMNS:
        value = getattr(result, name)
        if name == "relays":
            row.append(json.dumps(value))
        else:
            row.append(to_text(str(value)) if isinstance(value, str) else value)
    return tuple(row)


def _to_result(row: Document) -> StoredResult:
    """Raises ValueError or TypeError for invalid values."""
    relays = json.loads(from_text(row["relays"]))
    if not isinstance(relays, list):
        raise TypeError("relays is not a list")
    return StoredResult(
        network=NetworkId(from_text(row["network"])),
        host=from_text(row["host"]),
        port=read_port(row["port"]),
        status=from_text(row["status"]),
        at=read_moment(row["at"]),
        source=from_text(row["source"]),
        cause=from_text(row["cause"]),
        text=from_text(row["text"]),
        relays=tuple(map(str, relays)),
        otherwise=from_text(row["otherwise"]),
        since=read_moment(row["since"]),
        works_by=from_text(row["works_by"]),
    )


def _number(value: object, *, most: float = 1e15) -> float:
    """Reads a number that is finite and not negative. Raises ValueError."""
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{value!r} is not a number from 0 to {most:g}")
    return float(value)
