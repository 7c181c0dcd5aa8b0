"""Wires every part by constructor arguments, starts the parts, and closes them. There is no global context.

`parts` makes the parts in groups, and `wiring` subscribes them to events. App also applies edits of the configuration.
A reload replaces one frozen Setup, so a session never sees half of a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from proxy.app.parts import Run, keep_as_set, make_known, make_serving, open_state, parts_of_setups
from proxy.app.presence import Presence
from proxy.app.relay_records import RelayRecords
from proxy.app.wiring import ListFetching, NetworkWarnings, Subscribers, subscribe, watch_network
from proxy.config.command_name import typed_here
from proxy.model import AutoMode, Destination, Override
from proxy.model.errors import BywayError, reason_of
from proxy.model.feature import Role, offers, usable
from proxy.model.remembered import forget_remembered
from proxy.net.deadline import deadline
from proxy.net.poller import make_poller
from proxy.net.tasks import cancel_all, keep_watching, spawn
from proxy.session.events import Learned
from proxy.session.server import Server, clients_max
from proxy.session.setup import Setup
from proxy.setup.checked import KeyEngineOnDemand
from proxy.setup.desktop.switch import SystemProxySwitch
from proxy.setup.mode_switch import ModeSwitch
from proxy.setup.reload import ActiveSetup
from proxy.setup.rule_files import try_lists
from proxy.store.salvage import read_overrides

if TYPE_CHECKING:
    from proxy.app.override_clock import OverrideClock
    from proxy.control.dependencies import Dependencies

log = logging.getLogger("proxy")

_POLL_S = 0.3
"""Seconds between two polls of files: an edit takes effect within 1 s, after two polls (config/file_watch.py)."""

_REMEMBERED_S = 60.0
"""Seconds after which cached values from clients and servers are dropped (model/remembered.py): they may contain
cookies."""

_HTTPS = 443

_DRAIN_POLL_S = 0.05


class FirstSteps(Protocol):
    """Prints the next steps at a terminal: those for a browser, or all, which include a search for relays."""

    def print_line(self, text: str) -> None: ...
    def print_browser(self) -> None: ...
    async def print_all(self) -> None: ...


class App:
    """A Byway, built and wired. Call `start`, then `drain` and `close`. Belongs to one loop."""

    def __init__(self, run: Run) -> None:
        """Waits for the disk."""
        self._run = run
        settings, options = run.settings, run.options
        self._poller = make_poller(asyncio.get_running_loop())
        self._kept = kept = open_state(run)
        self._known = known = make_known(run, kept)
        self._relays = relays = RelayRecords(run, kept, known)
        self._presence = presence = Presence(run)
        self._keys = KeyEngineOnDemand(run.features, self._poller, None if options.ephemeral else run.paths.keys_dir)
        self._serving = serving = make_serving(
            *(run, self._poller, kept, known), transfer_check=relays.get_transfer_check, adopt=presence.adopt
        )
        self._services = services = serving.services
        self._sleep_watch = watch_network(services, known.network, settings.detect)
        verbose = bool(options.verbose)
        warnings = NetworkWarnings(known.beliefs, known.network.current, time.time, names=verbose)
        subscribers = Subscribers(
            *(services, run.features, kept.store, known.addons, warnings, serving.show),
            ephemeral=options.ephemeral,
            verbose=verbose,
        )
        subscribe(services, subscribers)
        self._lists = ListFetching(services, kept.copies, (*settings.list, *settings.subscription), self.reload)
        limit, adopted = clients_max(settings.limits), partial(attrgetter("adopted"), presence)
        self._server = Server(self._poller, services, clients_max=limit, adopted=adopted)
        self._active: ActiveSetup
        self._system_proxy = SystemProxySwitch(
            run.paths.system_proxy_file,
            address=lambda: (settings.listen.address, self._active.port),
            closing=self._closing,
            refusal=options.no_system_proxy,
        )
        known.addons.on_change(self._system_proxy.on_rules_changed)
        self._modes = ModeSwitch(run.paths.mode_file, self._set_mode, stores=not options.ephemeral)
        self._override_clock: OverrideClock | None = None
        self._started_at, self._forgot_at, self._has_released = time.time(), time.monotonic(), False
        self.broken_features: Mapping[str, str] = {}
        """The reason why a feature does not work, in a sentence, by its name."""

    async def start(self) -> None:
        """Starts listening and serving. Raises ConfigError, and BywayError when the address or the control socket
        cannot be used."""
        run, kept, known = self._run, self._kept, self._known
        port = self._listen()  # before lists are read, so that a port in use is reported at once
        stored = self._stored_overrides()
        if run.settings.list:  # in a thread, so that a signal ends Byway meanwhile
            await asyncio.to_thread(try_lists, run.settings.list, run.paths, kept.copies)
        self._active = ActiveSetup(
            known.in_use,
            parts_of_setups(run, self._poller, kept, known, self._keys, port),
            run.loaded,
            stored,
            flags=run.options.flags,
            on_replaced=self._on_setup_replaced,
        )
        self._modes.load()
        self._relays.take(self._active.setup)
        self._forget_home(self._active.setup)
        await self._serving.addon_manager.start(run.loaded)  # before the first client, since an addon may block sites
        self._server.serve()
        if await self._system_proxy.release():
            log.warning("The system proxy, which the last run could not restore, was restored.")
            if self._closing():
                log.warning(
                    "RELAY and BLOCK, by rules or addons, do not cover programs that now connect direct: "
                    "`byway system on`."
                )
        await self._presence.open(self._dependencies, port)
        await known.network.start()
        await asyncio.to_thread(self._relays.keep_health, self._active.setup)
        self._sleep_watch.start()
        spawn(keep_watching(self._watched(), every_s=_POLL_S), name="watch the configuration")

    def _listen(self) -> int:
        """Starts listening, and returns the port. Clients that connect wait until `serve`. Raises BywayError when the
        address cannot be used."""
        listen = self._run.settings.listen
        try:
            return self._server.listen(listen.address, listen.port)
        except OSError as error:
            raise BywayError(
                f"cannot listen on {listen.address} port {listen.port}: {reason_of(error)}; "
                f"choose another with --port, or find the program that uses it: `ss -ltnp sport = :{listen.port}`"
            ) from None

    def _stored_overrides(self) -> dict[str, Override]:
        """Returns the stored overrides that have not ended. They also apply with --ephemeral, which writes nothing."""
        store = self._kept.store
        stored = read_overrides(self._run.paths.store_file) if self._run.options.ephemeral else store.load_overrides()
        if any(override.until for override in stored.values()):
            self._override_clock = self._make_override_clock()
            for host, override in self._override_clock.moved(stored).items():
                stored[host] = override
                store.set_override(host, override)
        for host in [host for host, override in stored.items() if override.has_ended(self._started_at)]:
            del stored[host]
            store.clear_override(host)
        return stored

    def announce(self) -> None:
        """Writes run.json, by which commands find this process. Signal handlers must be installed before."""
        self._presence.announce()

    async def reload(self) -> list[str]:
        """Reads the configuration again, and runs its password commands again: a stored password may have changed.
        Returns the problems; if there are any, the previous configuration stays."""
        return await self._active.reload(ask_passwords=True)

    async def check_features(self) -> None:
        """Checks all features, and warns of each that does not work."""
        from proxy.app.feature_check import broken_features

        try:
            self.broken_features = await broken_features()
        except (BywayError, OSError) as error:
            log.warning("%s", error)
        for sentence in self.broken_features.values():
            log.warning("%s", sentence)

    def print_greeting(self) -> None:
        """Prints the listening address, and logs the notices of the configuration. At a terminal it prints the next
        steps as well (`FirstSteps`). Does nothing with `--quiet`."""
        if self._run.options.quiet:
            return
        self._active.log_notices()
        address = Destination(self._run.settings.listen.address, self._active.port)
        listens = f"Byway listens on {address} for HTTP, SOCKS4 and SOCKS5"
        relays = self._setup.registry.relay_names
        many = {item.name for item in self._setup.settings.subscription}  # each of which has up to 256 relays
        names = dict.fromkeys(group if (group := name.partition("/")[0]) in many else name for name in relays)
        through = f"relays: {', '.join(names)}" if relays else "no relay"
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        make = usable(self._run.features, Role.FIRST_STEPS) if is_terminal else None
        if make is None:
            advice = "" if relays else f"; add one with `{typed_here()} relay add URL`"
            browser = f"Set {address} as your browser's proxy, then see `{typed_here()} status`. Ctrl-C stops."
            with contextlib.suppress(BrokenPipeError):
                print(f"{listens} ({through}{advice}).\n{browser}", flush=True)
            return
        steps: FirstSteps = make(address.from_here(), self._poller, command=typed_here())
        steps.print_line(f"{listens} ({through}). Ctrl-C stops it.")
        if self._setup.settings.relay:
            steps.print_browser()
        else:
            spawn(steps.print_all(), name="print the first steps")

    async def drain(self, hurry: asyncio.Event) -> None:
        """Restores the system proxy, stops listening, and lets open connections finish, for `[limits] drain_s` or until
        `hurry`."""
        await self._release_system_proxy()  # first: Byway serves the programs that use it until then
        self._server.stop_listening()
        ends_at = time.monotonic() + self._setup.settings.limits.drain_s
        pump = self._services.pump
        while (self._server.sessions or pump.active) and time.monotonic() < ends_at and not hurry.is_set():
            with contextlib.suppress(TimeoutError), deadline(_DRAIN_POLL_S):
                await hurry.wait()

    async def close(self) -> None:
        """Closes all parts. May be called after `start` has failed half-way."""
        self._kept.copies.end_trials()
        await self._release_system_proxy()
        self._server.stop_listening()
        self._presence.withdraw()
        self._sleep_watch.close()
        self._services.flows.close()
        self._known.network.close()
        await self._presence.close()
        await self._serving.inspector.close()
        await self._services.pump.close(0)
        await self._serving.addon_manager.close()
        await self._keys.close()
        await cancel_all()
        await self._relays.close()
        if self._override_clock is not None:
            await self._override_clock.close()
        await asyncio.to_thread(self._kept.store.close)
        self._poller.close()

    async def _release_system_proxy(self) -> None:
        """Restores the system proxy, only the first time: a desktop that does not answer takes seconds."""
        if not self._has_released:
            self._has_released = True
            await self._system_proxy.release()

    @property
    def _setup(self) -> Setup:
        return self._known.in_use.setup

    def _closing(self) -> str:
        """Returns the first rule, override or addon that is RELAY or BLOCK; empty: none. See Router and Addons."""
        return self._setup.router.closing or self._known.addons.closing

    def _set_mode(self, mode: AutoMode) -> None:
        self._active.set_mode(mode)
        self._system_proxy.on_rules_changed()

    def _watched(self) -> Mapping[str, Callable[[], Awaitable[object] | None]]:
        """Returns the functions that are called every _POLL_S, by the name of each in the report of a fault."""
        return {
            "watching config.toml, rules.txt and the lists": self._active.poll,
            "watching the mode": self._modes.poll,
            "watching the addons": self._serving.addon_manager.poll_files,
            "ending overrides": self._end_overrides,
            "saving the ways to relays": self._relays.saved_ways.save,
            "saving the health of relays": self._relays.save_health,
            "forgetting what was remembered": self._forget_remembered,
            "keeping the state folder": self._presence.keep,
        }

    def _end_overrides(self) -> None:
        for host in self._active.ended_overrides():
            self._active.override(host, None)
            self._kept.store.clear_override(host)
            self._system_proxy.on_rules_changed()
        for host, override in self._active.moved_overrides().items():
            self._active.override(host, override)
            self._kept.store.set_override(host, override)
        if self._override_clock is None and self._active.has_override_ends:
            self._override_clock = self._make_override_clock()
        if self._override_clock is not None:
            self._override_clock.keep(has_ends=self._active.has_override_ends)

    def _make_override_clock(self) -> OverrideClock:
        from proxy.app.override_clock import OverrideClock  # few overrides have an end

        return OverrideClock(self._run.paths.override_clock_file, ephemeral=self._run.options.ephemeral)

    def _forget_remembered(self) -> None:
        if (now := time.monotonic()) - self._forgot_at >= _REMEMBERED_S:
            self._forgot_at = now
            forget_remembered()

    def _on_setup_replaced(self, setup: Setup) -> None:
        """Applies the new configuration to the parts outside the Setup."""
        keep_as_set(self._run, self._kept, setup.settings.log)
        self._relays.take_replaced(setup)
        self._forget_home(setup)
        self._serving.addon_manager.configure(setup.loaded)
        self._serving.inspector.forget_rejections()
        self._lists.follow((*setup.settings.list, *setup.settings.subscription))
        self._system_proxy.on_rules_changed()

    def _forget_home(self, setup: Setup) -> None:
        """Forgets beliefs about hosts of the home network, which an older version or another configuration may have
        stored."""

        def is_home(host: str) -> bool:
            return setup.router.is_home(Destination(host, _HTTPS), host)

        if changes := self._known.beliefs.forget_home(is_home):
            self._services.events.emit(Learned(changes))

    def _dependencies(self) -> Dependencies:
        from proxy.control.dependencies import Dependencies  # with the first client of the control server
        from proxy.control.outcome_feed import OutcomeFeed
        from proxy.setup.rule_edits import RulesFileEditor

        run, kept, serving, options = self._run, self._kept, self._serving, self._run.options
        inspects = offers(run.features, Role.INSPECTOR)
        return Dependencies(
            features=run.features,
            paths=run.paths,
            services=self._services,
            active=self._active,
            server=self._server,
            inspector=serving.inspector,
            addon_manager=serving.addon_manager,
            feed=OutcomeFeed(self._services.events),
            store=kept.store,
            relay_tests=kept.relay_tests,
            ways_file=kept.ways_file,
            copies=kept.copies,
            list_refresh=self._lists.refresh,
            recent_clients=self._known.recent_clients,
            system_proxy=self._system_proxy,
            modes=self._modes,
            rules_file=RulesFileEditor(self._active, run.paths, kept.copies, inspects=inspects),
            ending=run.ending,
            faults=run.faults,
            saved_health=lambda: self._relays.saved_health,
            broken_features=lambda: self.broken_features,
            listen_address=run.settings.listen.address,
            started_at=self._started_at,
            not_stored=options.not_stored,
            selection_file=None if options.ephemeral else run.paths.relay_selection_file,
            sessions_file=None if options.ephemeral else run.paths.sessions_file,
        )
