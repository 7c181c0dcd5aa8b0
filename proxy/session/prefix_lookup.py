"""Looks a name up before the first route starts, on a network that blocks address prefixes.

A belief about a prefix covers a host only when its addresses are known. On a first visit they are not, so the name is
looked up, with the query of the direct route, and the plan is made again: a blocked address is not tried in vain.
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
    there is no belief about the host. Returns whether new addresses are known, so that the plan may change. Takes
    `hedge_syn_s` at most, as a lookup in a race does before the next route starts."""
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
    except (DialError, TimeoutError):  # the direct route reports the fault
        return False
    return True
