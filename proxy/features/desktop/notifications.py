"""Notifications on the desktop about the first rescue on a network, and about the failure of all relays. At most one an
hour.

They name no site and no relay: somebody may look at the screen. There are none with `--ephemeral`, `[log] hosts =
"off"` or `[desktop] notify = false`.
"""

from __future__ import annotations

import logging

from proxy.model import Action, NetworkId
from proxy.model.bounded import Bounded
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.tasks import spawn
from proxy.session.events import Rescued, SignalWaits
from proxy.session.services import Services
from proxy.setup.desktop.notification import Show, show_aside

log = logging.getLogger(__name__)

AGAIN_S = 3600.0

_NETWORKS_MAX = 64
"""The most networks whose first rescue is remembered, in memory only."""


@frozen_dataclass
class Notification:
    """The text of a notification."""

    title: str
    text: str


RESCUED = Notification("Byway opened a blocked site", "This network blocks sites. `byway status` lists them.")
RELAYS_FAIL = Notification("All relays fail", "Blocked sites do not open. `byway relay test` shows why.")


class Notifications:
    """Belongs to one loop."""

    def __init__(self, services: Services, show: Show | None, *, ephemeral: bool) -> None:
        """`show` None: there is no desktop."""
        self._services = services
        self._show = show
        self._ephemeral = ephemeral
        self._rescued_on: Bounded[NetworkId, bool] = Bounded(_NETWORKS_MAX)
        self._shown_at = float("-inf")

    def on_rescued(self, rescued: Rescued) -> None:
        """Handles the rescue of a blocked site: direct failed under AUTO, and another route delivered."""
        network, outcome = rescued.record.network, rescued.outcome
        if network in self._rescued_on or outcome.plan.action is not Action.AUTO:
            return
        direct = outcome.direct_attempt
        if direct is None or direct.delivered:
            return
        if self._notify(RESCUED):
            self._rescued_on[network] = True

    def on_signal_waits(self, _: SignalWaits) -> None:
        """Handles a signal that may be the failure of a relay."""
        names = self._services.setup().registry.relay_names
        if names and set(names) <= set(self._services.health.faults()):
            self._notify(RELAYS_FAIL)

    def _notify(self, notification: Notification) -> bool:
        """Shows a notification, unless another one was shown in the last hour or they are off. Returns whether it is
        shown."""
        now, show, settings = self._services.now(), self._show, self._services.setup().settings
        is_wanted = settings.desktop.notify and settings.log.hosts != "off" and not self._ephemeral
        if show is None or not is_wanted or 0 <= now - self._shown_at < AGAIN_S:
            return False
        self._shown_at = now
        spawn(show_aside(show, notification.title, notification.text), name="show a notification")
        return True
