"""A sentence of what to do that fits the status, the plan and the relays."""

from __future__ import annotations

from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.sites.advice import advice
from proxy.model import DIRECT, Action, Belief, Plan, Route, State
from tests.support.outcomes import HOME, TOR
from tests.support.rows import each_row

BLOCKED = Belief("h", HOME, State.BLOCKED)


@each_row(
    ("held", "plan", "relays", "part"),
    [
        (BLOCKED, Plan(Action.BLOCK, (), "r"), ["tor"], 'see "plan"'),
        (BLOCKED, Plan(Action.RELAY, (), "r"), [], "byway relay add"),
        (BLOCKED, Plan(Action.DIRECT, (DIRECT,), "r"), ["tor"], "decides the route"),
        (BLOCKED, Plan(Action.AUTO, (DIRECT,), "r"), [], "byway relay add"),
        (BLOCKED, Plan(Action.AUTO, (DIRECT,), "r"), ["tor"], "byway site set"),
        (BLOCKED, Plan(Action.AUTO, (Route(("tor",)), DIRECT), "r"), ["tor"], "tor is tried first"),
        (Belief("h", HOME, State.SUSPECT), Plan(Action.AUTO, (TOR, DIRECT), "r"), ["tor"], "tor is tried first"),
        (Belief("h", HOME), Plan(Action.AUTO, (DIRECT, TOR), "r"), ["tor"], "Open it once"),
        (Belief("h", HOME, State.WORKS), Plan(Action.AUTO, (DIRECT, TOR), "r"), ["tor"], "it opens"),
    ],
)
def test_what_to_do_fits(held: Belief, plan: Plan, relays: list[str], part: str) -> None:
    assert part in advice(held, plan, relays)


@each_row("held", [BLOCKED, Belief("h", HOME), Belief("h", HOME, State.WORKS)])
@each_row(
    ("status", "part"),
    [
        (SiteStatus.NO_SUCH_NAME, "spelling"),
        (SiteStatus.BAD_CERTIFICATE, "passwords"),
        (SiteStatus.SITE_DOWN, "Wait"),
        (SiteStatus.REFUSES_THIS_ROUTE, "refuses"),
        (SiteStatus.RELAYS_FAIL, "byway relay test"),
        (SiteStatus.NO_NETWORK, "network connection"),
        (SiteStatus.PORTAL, "log in"),
    ],
)
def test_what_to_do_fits_the_word_of_the_moment(held: Belief, status: SiteStatus, part: str) -> None:
    made = Plan(Action.AUTO, (DIRECT, TOR), "r")
    assert part in advice(held, made, ["tor"], status)
    assert "plan" in advice(held, Plan(Action.BLOCK, (), "r"), ["tor"], status), "a rule comes first"


def test_a_route_opens_it_only_where_that_is_known() -> None:
    made = Plan(Action.AUTO, (Route(wrap=("tlsrec",)), TOR, DIRECT), "r")
    assert "tor opens it" in advice(BLOCKED, made, ["tor"], SiteStatus.BLOCKED, "tor")
    assert "direct|tlsrec opens it" in advice(BLOCKED, made, [], SiteStatus.BLOCKED, "direct|tlsrec")
    assert "direct|tlsrec is tried first" in advice(BLOCKED, made, ["tor"], SiteStatus.BLOCKED)
    assert "it opens" in advice(BLOCKED, made, ["tor"], SiteStatus.WORKS, "direct")


def test_without_another_route_a_relay_would_tell() -> None:
    made = Plan(Action.AUTO, (DIRECT,), "r")
    assert "byway relay add" in advice(Belief("h", HOME), made, [], SiteStatus.DOES_NOT_OPEN)
    assert "byway relay test" in advice(Belief("h", HOME), made, ["tor"], SiteStatus.DOES_NOT_OPEN)
