"""Wires every part by constructor arguments, runs them, and takes them down again. There is no global context.

`run` is the whole life of `byway run`: lock, listen, serve, take in what was edited, drain, exit code. What a reload
replaces is one frozen Setup, so that a session never sees half of a change.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import itertools
import json
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from proxy import __version__
from proxy.certificates import Certificates
from proxy.config.bundled import bundled
from proxy.config.load import Loaded, load
from proxy.config.paths import Paths, private_folder, write_private
from proxy.control.parts import Parts
from proxy.control.serve import ControlServer
from proxy.detect.beliefs import Beliefs
from proxy.detect.health import Health
from proxy.detect.interception import KnownRoots
from proxy.errors import BywayError, ConfigError
from proxy.extend.addons import Addons
from proxy.extend.api import Means as AddonMeans
from proxy.extend.keeper import Keeper
from proxy.intercept.bridge import Bridge, Folders
from proxy.intercept.meeting import Guest
from proxy.measure import Means
from proxy.model import (
    Change,
    Destination,
    IPAddress,
    NetworkId,
    NetworkState,
    Outcome,
    Override,
    Plan,
    Request,
)
from proxy.net.alarms import Alarms
from proxy.net.flow_watch import FlowWatch
from proxy.net.network_watch import Moved, NetworkWatch
from proxy.net.oracle import Oracle
from proxy.net.poller import make_poller
from proxy.net.pump import Pump
from proxy.net.stream import SocketStream, Stream
from proxy.net.tasks import cancel_all, spawn
from proxy.net.wake import WakeWatch, Woke, end_the_dead
from proxy.news import News
from proxy.resolvers import Surroundings
from proxy.server import Server
from proxy.services import Services, Setup
from proxy.setup import SetupMaker
from proxy.soundings import Soundings
from proxy.store.salvage import read_overrides
from proxy.store.writer import Store
from proxy.user_files import fingerprint

log = logging.getLogger("proxy")

_WATCH_S = 0.3
"""How often edited files are looked for, so that they take effect within 1 s, after two looks. A look is a stat() of
each, which sees through the symbolic links and network folders that change notices do not reach."""

_DRAIN_LOOK_S = 0.05

_FOLLOWER_LIMIT = 1000
"""Outcomes kept for one `byway log -f` that does not read; the oldest are dropped."""

_YOUNG_OBJECTS = 20_000
"""Allocations between two collections of the youngest: connections make many values and hardly a cycle, and this is
worth a few per cent of a tunnel's cost (measured)."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line asks of `run`."""

    config: Path | None = None
    state: Path | None = None
    port: int | None = None
    listen: str | None = None
    allow: tuple[str, ...] = ()
    ephemeral: bool = False
    verbose: int = 0
    quiet: bool = False

    @property
    def flags(self) -> dict[str, object]:
        """Settings given on the command line, by their dotted keys."""
        given: dict[str, object] = {
            "listen.port": self.port,
            "listen.address": self.listen,
            "safety.allow": self.allow or None,
        }
        return {key: value for key, value in given.items() if value is not None}


def run(options: RunOptions) -> int:
    """Runs Byway in the foreground until it is told to stop. Returns the exit code."""
    _log_to_stderr(options)
    try:
        paths = Paths.locate(os.environ, config=options.config, state=options.state)
        loaded = load(paths.config_to_read, env=os.environ, flags=options.flags)
        private_folder(paths.state_dir)
        with FileLock(paths.lock_file, timeout=0, mode=0o600):
            return asyncio.run(_live(options, paths, loaded))
    except ConfigError as error:
        for problem in error.problems:
            log.error("%s", problem)
        return 7
    except BywayError as error:
        log.error("%s", error)
        return 1
    except Timeout:
        log.error("%s", _locked(paths))
        return 1


async def _live(options: RunOptions, paths: Paths, loaded: Loaded) -> int:
    app = App(options, paths, loaded)
    stop = asyncio.Event()
    hurry = asyncio.Event()
    try:
        await app.start()
        _on_signals(stop, hurry, app)
        app.announce()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
        app.say_hello()
        await stop.wait()
        if not hurry.is_set():
            await app.drain(hurry)
    finally:
        await app.close()
    return 130 if hurry.is_set() else 0


