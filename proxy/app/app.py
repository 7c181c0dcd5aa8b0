"""Wires every part by constructor arguments, starts them, and takes them down again. There is no global context.

`wiring` subscribes parts to events; here is what follows from an edit. A reload replaces one frozen Setup, so that a
session never sees half of a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cache, cached_property, partial
from operator import attrgetter
from typing import TYPE_CHECKING

from proxy import __version__
from proxy.app.addon_backend import AddonBackend
from proxy.app.greeting import print_greeting
from proxy.app.outcome_feed import OutcomeFeed
from proxy.app.run_options import Ending, RunOptions
from proxy.app.saved_relay_ways import SavedRelayWays
from proxy.app.wiring import NetworkWarnings, Subscribers, on_network_change, on_resumed, subscribe, subscribe_refresh
from proxy.config.bundled import bundled
from proxy.config.load import Loaded
from proxy.config.paths import Paths, write_private
from proxy.control.server import ControlServer
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.relay_groups import RelayGroups
from proxy.detect.relay_health import Health
from proxy.detect.relay_ways import RelayWays
from proxy.extend.dispatch import Addons
from proxy.extend.manager import AddonManager
from proxy.model import AutoMode, Destination, Inbound, Request, Route
from proxy.model.errors import BywayError, reason_of
from proxy.model.feature import Feature, Role, offers, provided
from proxy.model.remembered import forget_remembered
from proxy.net.client_programs import ClientPrograms
from proxy.net.deadline import deadline
from proxy.net.faults import Faults
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.poller import make_poller
from proxy.net.race.shared_findings import SharedFindings
from proxy.net.stream import SocketStream
from proxy.net.tasks import cancel_all, keep_watching, spawn
from proxy.net.tunnel.flow_monitor import FlowMonitor
from proxy.net.tunnel.pump import Pump
from proxy.net.uplink.network_watch import NetworkWatch
from proxy.net.uplink.sleep_watch import SleepWatch
from proxy.session.events import Events, Learned
from proxy.session.inspector import MadeInspector
from proxy.session.inspector_on_demand import InspectorOnDemand
from proxy.session.plan import plan_for
from proxy.session.recent_clients import RecentClients
from proxy.session.server import Server, clients_max
from proxy.session.services import Services
from proxy.session.setup import Setup
from proxy.setup.checked import Parts
from proxy.setup.desktop.notification import has_desktop, show_notification
from proxy.setup.desktop.switch import SystemProxySwitch
from proxy.setup.knowledge import BywayKnows, SetupInUse
from proxy.setup.mode_switch import ModeSwitch
from proxy.setup.reload import ActiveSetup
from proxy.setup.rule_files import try_lists
from proxy.store import relay_addresses, relay_ways
from proxy.store.list_copies import ListCopies
from proxy.store.network_key import read_network_key
from proxy.store.relay_addresses import RelayAddresses
from proxy.store.relay_selection import read_selection
from proxy.store.relay_tests import RelayTests, place
from proxy.store.relay_ways import RelayWaysFile
from proxy.store.salvage import read_overrides
from proxy.store.store import Store

if TYPE_CHECKING:
    from proxy.app.control_backend import ControlBackend
    from proxy.app.override_clock import OverrideClock
    from proxy.config.schema import ListConfig
    from proxy.detect.tls_interception import KnownRoots
    from proxy.probe.list_refresh import ListRefresh
    from proxy.session.services import TransferChecker
    from proxy.setup.saved_relay_health import SavedRelayHealth

log = logging.getLogger("proxy")

_POLL_S = 0.3
"""Between two polls of edited files: an edit takes effect within 1 s, after two polls (config/file_watch.py)."""

_REMEMBERED_S = 60.0
"""How long what clients and servers said may be remembered to save time; it may hold cookies."""

_HTTPS = 443

_DRAIN_POLL_S = 0.05


class App:
    """A Byway, built and wired. Call `start`, then `drain` and `close`."""

    def __init__(
        self,
        options: RunOptions,
        paths: Paths,
        loaded: Loaded,
        features: Sequence[Feature],
        ending: Ending,
        faults: Faults,
        renew_lock: Callable[[], None] = lambda: None,
    ) -> None:
        """`renew_lock` takes the lock of the state folder again, where that was removed."""
        self._options = options
        self._features = features
        self.broken_features: Mapping[str, str] = {}
        """By name, why a feature does not work."""
        self._renew_lock = renew_lock
        self._is_announced = False
        self._ending = ending
        self._faults = faults
        self._paths = paths
        loop = asyncio.get_running_loop()
        settings = loaded.settings
        self._poller = make_poller(loop)
        self._store = Store(None if options.ephemeral else paths.store_file, settings.log)
        self._store.start()
        self._relay_tests = RelayTests(place(paths, settings.log, ephemeral=options.ephemeral))
        self._relay_addresses = RelayAddresses(relay_addresses.place(paths, settings.log, ephemeral=options.ephemeral))
        self._in_use = SetupInUse()
        self._network = NetworkWatch(read_network_key(paths, ephemeral=options.ephemeral))
        self._network.on_change(lambda change: on_network_change(self._services, change))
        detect = settings.detect
        self._sleep_watch = SleepWatch(
            lambda resumed: on_resumed(self._services, self._network, resumed),
            asleep_s=detect.asleep_s,
            jump_s=detect.clock_jump_s,
        )
        self._addons = Addons()
        addon_folder = None if options.ephemeral else paths.state_dir / "addons"
        show = show_notification if has_desktop(os.environ) else None
        addon_backend = AddonBackend(self._in_use.get, self._network, addon_folder, show)
        self._addon_manager = AddonManager(self._addons, paths.addons_dir, addon_backend)
        self._beliefs = Beliefs(
            settings.detect,
            self._store.load_beliefs(),
            listed=self._in_use.is_listed,
            near=self._in_use.is_near,
            addresses=self._in_use.known_addresses,
            refine=self._addons.refine,
            results=self._store.load_results(),
            store=self._store,
        )
        self._tcp_info = TcpInfo(settings.detect)
        self._findings = SharedFindings(loop.time, lasts_s=detect.silent_s)
        self._health = Health(settings.detect)
        self._relay_ways = RelayWays(settings.detect)
        self._ways_file = RelayWaysFile(relay_ways.place(paths, settings.log, ephemeral=options.ephemeral))
        self._saved_ways = SavedRelayWays(self._relay_ways, self._ways_file)
        self._saved_health: SavedRelayHealth | None = None
        self._override_clock: OverrideClock | None = None
        self._groups = RelayGroups(self._health, read_selection(paths.relay_selection_file))
        self._knowledge = BywayKnows(
            self._in_use,
            self._network,
            self._beliefs,
            self._findings,
            self._health,
            self._relay_ways,
            self._addons,
        )
        self._recent_clients = RecentClients()
        self._copies = ListCopies(paths.lists_dir, ephemeral=options.ephemeral)
        self._pump = Pump(
            idle_timeout_s=settings.limits.idle_timeout_s,
            half_open_timeout_s=settings.limits.half_open_timeout_s,
        )
        self._inspector = InspectorOnDemand(self._make_inspector)
        self._events = Events()
        self._feed = OutcomeFeed(self._events)
        self._services = Services(
            setup=self._in_use.get,
            beliefs=self._beliefs,
            health=self._health,
            groups=self._groups,
            relay_ways=self._relay_ways,
            transfer_check=partial(attrgetter("_transfer_check"), self),
            pump=self._pump,
            tcp_info=self._tcp_info,
            network=partial(attrgetter("id"), self._network),
            now=time.time,
            request_ids=itertools.count(1),
            events=self._events,
            is_private=self._store.is_private,
            adopt=self._adopt,
            findings=self._findings,
            flows=FlowMonitor(self._tcp_info, detect),
            roots=_known_roots,
            addons=self._addons,
            inspector=self._inspector,
            programs=ClientPrograms(lambda: self._active.port),
        )
        self._addons.on_change(self._inspector.on_addons_changed)
        self._transfer_check: TransferChecker | None = None
        self._refreshes = False
        verbose = bool(options.verbose)
        warnings = NetworkWarnings(self._beliefs, self._network.current, time.time, names=verbose)
        subscribe(
            self._services,
            Subscribers(
                *(self._services, self._features, self._store, self._addons, warnings, show),
                ephemeral=options.ephemeral,
                verbose=verbose,
            ),
        )
        self._follow_lists(settings.list)
        self._server = Server(
            self._poller,
            self._services,
            clients_max=clients_max(settings.limits),
            adopted=lambda: self._control.adopted if self._control is not None else 0,
        )
        self._loaded = loaded
        self._relays = settings.relay
        self._active: ActiveSetup
        self._started_at = time.time()
        self._system_proxy = SystemProxySwitch(
            paths.system_proxy_file,
            address=lambda: (settings.listen.address, self._active.port),
            closing=self._closing,
            refusal=options.no_system_proxy,
        )
        self._addons.on_change(self._system_proxy.on_rules_changed)
        self._has_released = False
        self._forgot_at = time.monotonic()
        self._modes = ModeSwitch(paths.mode_file, self._set_mode, stores=not options.ephemeral)
        self._control: ControlServer | None = None

    async def start(self) -> None:
        """Listens, and serves. Raises ConfigError, and BywayError when the address or the control socket cannot be
        used."""
        # A port that another program has is told before lists are read. Who connects meanwhile waits.
        listen = self._loaded.settings.listen
        try:
            port = self._server.listen(listen.address, listen.port)
        except OSError as error:
            raise BywayError(
                f"cannot listen on {listen.address} port {listen.port}: {reason_of(error)}; "
                f"choose another with --port, or find the program that uses it: `ss -ltnp sport = :{listen.port}`"
            ) from None
        # With --ephemeral nothing is written, but the user's overrides still apply.
        stored = read_overrides(self._paths.store_file) if self._options.ephemeral else self._store.load_overrides()
        if any(override.until for override in stored.values()):
            self._override_clock = self._make_override_clock()
            for host, override in self._override_clock.moved(stored).items():
                stored[host] = override
                self._store.set_override(host, override)
        for host in [host for host, override in stored.items() if override.has_ended(self._started_at)]:
            del stored[host]
            self._store.clear_override(host)
        if lists := self._loaded.settings.list:  # in a thread: a signal ends the wait, and with it Byway
            await asyncio.to_thread(try_lists, lists, self._paths, self._copies)
        self._active = ActiveSetup(
            self._in_use,
            Parts(
                self._poller,
                self._paths,
                port,
                knowledge=self._knowledge,
                copies=self._copies,
                relay_addresses=self._relay_addresses,
                tcp_info=self._tcp_info,
                recent_clients=self._recent_clients,
                inspects=offers(self._features, Role.INSPECTOR),
            ),
            self._loaded,
            stored,
            flags=self._options.flags,
            on_replaced=self._on_setup_replaced,
        )
        self._keep_ways()
        self._modes.load()
        self._warn_of_lost_selections()
        self._forget_home(self._active.setup)
        await self._addon_manager.start(self._loaded)  # before a client can reach what an addon blocks
        self._server.serve()
        if await self._system_proxy.release():
            log.warning("The system proxy, which the last run could not restore, was restored.")
            if self._closing():
                log.warning(
                    "RELAY and BLOCK, by rules or addons, do not cover programs that now connect direct: "
                    "`byway system on`."
                )
        token = secrets.token_urlsafe(32)
        socket_path = self._paths.control_socket if hasattr(asyncio, "start_unix_server") else None
        if socket_path is not None:
            self._paths.make_socket_folder()
        self._control = ControlServer(self._control_backend, socket_path, token, port=self._active.port)
        await self._control.start()
        await self._network.start()
        await asyncio.to_thread(self._keep_health)
        self._sleep_watch.start()
        spawn(keep_watching(self._watched(), every_s=_POLL_S), name="watch the configuration")

    def announce(self) -> None:
        """Writes run.json, by which commands find this process. Signals are handled from here on."""
        assert self._control is not None
        self._is_announced = True
        write_private(self._paths.run_file, json.dumps(self._control.address | {
            "pid": os.getpid(), "port": self._active.port, "listen": self._loaded.settings.listen.address,
            "version": __version__, "ephemeral": self._options.ephemeral,
        }))  # fmt: skip

    async def reload(self) -> list[str]:
        """Reads the configuration again, and runs its password commands again: a password may have changed where it is
        stored. Returns the problems: with any, all stays as it was."""
        return await self._active.reload(ask_passwords=True)

    async def check_features(self) -> None:
        """Finds features that do not work, and warns of each."""
        from proxy.app.feature_check import broken_features

        try:
            self.broken_features = await broken_features()
        except (BywayError, OSError) as error:
            log.warning("%s", error)
        for sentence in self.broken_features.values():
            log.warning("%s", sentence)

    def print_greeting(self) -> None:
        """Prints where Byway listens and what to do next, unless `--quiet`."""
        if not self._options.quiet:
            address = Destination(self._loaded.settings.listen.address, self._active.port)
            print_greeting(self._active, address, self._poller, self._features)

    async def drain(self, hurry: asyncio.Event) -> None:
        """Gives back the system proxy, takes no more clients and lets those there are finish, for a bounded time or
        until `hurry`."""
        await self._release_system_proxy()  # while Byway still serves those who use it
        self._server.stop_listening()
        ends_at = time.monotonic() + self._setup.settings.limits.drain_s
        while (self._server.sessions or self._pump.active) and time.monotonic() < ends_at and not hurry.is_set():
            with contextlib.suppress(TimeoutError), deadline(_DRAIN_POLL_S):
                await hurry.wait()

    async def close(self) -> None:
        """Takes everything down. Harmless when `start` failed half-way."""
        self._copies.end_trials()
        await self._release_system_proxy()
        self._server.stop_listening()
        self._is_announced = False
        # A disk that has become read-only keeps the file; its readers find that no process has that pid.
        with contextlib.suppress(OSError):
            self._paths.run_file.unlink(missing_ok=True)
        self._sleep_watch.close()
        self._services.flows.close()
        self._network.close()
        if self._control is not None:
            await self._control.close()
        await self._inspector.close()
        await self._pump.close(0)
        await self._addon_manager.close()
        await cancel_all()
        await self._saved_ways.close()
        if self._saved_health is not None:
            await self._saved_health.close()
        if self._override_clock is not None:
            await self._override_clock.close()
        await asyncio.to_thread(self._store.close)
        self._poller.close()

    async def _release_system_proxy(self) -> None:
        """Once: programs of a desktop that does not answer take seconds."""
        if not self._has_released:
            self._has_released = True
            await self._system_proxy.release()

    @property
    def _setup(self) -> Setup:
        return self._in_use.setup

    def _closing(self) -> str:
        """What keeps sites from going direct; see Router and Addons."""
        return self._setup.router.closing or self._addons.closing

    def _warn_of_lost_selections(self) -> None:
        for sentence in self._groups.lost_selections(self._setup.groups).values():
            log.warning("%s", sentence)

    def _make_inspector(self) -> MadeInspector:
        made: MadeInspector = provided(self._features, Role.INSPECTOR)(
            lambda: self._services,
            self._poller,
            self._paths,
            lambda: self._setup.settings,
            self._addons,
            ephemeral=self._options.ephemeral,
            roots=self._services.roots(),
        )
        return made

    @cached_property
    def _list_refresh(self) -> ListRefresh:
        from proxy.probe.list_refresh import ListRefresh, RefreshContext  # many a run has no list to fetch

        services = self._services
        context = RefreshContext(
            setup=services.setup,
            may_go_direct=services.may_go_direct,
            only_relays=self._only_relays,
            order=lambda names: services.health.order(names, services.now()),
            is_private=services.is_private,
            apply=self.reload,
            now=services.now,
        )
        return ListRefresh(context, self._copies)

    def _follow_lists(self, lists: Sequence[ListConfig]) -> None:
        """Has lists fetched beside visits while one of them may become due."""
        self._refreshes |= any(item.refresh_s for item in lists)
        if self._refreshes:
            self._list_refresh.on_configuration()
            subscribe_refresh(self._events, self._list_refresh, lists)

    async def _only_relays(self, setup: Setup, destination: Destination) -> Sequence[Route] | None:
        from proxy.probe.list_refresh import relays_left_by

        request = Request(next(self._services.request_ids), destination, Inbound.RETEST, client="")
        return relays_left_by(await plan_for(request, self._services, setup))

    def _set_mode(self, mode: AutoMode) -> None:
        self._active.set_mode(mode)
        self._system_proxy.on_rules_changed()

    def _watched(self) -> Mapping[str, Callable[[], Awaitable[object] | None]]:
        """What is done a few times a second as long as Byway runs, by what a fault of it is called."""
        return {
            "watching config.toml, rules.txt and the lists": self._active.poll,
            "watching the mode": self._modes.poll,
            "watching the addons": self._addon_manager.poll_files,
            "ending overrides": self._end_overrides,
            "saving the ways to relays": self._saved_ways.save,
            "saving the health of relays": self._save_health,
            "forgetting what was remembered": self._forget_remembered,
            "keeping the state folder": self._keep_state_folder,
        }

    def _keep_state_folder(self) -> Awaitable[object] | None:
        """Makes anew what commands find Byway by, where its folder was removed: it serves on, and must be stopped and
        asked all the same. The folder of the socket goes by itself when the user logs out."""
        if not self._is_announced or self._control is None:
            return None
        if not os.path.lexists(self._paths.run_file):
            return self._make_anew(self._control, f"The state folder was removed: {self._paths.state_dir}")
        return None if self._control.is_found else self._make_anew(self._control, "The control socket was removed")

    async def _make_anew(self, control: ControlServer, removed: str) -> None:
        self._renew_lock()
        self._paths.make_socket_folder()
        await control.listen_again()
        self.announce()
        log.warning("%s. It is made anew", removed)

    def _save_health(self) -> None:
        if self._saved_health is not None:
            self._saved_health.save()

    def _end_overrides(self) -> None:
        for host in self._active.ended_overrides():
            self._active.override(host, None)
            self._store.clear_override(host)
            self._system_proxy.on_rules_changed()
        for host, override in self._active.moved_overrides().items():
            self._active.override(host, override)
            self._store.set_override(host, override)
        if self._override_clock is None and self._active.has_override_ends:
            self._override_clock = self._make_override_clock()
        if self._override_clock is not None:
            self._override_clock.keep(has_ends=self._active.has_override_ends)

    def _make_override_clock(self) -> OverrideClock:
        from proxy.app.override_clock import OverrideClock  # few overrides have an end

        return OverrideClock(self._paths.override_clock_file, ephemeral=self._options.ephemeral)

    def _forget_remembered(self) -> None:
        if (now := time.monotonic()) - self._forgot_at >= _REMEMBERED_S:
            self._forgot_at = now
            forget_remembered()

    def _keep_ways(self) -> None:
        """Forgets the ways to relays that are not configured."""
        registry = self._setup.registry
        relays = {registry.first_endpoint(name) for name in registry.relay_names}
        self._relay_ways.keep(relays, registry.with_alternatives.values())
        if registry.with_alternatives and self._transfer_check is None:
            from proxy.probe.transfer_check import TransferCheck  # few relays have alternatives

            services = self._services
            self._transfer_check = TransferCheck(
                *(self._relay_ways, self._tcp_info, self._network.current, self._setup.settings.detect, services.now)
            )

    def _keep_health(self) -> None:
        """Has the health of relays kept over a restart, once there are any."""
        if self._setup.registry.relay_names and self._saved_health is None:
            from proxy.setup.saved_relay_health import RelayHealthFile, SavedRelayHealth, place  # with the first relay

            self._saved_health = SavedRelayHealth(
                self._health,
                RelayHealthFile(place(self._paths, self._setup.settings.log, ephemeral=self._options.ephemeral)),
                network=self._network.current,
                relays=lambda: self._setup.settings.relay,
            )
            self._saved_health.restore()
        elif self._saved_health is not None:
            from proxy.setup.saved_relay_health import place

            self._saved_health.keep_in(place(self._paths, self._setup.settings.log, ephemeral=self._options.ephemeral))

    def _on_setup_replaced(self, setup: Setup) -> None:
        """Applies the new configuration to the parts that are not in a Setup."""
        self._store.configure(setup.settings.log)
        self._relay_tests.keep_in(place(self._paths, setup.settings.log, ephemeral=self._options.ephemeral))
        self._relay_addresses.keep_in(
            relay_addresses.place(self._paths, setup.settings.log, ephemeral=self._options.ephemeral)
        )
        self._saved_ways.keep_in(relay_ways.place(self._paths, setup.settings.log, ephemeral=self._options.ephemeral))
        self._keep_health()
        self._health.keep(setup.registry.relay_names)
        self._keep_ways()
        self._groups.keep(setup.groups)
        self._warn_of_lost_selections()
        edited = {relay.name for relay in self._relays if relay not in setup.settings.relay}
        self._relays = setup.settings.relay
        if edited:
            self._health.forget(edited)  # the edit may have corrected what was wrong
        self._forget_home(setup)
        self._addon_manager.configure(setup.loaded)
        self._inspector.forget_rejections()
        self._follow_lists(setup.settings.list)
        self._system_proxy.on_rules_changed()

    def _forget_home(self, setup: Setup) -> None:
        """An older version, or another configuration, may have learned of what belongs to the home network."""

        def is_home(host: str) -> bool:
            return setup.router.is_home(Destination(host, _HTTPS), host)

        if changes := self._beliefs.forget_home(is_home):
            self._events.emit(Learned(changes))

    # -- for the control server ------------------------------------------------------------------------------------

    def _adopt(self, client: SocketStream, received: bytes) -> None:
        assert self._control is not None
        self._control.adopt(client.detach(), received)

    def _control_backend(self) -> ControlBackend:
        from proxy.app.control_backend import ControlBackend  # a run that nobody asks anything does without
        from proxy.setup.rule_edits import RulesFileEditor

        return ControlBackend(
            self._features,
            lambda: self.broken_features,
            self._active,
            self._services,
            self._store,
            self._relay_tests,
            self._feed,
            self._addon_manager,
            self._inspector,
            self._server,
            self._recent_clients,
            self._copies,
            self._list_refresh,
            self._system_proxy,
            self._modes,
            self._ending,
            self._faults,
            self._ways_file,
            lambda: self._saved_health,
            RulesFileEditor(self._active, self._paths, self._copies, inspects=offers(self._features, Role.INSPECTOR)),
            self._paths,
            listen_address=self._loaded.settings.listen.address,
            started_at=self._started_at,
            not_stored=self._options.not_stored,
            selection_file=None if self._options.ephemeral else self._paths.relay_selection_file,
        )


@cache
def _known_roots() -> KnownRoots:
    from proxy.detect.tls_interception import KnownRoots  # with the first certificate

    file = bundled("certs/known_roots.json")
    return KnownRoots.parse(file.read_text("utf-8"), str(file))
