from __future__ import annotations

from proxy.model import DIRECT, Action, Attempt, Destination, Inbound, Outcome, Plan, Request, Route, Stage, Symptom

RELAY = Route(("vps",))


def outcome(*attempts: Attempt) -> Outcome:
    request = Request(1, Destination("a.test", 443), Inbound.CONNECT, "127.0.0.1:1")
    return Outcome(request, Plan(Action.AUTO, (DIRECT, RELAY), ""), attempts)


def test_a_later_judgement_takes_the_place_of_the_earlier_one() -> None:
    """The log tells attempts in the order in which they began."""
    relayed = Attempt(RELAY, Stage.DONE, started=0.4)
    judged = Attempt(DIRECT, Stage.FIRST_BYTE, Symptom.DROPPED, elapsed=3.0)
    assert outcome(Attempt(DIRECT, Stage.FIRST_BYTE), relayed).with_attempt(judged).attempts == (judged, relayed)


def test_what_was_judged_before_stays() -> None:
    reset = Attempt(DIRECT, Stage.FIRST_BYTE, Symptom.RESET)
    again = Attempt(DIRECT, Stage.DONE, started=1.0)
    assert outcome(reset).with_attempt(again).attempts == (reset, again)
    assert outcome().with_attempt(again).attempts == (again,)
