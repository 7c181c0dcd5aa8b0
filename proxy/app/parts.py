"""The parts of a running Byway, in groups. Each group is a frozen value, made by a function from earlier groups:

    Run → Kept → Known → Serving

So no function uses a part that does not exist yet.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.app.run_options import Ending, RunOptions
from proxy.config.bundled import bundled
from proxy.config.load import Loaded
from proxy.config.paths import Paths
from proxy.config.schema import Log, Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.detect.relay_ways import RelayWays
from proxy.extend.dispatch import Addons
from proxy.extend.manager import AddonManager
from proxy.model import Destination, NetworkId
from proxy.model.feature import Feature, Role, provided
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.client_programs import ClientPrograms
from proxy.net.faults import Faults
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.poller import Poller
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.stream import SocketStream, Stream
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import Pump
from proxy.net.uplink.network_watch import NetworkWatch
from proxy.session.events import Events
from proxy.session.inspector import MadeInspector
from proxy.session.inspector_on_demand import InspectorOnDemand
from proxy.session.recent_clients import RecentClients
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.setup.checked import KeyEngineOnDemand, Parts
from proxy.setup.desktop.notification import has_desktop, show_notification
from proxy.setup.knowledge import BywayKnows, SetupInUse
from proxy.store import relay_addresses, relay_tests, relay_ways
from proxy.store.list_copies import ListCopies
from proxy.store.network_key import read_network_key
from proxy.store.relay_addresses import RelayAddresses
from proxy.store.relay_selection import read_selection
from proxy.store.relay_tests import RelayTests
from proxy.store.relay_ways import RelayWaysFile
from proxy.store.store import Store

if TYPE_CHECKING:
    from proxy.detect.tls_interception import KnownRoots
    from proxy.session.services import TransferChecker
    from proxy.setup.desktop.notification import Show


@frozen_dataclass
class Run:
    """The inputs of one run of Byway."""

    options: RunOptions
    paths: Paths
    loaded: Loaded
    features: Sequence[Feature]
    ending: Ending
    faults: Faults
    renew_lock: Callable[[], None] = lambda: None
    """Takes the lock of the state folder anew when its file was removed."""

    @property
    def settings(self) -> Settings:
        """The settings at the start."""
        return self.loaded.settings

    def file(self, place: Callable[..., Path | None], log: Log) -> Path | None:
        """Returns the file that `place`, a function of a module of `store`, gives for this run; None: in memory
        only."""
        return place(self.paths, log, ephemeral=self.options.ephemeral)


@frozen_dataclass
class Kept:
    """The parts that store something on the disk, or in memory when nothing may be stored."""

    store: Store
    relay_tests: RelayTests
    relay_addresses: RelayAddresses
    ways_file: RelayWaysFile
    copies: ListCopies


def open_state(run: Run) -> Kept:
    """Opens the files of the state folder. Waits for the disk."""
    log, ephemeral = run.settings.log, run.options.ephemeral
    store = Store(None if ephemeral else run.paths.store_file, log)
    store.start()
    return Kept(
        store,
        RelayTests(run.file(relay_tests.place, log)),
        RelayAddresses(run.file(relay_addresses.place, log)),
        RelayWaysFile(run.file(relay_ways.place, log)),
        ListCopies(run.paths.lists_dir, ephemeral=ephemeral),
    )


def keep_as_set(run: Run, kept: Kept, log: Log) -> None:
    """Applies an edited `[log]` to the store and the files."""
    kept.store.configure(log)
    kept.relay_tests.keep_in(run.file(relay_tests.place, log))
    kept.relay_addresses.keep_in(run.file(relay_addresses.place, log))


@frozen_dataclass
class Known:
    """The knowledge of a running Byway: beliefs, health of relays, the network, and others."""

    in_use: SetupInUse
    network: NetworkWatch
    addons: Addons
    beliefs: Beliefs
    health: Health
    groups: RelayGroups
    ways: RelayWays
    findings: SharedFindings
    tcp_info: TcpInfo
    recent_clients: RecentClients


def make_known(run: Run, kept: Kept) -> Known:
    """Restores the knowledge of earlier runs. Waits for the disk."""
    detect, in_use, addons = run.settings.detect, SetupInUse(), Addons()
    health = Health(detect)
    return Known(
        in_use=in_use,
        network=NetworkWatch(read_network_key(run.paths, ephemeral=run.options.ephemeral)),
        addons=addons,
        beliefs=Beliefs(
            detect,
            kept.store.load_beliefs(),
            listed=in_use.is_listed,
            near=in_use.is_near,
            addresses=in_use.known_addresses,
            refine=addons.refine,
            results=kept.store.load_results(),
            store=kept.store,
        ),
        health=health,
        groups=RelayGroups(health, read_selection(run.paths.relay_selection_file)),
        ways=RelayWays(detect),
        findings=SharedFindings(asyncio.get_running_loop().time, lasts_s=detect.silent_s),
        tcp_info=TcpInfo(detect),
        recent_clients=RecentClients(),
    )


def parts_of_setups(run: Run, poller: Poller, kept: Kept, known: Known, keys: KeyEngineOnDemand, port: int) -> Parts:
    """Returns the parts that all Setups of the run share."""
    return Parts(
        poller,
        run.paths,
        port,
        knowledge=BywayKnows(
            known.in_use,
            known.network,
            known.beliefs,
            known.findings,
            known.health,
            known.ways,
            known.addons,
            kept.store.is_private,
        ),
        copies=kept.copies,
        relay_addresses=kept.relay_addresses,
        tcp_info=known.tcp_info,
        recent_clients=known.recent_clients,
        features=run.features,
        keys=keys,
    )


@frozen_dataclass
class AddonBackend:
    """The clock, the network and the relays of an App, for the Api of addons. Implements `extend.api.ApiBackend`."""

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


@frozen_dataclass
class Serving:
    """The parts that all sessions share."""

    services: Services
    inspector: InspectorOnDemand
    """The inspector of `services`."""
    addon_manager: AddonManager
    show: Show | None
    """Shows a notification; None when there is no desktop."""


def make_serving(
    run: Run,
    poller: Poller,
    kept: Kept,
    known: Known,
    *,
    transfer_check: Callable[[], TransferChecker | None],
    adopt: Callable[[SocketStream, bytes], None],
) -> Serving:
    """Makes the parts that sessions share. `transfer_check` and `adopt` are as in Services."""

    def make_inspector() -> MadeInspector:
        made: MadeInspector = provided(run.features, Role.INSPECTOR)(
            lambda: services,
            poller,
            run.paths,
            lambda: known.in_use.setup.settings,
            known.addons,
            ephemeral=run.options.ephemeral,
            roots=services.roots(),
        )
        return made

    limits, inspector = run.settings.limits, InspectorOnDemand(make_inspector)
    services = Services(
        setup=known.in_use.get,
        beliefs=known.beliefs,
        health=known.health,
        groups=known.groups,
        relay_ways=known.ways,
        transfer_check=transfer_check,
        pump=Pump(idle_timeout_s=limits.idle_timeout_s, half_open_timeout_s=limits.half_open_timeout_s),
        tcp_info=known.tcp_info,
        network=partial(attrgetter("id"), known.network),
        now=time.time,
        request_ids=itertools.count(1),
        events=Events(),
        is_private=kept.store.is_private,
        adopt=adopt,
        findings=known.findings,
        flows=FlowMonitor(known.tcp_info, run.settings.detect),
        roots=_known_roots,
        addons=known.addons,
        inspector=inspector,
        programs=ClientPrograms(lambda: known.in_use.setup.port),
    )
    known.addons.on_change(inspector.on_addons_changed)
    show = show_notification if has_desktop(os.environ) else None
    folder = None if run.options.ephemeral else run.paths.state_dir / "addons"
    backend = AddonBackend(known.in_use.get, known.network, folder, show)
    return Serving(services, inspector, AddonManager(known.addons, run.paths.addons_dir, backend), show)


@cache
def _known_roots() -> KnownRoots:
    from proxy.detect.tls_interception import KnownRoots  # needed with the first certificate

    file = bundled("certs/known_roots.json")
    return KnownRoots.parse(file.read_text("utf-8"), str(file))
