"""What Beliefs tells and answers in 200 random histories is what the journal says, until a change is meant."""

from __future__ import annotations

import json

import pytest

from proxy.detect.beliefs import outcomes, transitions
from proxy.detect.beliefs.state import BeliefState
from proxy.model import Belief
from tests.detect.beliefs.journal import FILE, HISTORIES, STEPS, WHAT, differences, histories

FIRST = 12


@pytest.fixture(scope="module")
def journal() -> list[str]:
    """A line for each history."""
    lines: list[str] = json.loads(FILE.read_text())
    return lines


def test_nothing_has_changed(journal: list[str]) -> None:
    """If it is meant to: `python -m tests.detect.beliefs.journal` writes the journal anew."""
    assert differences(journal, histories()) == []


def test_the_journal_is_short_and_tells_much(journal: list[str]) -> None:
    assert (len(journal), {*map(len, journal)}) == (HISTORIES, {STEPS * 12})
    assert FILE.stat().st_size <= 200 * 1024
    for place in range(len(WHAT)):
        hashes = {line[at : at + 4] for line in journal for at in range(4 * place, len(line), 12)}
        assert len(hashes) > 1000, f"hardly anything is {WHAT[place]}"


def test_a_history_is_the_same_each_time() -> None:
    assert histories(range(FIRST)) == histories(range(FIRST))


def test_a_date_that_moves_is_found(journal: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a first re-test that is due a second late."""
    dated_suspect = transitions.dated_suspect

    def late(state: BeliefState, belief: Belief, now: float) -> Belief:
        return dated_suspect(state, belief, now + 1)

    monkeypatch.setattr(transitions, "dated_suspect", late)
    found = differences(journal[:FIRST], histories(range(FIRST)))
    assert found
    assert all("was said" not in each for each in found)


def test_a_sentence_that_changes_is_told_from_a_belief_that_does(
    journal: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "story", lambda direct, winner: "another sentence")
    found = differences(journal[:FIRST], histories(range(FIRST)))
    assert found
    assert all(each.endswith("was said") for each in found)
