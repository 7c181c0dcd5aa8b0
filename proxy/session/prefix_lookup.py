"""A belief about an address prefix covers a host only when its addresses are known, which a first visit's are not.

The direct route, which such a visit would take first, looks the name up anyway. So it is looked up before, with the
same query, and the plan is made once more: what is blocked by address is not tried in vain then.
"""

from __future__ import annotations

from proxy.model import DIRECT, Action, Destination, NetworkId, Plan, State
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.session.services import Services
from proxy.session.setup import Setup


async def is_looked_up(
    destination: Destination, plan: Plan, services: Services, setup: Setup, network: NetworkId
) -> bool:
    """Looks the name of `destination` up when its `plan` goes direct first, a prefix is in trouble on this network, and
    nothing is known of the host. Returns whether addresses are known now that were not: another plan may come of it.
    Takes no longer than a lookup may before another route is started beside it."""
    host, beliefs = destination.host, services.beliefs
    if (
        plan.action is not Action.AUTO
        or plan.routes[:1] != (DIRECT,)
        or len(plan.routes) == 1
        or destination.address is not None
        or all(where != network for where, _ in beliefs.prefixes)
        or setup.resolver.known(host)
        or beliefs.lookup(host, network=network, now=services.now()).state is not State.UNKNOWN
    ):
        return False
    try:
        with deadline(setup.settings.detect.hedge_syn_s):
            await setup.resolver.resolve(host)
    except (DialError, TimeoutError):  # the direct route will say what is wrong
        return False
    return True
