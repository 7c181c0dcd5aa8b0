"""What the control server reads of the running application, and the things that it may change: the configuration (a
reload), rules.txt, an override, the relay selected in a group, what was learned, the system proxy, and the mode.

Implements `control.dependencies.Dependencies`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.app.library_caches import empty_library_caches
from proxy.app.outcome_feed import OutcomeFeed
from proxy.app.parts import Kept, Known, Run, Serving
from proxy.app.relay_records import RelayRecords
from proxy.app.run_options import Ending
from proxy.config.schema import ListConfig
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.extend.manager import AddonState
from proxy.model import Change, NetworkId, Outcome, Override, Plan, Request
from proxy.model.feature import Feature
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.client_programs import ClientPrograms
from proxy.probe.list_refresh import ListRefresh
from proxy.routing.rule import Situation
from proxy.session.events import Events, HostsForgotten, Learned
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
from proxy.store.saved_values import SavedValues
from proxy.store.store import Store

if TYPE_CHECKING:
    from proxy.detect.relay_ways import RelayObstacle
    from proxy.probe.measure.inputs import ProbeEnvironment


@frozen_dataclass
class ControlBackend:
    """The parts of one running Byway, as the control server uses them."""

    run: Run
    kept: Kept
    known: Known
    serving: Serving
    relays: RelayRecords
    active: ActiveSetup
    server: Server
    feed: OutcomeFeed
    list_refresh: ListRefresh
    system_proxy: SystemProxySwitch
    modes: ModeSwitch
    rules_file: RulesFileEditor
    broken_features: Callable[[], Mapping[str, str]]
    started_at: float  # seconds since the epoch
    saving: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def services(self) -> Services:
        return self.serving.services

    @property
    def store(self) -> Store:
        return self.kept.store

    @property
    def relay_tests(self) -> RelayTests:
        return self.kept.relay_tests

    @property
    def copies(self) -> ListCopies:
        return self.kept.copies

    @property
    def recent_clients(self) -> RecentClients:
        return self.known.recent_clients

    @property
    def features(self) -> Sequence[Feature]:
        return self.run.features

    @property
    def ending(self) -> Ending:
        return self.run.ending

    @property
    def config_file(self) -> Path:
        return self.run.paths.config_file

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

    async def select(self, group: str, relay: str) -> None:
        self.services.groups.select(group, relay)
        if self.run.options.ephemeral:
            return
        async with self.saving:  # two at once: the file must end with both
            selected = dict(self.services.groups.selected)
            await asyncio.to_thread(write_selection, self.run.paths.relay_selection_file, selected)

    @property
    def events(self) -> Events:
        return self.services.events

    def relay_obstacles(self) -> Mapping[str, RelayObstacle]:
        registry, ways = self.active.setup.registry, self.services.relay_ways
        network, now = self.services.network(), self.services.now()
        found = {name: ways.obstacle(registry.first_endpoint(name), network, now) for name in registry.relay_names}
        return {name: obstacle for name, obstacle in found.items() if obstacle is not None}

    def setup(self) -> Setup:
        return self.active.setup

    def network(self) -> NetworkId:
        return self.services.network()

    async def reload(self) -> list[str]:
        problems = await self.active.reload()
        await self.serving.addon_manager.settled()
        return problems

    async def configured_lists(self) -> Sequence[ListConfig]:
        return (await self.active.configured()).list

    async def list_text(self, item: ListConfig) -> str:
        return await self.active.list_text(item, self.copies)

    def follow(self) -> AsyncIterator[tuple[Outcome, NetworkId]]:
        return self.feed.follow()

    def forget_status(self, what: Forgotten) -> list[Change]:
        return self._forget_in_memory(what, self._begun(what))

    async def forget(self, what: Forgotten) -> list[str]:
        begun = self._begun(what)
        self.store.leave_out(begun)
        self._forget_in_memory(what, begun)
        self.services.rule_hits.clear()
        await asyncio.to_thread(self.store.forget, what)
        health = self.relays.saved_health
        files: list[SavedValues[Any]] = [self.kept.ways_file, *([] if health is None else [health.file])]
        for file in files:
            await file.written()  # else it would come back
        deleted = await asyncio.to_thread(forget_files, self.run.paths, what)
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
        self.serving.inspector.forget_hosts(what.names)
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
        """Applies it at once, and stores it for the next start."""
        self.active.override(host, override)
        self.system_proxy.on_rules_changed()
        if override is None:
            self.store.clear_override(host)
        else:
            self.store.set_override(host, override)

    def probe_environment(self) -> ProbeEnvironment:
        from proxy.probe.measure.inputs import SetupEnvironment  # measurements are made when a user asks

        return SetupEnvironment(self.active.setup, self.services)

    async def plan(self, request: Request, situation: Situation | None = None) -> Plan:
        return await plan_for(request, self.services, self.active.setup, situation=situation)

    def addons(self) -> Sequence[AddonState]:
        return self.serving.addon_manager.states()

    def counters(self) -> Mapping[str, int | float | str]:
        fault = next(iter(self.run.faults.present()), None)
        return {
            "port": self.active.port,
            "listen": self.run.settings.listen.address,
            "started_at": self.started_at,
            "accepted": self.server.accepted,
            "sessions": self.server.sessions,
            "tunnels": self.services.pump.active,
            "dropped_rows": self.store.dropped_rows,
            "config_problem": self.active.problem,
            "addons_missing": "; ".join(self.serving.addon_manager.missing),
            "uninspected": self.serving.inspector.uninspected,
            "not_stored": self.run.options.not_stored,
            "fault": fault.place if fault else "",
            "fault_work": fault.work if fault else "",
            "fault_since": fault.since if fault else 0.0,
        }
