"""Warnings in the log, at once: something is wrong with the network as a whole, or TLS is intercepted.

Everything else that is learned waits for `byway status`. There is at most one warning an hour for each network and
state, however often the state changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.verdict.site_status import status_of
from proxy.model import Cause, Change, NetworkId, NetworkState, State

log = logging.getLogger(__name__)

AGAIN_S = 3600.0
"""Seconds before the same warning is logged again."""

WARNED_MAX = 64
"""Networks and states of which the time of the last warning is remembered."""


class NetworkWarnings:
    """Logs warnings. Belongs to one loop."""

    def __init__(
        self, beliefs: Beliefs, network: Callable[[], NetworkId], now: Callable[[], float], *, names: bool
    ) -> None:
        """`names`: whether the log may hold the names of sites."""
        self._beliefs = beliefs
        self._network = network
        self._now = now
        self._names = names
        self._warned_at: dict[tuple[NetworkId, NetworkState], float] = {}

    def check_network(self) -> None:
        """Warns when something is wrong with the network. To be called when its state may have changed."""
        network = self._network()
        state = self._beliefs.network_state(network)
        if state is NetworkState.OK:
            return
        from proxy.detect.verdict.labels import network_in_words  # with the first trouble

        warning = network_in_words(state, self._beliefs.portal_page(network))
        if warning is None or 0 <= self._now() - self._warned_at.get((network, state), float("-inf")) < AGAIN_S:
            return
        if len(self._warned_at) >= WARNED_MAX:
            self._warned_at.clear()
        self._warned_at[network, state] = self._now()
        text, advice = warning
        log.warning("%s → %s", text, advice)

    def report(self, changes: Sequence[Change]) -> None:
        """Warns of TLS interception, and logs every other change of state for those who want the details."""
        for change in changes:
            if change.before is change.after:
                continue
            name = change.scope if self._names else "a site"
            before, after = status_of(change.before), status_of(change.after, change.cause)
            log.info("%s: %s → %s%s", name, before, after, f" ({change.cause})" if change.cause else "")
            if change.after is State.BLOCKED and change.cause == Cause.INTERCEPTION:
                log.warning("TLS interception detected for %s; using relays only", name)
        self.check_network()
