"""The plan for a request: the routes that may be tried, in order, and the rule or belief that chose them.

The address guard comes first and is final. Then come the user's rules, and under AUTO the belief about the host; addons
may change the plan last. A plan resolves and sends nothing, so it can also be made only to show it.
"""

from __future__ import annotations

from proxy.model import Action, Plan, Request
from proxy.session.inbound import OWN_NAME
from proxy.session.services import Services
from proxy.session.setup import Setup


async def plan_for(request: Request, services: Services, setup: Setup, *, host: str = "") -> Plan:
    """Returns the plan for a request now. `host` is the name that the first bytes gave for a literal address."""
    destination = request.destination
    if destination.host == OWN_NAME:  # browsers that try https first ask for it; no resolver may see the name
        return Plan(Action.BLOCK, (), f"{OWN_NAME} is Byway itself; its page is http://{OWN_NAME}/")
    refusal = setup.guard.refuse_host(destination)
    if refusal is not None:
        return Plan(Action.BLOCK, (), refusal)
    host = host or destination.host
    beliefs, now, network = services.beliefs, services.now(), services.network()
    sent_once = request.http is not None and not request.http.is_repeatable
    plan = setup.router.plan(
        request,
        beliefs.lookup(host, network=network, now=now, addresses=setup.resolver.known(host)),
        relays=services.health.order(setup.registry.relay_names, now),
        now=now,
        host=host,
        network_state=beliefs.network_state_for(host, network=network, now=now),
        compare=sent_once and beliefs.comparison_due(host, network=network, now=now),
    )
    addons = services.addons
    return await addons.decide(request, plan, setup.registry, host=host) if addons.decides else plan
