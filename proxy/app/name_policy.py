"""Which names the resolvers may send in plain text, and what they report, by what Byway believes and the user set."""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.model import Destination, DnsFinding, NetworkId
from proxy.net.race.direct_down import DirectDownCache
from proxy.net.uplink.network_watch import NetworkWatch
from proxy.session.setup import Setup


class NamePolicy:
    """The ResolverPolicy of a running Byway."""

    def __init__(
        self, network: NetworkWatch, beliefs: Beliefs, down_cache: DirectDownCache, setup: Callable[[], Setup]
    ) -> None:
        """`setup` returns the one in use, which a reload replaces."""
        self._network = network
        self._beliefs = beliefs
        self._down_cache = down_cache
        self._setup = setup

    def network(self) -> NetworkId:
        return self._network.current()

    def is_suspect(self, host: str) -> bool:
        router = self._setup().router
        return (
            router.rules.is_listed(host)
            or self._beliefs.lookup(host, network=self.network(), now=time.time()).hide_name_from_dns
            or not router.may_go_direct(Destination(host, 443))
        )

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """A race that waits for a direct route to `host` starts the next one."""
        self._down_cache.mark_down(host)