class App:
    """A Byway, built and wired. `start`, then `drain` and `close`."""

    def __init__(self, options: RunOptions, paths: Paths, loaded: Loaded) -> None:
        self._options = options
        self._paths = paths
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_tell_of_fault)
        settings = loaded.settings
        self._poller = make_poller(loop)
        self._store = Store(None if options.ephemeral else paths.store_file, settings.log)
        self._store.start()
        self._overrides = dict(self._store.load_overrides())
        if options.ephemeral:  # writes nothing, and still keeps to what the user has said
            self._overrides = read_overrides(paths.store_file)
        self._network = NetworkWatch(_network_key(paths, ephemeral=options.ephemeral))
        self._network.on_change(self._moved)
        detect = settings.detect
        self._wake = WakeWatch(self._woke, asleep_s=detect.asleep_s, jump_s=detect.clock_jump_s)
        self._addons = Addons()
        self._keeper = Keeper(self._addons, paths.addons_dir, self._lent(paths))
        self._beliefs = Beliefs(
            settings.detect,
            self._store.load_beliefs(),
            listed=self._is_listed,
            near=self._is_near,
            refine=self._addons.refine,
        )
        self._oracle = Oracle(settings.detect)
        self._alarms = Alarms(loop.time, lasts_s=detect.silent_s)
        self._maker = SetupMaker(
            self._poller,
            paths,
            Surroundings(
                network=self._network.current,
                suspect=self._is_suspect,
                found=lambda host, _: self._alarms.raise_for(host),
            ),
            tainted=self._is_tainted,
            troubled=self._note_trouble,
            is_portal=lambda: self._beliefs.network_state(self._network.current()) is NetworkState.PORTAL,
            classify=lambda: self._addons.classify if self._addons.classifies else None,
            ask_addon=self._addons.dial,
        )
        self._health = Health(settings.detect)
        self._pump = Pump(
            idle_timeout_s=settings.limits.idle_timeout_s,
            half_open_timeout_s=settings.limits.half_open_timeout_s,
        )
        self._followers: set[asyncio.Queue[tuple[Outcome, NetworkId]]] = set()
        self._services = Services(
            setup=lambda: self._setup,
            beliefs=self._beliefs,
            health=self._health,
            pump=self._pump,
            oracle=self._oracle,
            network=self._network.current,
            now=time.time,
            request_ids=itertools.count(1),
            believe=self._believe,
            record=self._record,
            is_private=self._store.is_private,
            adopt=self._adopt,
            alarms=self._alarms,
            known_addresses=lambda host: self._setup.resolver.known(host),
            sound=self._sound,
            flows=FlowWatch(self._oracle, detect),
            roots=_known_roots(),
            visit_won=lambda outcome: self._certificates.look(outcome),
            tunnel_ended=lambda outcome: self._certificates.look_again(outcome),
            addons=self._addons,
            inspector=self._inspector(),
        )
        self._addons.on_change(self._bridge.addons_changed)
        self._soundings = Soundings(self._services)
        self._news = News(self._beliefs, self._network.current, time.time, names=bool(options.verbose))
        self._certificates = Certificates(self._services, self._soundings.ask)
        self._server = Server(self._poller, self._services, clients_max=_clients_max(loaded))
        self._loaded = loaded
        self._setup: Setup
        self._port = 0
        self._started_at = time.time()
        self._seen: tuple[object, ...] = ()
        self._config_problem = ""  # why an edited configuration is not in use
        self._control: ControlServer | None = None

    async def start(self) -> None:
        """Listens. Raises ConfigError, and BywayError when the address or the control socket cannot be had."""
        listen = self._loaded.settings.listen
        self._setup = self._maker.make(self._loaded, self._overrides, port=listen.port)
        await self._keeper.start(self._loaded)  # before anybody can ask for what an addon keeps closed
        try:
            self._port = self._server.listen(listen.address, listen.port)
        except OSError as error:
            raise BywayError(
                f"cannot listen on {listen.address} port {listen.port}: {(error.strerror or str(error)).lower()}; "
                f"choose another with --port, or see who has it with `ss -ltnp sport = :{listen.port}`"
            ) from None
        if self._port != listen.port:
            self._setup = self._maker.make(self._loaded, self._overrides, port=self._port)
        token = secrets.token_urlsafe(32)
        socket_path = self._paths.control_socket if hasattr(asyncio, "start_unix_server") else None
        if socket_path is not None:
            private_folder(socket_path.parent)
        self._control = ControlServer(self._parts(), socket_path, token, port=self._port)
        await self._control.start()
        self._seen = fingerprint(self._loaded.settings, self._paths)
        await self._network.start()
        self._wake.start()
        spawn(self._watch(), name="watch the configuration")

    def announce(self) -> None:
        """Lets commands find us, and whoever waits for us: from here on we know what signals mean."""
        assert self._control is not None
        write_private(self._paths.run_file, json.dumps(self._control.address | {
            "pid": os.getpid(), "port": self._port, "listen": self._loaded.settings.listen.address,
            "version": __version__,
        }))  # fmt: skip

    async def drain(self, hurry: asyncio.Event) -> None:
        """Takes no more clients and lets those there are finish, for a bounded time or until `hurry`."""
        self._server.stop_listening()
        ends_at = time.monotonic() + self._setup.settings.limits.drain_s
        while (self._server.sessions or self._pump.active) and time.monotonic() < ends_at and not hurry.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_LOOK_S):
                    await hurry.wait()

    async def close(self) -> None:
        """Takes everything down. Harmless when `start` failed half-way."""
        self._server.stop_listening()
        self._paths.run_file.unlink(missing_ok=True)
        self._wake.close()
        self._services.flows.close()
        self._network.close()
        if self._control is not None:
            await self._control.close()
        await self._bridge.close()
        await self._pump.close(0)
        await self._keeper.close()
        await cancel_all()
        await asyncio.to_thread(self._store.close)
        self._poller.close()

    def _inspector(self) -> Bridge:
        self._bridge = Bridge(
            lambda: self._services,
            self._poller,
            Folders(self._paths.ca_dir, self._paths.engine_dir, ephemeral=self._options.ephemeral),
            lambda: self._setup.settings,
            roots=_known_roots(),
            guests=lambda: [Guest(guard, thing) for guard in self._addons.running for thing in guard.addon.objects],
        )
        return self._bridge

    def say_hello(self) -> None:
        """One line on where we are, one on what to do next, and what the configuration should know of itself."""
        if self._options.quiet:
            return
        self._tell_notices()
        host = self._loaded.settings.listen.address
        address = f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}"
        relays = self._setup.registry.relay_names
        through = f"relays: {', '.join(relays)}" if relays else "no relay yet: add one with `byway relay add URL`"
        with contextlib.suppress(BrokenPipeError):
            print(f"Byway listens on {address} for HTTP, SOCKS4 and SOCKS5 ({through}).", flush=True)
            print(f"Set {address} as your browser's proxy, then see `byway status`. Ctrl-C stops.", flush=True)

    # -- what was edited -------------------------------------------------------------------------------------------

    def reload(self) -> list[str]:
        """Reads everything again. Returns the problems: with any, all stays as it was."""
        self._seen = fingerprint(self._setup.settings, self._paths)
        try:
            loaded = load(self._paths.config_to_read, env=os.environ, flags=self._options.flags)
            self._check_stays_closed(loaded)
            self._setup = self._maker.make(loaded, self._overrides, port=self._port)
        except ConfigError as error:
            for problem in error.problems:
                log.error("%s", problem)
            log.error("the configuration stays as it was until this is mended")
            self._config_problem = "; ".join(error.problems)
            return list(error.problems)
        self._config_problem = ""
        self._seen = fingerprint(loaded.settings, self._paths)
        self._store.configure(loaded.settings.log)
        self._health.keep(self._setup.registry.relay_names)
        self._tell_notices()
        self._keeper.configure(loaded)
        log.info("the configuration has been read again")
        return []

    def _tell_notices(self) -> None:
        """What is not wrong with the configuration but should be known."""
        settings, at_start = self._setup.settings, self._loaded.settings
        if (settings.listen.address, settings.listen.port) != (at_start.listen.address, at_start.listen.port):
            log.warning("[listen] address and port: the edit takes effect at the next start")
        if settings.detect != at_start.detect:
            log.warning("[detect]: what is believed goes by the edit from the next start on")
        for notice in (*self._setup.loaded.notices, *self._setup.router.rules.notices):
            log.warning("%s", notice)

    def _check_stays_closed(self, loaded: Loaded) -> None:
        """We go on listening where we did at the start. Raises ConfigError when that would now be without a password,
        beyond this computer."""
        address = self._loaded.settings.listen.address
        if not ipaddress.ip_address(address).is_loopback and not loaded.settings.listen.user:
            raise ConfigError(
                f"{loaded.place('listen', 'user')}: without listen.user, {address} would serve everybody who can reach "
                "this computer; to listen elsewhere, stop Byway and start it again"
            )

    async def _watch(self) -> None:
        """Reads again what has been edited, addons too, once two looks in a row find the same: an editor empties a
        file, or takes it away, before it writes the new one, and half of the rules must not act."""
        before = self._seen
        while True:
            await asyncio.sleep(_WATCH_S)
            found = fingerprint(self._setup.settings, self._paths)
            if found == before != self._seen:
                self.reload()
            before = found
            self._keeper.look()

    def _override(self, host: str, override: Override | None) -> None:
        if override is None:
            self._overrides.pop(host, None)
            self._store.clear_override(host)
        else:
            self._overrides[host] = override
            self._store.set_override(host, override)
        self._setup = replace(self._setup, router=self._setup.router.with_overrides(self._overrides))

    # -- where we are, and when ------------------------------------------------------------------------------------

    def _moved(self, moved: Moved) -> None:
        """On another network, or with an address less: tunnels that hang in the air are closed, so that their clients
        begin anew and do not wait for a time-out."""
        why = "the network that it went through is gone"
        lost = self._pump.abort_where(lambda upstream: moved.strands(upstream.lowest_socket), why)
        if moved.is_elsewhere:
            self._believe(self._beliefs.network_changed(time.time()))
            self._alarms.void()
            self._services.flows.void()
            self._oracle.middlebox.void()
            log.info("the network is another now; %d tunnels of the old one were closed", lost)

    def _woke(self, woke: Woke) -> None:
        """After a sleep, or when the clock was set."""
        log.info("back after %.0f s; the clock was set by %+.0f s", woke.slept_s, woke.jumped_s)
        self._beliefs.woke(time.time())
        self._services.flows.void()
        self._network.look()
        if woke.slept_s >= self._setup.settings.detect.wake_stale_s:
            upstreams = [upstream.lowest_socket for upstream in self._pump.upstreams]
            spawn(end_the_dead(upstreams), name="look which tunnels outlived the sleep")

    # -- what is believed, for those who resolve and dial ----------------------------------------------------------

    def _is_suspect(self, host: str) -> bool:
        """Whether a name may not be asked for in the clear: for what is believed, listed, or said by the user."""
        return (
            self._is_listed(host)
            or self._beliefs.lookup(host, network=self._network.current(), now=time.time()).keeps_its_name
            or not self._setup.router.may_go_direct(Destination(host, 443))
        )

    def _is_near(self, host: str) -> bool:
        """Whether a host is of this computer's own network."""
        return self._setup.guard.is_near(host)

    def _is_listed(self, host: str) -> bool:
        """Whether an imported list names it as likely blocked."""
        return self._setup.router.rules.is_listed(host)

    def _is_tainted(self, address: IPAddress) -> bool:
        return self._beliefs.residual.tainted(address, self._network.current(), time.time())

    def _note_trouble(self, address: str, host: str) -> None:
        self._beliefs.residual.note(address, self._network.current(), time.time(), host=host)

    def _lent(self, paths: Paths) -> AddonMeans:
        """What addons may use of ours."""

        async def dial(url: str, destination: Destination) -> Stream:
            return await self._setup.registry.outside(url).dial(destination)

        return AddonMeans(
            now=time.time,
            network=lambda: self._network.current(),
            relays=lambda: self._setup.registry.relay_names,
            dial=dial,
            folder=None if self._options.ephemeral else paths.state_dir / "addons",
        )

    # -- what sessions and the control server call -----------------------------------------------------------------

    def _believe(self, changes: Sequence[Change]) -> None:
        self._store.believe(changes)
        self._news.tell(changes)
        if self._addons.hears_changes:
            self._addons.tell_changes([change for change in changes if not self._store.is_private(change.scope)])

    def _sound(self) -> None:
        self._news.look()
        self._soundings.look()

    def _record(self, outcome: Outcome, network: NetworkId) -> None:
        self._store.record(outcome, network=network)
        if self._addons.hears_outcomes and not self._store.is_private(outcome.host):
            self._addons.tell_outcome(outcome)
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait((outcome, network))
        if self._options.verbose:
            route = outcome.winner or "none"
            log.info("%s via %s: %s", outcome.request.destination, route, outcome.error or outcome.plan.why)

    async def _follow(self) -> AsyncIterator[tuple[Outcome, NetworkId]]:
        queue: asyncio.Queue[tuple[Outcome, NetworkId]] = asyncio.Queue(_FOLLOWER_LIMIT)
        self._followers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)

    def _adopt(self, client: SocketStream, received: bytes) -> None:
        assert self._control is not None
        self._control.adopt(client.detach(), received)

    def _live(self) -> Mapping[str, int | float | str]:
        counters: dict[str, int | float | str] = {
            "port": self._port,
            "listen": self._loaded.settings.listen.address,
            "started_at": self._started_at,
            "accepted": self._server.accepted,
            "sessions": self._server.sessions,
            "tunnels": self._pump.active,
            "dropped_rows": self._store.dropped_rows,
            "config_problem": self._config_problem,
            "addons_missing": "; ".join(self._keeper.missing),
            "uninspected": self._bridge.uninspected,
        }
        return counters

    async def _decide(self, request: Request, plan: Plan) -> Plan:
        """What addons make of a plan."""
        return await self._addons.decide(request, plan, self._setup.registry) if self._addons.decides else plan

    def _parts(self) -> Parts:
        return Parts(
            setup=lambda: self._setup,
            beliefs=self._beliefs,
            health=self._health,
            store=self._store,
            network=self._network.current,
            reload=self.reload,
            live=self._live,
            follow=self._follow,
            believe=self._believe,
            override=self._override,
            means=lambda: Means.of(self._setup, self._services),
            decide=self._decide,
            addons=self._keeper.states,
        )


