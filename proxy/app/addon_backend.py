"""The parts of a running Byway that the Api of addons uses. Implements `extend.api.ApiBackend`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.model import Destination, NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.stream import Stream
from proxy.net.uplink.network_watch import NetworkWatch
from proxy.session.setup import Setup

if TYPE_CHECKING:
    from proxy.setup.desktop.notification import Show


@frozen_dataclass
class AddonBackend:
    """The clock, the network and the relays of an App."""

    setup: Callable[[], Setup]
    """Returns the Setup in use."""
    watch: NetworkWatch
    folder: Path | None
    show: Show | None
    """Shows a notification; None when there is no desktop."""

    @property
    def relays(self) -> tuple[str, ...]:
        return self.setup().registry.relay_names

    def now(self) -> float:
        return time.time()

    def network(self) -> NetworkId:
        return self.watch.current()

    async def dial(self, url: str, destination: Destination) -> Stream:
        return await self.setup().registry.dialer_for_url(url).dial(destination)

    async def notify(self, title: str, text: str) -> None:
        if self.show is not None:
            from proxy.setup.desktop.notification import show_aside  # few addons show notifications

            await show_aside(self.show, title, text)
