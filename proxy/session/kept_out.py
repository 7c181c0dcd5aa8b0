"""Which clients never get a relay, and the plans for their requests.

Programs look for open proxies on loopback and report the address of the relay. With `[listen] programs`, a client that
is none of these programs is kept out. What AUTO decides goes direct for it, without local strategies, and nothing is
learned from that. What a rule, an override or a mode sends to a relay or blocks is refused: nothing about it is sent.
`why_kept_out` alone decides which client is kept out. The races for it have a dialer and a resolver of their own, which
use no relay for names either (`NamedOnly`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxy.model import DIRECT, Action, Plan, Request
from proxy.net.named_programs import Holder, NamedProgram, admits
from proxy.routing.rule import ANYWHERE, Situation
from proxy.session.plan import plan_for
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.wire.hostnames import OWN_NAME

_UNKNOWN = "which program asks cannot be found out, so it counts as none of `[listen] programs`, which alone get relays"
_ELSEWHERE = "another computer asks, and only the programs of this one in `[listen] programs` get relays"


async def planned_if_kept_out(request: Request, services: Services) -> tuple[Setup, Plan | None]:
    """Returns the Setup in use, and under it the plan for a client that is kept out; None: it may get a relay."""
    while True:
        setup = services.setup()
        plan = await plan_if_kept_out(request, services, setup)
        if setup is services.setup():
            return setup, plan


async def plan_if_kept_out(request: Request, services: Services, setup: Setup, *, host: str = "") -> Plan | None:
    """Returns the plan for a request whose client is kept out; None: it may get a relay. `host` is as in `plan_for`."""
    if setup.named is None:
        return None
    why = await why_kept_out(services, setup.named.programs, request.client)
    return await _plan(request, services, setup, why, host) if why else None


async def why_kept_out(services: Services, named: Sequence[NamedProgram], client: str) -> str:
    """Returns the reason why a client (`address:port`) never gets a relay, a clause that it may read; empty when it may
    get one. `named` are the programs that may."""
    is_new = client not in services.programs.held
    holders = await services.programs.holders(client)
    if is_new:
        services.port_users.note(holders, services.now())
    if holders is None:
        return _UNKNOWN
    if not holders:
        return _ELSEWHERE
    if admits(named, holders):
        return ""
    stranger = next((each for each in holders if not admits(named, (each,))), holders[0])
    return f"{_told(stranger)} is none of `[listen] programs`, which alone get relays"


def _told(holder: Holder) -> str:
    return f"{holder.shown}, whose file was deleted," if holder.is_deleted else holder.shown


async def _plan(request: Request, services: Services, setup: Setup, why: str, host: str) -> Plan:
    """Plans as for a user without relays, asks the addons, and leaves direct alone. Neither can open what the other has
    closed. The reason names no rule and no relay: the client may read it."""
    destination, name = request.destination, host or request.destination.host
    if destination.host == OWN_NAME or setup.guard.refuse_host(destination):
        return replace(await plan_for(request, services, setup, host=host), learns=False, kept_out=why)
    network, now, situation = services.network(), services.now(), ANYWHERE
    if setup.router.rules.depend_on_situation:
        program: str | None = ""
        if setup.router.depends_on_program(destination, name, network, now):
            program = await services.programs.of(request.client)
            network, now = services.network(), services.now()  # it took a while
        situation = Situation(network, program)
    about = services.beliefs.about(name, network=network, now=now)
    plan = setup.router.plan(
        request,
        about.belief,
        relays=(),
        now=now,
        host=name,
        network_state=about.network_state,
        fails_direct=about.fails_direct,
        situation=situation,
    )
    may_go_direct = DIRECT in plan.routes
    if may_go_direct and services.addons.decides:
        plan = await services.addons.decide(request, plan, setup.registry, host=host)
        may_go_direct = DIRECT in plan.routes
    if not may_go_direct:
        refused = f"it may not go direct, and {why}"
        return Plan(Action.BLOCK, (), refused, decided_by=plan.decided_by, learns=False, kept_out=why)
    return Plan(
        plan.action,
        (DIRECT,),
        f"direct only, since {why}",
        decided_by=plan.decided_by,
        learns=False,
        is_home=plan.is_home,
        kept_out=why,
    )
