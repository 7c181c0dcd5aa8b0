"""After a change of network, a sleep or a change of the clock: what is untrue now is discarded, and connections that
were left behind are closed.
"""

from __future__ import annotations

import logging

from proxy.net.tasks import spawn
from proxy.net.uplink.network_watch import NetworkChange, NetworkWatch
from proxy.net.uplink.sleep_watch import Resumed, reset_stale_connections
from proxy.session.events import Learned
from proxy.session.services import Services

log = logging.getLogger("proxy")


def on_network_change(services: Services, change: NetworkChange) -> None:
    """Closes the tunnels whose local address was lost, so that their clients connect again instead of waiting for a
    timeout. On another network, also forgets what was measured on the last one."""
    why = "its network is gone"
    lost = services.pump.abort_where(lambda upstream: change.orphans(upstream.lowest_socket), why)
    if change.is_elsewhere:
        services.events.emit(Learned(services.beliefs.network_changed(services.now())))
        services.health.clear_faults()
        services.findings.clear_all()
        services.flows.reset()
        services.tcp_info.split_tcp.reset()
        log.info("Network changed; closed %d connections", lost)


def on_resumed(services: Services, network: NetworkWatch, resumed: Resumed) -> None:
    """Discards what a sleep, or a change of the clock, has made untrue."""
    log.info("Resumed after %.0f s of sleep; the clock moved by %+.0f s", resumed.slept_s, resumed.jumped_s)
    services.beliefs.on_resume(services.now())
    services.health.clear_faults()
    services.flows.reset()
    network.read_now()
    if resumed.slept_s >= services.setup().settings.detect.wake_stale_s:
        upstreams = [upstream.lowest_socket for upstream in services.pump.upstreams]
        spawn(reset_stale_connections(upstreams), name="reset tunnels that did not outlive the sleep")
