from __future__ import annotations

import contextlib
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from proxy.model import (
    Action,
    Attempt,
    Belief,
    Change,
    NetworkId,
    Outcome,
    Override,
    Route,
    Stage,
    State,
    StoredResult,
    Symptom,
    as_evidence,
)
from proxy.store.file import open_store
from proxy.store.queries import beliefs, overrides, results
from proxy.store.rows import (
    BELIEF_COLUMNS,
    RESULT_COLUMNS,
    Batch,
    from_text,
    read_beliefs,
    read_overrides,
    read_plan,
    read_results,
    to_text,
)
from tests.support.calls import counting
from tests.support.outcomes import HOME, HOST, TOR, VPS, delivered, failed, outcome, pending
from tests.support.rows import each_row

AT = 1_700_000_000.0

TEXTS = st.text(st.characters(), max_size=20)  # surrogates included
TIMES = st.floats(0, 1e11)
BELIEFS = st.builds(
    Belief,
    scope=TEXTS,
    network=st.just(HOME),
    state=st.sampled_from(State),
    cause=TEXTS,
    score=st.floats(0, 8),
    since=TIMES,
    until=TIMES,
    last_good=st.sampled_from(["", "tor", "vps>tor|tlsrec"]),
    last_good_at=TIMES,
    episodes=st.integers(0, 1000),
    retest_step=st.integers(0, 5),
    exits=st.lists(TIMES, max_size=4).map(tuple),
    why=TEXTS,
    family=st.sampled_from([0, 4, 6]),
    rungs_failed=st.lists(st.sampled_from(["direct|tlsrec", "direct|split"]), max_size=2).map(tuple),
    rungs_failed_at=TIMES,
)
RESULTS = st.builds(
    StoredResult,
    network=st.just(HOME),
    host=TEXTS,
    port=st.integers(0, 65_535),
    status=TEXTS,
    at=TIMES,
    source=TEXTS,
    cause=TEXTS,
    text=TEXTS,
    relays=st.lists(TEXTS, max_size=3).map(tuple),
    otherwise=TEXTS,
    since=TIMES,
    works_by=st.sampled_from(["", "direct", "vps>tor|tlsrec"]),
)


@given(TEXTS)
def test_H8_every_text_survives(text: str) -> None:
    assert from_text(to_text(text)) == text


@each_row("value", [b"\xff\xfe", 7, 1.5, None, ""])
def test_H4_from_text_takes_what_a_damaged_file_holds(value: object) -> None:
    assert isinstance(from_text(value), str)


@given(st.lists(BELIEFS, max_size=5, unique_by=lambda belief: belief.scope))
def test_beliefs_survive_as_they_are(known: list[Belief]) -> None:
    db = open_store(None).db
    Batch(beliefs={(belief.scope, belief.network): belief for belief in known}).write(db)
    found, senseless = beliefs(db)
    db.close()

    assert {belief.scope: belief for belief in found} == {belief.scope: belief for belief in known}
    assert senseless == 0


def test_the_table_holds_every_field_of_a_belief() -> None:
    db = open_store(None).db
    columns = [name for (name,) in db.execute("SELECT name FROM pragma_table_info('belief')")]
    db.close()

    assert columns == [f.name for f in fields(Belief)] == list(BELIEF_COLUMNS)


GOOD_ROW = {f.name: 0 for f in fields(Belief)} | {
    "scope": HOST, "network": HOME, "state": "blocked", "cause": "ip", "last_good": "tor", "exits": "[1.5]", "why": "",
    "rungs_failed": "[]", "protocol": "tls",
}  # fmt: skip


