"""Chooses a name whose ClientHello no censor of the visited site concerns: that of a control page."""

from __future__ import annotations

import random

from proxy.detect.scopes import registrable
from proxy.model import NetworkId
from proxy.probe.control_page import control_pages
from proxy.session.services import Services
from proxy.session.setup import Setup


async def neutral_name(services: Services, setup: Setup, host: str, network: NetworkId, rng: random.Random) -> str:
    """Returns the name of a foreign control site that may be asked direct, not of the same domain as `host`; empty:
    there is none. On a network with an allow list the domestic one is answered where no other name is."""
    names = list[str]()
    for page in control_pages(setup.settings.auto):
        target = page.target
        is_other = registrable(target.host) != registrable(host) and target.destination.address is None
        if page.is_domestic or not is_other:
            continue
        may_be = services.beliefs.may_be_control(target.host, network=network, now=services.now())
        if may_be and await services.may_go_direct(setup, target.destination):
            names.append(target.host)
    return rng.choice(names) if names else ""
