"""What is planned for a request: the routes that may be tried, in their order, and who said so.

The address guard has the first word and nobody takes it back. Then the user's rules speak, and under AUTO what is
believed of the host; addons see the plan last. Nothing is resolved or sent for a plan, so it is made as well
for whoever only asks what would be done.
"""

from __future__ import annotations

from proxy.model import Action, Plan, Request
from proxy.session.inbound import OWN_NAME
from proxy.session.services import Services
from proxy.session.setup import Setup


async def plan_for(request: Request, services: Services, setup: Setup, *, host: str = "") -> Plan:
    """The plan now. `host` is the name that the client's first words gave to a literal address."""
    destination = request.destination
    if destination.host == OWN_NAME:  # asked by browsers that want https first, and for no resolver's ears
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