@each_row(
    ("column", "value"),
    [
        ("state", "blockee"),
        ("state", None),
        ("score", "high"),
        ("score", -1.0),
        ("since", float("inf")),
        ("until", None),
        ("episodes", b"\x00"),
        ("exits", "[1"),
        ("exits", "7"),
        ("exits", '["x"]'),
        ("rungs_failed", "7"),
        ("rungs_failed", "["),
        ("protocol", "gopher"),
    ],
)
def test_H4_a_row_that_makes_no_sense_is_left_out(column: str, value: object) -> None:
    good = tuple(GOOD_ROW.values())
    bad = tuple((GOOD_ROW | {column: value}).values())

    found, senseless = read_beliefs([good, bad, good])

    assert [belief.state for belief in found] == [State.BLOCKED] * 2
    assert found[0].exits == (1.5,)
    assert senseless == 1


def test_overrides_survive() -> None:
    said = {
        "a.example": Override(Action.RELAY, "tor", 1_700_000_000.0),
        "'; DROP TABLE override; --": Override(Action.BLOCK),
    }
    db = open_store(None).db
    Batch(overrides=dict(said)).write(db)
    assert overrides(db) == (said, 0)
    Batch(overrides={"a.example": None}).write(db)

    assert overrides(db)[0].keys() == said.keys() - {"a.example"}
    db.close()
    assert read_overrides([("x", "MAYBE", "", 0), ("y", "AUTO", "", 0), ("z", "AUTO", "", "soon")]) == (
        {"y": Override(Action.AUTO)},
        2,
    )


@given(st.lists(RESULTS, max_size=4, unique_by=lambda result: result.key))
def test_results_survive_and_are_removed(kept: list[StoredResult]) -> None:
    with contextlib.closing(open_store(None).db) as db:
        Batch(results={result.key: result for result in kept}).write(db)
        assert {result.key: result for result in results(db)[0]} == {result.key: result for result in kept}
        Batch(results=dict.fromkeys([result.key for result in kept])).write(db)
        assert results(db) == ([], 0)


@each_row(
    ("column", "value"),
    [("relays", "{}"), ("relays", "[" * 100_000), ("relays", "no JSON"), ("port", "high"), ("port", 70_000),
     ("at", "soon"), ("at", float("inf"))],
)  # fmt: skip
def test_a_result_that_makes_no_sense_is_left_out(column: str, value: object) -> None:
    whole = StoredResult(HOME, HOST, 443, "site down", AT, "connection")
    row = [getattr(whole, name) if name != "relays" else "[]" for name in RESULT_COLUMNS]
    assert read_results([row]) == ([whole], 0)
    row[RESULT_COLUMNS.index(column)] = value
    assert read_results([row]) == ([], 1)


def counts(*seen: Outcome) -> tuple[Batch, NetworkId]:
    batch = Batch()
    for one in seen:
        batch.count(one, HOME)
    return batch, HOME


def test_roll_ups_count_attempts_by_hour_and_route() -> None:
    batch, _ = counts(
        outcome(delivered(), at=AT, bytes_down=100),
        outcome(delivered(), at=AT + 1, bytes_down=50),
        outcome(failed(), delivered(VPS), at=AT, bytes_down=7),
        outcome(delivered(), at=AT + 3600, bytes_down=1),
    )
    hour = int(AT) // 3600 * 3600

    assert batch.routes == {
        (hour, HOME, "direct"): [2, 1, 0, 150],
        (hour, HOME, "vps"): [1, 0, 0, 7],
        (hour + 3600, HOME, "direct"): [1, 0, 0, 1],
    }


def test_roll_ups_of_relays_count_what_may_be_their_own_fault() -> None:
    batch, _ = counts(
        outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), delivered(VPS, elapsed=0.5), at=AT),
        outcome(failed(Symptom.RELAY_REFUSED, Stage.RELAY, TOR), delivered(Route(("vps", "tor")), elapsed=1.0), at=AT),
    )
    hour = int(AT) // 3600 * 3600

    assert batch.relays == {(hour, HOME, "tor"): [1, 1, 1.0], (hour, HOME, "vps"): [2, 0, 1.5]}


@each_row("symptom", [Symptom.ABANDONED, Symptom.SKIPPED, Symptom.LOCAL, Symptom.OFFLINE])
def test_roll_ups_leave_out_what_was_not_the_routes_doing(symptom: Symptom) -> None:
    batch, _ = counts(outcome(failed(symptom), pending(TOR), at=AT))

    assert (batch.routes, batch.relays) == ({}, {})


