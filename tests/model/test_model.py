from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from ipaddress import ip_address

import pytest

from proxy.model import (
    DIRECT,
    UNKNOWN_NETWORK,
    Action,
    Attempt,
    Belief,
    Destination,
    Inbound,
    Outcome,
    Plan,
    Request,
    Route,
    Stage,
    State,
    Symptom,
    bracketed,
    host_and_port,
)
from proxy.model.errors import reason_of
from tests.support.rows import each_row

RELAY = Route(("vps",))


def outcome(*attempts: Attempt) -> Outcome:
    request = Request(1, Destination("a.test", 443), Inbound.CONNECT, "127.0.0.1:1")
    return Outcome(request, Plan(Action.AUTO, (DIRECT, RELAY), ""), attempts)


@pytest.mark.parametrize(
    ("host", "text"), [("a.test", "a.test:443"), ("192.0.2.1", "192.0.2.1:443"), ("2001:db8::1", "[2001:db8::1]:443")]
)
def test_a_destination_as_text_and_back(host: str, text: str) -> None:
    assert str(Destination(host, 443)) == text == f"{bracketed(host)}:443"
    assert host_and_port(text) == (host, "443")


def test_the_address_of_a_destination_is_known_from_its_host_alone() -> None:
    name, address = Destination("a.test", 443), Destination("192.0.2.1", 443)
    assert (name.address, address.address) == (None, ip_address("192.0.2.1"))
    assert (replace(address, host="a.test"), replace(name, host="::1").address) == (name, ip_address("::1"))
    assert repr(address) == "Destination(host='192.0.2.1', port=443)"
    assert hash(address) == hash(Destination("192.0.2.1", 443))
    with pytest.raises(FrozenInstanceError):
        address.host = "a.test"  # type: ignore[misc]  # what is tested
    for again in (copy.deepcopy(address), pickle.loads(pickle.dumps(address))):
        assert (again, again.address) == (address, address.address)


def test_what_the_system_says_of_a_failure() -> None:
    assert reason_of(PermissionError(13, "Permission denied")) == "permission denied"
    assert reason_of(OSError("No code here")) == "no code here"


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


@each_row(
    ("state", "cause", "last_good", "kept"),
    [
        (State.UNKNOWN, "", "", False),
        (State.WORKS, "", "", False),
        (State.WORKS, "sni_reset", "vps", False),  # direct answered since
        (State.DOWN, "down", "", False),
        (State.SUSPECT, "ip", "vps", True),
        (State.BLOCKED, "dns", "direct|doh", True),
        (State.UNKNOWN, "ip", "", True),  # it has lapsed
        (State.UNKNOWN, "", "vps", True),
    ],
)
def test_whose_name_is_not_to_be_asked_for_in_clear(state: State, cause: str, last_good: str, kept: bool) -> None:
    assert Belief("a.test", UNKNOWN_NETWORK, state, cause, last_good=last_good).hide_name_from_dns is kept


@each_row(
    ("state", "cause", "last_good", "signal_at", "is_unproven"),
    [
        (State.UNKNOWN, "frozen", "", 0.0, True),
        (State.UNKNOWN, "frozen", "", 1.0, False),  # a signal has counted
        (State.UNKNOWN, "frozen", "vps", 0.0, False),
        (State.UNKNOWN, "", "", 0.0, False),
        (State.SUSPECT, "frozen", "", 0.0, False),  # it has not lapsed
        (State.WORKS, "frozen", "", 0.0, False),
    ],
)
def test_which_suspicions_have_lapsed_unproven(
    state: State, cause: str, last_good: str, signal_at: float, is_unproven: bool
) -> None:
    held = Belief("a.test", UNKNOWN_NETWORK, state, cause, last_good=last_good, signal_at=signal_at)
    assert held.has_lapsed_unproven is is_unproven


def test_what_an_addon_may_make_of_a_plan() -> None:
    plan = Plan(Action.AUTO, (DIRECT, RELAY), "no rule")
    assert plan.via("tor", "vps>tor") == Plan(Action.RELAY, (Route(("tor",)), Route(("vps", "tor"))), "no rule")
    assert plan.prefer("tor").routes == (Route(("tor",)), DIRECT, RELAY)
    assert plan.prefer("vps") == Plan(Action.PREFER_RELAY, (RELAY, DIRECT), "no rule")
    assert plan.direct() == Plan(Action.DIRECT, (DIRECT,), "no rule")
    assert plan.block("not at work") == Plan(Action.BLOCK, (), "not at work")
    assert plan.inspect().via("tor").intercept
    assert not plan.inspect().inspect(False).intercept


@each_row(
    ("listen", "reached"),
    [
        ("127.0.0.1", "127.0.0.1:8119"), ("::1", "[::1]:8119"), ("0.0.0.0", "127.0.0.1:8119"), ("::", "[::1]:8119"),
        ("192.168.7.1", "192.168.7.1:8119"), ("proxy.lan", "proxy.lan:8119"),
    ],
)  # fmt: skip
def test_where_this_computer_reaches_what_listens(listen: str, reached: str) -> None:
    assert str(Destination(listen, 8119).from_here()) == reached
