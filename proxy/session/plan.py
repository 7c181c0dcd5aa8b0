"""The plan for a request: the routes that may be tried, in order, and the rule or belief that chose them.

The address guard comes first and is final. Then come the user's rules, and under AUTO the belief about the host; addons
may change the plan last. A plan resolves and sends nothing, so it can also be made only to show it.

The plan before the addons change it is kept in the Setup for the next visit. It is valid while the generation of the
host in beliefs, the version of the health of relays and the network stay the same, and before its time is over. A plan
that depends on the client's program is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from proxy.model import Action, IPAddress, NetworkId, NetworkState, Plan, RelayGroup, Request, Route
from proxy.routing.rule import ANYWHERE, Situation
from proxy.session.services import Services
from proxy.session.setup import KeptPlan, Setup
from proxy.wire.hostnames import OWN_NAME


def kept_plan(request: Request, services: Services, setup: Setup, network: NetworkId, now: float) -> Plan | None:
    """Returns the kept plan for the destination of a request, before addons; None when there is no valid one."""
    destination, http = request.destination, request.http
    kept = setup.kept_plans.get((destination.host, destination.port))
    if (
        kept is not None
        and kept.made_at <= now < kept.until
        and kept.generation == services.beliefs.generation(network, destination.host)
        and kept.health_version == services.health.version
        and kept.network == network
        and (http is None or http.method == "GET" or http.is_repeatable)
    ):
        return kept.plan
    return None


async def plan_for(
    request: Request, services: Services, setup: Setup, *, host: str = "", situation: Situation | None = None
) -> Plan:
    """Returns the plan for a request now, or the one for a `situation`. `host` is the name in the flight to a literal
    address."""
    destination, now = request.destination, services.now()
    network = services.network() if situation is None else situation.network
    beliefs, health, name = services.beliefs, services.health, host or destination.host
    kept = kept_plan(request, services, setup, network, now) if situation is None and not host else None
    if kept is not None:
        plan = kept
    elif destination.host == OWN_NAME:  # browsers that try https first ask for it; no resolver may see the name
        return Plan(Action.BLOCK, (), f"{OWN_NAME} is Byway itself; its page is http://{OWN_NAME}/")
    elif refusal := setup.guard.refuse_host(destination):
        return Plan(Action.BLOCK, (), refusal)
    else:
        sent_once = request.http is not None and not request.http.is_repeatable
        to_keep = not (host or sent_once) and situation is None
        if situation is None and setup.router.rules.depend_on_situation:
            program: str | None = ""
            if setup.router.depends_on_program(destination, name, network, now):
                to_keep = False
                if request.client:
                    program = await services.programs.of(request.client)
                    network, now = services.network(), services.now()  # it took a while
            situation = Situation(network, program)
        relays: Sequence[str] = setup.registry.relay_names
        order_group: Callable[[RelayGroup], Sequence[str]] | None = None
        if setup.groups:
            order_group = partial(services.groups.order, host=name, network=network, now=now)
            relays = services.groups.arrange(relays, setup.groups, name, network=network, now=now)
        addresses: Sequence[IPAddress] = ()
        if beliefs.prefixes:
            addresses = (literal,) if (literal := destination.address) is not None else setup.resolver.known(name)
        about = beliefs.about(name, network=network, now=now, addresses=addresses)
        plan = setup.router.plan(
            request,
            about.belief,
            relays=health.order(relays, now),
            now=now,
            host=name,
            network_state=about.network_state,
            fails_direct=about.fails_direct,
            compare=sent_once and beliefs.comparison_due(name, network=network, now=now),
            rungs=about.rungs,
            situation=situation or ANYWHERE,
            order_group=order_group,
        )
        # On a network where no relay gets through, the relay to try changes with time.
        if to_keep and about.network_state is not NetworkState.SHUT:
            until = min(about.until, health.order_until(now), setup.router.overrides_end)
            if setup.groups:
                until = min(until, services.groups.order_until(now))
            setup.kept_plans[destination.host, destination.port] = KeptPlan(
                plan, network, now, until, about.generation, health.version
            )
    addons = services.addons
    if not addons.decides:
        return plan
    decided = await addons.decide(request, plan, setup.registry, host=host)
    if not setup.groups:
        return decided
    return _with_members(decided, setup, partial(services.groups.order, host=name, network=network, now=now))


def _with_members(plan: Plan, setup: Setup, order_group: Callable[[RelayGroup], Sequence[str]]) -> Plan:
    """Returns a plan of addons with the members of each group, in their order, in place of the group."""
    groups = {group.name: group for group in setup.groups}
    if not any(groups.keys() & set(route.relays) for route in plan.routes):
        return plan
    in_use = set(setup.registry.relay_names)
    routes: list[Route] = []
    for route in plan.routes:
        made: list[tuple[str, ...]] = [()]
        for name in route.relays:
            names: Sequence[str] = (name,)
            if name in groups:
                names = [member for member in order_group(groups[name]) if member in in_use]
            made = [(*relays, member) for relays in made for member in names]
        routes += (Route(relays, route.wrap) for relays in made)
    return replace(plan, routes=tuple(dict.fromkeys(routes)))
