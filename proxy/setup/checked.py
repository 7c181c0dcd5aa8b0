"""The inputs of a Setup: the parts that all Setups share, with the engine for relays that are keys, and the
configuration after it was read and checked.

`check` reads every file that the configuration names and runs every password command. It reports all problems together,
at the start and at each reload.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from proxy.config.file_owners import check_obeyed
from proxy.config.load import Loaded
from proxy.config.passwords import Passwords
from proxy.config.paths import Paths
from proxy.config.relays import Relay
from proxy.config.schema import RESERVE_DNS_SERVERS
from proxy.config.suggestions import quoted
from proxy.model.errors import ConfigError
from proxy.model.feature import Feature, Role, offers, usable
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.client_programs import unreadable, unsupported
from proxy.net.dialers.road import SharedRelays
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.poller import Poller
from proxy.routing.rule import RuleType
from proxy.routing.rules import Rules
from proxy.session.inbound import Credentials
from proxy.session.recent_clients import RecentClients
from proxy.setup.guard import guard_of
from proxy.setup.rule_files import block_pages, read_rules
from proxy.store.list_copies import ListCopies
from proxy.store.relay_addresses import RelayAddresses
from proxy.store.subscriptions import with_subscriptions
from proxy.wire import dns_url
from proxy.wire.dns_url import SecureServer
from proxy.wire.relay_url import RelayUrl

if TYPE_CHECKING:
    from proxy.detect.pages.block_pages import BlockPages
    from proxy.net.dialers.key_relay import KeyEngine
    from proxy.net.named_programs import NamedProgram


class KeyEngineOnDemand:
    """The engine of one run, or of one command, which is its context."""

    def __init__(self, features: Sequence[Feature], poller: Poller, folder: Path | None) -> None:
        """The engine gets its folders in `folder`; None: in the system's for temporary files."""
        self._features = features
        self._poller = poller
        self._folder = folder
        self._made: KeyEngine | None = None
        self.own_ports: set[int] = set()
        """Ports of loopback that the engine and Byway use for each other: the address guard refuses them."""

    def get(self) -> KeyEngine | None:
        """Returns the engine; None: no feature has one, or it does not work."""
        if self._made is None and (make := usable(self._features, Role.KEY_ENGINE)) is not None:
            self._made = make(self._poller, self._folder, self.own_ports)
        return self._made

    async def close(self) -> None:
        """Ends the engine. A later `get` makes another one."""
        if self._made is not None:
            made, self._made = self._made, None
            await made.close()

    async def __aenter__(self) -> KeyEngineOnDemand:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


@frozen_dataclass
class Parts:
    """The parts that all Setups of one process share. A command sets only the first three."""

    poller: Poller
    paths: Paths
    port: int
    """The port that Byway listens on. The guard refuses it."""
    knowledge: Knowledge = NOTHING_KNOWN
    copies: ListCopies | None = None
    """The copies of fetched lists; None: those in the state folder."""
    relay_addresses: RelayAddresses = field(default_factory=lambda: RelayAddresses(None))
    tcp_info: TcpInfo = field(default_factory=TcpInfo)
    recent_clients: RecentClients = field(default_factory=RecentClients)
    shared_relays: SharedRelays = field(default_factory=SharedRelays)
    features: Sequence[Feature] | None = None
    """The features of this installation; None: all."""
    keys: KeyEngineOnDemand | None = None
    """The engine for relays that are keys; None: they are only read."""
    passwords: Passwords = field(default_factory=Passwords)
    """The passwords that commands have printed; a reload does not run the commands again."""

    @property
    def own_ports(self) -> Collection[int]:
        """The ports that the guards refuse on this computer. Those of the engine come and go."""
        if self.keys is None:
            return (self.port,)
        self.keys.own_ports.add(self.port)
        return self.keys.own_ports

    @property
    def inspects(self) -> bool:
        """Whether a feature can INSPECT."""
        return self.features is None or offers(self.features, Role.INSPECTOR)