def test_a_change_may_be_told_without_being_kept() -> None:
    change = Change(AT, HOST, HOME, State.UNKNOWN, State.SUSPECT, "ip", "why", Belief(HOST, HOME))
    batch = Batch()
    batch.add_change(change, in_ledger=True, stored=False)

    assert (len(batch.changes), batch.beliefs) == (1, {})


def test_rows_go_in_as_parameters_only() -> None:
    """H8: what a peer made up stays text."""
    evil = "x'); DROP TABLE outcome; --"
    attempt = Attempt(
        Route((evil,)), Stage.RELAY, Symptom.RELAY_DOWN, error=evil, address=evil, evidence=as_evidence({evil: evil})
    )
    with contextlib.closing(open_store(None).db) as db:
        batch = Batch()
        batch.add_outcome(1, outcome(attempt, host=evil, error=evil, why=evil), HOME)
        batch.count(outcome(attempt, host=evil), HOME)
        batch.write(db)
        row = db.execute("SELECT host, why, error FROM outcome").fetchone()
        tables = db.execute("SELECT count(*) FROM sqlite_schema WHERE type = 'table'").fetchone()

    assert row == (evil, evil, evil)
    assert tables == (8,)


@each_row("count", [1, 7, 8, 63, 64, 65, 230])
def test_many_rows_are_few_statements_and_each_is_itself(count: int) -> None:
    batch = Batch()
    hosts = [f"{'é' * (number % 2)}site{number}.example" for number in range(count)]
    for number, host in enumerate(hosts, 7):
        batch.add_outcome(number, outcome(failed(Symptom.RESET), delivered(TOR), host=host, at=AT + number), HOME)
    statements: list[str] = []
    with contextlib.closing(open_store(None).db) as db:
        db.set_trace_callback(statements.append)
        batch.write(db)
        db.set_trace_callback(None)
        stored = db.execute("SELECT id, host, at FROM outcome ORDER BY id").fetchall()
        attempts = db.execute("SELECT outcome_id, place, route FROM attempt ORDER BY outcome_id, place").fetchall()
    assert stored == [(number, host, AT + number) for number, host in enumerate(hosts, 7)]
    assert attempts == [(n, *it) for n in range(7, 7 + count) for it in ((0, "direct"), (1, "tor"))]
    assert len(statements) <= 3 * (count // 64 + 7 + 7), "one for each 64 rows, for each 8, and for each that is left"


def test_plans_that_look_alike_are_told_apart() -> None:
    batch = Batch()
    told = [
        outcome(delivered()), outcome(delivered(TOR)), outcome(delivered(Route(("tor",), ("tlsrec",)))),
        replace(outcome(delivered()), plan=replace(outcome(delivered()).plan, intercept=True)),
        replace(outcome(delivered()), plan=replace(outcome(delivered()).plan, before=outcome(delivered(TOR)).plan)),
    ]  # fmt: skip
    for number, each in enumerate((*told, *told)):
        batch.add_outcome(number, each, HOME)
    plans = batch.outcomes[15::17]
    assert len(set(plans)) == len(told)
    assert plans[: len(told)] == plans[len(told) :]
    read = [read_plan(str(it.plan.action), it.plan.why, text) for it, text in zip((*told, *told), plans, strict=True)]
    assert read == [it.plan for it in (*told, *told)]


def test_calls_for_a_row() -> None:
    """Of Python functions, in the thread that writes: a log of all hosts must not slow a busy Byway."""
    told = [outcome(delivered(), host=f"site{number}.example") for number in range(64)]
    batch = Batch()
    batch.add_outcome(0, told[0], HOME)  # fills what is kept for all
    with contextlib.closing(open_store(None).db) as db, counting() as calls:
        for number, each in enumerate(told, 1):
            batch.count(each, HOME)
            batch.add_outcome(number, each, HOME)
        batch.write(db)
    assert calls.total() <= 7 * len(told) + 40, calls
