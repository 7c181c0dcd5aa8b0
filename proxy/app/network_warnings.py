"""What the user is told at once, in a line of the log: that something is wrong with the network as a whole, or that
somebody reads along.

Everything else that is learned waits for whoever asks (`byway status`). A network is warned of once an hour at most,
however often its state changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.labels import network_in_words
from proxy.detect.verdict.site_status import status_of
from proxy.model import Cause, Change, NetworkId, NetworkState, State

log = logging.getLogger(__name__)

AGAIN_S = 3600.0
TOLD_MAX = 64
"""Networks and states of which we remember when they were told."""


class NetworkWarnings:
    """Tells it. Belongs to one loop."""

    def __init__(
        self, beliefs: Beliefs, network: Callable[[], NetworkId], now: Callable[[], float], *, names: bool
    ) -> None:
        """`names`: whether the log may hold the names of sites."""
        self._beliefs = beliefs
        self._network = network
        self._now = now
        self._names = names
        self._told: dict[tuple[NetworkId, NetworkState], float] = {}

    def look(self) -> None:
        """To be called when the state of the network may have changed."""
        network = self._network()
        state = self._beliefs.network_state(network)
        said = network_in_words(state)
        if said is None or 0 <= self._now() - self._told.get((network, state), float("-inf")) < AGAIN_S:
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told[network, state] = self._now()
        text, do = said
        log.warning("%s → %s", text, do)

    def tell(self, changes: Sequence[Change]) -> None:
        """Tells what of these may not wait, and for those who want to know the rest."""
        for change in changes:
            if change.before is change.after:
                continue
            name = change.scope if self._names else "a site"
            before, after = status_of(change.before), status_of(change.after, change.cause)
            log.info("%s: %s → %s%s", name, before, after, f" ({change.cause})" if change.cause else "")
            if change.after is State.BLOCKED and change.cause == Cause.INTERCEPTION:
                log.warning("TLS interception detected for %s; using relays only", name)
        self.look()
