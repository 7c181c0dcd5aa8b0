"""What the control server needs of the application, as Protocols: `app.control_backend` implements them.

The server reads. The little that it changes goes through methods of the application, which keep the memory, the store
and the plans in step. Tests bring small implementations of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from proxy.config.schema import ListConfig, Settings
    from proxy.detect.beliefs.beliefs import Beliefs
    from proxy.detect.relay_groups import RelayGroups
    from proxy.detect.relay_health import Health
    from proxy.detect.relay_ways import RelayObstacle
    from proxy.extend.manager import AddonState
    from proxy.model import AutoMode, Change, NetworkId, Outcome, Override, Plan, RelayGroup, Request
    from proxy.model.feature import Feature
    from proxy.net.client_programs import ClientPrograms
    from proxy.net.dns.resolver import Resolver
    from proxy.probe.list_refresh import ListRefresh
    from proxy.probe.measure.inputs import ProbeEnvironment
    from proxy.probe.relay_trial import Relays
    from proxy.routing.edited_rules import AddedRule, RulesText
    from proxy.routing.router import Router
    from proxy.routing.rule import Situation
    from proxy.routing.rules import Rules
    from proxy.session.events import Events
    from proxy.session.open_connections import OpenConnections
    from proxy.session.recent_clients import RecentClients
    from proxy.session.rule_hits import RuleHits
    from proxy.setup.desktop.proxy_settings import DesktopName
    from proxy.setup.desktop.system_proxy import Restored
    from proxy.store.forgetting import Forgotten
    from proxy.store.list_copies import ListCopies
    from proxy.store.relay_tests import RelayTests
    from proxy.store.store import Store


class ConfigSource(Protocol):
    """Where the configuration came from."""

    @property
    def path(self) -> Path | None: ...
    @property
    def notices(self) -> Sequence[str]: ...
    @property
    def sources(self) -> Mapping[str, str]:
        """The place of each key that was set, by its dotted name."""

    @property
    def settings(self) -> Settings:
        """As they are written: `SetupView.settings` has a chain for each member of a group that a chain names."""


class SetupView(Protocol):
    """The part of a Setup that the control server reads."""

    @property
    def settings(self) -> Settings: ...
    @property
    def loaded(self) -> ConfigSource: ...
    @property
    def router(self) -> Router: ...
    @property
    def groups(self) -> Sequence[RelayGroup]: ...
    @property
    def registry(self) -> Relays: ...
    @property
    def resolver(self) -> Resolver: ...


class ModeControl(Protocol):
    """What AUTO does at the moment. The methods raise BywayError when the change cannot be stored."""

    @property
    def mode(self) -> AutoMode: ...
    @property
    def paused_until(self) -> float:
        """Seconds since the epoch; 0: not paused."""
        ...

    def set_mode(self, mode: AutoMode) -> None: ...
    def pause(self, seconds: float) -> None: ...
    def resume(self) -> None: ...


class EndControl(Protocol):
    """Ends Byway."""

    def stop(self, *, restart: bool = False, at_once: bool = False) -> None:
        """Ends Byway as Ctrl-C does: after its tunnels, for which it waits a bounded time, or `at_once`. `restart`: it
        begins again then, with the same command line and as the same process."""


class SystemProxyOn(Protocol):
    """How Byway is the system proxy."""

    @property
    def desktop(self) -> DesktopName: ...
    @property
    def url(self) -> str: ...
    @property
    def strict_by(self) -> str: ...


class SystemProxyControl(Protocol):
    """Turns the system proxy on and off. All raise BywayError."""

    async def is_in_use(self) -> bool:
        """Whether Byway is the system proxy. Reads the setting of the desktop if this run has set it."""
        ...

    async def turn_on(self, desktop: DesktopName) -> SystemProxyOn: ...
    async def turn_off(self) -> Restored: ...


class RulesFile(Protocol):
    """rules.txt. Nothing is written that does not check. Each method raises ConfigError with all problems, each with
    its line, and BywayError when the file cannot be read or written; also when another user could change it. Those that
    write raise NotInUse when it is written, and something else keeps it from being used."""

    async def read(self) -> RulesText:
        """The text, also one with a fault."""
        ...

    async def check(self, text: str) -> Rules:
        """What a text would mean under the present configuration. Nothing is written."""
        ...

    async def replace(self, text: str, *, version: str) -> Rules | None:
        """Writes a text, and takes it into use. None: the file does not have this version any more, and stays."""
        ...

    async def add(self, line: str) -> AddedRule:
        """Adds a rule before the first MATCH, or at the end, and takes it into use."""
        ...


class Dependencies(Protocol):
    """What the control server asks of the application, and what it may change there."""

    @property
    def beliefs(self) -> Beliefs: ...
    @property
    def health(self) -> Health: ...
    @property
    def groups(self) -> RelayGroups: ...
    @property
    def store(self) -> Store: ...
    @property
    def events(self) -> Events: ...
    @property
    def rule_hits(self) -> RuleHits: ...
    @property
    def open_connections(self) -> OpenConnections: ...
    @property
    def programs(self) -> ClientPrograms: ...
    @property
    def copies(self) -> ListCopies:
        """Of the lists that were fetched."""

    @property
    def list_refresh(self) -> ListRefresh:
        """Fetches lists."""

    @property
    def config_file(self) -> Path:
        """Where the configuration is, or would be."""

    async def configured_lists(self) -> Sequence[ListConfig]:
        """The lists of the configuration file as it is now, also when it is not in use yet."""

    async def list_text(self, item: ListConfig) -> str:
        """The text of a list: of its file, or of its last good copy. Raises ConfigError."""

    @property
    def relay_tests(self) -> RelayTests:
        """The last test of each relay."""

    @property
    def recent_clients(self) -> RecentClients:
        """The browsers that have just used the proxy port."""

    @property
    def modes(self) -> ModeControl: ...

    @property
    def ending(self) -> EndControl: ...

    @property
    def rules_file(self) -> RulesFile: ...

    @property
    def system_proxy(self) -> SystemProxyControl: ...

    def relay_obstacles(self) -> Mapping[str, RelayObstacle]:
        """What is in the way to relays on this network, by relay name."""

    def setup(self) -> SetupView:
        """The Setup in use now."""

    def network(self) -> NetworkId:
        """The current network."""

    async def reload(self) -> list[str]:
        """Reads the configuration and the rules again. Returns the problems; without any, it is in use, and the addons
        that it enables run, or say why not (`addons`)."""

    def counters(self) -> Mapping[str, int | float | str]:
        """Counters and facts of the moment: port, started_at, sessions, tunnels, …"""

    def follow(self) -> AsyncIterator[tuple[Outcome, NetworkId]]:
        """Outcomes from now on, as they are recorded, each with the network where its connection began."""

    def forget_status(self, what: Forgotten) -> list[Change]:
        """Removes from memory and disk what was learned, and from memory all names that are meant; what is logged
        stays."""

    async def forget(self, what: Forgotten) -> list[str]:
        """Removes visited names from memory and disk. Returns what was deleted beside the log, in words. Raises
        BywayError."""

    def override(self, host: str, override: Override | None) -> None:
        """Sets the override of `byway site set` for a host and its subdomains; None removes it."""

    async def select(self, group: str, relay: str) -> None:
        """Selects the relay that a group of the policy "select" uses, and stores that. Raises BywayError when it cannot
        be stored; it is in use all the same."""

    def probe_environment(self) -> ProbeEnvironment:
        """What sites are measured with, under the Setup in use now."""

    async def plan(self, request: Request, situation: Situation | None = None) -> Plan:
        """The plan that a session would make for a request now, or in a situation."""

    @property
    def features(self) -> Sequence[Feature]: ...
    def broken_features(self) -> Mapping[str, str]:
        """Returns why a feature does not work, in a sentence, by its name."""

    def addons(self) -> Sequence[AddonState]:
        """All addons that were found."""