def _on_signals(stop: asyncio.Event, hurry: asyncio.Event, app: App) -> None:
    """SIGINT and SIGTERM drain; a second one does not wait; SIGHUP reads the configuration again."""

    def halt() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM"):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends the loop
            loop.add_signal_handler(getattr(signal, name), halt)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, app.reload)


def _clients_max(loaded: Loaded) -> int:
    """As many as the limit on open files leaves room for, after it was raised as far as we may: a tunnel has two."""
    limits = loaded.settings.limits
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return limits.clients_max
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(limits.clients_max, (soft - limits.descriptors_reserve) // 2))


def _network_key(paths: Paths, *, ephemeral: bool) -> bytes:
    """This installation's own secret, so that what is kept of a network tells nobody else which it was."""
    if ephemeral:
        return secrets.token_bytes(32)
    try:
        key = paths.network_key_file.read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != 32:
        key = secrets.token_bytes(32)
        write_private(paths.network_key_file, key)
    return key


def _known_roots() -> KnownRoots:
    file = bundled("certs/known_roots.json")
    return KnownRoots.parse(file.read_text("utf-8"), str(file))


def _locked(paths: Paths) -> str:
    """Who holds the state folder, if that can be told."""
    who = "another Byway"
    with contextlib.suppress(OSError, ValueError, KeyError):
        running = json.loads(paths.run_file.read_text())
        who = f"the Byway with pid {running['pid']}, on port {running['port']},"
    return f"{who} uses {paths.state_dir}; stop it, or give this one a folder of its own with --state"


def _tell_of_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """One line for a fault of ours, which says where in the code; the trace is for those who asked for it (-vv). Names
    of tasks and texts of exceptions may hold destinations, so they are for -v."""
    error = context.get("exception")
    if log.isEnabledFor(logging.INFO):
        log.error("%s: %r", context.get("message", "a fault"), error)
    else:
        log.error("a fault in Byway: %s", _place_of(error) if error is not None else "-v tells which")
    if error is not None:
        log.debug("where it happened:", exc_info=error)


def _place_of(error: BaseException) -> str:
    """What was raised, and the line that did."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = type(error).__name__
    if traceback is None:
        return name
    return f"{name} in {Path(traceback.tb_frame.f_code.co_filename).name}:{traceback.tb_lineno}"


def _log_to_stderr(options: RunOptions) -> None:
    level = logging.WARNING if options.verbose == 0 else logging.INFO if options.verbose == 1 else logging.DEBUG
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.handlers[:] = [handler]
    log.setLevel(logging.ERROR if options.quiet else level)
    log.propagate = False
