"""The parts of the running application that the control server uses.

It reads most of them. It may change the configuration (a reload), rules.txt, overrides, the relay selected in a group,
beliefs, the system proxy, and the mode. The methods here keep memory, store and plans consistent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from proxy.config.paths import Paths
from proxy.config.schema import ListConfig, RelayConfig, Settings
from proxy.control.library_caches import empty_library_caches
from proxy.control.outcome_feed import OutcomeFeed
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.extend.manager import AddonManager, AddonState
from proxy.model import Change, Destination, Inbound, IPAddress, NetworkId, Outcome, Override, Plan, RelayGroup, Request
from proxy.model.feature import Feature
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.registry import Registry
from proxy.net.faults import Faults
from proxy.probe.list_refresh import ListRefresh
from proxy.routing.rule import Situation
from proxy.session.events import HostsForgotten, Learned
from proxy.session.inspector_on_demand import InspectorOnDemand
from proxy.session.plan import plan_for
from proxy.session.recent_clients import RecentClients
from proxy.session.server import Server
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.setup.desktop.switch import SystemProxySwitch
from proxy.setup.freed_memory import collect_replaced
from proxy.setup.mode_switch import ModeSwitch
from proxy.setup.reload import ActiveSetup
from proxy.setup.rule_edits import RulesFileEditor
from proxy.store.database import Query
from proxy.store.forgetting import Forgotten, forget_files
from proxy.store.list_copies import ListCopies
from proxy.store.relay_selection import write_selection
from proxy.store.relay_tests import RelayTests
from proxy.store.relay_ways import RelayWaysFile
from proxy.store.saved_values import SavedValues
from proxy.store.store import Store

if TYPE_CHECKING:
    from proxy.detect.relay_ways import RelayObstacle
    from proxy.probe.measure.inputs import ProbeEnvironment
    from proxy.setup.saved_relay_health import SavedRelayHealth


T = TypeVar("T")

FLUSH_S = 1.0
"""Seconds for which an answer waits until recent rows are written. `status` reports a slower disk as a problem."""


class EndControl(Protocol):
    """Ends Byway."""

    def stop(self, *, restart: bool = False, at_once: bool = False) -> None:
        """Ends Byway as Ctrl-C does: after its tunnels, within a time limit, or `at_once`. `restart`: it restarts then,
        with the same command line and the same pid."""


@frozen_dataclass
class Dependencies:
    """The parts of one running Byway, as the control server uses them."""

    features: Sequence[Feature]
    paths: Paths
    services: Services
    active: ActiveSetup
    server: Server
    inspector: InspectorOnDemand
    addon_manager: AddonManager
    feed: OutcomeFeed
    store: Store
    relay_tests: RelayTests
    ways_file: RelayWaysFile
    copies: ListCopies
    """The copies of fetched lists."""
    list_refresh: ListRefresh
    recent_clients: RecentClients
    """The browsers that have recently used the proxy port."""
    system_proxy: SystemProxySwitch
    modes: ModeSwitch
    rules_file: RulesFileEditor
    ending: EndControl
    faults: Faults
    saved_health: Callable[[], SavedRelayHealth | None]
    broken_features: Callable[[], Mapping[str, str]]
    """Returns the reason, in a sentence, why a feature does not work, by its name."""
    listen_address: str
    started_at: float  # seconds since the epoch
    not_stored: str  # the reason why the state folder cannot be written; empty when it can
    selection_file: Path | None  # of `byway relay use`; None: it is not written
    sessions_file: Path | None  # of the dashboard; None: sessions are only in memory
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def config_file(self) -> Path:
        """The configuration file, which may be missing."""
        return self.paths.config_file

    @property
    def beliefs(self) -> Beliefs:
        return self.services.beliefs

    @property
    def health(self) -> Health:
        return self.services.health

    @property
    def groups(self) -> RelayGroups:
        return self.services.groups

    async def select(self, group: str, relay: str) -> None:
        """Selects the relay of a group with the policy "select", and stores the selection. Raises BywayError when it
        cannot be stored; it is still in use."""
        self.services.groups.select(group, relay)
        if self.selection_file is None:
            return
        async with self.saving:  # so that the file gets both of two concurrent selections
            await asyncio.to_thread(write_selection, self.selection_file, dict(self.services.groups.selected))

    def relay_obstacles(self) -> Mapping[str, RelayObstacle]:
        """Returns the obstacles on the way to relays on this network, by relay name."""
        registry, ways = self.active.setup.registry, self.services.relay_ways
        network, now = self.services.network(), self.services.now()
        by_name = {name: ways.obstacle(registry.first_endpoint(name), network, now) for name in registry.relay_names}
        return {name: obstacle for name, obstacle in by_name.items() if obstacle is not None}

    def setup(self) -> Setup:
        """Returns the Setup in use."""
        return self.active.setup

    def registry_with(self, added: Sequence[RelayConfig]) -> Registry:
        """Returns a registry with relays that are not configured yet, for a test of them. The caller retires its keys.
        Raises ConfigError."""
        return self.active.registry_with(added)

    @property
    def settings(self) -> Settings:
        return self.active.setup.settings

    @property
    def overrides(self) -> Mapping[str, Override]:
        return self.active.setup.router.overrides

    @property
    def configured_groups(self) -> Sequence[RelayGroup]:
        return self.active.setup.groups

    def addresses(self, host: str) -> Iterable[IPAddress]:
        """Those that a name is known to have."""
        return self.active.setup.resolver.known(host)

    async def flush(self) -> None:
        """Waits until the connections that have ended are in the log, or the disk is too slow."""
        await asyncio.to_thread(self.store.flush, FLUSH_S)

    async def read(self, query: Query[T]) -> T:
        """Runs a query on the log."""
        return await asyncio.to_thread(self.store.read, query)

    def network(self) -> NetworkId:
        """Returns the current network."""
        return self.services.network()

    async def reload(self) -> list[str]:
        """Reads the configuration and the rules again. Returns the problems. Without any, the new configuration is in
        use, and its addons were started; `addons` has the reason for each that does not run."""
        problems = await self.active.reload()
        await self.addon_manager.settled()
        return problems

    async def configured(self) -> Settings:
        """Returns the settings of the configuration file as it is now, as `ActiveSetup.configured`."""
        return await self.active.configured()

    async def list_text(self, item: ListConfig) -> str:
        """Returns the text of a list: of its file, or of its last good copy. Raises ConfigError."""
        return await self.active.list_text(item, self.copies)

    def follow(self) -> AsyncIterator[tuple[Outcome, NetworkId]]:
        """Yields outcomes from now on, when they are recorded, each with the network where its connection began."""
        return self.feed.follow()

    def forget_status(self, what: Forgotten) -> list[Change]:
        """Removes beliefs from memory and disk, and these names from all memory; the log stays. Returns the changes of
        beliefs."""
        return self._forget_in_memory(what, self._begun(what))

    async def forget(self, what: Forgotten) -> list[str]:
        """Removes visited names from memory and disk. Returns the kinds of deleted files, in words. Raises
        BywayError."""
        begun = self._begun(what)
        self.store.leave_out(begun)
        self._forget_in_memory(what, begun)
        self.services.rule_hits.clear()
        if what.is_all:
            self.services.port_users.clear()
        await asyncio.to_thread(self.store.forget, what)
        health = self.saved_health()
        files: list[SavedValues[Any]] = [self.ways_file, *([] if health is None else [health.file])]
        for file in files:
            await file.written()  # otherwise a pending write would restore it
        deleted = await asyncio.to_thread(forget_files, self.paths, what)
        if what.is_all:
            self.services.relay_ways.forget()
            for file in files:
                file.save(())  # it may have been written meanwhile
                await file.written()
        return deleted

    def _forget_in_memory(self, what: Forgotten, begun: Collection[int]) -> list[Change]:
        """Removes the names from all memory, and beliefs from the disk. `begun` are requests whose connections may end
        later. Returns the changes of beliefs."""
        beliefs, now = self.services.beliefs, self.services.now()
        gone = [it.scope for it in beliefs.all(now=now) if what.covers(it.scope, it.since, it.network)]
        if what.since:
            gone += sorted(beliefs.results_since(what.since) - set(gone))
        scopes: list[str | None] = [None] if what.is_all else [what.host] if what.host else [*gone]
        network = NetworkId(what.network) if what.network else None
        if network is not None:
            scopes = [None]
        changes = [change for scope in scopes for change in beliefs.forget(scope, network)]
        if what.since:
            changes += beliefs.forget_unstored()
        self.services.events.emit(Learned(changes))
        beliefs.ignore(begun)
        self.services.groups.forget_sites(what.names)
        self.inspector.forget_hosts(what.names)
        self.active.forget_caches()
        self.services.events.emit(HostsForgotten())
        collect_replaced()
        empty_library_caches()
        return changes

    def _begun(self, what: Forgotten) -> Collection[int]:
        """Returns the ids of requests to forget whose connections may end later."""
        if what.is_all:
            return range(next(self.services.request_ids))  # including those that have ended and are being judged
        return frozenset(
            each.request.id
            for each in self.services.open_connections.newest_first()
            if what.covers(each.host, each.opened_at, each.network)
        )

    def override(self, host: str, override: Override | None) -> None:
        """Sets the override of a host and its subdomains from the next request on, and stores it; None removes it."""
        self.active.override(host, override)
        self.system_proxy.on_rules_changed()
        if override is None:
            self.store.clear_override(host)
        else:
            self.store.set_override(host, override)

    def probe_environment(self) -> ProbeEnvironment:
        """Returns the environment for measurements with the Setup in use."""
        from proxy.probe.measure.inputs import SetupEnvironment  # needed only for measurements

        return SetupEnvironment(self.active.setup, self.services)

    async def plan(self, destination: Destination, situation: Situation | None = None) -> Plan:
        """Returns the plan that a session would make for a request to a destination now, or in a situation."""
        request = Request(0, destination, Inbound.CONNECT, client="")  # no client makes it
        return await plan_for(request, self.services, self.active.setup, situation=situation)

    def addons(self) -> Sequence[AddonState]:
        """Returns the states of all addons, also of disabled ones."""
        return self.addon_manager.states()

    def counters(self) -> Mapping[str, int | float | str]:
        """Returns counters and facts about the running Byway: port, started_at, sessions, tunnels, …"""
        fault = next(iter(self.faults.present()), None)
        return {
            "port": self.active.port,
            "listen": self.listen_address,
            "started_at": self.started_at,
            "accepted": self.server.accepted,
            "sessions": self.server.sessions,
            "tunnels": self.services.pump.active,
            "dropped_rows": self.store.dropped_rows,
            "config_problem": self.active.problem,
            "addons_missing": "; ".join(self.addon_manager.missing),
            "uninspected": self.inspector.uninspected,
            "not_stored": self.not_stored,
            "fault": fault.place if fault else "",
            "fault_work": fault.work if fault else "",
            "fault_since": fault.since if fault else 0.0,
        }
