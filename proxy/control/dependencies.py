"""What the control server reads of the running application, and the things that it may change: the configuration (a
reload), rules.txt, an override, the relay selected in a group, what was learned, the system proxy, and the mode.

The server reads. What it changes goes through the methods here, which keep the memory, the store and the plans in step.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from proxy.config.paths import Paths
from proxy.config.schema import ListConfig
from proxy.control.library_caches import empty_library_caches
from proxy.control.outcome_feed import OutcomeFeed
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.extend.manager import AddonManager, AddonState
from proxy.model import Change, NetworkId, Outcome, Override, Plan, Request
from proxy.model.feature import Feature
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.client_programs import ClientPrograms
from proxy.net.faults import Faults
from proxy.probe.list_refresh import ListRefresh
from proxy.routing.rule import Situation
from proxy.session.events import Events, HostsForgotten, Learned
from proxy.session.inspector_on_demand import InspectorOnDemand
from proxy.session.open_connections import OpenConnections
from proxy.session.plan import plan_for
from proxy.session.recent_clients import RecentClients
from proxy.session.rule_hits import RuleHits
from proxy.session.server import Server
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.setup.desktop.switch import SystemProxySwitch
from proxy.setup.freed_memory import collect_replaced
from proxy.setup.mode_switch import ModeSwitch
from proxy.setup.reload import ActiveSetup
from proxy.setup.rule_edits import RulesFileEditor
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


class EndControl(Protocol):
    """Ends Byway."""

    def stop(self, *, restart: bool = False, at_once: bool = False) -> None:
        """Ends Byway as Ctrl-C does: after its tunnels, for which it waits a bounded time, or `at_once`. `restart`: it
        begins again then, with the same command line and as the same process."""


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
    """Of the lists that were fetched."""
    list_refresh: ListRefresh
    recent_clients: RecentClients
    """The browsers that have just used the proxy port."""
    system_proxy: SystemProxySwitch
    modes: ModeSwitch
    rules_file: RulesFileEditor
    ending: EndControl
    faults: Faults
    saved_health: Callable[[], SavedRelayHealth | None]
    broken_features: Callable[[], Mapping[str, str]]
    """Returns why a feature does not work, in a sentence, by its name."""
    listen_address: str
    started_at: float  # seconds since the epoch
    not_stored: str  # why nothing can be written to the state folder; empty when it can
    selection_file: Path | None  # of `byway relay use`; None: nothing is written
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def config_file(self) -> Path:
        """Where the configuration is, or would be."""
        return self.paths.config_file

    @property
    def beliefs(self) -> Beliefs:
        return self.services.beliefs

    @property
    def health(self) -> Health:
        return self.services.health

    @property
    def rule_hits(self) -> RuleHits:
        return self.services.rule_hits

    @property
    def open_connections(self) -> OpenConnections:
        return self.services.open_connections

    @property
    def programs(self) -> ClientPrograms:
        return self.services.programs

    @property
    def groups(self) -> RelayGroups:
        return self.services.groups

    @property
    def events(self) -> Events:
        return self.services.events

    async def select(self, group: str, relay: str) -> None:
        """Selects the relay that a group of the policy "select" uses, and stores that. Raises BywayError when it cannot
        be stored; it is in use all the same."""
        self.services.groups.select(group, relay)
        if self.selection_file is None:
            return
        async with self.saving:  # two at once: the file must end with both
            await asyncio.to_thread(write_selection, self.selection_file, dict(self.services.groups.selected))

    def relay_obstacles(self) -> Mapping[str, RelayObstacle]:
        """What is in the way to relays on this network, by relay name."""
        registry, ways = self.active.setup.registry, self.services.relay_ways
        network, now = self.services.network(), self.services.now()
        found = {name: ways.obstacle(registry.first_endpoint(name), network, now) for name in registry.relay_names}
        return {name: obstacle for name, obstacle in found.items() if obstacle is not None}

    def setup(self) -> Setup:
        """The Setup in use now."""
        return self.active.setup

    def network(self) -> NetworkId:
        """The current network."""
        return self.services.network()

    async def reload(self) -> list[str]:
        """Reads the configuration and the rules again. Returns the problems; without any, it is in use, and the addons
        that it enables run, or say why not (`addons`)."""
        problems = await self.active.reload()
        await self.addon_manager.settled()
        return problems

    async def configured_lists(self) -> Sequence[ListConfig]:
        """The lists of the configuration file as it is now, also when it is not in use yet."""
        return (await self.active.configured()).list

    async def list_text(self, item: ListConfig) -> str:
        """The text of a list: of its file, or of its last good copy. Raises ConfigError."""
        return await self.active.list_text(item, self.copies)

    def follow(self) -> AsyncIterator[tuple[Outcome, NetworkId]]:
        """Outcomes from now on, as they are recorded, each with the network where its connection began."""
        return self.feed.follow()

    def forget_status(self, what: Forgotten) -> list[Change]:
        """Removes from memory and disk what was learned, and from memory all names that are meant; what is logged
        stays."""
        return self._forget_in_memory(what, self._begun(what))

    async def forget(self, what: Forgotten) -> list[str]:
        """Removes visited names from memory and disk. Returns what was deleted beside the log, in words. Raises
        BywayError."""
        begun = self._begun(what)
        self.store.leave_out(begun)
        self._forget_in_memory(what, begun)
        self.services.rule_hits.clear()
        await asyncio.to_thread(self.store.forget, what)
        health = self.saved_health()
        files: list[SavedValues[Any]] = [self.ways_file, *([] if health is None else [health.file])]
        for file in files:
            await file.written()  # else it would come back
        deleted = await asyncio.to_thread(forget_files, self.paths, what)
        if what.is_all:
            self.services.relay_ways.forget()
            for file in files:
                file.save(())  # what was learned meanwhile
                await file.written()
        return deleted

    def _forget_in_memory(self, what: Forgotten, begun: Collection[int]) -> list[Change]:
        """Forgets it everywhere in memory, and what was learned in the log too. `begun` are requests whose connections
        may end later."""
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
        """The ids of requests that are to be forgotten, and whose connections may end later."""
        if what.is_all:
            return range(next(self.services.request_ids))  # those, too, that have ended and are being judged
        return frozenset(
            each.request.id
            for each in self.open_connections.newest_first()
            if what.covers(each.host, each.opened_at, each.network)
        )

    def override(self, host: str, override: Override | None) -> None:
        """Sets the override of `byway site set` for a host and its subdomains at once, and stores it for the next
        start; None removes it."""
        self.active.override(host, override)
        self.system_proxy.on_rules_changed()
        if override is None:
            self.store.clear_override(host)
        else:
            self.store.set_override(host, override)

    def probe_environment(self) -> ProbeEnvironment:
        """What sites are measured with, under the Setup in use now."""
        from proxy.probe.measure.inputs import SetupEnvironment  # measurements are made when a user asks

        return SetupEnvironment(self.active.setup, self.services)

    async def plan(self, request: Request, situation: Situation | None = None) -> Plan:
        """The plan that a session would make for a request now, or in a situation."""
        return await plan_for(request, self.services, self.active.setup, situation=situation)

    def addons(self) -> Sequence[AddonState]:
        """All addons that were found."""
        return self.addon_manager.states()

    def counters(self) -> Mapping[str, int | float | str]:
        """Counters and facts of the moment: port, started_at, sessions, tunnels, …"""
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