@frozen_dataclass
class Checked:
    """The content of the configuration and of the files that it names, not bound to an event loop."""

    loaded: Loaded
    relays: tuple[Relay, ...]
    credentials: Credentials | None
    programs: tuple[NamedProgram, ...]
    """The programs of `[listen] programs`, which alone get relays; none: all do."""
    rules: Rules
    servers: tuple[SecureServer, ...]
    """The servers of `[dns] servers`; none when `[dns] secure` is "never"."""
    reserve_servers: tuple[SecureServer, ...]
    """Further servers, queried while all of `servers` fail; none when the user has set `[dns] servers`."""
    pages: Callable[[], BlockPages]


def check(parts: Parts, loaded: Loaded, *, pause_s: float = 0.0) -> Checked:
    """Reads every file and runs every password command that `loaded` names. It blocks, and may run in a thread;
    `pause_s` is as in `read_rules`. Raises ConfigError with all problems."""
    loaded = with_subscriptions(loaded, parts.copies or ListCopies(parts.paths.lists_dir, ephemeral=True))
    problems = _Problems()
    with problems:
        relays = _relays(parts, loaded)
    with problems:
        credentials = _credentials(parts, loaded)
    with problems:
        programs = _programs(loaded)
    with problems:
        guard_of(loaded, ports=parts.own_ports)
    with problems:
        rules = read_rules(loaded.settings, parts.paths, pause_s=pause_s, copies=parts.copies)
        check_supported(rules, inspects=parts.inspects)
    with problems:
        servers = _secure_servers(parts, loaded)
    with problems:
        pages = block_pages(parts.paths)
    if problems:
        raise ConfigError(dict.fromkeys(problems))
    if parts.features is not None:
        notices = dict.fromkeys((*loaded.notices, *loaded.unused(parts.features)))  # once, also after a second check
        loaded = replace(loaded, notices=tuple(notices))
    if programs:
        notices = dict.fromkeys((*loaded.notices, *_notices_of(programs, loaded)))
        loaded = replace(loaded, notices=tuple(notices))
    is_set = "dns.servers" in loaded.sources
    reserve_servers = () if is_set or not servers else tuple(map(dns_url.parse, RESERVE_DNS_SERVERS))
    return Checked(loaded, relays, credentials, programs, rules, servers, reserve_servers, pages)


class _Problems(list[str]):
    """Collects the problems of a ConfigError raised in its block, so that the next block runs, too.

    It is no generator-based context manager: there the error and the generator's frame would refer to each other, and
    keep a long list in memory until the next garbage collection."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, ConfigError):
            return False
        self.extend(error.problems)
        return True


def _relays(parts: Parts, loaded: Loaded) -> tuple[Relay, ...]:
    """Returns the relays in use, each with its password and the path of its `?ca=` file. When no commands are run they
    have no passwords, and a relay refuses connections if it needs one. Raises ConfigError with all problems."""
    relays, problems = [], []
    for relay in loaded.relays.in_use:
        try:
            if relay.password_cmd and loaded.runs_commands:
                relay = relay.with_password(parts.passwords.ask(relay.password_cmd))
            hops = [hop if isinstance(hop, str) else _with_certificates(parts, hop) for hop in relay.hops]
            relays.append(replace(relay, hops=tuple(hops)))
        except ValueError as error:
            problems.append(f"[[relay]] {relay.name}: {error}")
        except ConfigError as error:
            problems += (f"[[relay]] {relay.name}: {problem}" for problem in error.problems)
    if problems:
        raise ConfigError(problems)
    return tuple(relays)


def _credentials(parts: Parts, loaded: Loaded) -> Credentials | None:
    listen = loaded.settings.listen
    if not listen.user:
        return None
    if not loaded.runs_commands:
        raise ConfigError(
            f"{loaded.place('listen', 'password_cmd')}: listen.password_cmd is not run, because other users may be "
            "able to change this file; move it to a folder that only you can enter"
        )
    try:
        password = parts.passwords.ask(listen.password_cmd)
    except ValueError as error:
        raise ConfigError(f"[listen] password_cmd: {error}") from None
    return Credentials(listen.user, password)


def _programs(loaded: Loaded) -> tuple[NamedProgram, ...]:
    """Returns the programs of `[listen] programs`. Raises ConfigError with all problems."""
    texts = loaded.settings.listen.programs
    if not texts:
        if "listen.programs" in loaded.sources:
            raise ConfigError(
                f"{loaded.sources['listen.programs']}: listen.programs names no program; "
                "to let all programs use relays, remove it"
            )
        return ()
    if reason := unreadable():
        raise ConfigError(
            f"{loaded.place('listen', 'programs')}: listen.programs: {reason}; use listen.user and listen.password_cmd "
            "in its place: they keep programs out that do not have the password"
        )
    from proxy.net.named_programs import named_program  # few name the programs that get relays

    programs: list[NamedProgram] = []
    problems: list[str] = []
    for number, text in enumerate(texts):
        try:
            programs.append(named_program(text))
        except ValueError as error:
            problems.append(f"{loaded.place('listen', 'programs', number)}: listen.programs: {error}")
    if problems:
        raise ConfigError(problems)
    return tuple(programs)


def _notices_of(programs: Sequence[NamedProgram], loaded: Loaded) -> Iterator[str]:
    place = loaded.place("listen", "programs")
    for each in programs:
        if not each.is_there:
            where = each.path or "the folders of the system"
            yield f"{place}: listen.programs: {quoted(each.text)} is not installed here: nothing is at {where}"
        elif each.is_interpreter:
            yield (
                f"{place}: listen.programs: {quoted(each.path)} runs what other programs tell it, so all of those get "
                "relays too"
            )


def _secure_servers(parts: Parts, loaded: Loaded) -> tuple[SecureServer, ...]:
    """Returns the encrypted DNS servers. Raises ConfigError when the file of a `?ca=` cannot be used."""
    servers, problems = [], list[str]()
    for server in map(dns_url.parse, loaded.settings.dns.servers if loaded.settings.dns.secure != "never" else ()):
        try:
            servers.append(_with_certificates(parts, server))
        except ConfigError as error:
            problems += (f"[dns] servers: {problem}" for problem in error.problems)
    if problems:
        raise ConfigError(problems)
    return tuple(servers)


U = TypeVar("U", RelayUrl, SecureServer)


def _with_certificates(parts: Parts, url: U) -> U:
    """Returns the URL with the path of its `?ca=` file. Raises ConfigError when there are no certificates in it, or
    when another user can change it."""
    if not url.ca:
        return url
    from proxy.net.dialers.tls import context_trusting  # few URLs have `?ca=`

    file = parts.paths.named(url.ca)
    check_obeyed(file)
    context_trusting(str(file))
    return replace(url, ca=str(file))


_NO_INSPECTION = "INSPECT needs the feature inspection, which is not here; install Byway again, or remove INSPECT"


def check_supported(rules: Rules, *, inspects: bool) -> None:
    """Raises ConfigError when a rule needs INSPECT or PROCESS-NAME, and that is not available here. `inspects`: whether
    a feature can INSPECT."""
    rule = next(rules.rules.of_kind(lambda kind: kind.intercept), None)
    if rule is not None:
        from proxy.config.mitmproxy_version import unavailable  # needed only with such a rule

        if reason := unavailable() if inspects else _NO_INSPECTION:
            raise ConfigError(f"{rule.source}:{rule.line}: {reason}")
    rule = next(rules.rules.of_kind(lambda kind: kind.type is RuleType.PROCESS_NAME), None)
    if rule is not None and (reason := unsupported()):
        raise ConfigError(f"{rule.source}:{rule.line}: {reason}")
